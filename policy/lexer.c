#include "policy/lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* As much of a line as is shown with an error. */
#define SHOWN_MAX 160

/* The longer first. */
static const char *const signs[] = {
    "||", "&&", "==", "!=", "<=", ">=", ":", ";", ",", "{", "}", "(", ")", "~", "|", "&", "<", ">", "@",
};

static bool
is_word_part(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* A backslash before a line's end joins the lines. */
static bool
is_join(const struct lexer *lexer, const char *at)
{
    return at + 1 < lexer->end && at[0] == '\\' && at[1] == '\n';
}

static void
skip_blanks(struct lexer *lexer)
{
    while (lexer->next < lexer->end) {
        if (*lexer->next == ' ' || *lexer->next == '\t' || *lexer->next == '\r')
            lexer->next++;
        else if (is_join(lexer, lexer->next))
            lexer->next += 2;
        else
            return;
    }
}

static void
skip_comment(struct lexer *lexer)
{
    while (lexer->next < lexer->end && *lexer->next != '\n')
        lexer->next += is_join(lexer, lexer->next) ? 2 : 1;
}

static void
set_token(struct lexer *lexer, enum token_kind kind, const char *text, size_t size)
{
    lexer->token = (struct token){ .kind = kind, .text = text, .size = size };
    lexer->next = text + size;
}

/* A '-' belongs to a word that has begun: kill-process. */
static size_t
measure_word(const struct lexer *lexer, const char *at)
{
    const char *end = at;

    while (end < lexer->end && (is_word_part(*end) || (*end == '-' && end > at && end + 1 < lexer->end && is_word_part(end[1]) &&
                                                       !isdigit((unsigned char)*at))))
        end++;
    return (size_t)(end - at);
}

static bool
take_known_sign(struct lexer *lexer)
{
    const size_t left = (size_t)(lexer->end - lexer->next);

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        const size_t size = strlen(signs[i]);

        if (size <= left && strncmp(lexer->next, signs[i], size) == 0) {
            set_token(lexer, TOKEN_SIGN, lexer->next, size);
            return true;
        }
    }
    return false;
}

void
lexer_advance(struct lexer *lexer)
{
    const char *at;

    skip_blanks(lexer);
    if (lexer->next < lexer->end && *lexer->next == '#')
        skip_comment(lexer);
    at = lexer->next;
    if (at >= lexer->end)
        set_token(lexer, TOKEN_END, lexer->end, 0);
    else if (*at == '\n')
        set_token(lexer, TOKEN_NEWLINE, at, 1);
    else if (isdigit((unsigned char)*at))
        set_token(lexer, TOKEN_NUMBER, at, measure_word(lexer, at));
    else if (*at == '-' && at + 1 < lexer->end && isdigit((unsigned char)at[1]))
        set_token(lexer, TOKEN_NUMBER, at, 1 + measure_word(lexer, at + 1));
    else if (is_word_part(*at))
        set_token(lexer, TOKEN_WORD, at, measure_word(lexer, at));
    else if (!take_known_sign(lexer))
        set_token(lexer, TOKEN_WRONG, at, 1);
}

void
lexer_begin(struct lexer *lexer, const char *name, const char *text, size_t size, struct policy_error *error)
{
    *lexer = (struct lexer){
        .name = name, .text = text, .end = text + size, .next = text, .error = error, .counted = text, .counted_line = 1,
    };
    lexer_advance(lexer);
}

bool
lexer_is_sign(const struct lexer *lexer, const char *sign)
{
    return lexer->token.kind == TOKEN_SIGN && lexer->token.size == strlen(sign) &&
           strncmp(lexer->token.text, sign, lexer->token.size) == 0;
}

bool
lexer_is_word(const struct lexer *lexer, const char *word)
{
    return lexer->token.kind == TOKEN_WORD && lexer->token.size == strlen(word) &&
           strncmp(lexer->token.text, word, lexer->token.size) == 0;
}

bool
lexer_take_sign(struct lexer *lexer, const char *sign)
{
    if (!lexer_is_sign(lexer, sign))
        return false;
    lexer_advance(lexer);
    return true;
}

struct token
lexer_take_rest(struct lexer *lexer)
{
    struct token rest = { .kind = TOKEN_WORD, .text = lexer->token.text };
    const char *end = rest.text;

    while (end < lexer->end && *end != '\n' && *end != '#')
        end++;
    lexer->next = end;
    while (end > rest.text && isspace((unsigned char)end[-1]))
        end--;
    rest.size = (size_t)(end - rest.text);
    lexer_advance(lexer);
    return rest;
}

