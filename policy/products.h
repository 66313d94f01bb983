/*
 * An expression as a sum of products of masked equalities, the one test that libseccomp compiles rightly: each product says of each argument
 * which bits must have which value. Internal to policy/.
 */
#ifndef VMSUP_POLICY_PRODUCTS_H
#define VMSUP_POLICY_PRODUCTS_H

#include "policy/expression.h"

/* Rules of one call in one filter. */
#define POLICY_RULES_PER_CALL_MAX 128

struct policy_product {
    uint64_t mask[POLICY_ARGUMENTS];
    uint64_t value[POLICY_ARGUMENTS]; /* 0 where the mask is */
};

struct policy_products {
    struct policy_product product[POLICY_RULES_PER_CALL_MAX];
    size_t count;
    bool always; /* one of them tests nothing */
};

/* 0, or -E2BIG where it takes more products than there may be. */
int products_expand(const struct policy_rule *rule, struct policy_products *products);

#endif
