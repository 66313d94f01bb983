/* What the supervisor granted: descriptors, by the names that the configuration gave them. */
#include "plugin/vmsup-plugin.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* A number from *text on, which moves behind it; -EINVAL: there is none, or it is no descriptor's. */
static int
take_number(const char **text)
{
    int number = 0;

    if (**text < '0' || **text > '9')
        return -EINVAL;
    for (; **text >= '0' && **text <= '9'; ++*text)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, **text - '0', &number))
            return -EINVAL;
    return number;
}

/* All of the variable is read, so that a mistake in it shows whichever name is asked for. */
int
vmsup_granted_fd(const char *name)
{
    const char *text = getenv("VMSUP_FDS");
    int found = -ENOENT;

    if (text == NULL || *text == '\0')
        return -ENOENT;
    for (;;) {
        const char *begin = text;
        const size_t size = strspn(text, NAME_CHARACTERS);
        int number;

        text += size;
        if (size == 0 || *text++ != '=' || (number = take_number(&text)) < 0)
            return -EINVAL;
        if (found == -ENOENT && strlen(name) == size && memcmp(name, begin, size) == 0)
            found = number;
        if (*text == '\0')
            return found;
        if (*text++ != ',')
            return -EINVAL;
    }
}