unsigned
lexer_line(struct lexer *lexer, const char *at)
{
    if (at < lexer->counted) {
        lexer->counted = lexer->text;
        lexer->counted_line = 1;
    }
    for (; lexer->counted < at; lexer->counted++)
        lexer->counted_line += *lexer->counted == '\n';
    return lexer->counted_line;
}

int
lexer_fail(struct lexer *lexer, const char *at, const char *format, ...)
{
    const char *begin, *end;
    char what[256], shown[SHOWN_MAX + 1];
    size_t column, length;
    va_list arguments;

    if (at == NULL)
        at = lexer->token.text;
    for (begin = at; begin > lexer->text && begin[-1] != '\n'; begin--)
        ;
    for (end = begin; end < lexer->end && *end != '\n'; end++)
        ;
    column = (size_t)(at - begin);
    length = (size_t)(end - begin) < SHOWN_MAX ? (size_t)(end - begin) : SHOWN_MAX;
    for (size_t i = 0; i < length; i++)
        shown[i] = isprint((unsigned char)begin[i]) ? begin[i] : begin[i] == '\t' ? ' ' : '?';
    shown[length] = '\0';
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(lexer->error->text, sizeof lexer->error->text, "%s:%u:%zu: %s\n%s\n%*s^", lexer->name, lexer_line(lexer, at), column + 1,
             what, shown, (int)(column < SHOWN_MAX ? column : SHOWN_MAX), "");
    return -EINVAL;
}

/* All digits of one base, nothing behind them, and no more than 64 bits. */
static int
parse_number(struct lexer *lexer, const struct token *token, uint64_t *value)
{
    const char *digit = token->text, *end = token->text + token->size;
    const bool negative = *digit == '-';
    unsigned base = 10;
    uint64_t result = 0;

    if (negative)
        digit++;
    if (end - digit > 2 && digit[0] == '0' && (digit[1] == 'x' || digit[1] == 'X')) {
        base = 16;
        digit += 2;
    } else if (end - digit > 1 && digit[0] == '0') {
        base = 8;
    }
    for (; digit < end; digit++) {
        const unsigned number = isdigit((unsigned char)*digit) ? (unsigned)(*digit - '0')
                                : isalpha((unsigned char)*digit) ? (unsigned)(tolower((unsigned char)*digit) - 'a' + 10)
                                                                 : base;

        if (number >= base)
            return lexer_fail(lexer, digit, "`%c` is no digit of this number", *digit);
        if (__builtin_mul_overflow(result, base, &result) || __builtin_add_overflow(result, number, &result))
            return lexer_fail(lexer, token->text, "the number is out of range: at most 64 bits were expected");
    }
    if (negative && result > (uint64_t)INT64_MAX + 1)
        return lexer_fail(lexer, token->text, "the number is out of range: at most 64 bits were expected");
    *value = negative ? -result : result;
    return 0;
}

static int take_value(struct lexer *lexer, unsigned depth, uint64_t *value);

static int
take_term(struct lexer *lexer, unsigned depth, uint64_t *value)
{
    const bool inverted = lexer_take_sign(lexer, "~");
    const struct token token = lexer->token;
    int result;

    if (depth > LEXER_DEPTH_MAX)
        return lexer_fail(lexer, NULL, "too many parentheses in each other: at most %d", LEXER_DEPTH_MAX);
    if (lexer_take_sign(lexer, "(")) {
        result = take_value(lexer, depth + 1, value);
        if (result == 0 && !lexer_take_sign(lexer, ")"))
            result = lexer_fail(lexer, NULL, "`)` was expected");
    } else if (token.kind == TOKEN_NUMBER) {
        result = parse_number(lexer, &token, value);
        if (result == 0)
            lexer_advance(lexer);
    } else if (token.kind == TOKEN_WORD) {
        if (!policy_constant_find(token.text, token.size, value))
            return lexer_fail(lexer, NULL, "unknown name `%.*s`: a number or a constant of the system's headers was expected",
                              (int)token.size, token.text);
        lexer_advance(lexer);
        result = 0;
    } else {
        result = lexer_fail(lexer, NULL, "a value was expected: a number, or a constant of the system's headers");
    }
    if (inverted)
        *value = ~*value;
    return result;
}

static int
take_value(struct lexer *lexer, unsigned depth, uint64_t *value)
{
    uint64_t total = 0, term = 0;
    int result;

    do {
        result = take_term(lexer, depth, &term);
        total |= term;
    } while (result == 0 && lexer_take_sign(lexer, "|"));
    *value = total;
    return result;
}

int
lexer_take_value(struct lexer *lexer, uint64_t *value)
{
    return take_value(lexer, 0, value);
}
