/* Reading the lines of a policy file into a policy. Internal to policy/. */
#ifndef VMSUP_POLICY_PARSE_H
#define VMSUP_POLICY_PARSE_H

#include "policy/expression.h"
#include "policy/lexer.h"

#define PARSE_INCLUDES_MAX 10
#define PARSE_FILE_MAX (256 * 1024)
#define PARSE_FILES_MAX 64

struct parser {
    struct policy *policy;
    struct policy_error *error;
    unsigned file;  /* the present one, in policy->files */
    unsigned depth; /* of includes */
    unsigned open[PARSE_INCLUDES_MAX + 1]; /* the files on the way here */
    int (*include)(struct parser *parser, struct lexer *lexer, const struct token *path);
};

/* 0, -EINVAL with the error filled, or -ENOMEM. */
int parse_lines(struct parser *parser, struct lexer *lexer);

#endif
