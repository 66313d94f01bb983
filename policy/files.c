/* Policy files: who may have written them, what they include, and the ends of a parse. */
#include "policy/parse.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
complain(struct policy_error *error, int result, const char *path, const char *what)
{
    snprintf(error->text, sizeof error->text, "%s: %s", path, what);
    return result;
}

/* Who may write a policy decides over it: its owner, and nobody else. */
static int
read_file(const char *path, char **text, size_t *size, struct policy_error *error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result = 0;

    *text = NULL;
    if (fd < 0)
        return complain(error, -errno, path, strerror(errno));
    if (fstat(fd, &status) < 0)
        result = complain(error, -errno, path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        result = complain(error, -EINVAL, path, "is no regular file");
    else if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        result = complain(error, -EINVAL, path, "others than its owner may write it: mode 0644 or less was expected");
    else if (status.st_size > PARSE_FILE_MAX)
        result = complain(error, -EINVAL, path, "is larger than a policy may be (256 KiB)");
    if (result == 0) {
        *size = (size_t)status.st_size;
        *text = malloc(*size + 1);
        if (*text == NULL)
            result = complain(error, -ENOMEM, path, "out of memory");
        else if ((result = fd_read_all(fd, *text, *size)) < 0)
            complain(error, result, path, strerror(-result));
    }
    if (result < 0) {
        free(*text);
        *text = NULL;
    }
    fd_close(&fd);
    return result;
}

static int
add_file(struct policy *policy, const char *name, unsigned *index)
{
    char **grown = reallocarray(policy->files, policy->file_count + 1, sizeof *grown);

    if (grown == NULL)
        return -ENOMEM;
    policy->files = grown;
    policy->files[policy->file_count] = strdup(name);
    if (policy->files[policy->file_count] == NULL)
        return -ENOMEM;
    *index = (unsigned)policy->file_count++;
    return 0;
}

/* What the lexer would stumble over in a way that is hard to read. */
static int
check_text(struct lexer *lexer, const char *text, size_t size)
{
    const char *nul = memchr(text, '\0', size);

    if (nul != NULL)
        return lexer_fail(lexer, nul, "a NUL byte: text was expected");
    if (size > 0 && (text[size - 1] == '\\' || (size > 1 && text[size - 1] == '\n' && text[size - 2] == '\\')))
        return lexer_fail(lexer, text + size - (text[size - 1] == '\\' ? 1 : 2), "a backslash at the end of the file: a line was expected after it");
    return 0;
}

static int
parse_named(struct parser *parser, const char *name, const char *text, size_t size)
{
    const unsigned before = parser->file;
    struct lexer lexer;
    int result = add_file(parser->policy, name, &parser->file);

    if (result < 0)
        return result;
    parser->open[parser->depth] = parser->file;
    lexer_begin(&lexer, name, text, size, parser->error);
    result = check_text(&lexer, text, size);
    if (result == 0)
        result = parse_lines(parser, &lexer);
    parser->file = before;
    return result;
}

/* A relative path counts from the folder of the file that includes. */
static int
resolve(const struct parser *parser, const struct token *path, char out[PATH_MAX])
{
    const char *from = parser->policy->files[parser->file], *slash = strrchr(from, '/');
    const int folder = path->text[0] != '/' && slash != NULL ? (int)(slash - from + 1) : 0;

    return snprintf(out, PATH_MAX, "%.*s%.*s", folder, from, (int)path->size, path->text) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool
is_open(const struct parser *parser, const char *path)
{
    struct stat wanted, each;

    if (stat(path, &wanted) < 0)
        return false;
    for (unsigned i = 0; i <= parser->depth; i++)
        if (stat(parser->policy->files[parser->open[i]], &each) == 0 && each.st_dev == wanted.st_dev && each.st_ino == wanted.st_ino)
            return true;
    return false;
}

static int
include(struct parser *parser, struct lexer *lexer, const struct token *token)
{
    struct policy_error why;
    char path[PATH_MAX], *text;
    size_t size;
    int result = resolve(parser, token, path);

    if (result < 0)
        return lexer_fail(lexer, token->text, "the path is too long");
    if (is_open(parser, path))
        return lexer_fail(lexer, token->text, "this file includes itself, by way of others or not");
    if (parser->depth == PARSE_INCLUDES_MAX)
        return lexer_fail(lexer, token->text, "includes are more than %d deep", PARSE_INCLUDES_MAX);
    if (parser->policy->file_count == PARSE_FILES_MAX)
        return lexer_fail(lexer, token->text, "more than %d files", PARSE_FILES_MAX);
    result = read_file(path, &text, &size, &why);
    if (result < 0)
        return lexer_fail(lexer, token->text, "%.200s", why.text);
    parser->depth++;
    result = parse_named(parser, path, text, size);
    parser->depth--;
    free(text);
    return result;
}

static int
compare_rules(const void *left, const void *right)
{
    const struct policy_rule *a = left, *b = right;

    return (a->number > b->number) - (a->number < b->number);
}

int
policy_parse_text(const char *name, const char *text, size_t size, struct policy **out, struct policy_error *error)
{
    struct policy *policy = calloc(1, sizeof *policy);
    struct parser parser = { .policy = policy, .error = error, .include = include };
    int result;

    *out = NULL;
    error->text[0] = '\0';
    if (policy == NULL)
        return complain(error, -ENOMEM, name, "out of memory");
    policy->default_action.verdict = POLICY_KILL_PROCESS;
    result = parse_named(&parser, name, text, size);
    if (result < 0) {
        if (error->text[0] == '\0')
            complain(error, result, name, strerror(-result));
        policy_free(policy);
        return result;
    }
    if (policy->rule_count > 0)
        qsort(policy->rules, policy->rule_count, sizeof policy->rules[0], compare_rules);
    *out = policy;
    return 0;
}

int
policy_parse_file(const char *path, struct policy **policy, struct policy_error *error)
{
    char *text;
    size_t size;
    int result = read_file(path, &text, &size, error);

    *policy = NULL;
    if (result == 0)
        result = policy_parse_text(path, text, size, policy, error);
    free(text);
    return result;
}
