/*
 * What a policy consists of once it is read: calls, each with an action or with an expression over its arguments. Internal to policy/.
 * Plain data, freed as a whole by policy_free().
 */
#ifndef VMSUP_POLICY_EXPRESSION_H
#define VMSUP_POLICY_EXPRESSION_H

#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_ARGUMENTS 6
/* Far above any real policy; they bound what a hostile file can make us do. */
#define POLICY_CALLS_MAX 1024
#define POLICY_ATOMS_MAX 64
#define POLICY_CONJUNCTIONS_MAX 1024

enum policy_operator {
    POLICY_EQUAL,
    POLICY_NOT_EQUAL,
    POLICY_LESS,
    POLICY_LESS_EQUAL,
    POLICY_GREATER,
    POLICY_GREATER_EQUAL,
    POLICY_ANY_BIT,  /* (argument & value) != 0 */
    POLICY_ONLY_BITS /* (argument & ~value) == 0 */
};

struct policy_atom {
    unsigned argument;
    enum policy_operator operator;
    uint64_t value;
};

/* Where something was said, for messages. */
struct policy_place {
    unsigned file; /* index into policy->files */
    unsigned line;
};

struct policy_conjunction {
    struct policy_place place;
    struct policy_atom *atom;
    size_t count;
};

struct policy_rule {
    int number;
    struct policy_place place; /* of its first line */
    bool conditional;
    struct policy_result action;             /* without condition */
    struct policy_conjunction *conjunction;  /* with: any of them allows */
    size_t count;
    int otherwise; /* the errno where none does; 0: the default action */
};

struct policy {
    struct policy_rule *rules; /* sorted by number once read */
    size_t rule_count;
    bool has_default;
    struct policy_result default_action;
    char **files;
    size_t file_count;
};

bool policy_atom_holds(const struct policy_atom *atom, const uint64_t arguments[POLICY_ARGUMENTS]);
const struct policy_rule *policy_find_rule(const struct policy *policy, int number);

/* "==" … and "allow", "return EPERM" …, as the language has them. */
const char *policy_operator_text(enum policy_operator operator);
void policy_action_text(struct policy_result action, char *text, size_t size);

#endif
