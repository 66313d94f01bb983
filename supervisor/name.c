#include "supervisor/name.h"

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
