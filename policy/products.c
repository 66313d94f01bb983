#include "policy/products.h"

#include <errno.h>
#include <string.h>

/* What one atom says of its argument: any of these holds. At most one for each bit. */
struct alternatives {
    struct {
        uint64_t mask, value;
    } pair[64];
    size_t count;
};

static void
add_pair(struct alternatives *alternatives, uint64_t mask, uint64_t value)
{
    alternatives->pair[alternatives->count].mask = mask;
    alternatives->pair[alternatives->count].value = value & mask;
    alternatives->count++;
}

/* All bits from `bit` up. */
static uint64_t
prefix(unsigned bit)
{
    return ~UINT64_C(0) << bit;
}

/* Smaller: as `value` down to some bit that is set in it, which is clear. */
static void
add_less(struct alternatives *alternatives, uint64_t value)
{
    for (unsigned bit = 0; bit < 64; bit++)
        if ((value >> bit & 1) != 0)
            add_pair(alternatives, prefix(bit), value ^ UINT64_C(1) << bit);
}

/* Greater: as `value` down to some bit that is clear in it, which is set. */
static void
add_greater(struct alternatives *alternatives, uint64_t value)
{
    for (unsigned bit = 0; bit < 64; bit++)
        if ((value >> bit & 1) == 0)
            add_pair(alternatives, prefix(bit), value | UINT64_C(1) << bit);
}

static void
expand_atom(const struct policy_atom *atom, struct alternatives *alternatives)
{
    const uint64_t value = atom->value, all = ~UINT64_C(0);

    alternatives->count = 0;
    switch (atom->operator) {
    case POLICY_EQUAL:
        add_pair(alternatives, all, value);
        break;
    case POLICY_NOT_EQUAL:
        for (unsigned bit = 0; bit < 64; bit++)
            add_pair(alternatives, UINT64_C(1) << bit, ~value);
        break;
    case POLICY_LESS:
        add_less(alternatives, value);
        break;
    case POLICY_LESS_EQUAL:
        if (value == all)
            add_pair(alternatives, 0, 0);
        else
            add_less(alternatives, value + 1);
        break;
    case POLICY_GREATER:
        add_greater(alternatives, value);
        break;
    case POLICY_GREATER_EQUAL:
        if (value == 0)
            add_pair(alternatives, 0, 0);
        else
            add_greater(alternatives, value - 1);
        break;
    case POLICY_ANY_BIT:
        for (unsigned bit = 0; bit < 64; bit++)
            if ((value >> bit & 1) != 0)
                add_pair(alternatives, UINT64_C(1) << bit, value);
        break;
    case POLICY_ONLY_BITS:
        add_pair(alternatives, ~value, 0);
        break;
    }
}

/* False: no argument can satisfy both. */
static bool
merge(struct policy_product *product, unsigned argument, uint64_t mask, uint64_t value)
{
    if ((product->mask[argument] & mask & (product->value[argument] ^ value)) != 0)
        return false;
    product->mask[argument] |= mask;
    product->value[argument] |= value;
    return true;
}

static bool
contains(const struct policy_products *products, const struct policy_product *product)
{
    for (size_t i = 0; i < products->count; i++)
        if (memcmp(&products->product[i], product, sizeof *product) == 0)
            return true;
    return false;
}

static bool
tests_nothing(const struct policy_product *product)
{
    static const struct policy_product nothing;

    return memcmp(product->mask, nothing.mask, sizeof nothing.mask) == 0;
}

static int
add_product(struct policy_products *products, const struct policy_product *product)
{
    if (tests_nothing(product))
        products->always = true;
    if (contains(products, product))
        return 0;
    if (products->count == POLICY_RULES_PER_CALL_MAX)
        return -E2BIG;
    products->product[products->count++] = *product;
    return 0;
}

/* Each product so far with each alternative of the atom. */
static int
multiply(const struct policy_products *left, const struct policy_atom *atom, struct policy_products *out)
{
    struct alternatives alternatives;

    out->count = 0;
    out->always = false;
    expand_atom(atom, &alternatives);
    for (size_t i = 0; i < left->count; i++) {
        for (size_t k = 0; k < alternatives.count; k++) {
            struct policy_product product = left->product[i];
            int result = 0;

            if (merge(&product, atom->argument, alternatives.pair[k].mask, alternatives.pair[k].value))
                result = add_product(out, &product);
            if (result < 0)
                return result;
        }
    }
    return 0;
}

static int
expand_conjunction(const struct policy_conjunction *conjunction, struct policy_products *out)
{
    struct policy_products now = { .count = 1 }, next;

    for (size_t i = 0; i < conjunction->count; i++) {
        int result = multiply(&now, &conjunction->atom[i], &next);

        if (result < 0)
            return result;
        now = next;
    }
    for (size_t i = 0; i < now.count; i++) {
        int result = add_product(out, &now.product[i]);

        if (result < 0)
            return result;
    }
    return 0;
}

int
products_expand(const struct policy_rule *rule, struct policy_products *products)
{
    products->count = 0;
    products->always = false;
    for (size_t i = 0; i < rule->count; i++) {
        int result = expand_conjunction(&rule->conjunction[i], products);

        if (result < 0)
            return result;
    }
    return 0;
}
