/* The constants of the system's headers, in a table that policy/make-constants makes of them at build time. */
#include "policy/lexer.h"

#include "policy_constants.h"

#include <stdlib.h>
#include <string.h>

struct key {
    const char *name;
    size_t size;
};

static int
compare(const void *left, const void *right)
{
    const struct key *key = left;
    const struct policy_constant *constant = right;
    const char *name = &policy_constant_names[constant->name];
    const int order = strncmp(key->name, name, key->size);

    return order != 0 ? order : name[key->size] == '\0' ? 0 : -1;
}

bool
policy_constant_find(const char *name, size_t size, uint64_t *value)
{
    const struct key key = { name, size };
    const struct policy_constant *found =
        bsearch(&key, policy_constants, sizeof policy_constants / sizeof policy_constants[0], sizeof policy_constants[0], compare);

    if (found == NULL)
        return false;
    *value = found->value;
    return true;
}
