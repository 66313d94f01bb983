/*
 * The text of one policy file, and the words in it. The lexer points into the text and keeps nothing; an error names file, line and
 * column, and shows the line with a caret. Internal to policy/.
 */
#ifndef VMSUP_POLICY_LEXER_H
#define VMSUP_POLICY_LEXER_H

#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How deep parentheses may stand in each other. */
#define LEXER_DEPTH_MAX 32

enum token_kind {
    TOKEN_END,     /* of the file */
    TOKEN_NEWLINE, /* a line's end, after its comment if any */
    TOKEN_WORD,    /* letters, digits, '_', '-' within */
    TOKEN_NUMBER,  /* begins with a digit; or '-' and a digit */
    TOKEN_SIGN,    /* one of : ; , { } ( ) ~ | || && & == != < <= > >= @ */
    TOKEN_WRONG,   /* a character that has no place here */
};

struct token {
    enum token_kind kind;
    const char *text;
    size_t size;
};

struct lexer {
    const char *name; /* of the file */
    const char *text, *end, *next;
    struct token token; /* the present one */
    const char *counted; /* up to here lines have been counted, and this is in that one */
    unsigned counted_line;
    struct policy_error *error;
};

/* `text` holds `size` bytes; the first token is present afterwards. */
void lexer_begin(struct lexer *lexer, const char *name, const char *text, size_t size, struct policy_error *error);
void lexer_advance(struct lexer *lexer);

bool lexer_is_sign(const struct lexer *lexer, const char *sign);
bool lexer_is_word(const struct lexer *lexer, const char *word);
/* Goes past the sign where it is the present token. */
bool lexer_take_sign(struct lexer *lexer, const char *sign);

/* What is left of the line, without its comment and blanks around; the newline is the present token afterwards. */
struct token lexer_take_rest(struct lexer *lexer);

/* From 1 on. */
unsigned lexer_line(struct lexer *lexer, const char *at);

/* Fills the error for the place of `at` (NULL: the present token) and gives -EINVAL. */
int lexer_fail(struct lexer *lexer, const char *at, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A value: `[~] (…) | number | NAME`, joined by `|`. 0 or -EINVAL. */
int lexer_take_value(struct lexer *lexer, uint64_t *value);

/* A name of the system's headers. */
bool policy_constant_find(const char *name, size_t size, uint64_t *value);

#endif
