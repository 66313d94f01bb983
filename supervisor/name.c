#include "supervisor/name.h"

#include <stdio.h>
#include <string.h>

bool
name_is_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char further[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t length = strnlen(name, NAME_LENGTH_MAX + 1);

    if (length == 0 || length > NAME_LENGTH_MAX)
        return false;
    return strchr(first, name[0]) != NULL && strspn(name, further) == length;
}

void
name_qualify(const char *name, const char *base, const char *usual, char qualified[NAME_QUALIFIED_MAX])
{
    if (strcmp(base, usual) == 0) {
        strlcpy(qualified, name, NAME_QUALIFIED_MAX);
        return;
    }
    snprintf(qualified, NAME_QUALIFIED_MAX, "%s@%s", name, base[0] == '/' ? base + 1 : base);
    for (char *each = qualified; *each != '\0'; each++)
        if (*each == '/')
            *each = '-';
}
