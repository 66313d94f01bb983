#include "supervisor/options_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int
value_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    const char *problem;
    uint64_t value;

    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
        return -EINVAL;
    if (minimum > LLONG_MAX || maximum > LLONG_MAX)
        return -ERANGE;
    value = (uint64_t)strtonum(text, (long long)minimum, (long long)maximum, &problem);
    if (problem != NULL)
        return -ERANGE;
    *number = value;
    return 0;
}

int
value_size(const char *text, uint64_t *size)
{
    static const char units[] = "KMGT";
    char digits[24];
    size_t length = strlen(text);
    unsigned int shift = 0;
    uint64_t number;
    int result;

    if (length == 0 || length >= sizeof digits)
        return -EINVAL;
    memcpy(digits, text, length + 1);
    if (isalpha((unsigned char)digits[length - 1])) {
        const char *unit = strchr(units, toupper((unsigned char)digits[length - 1]));

        if (unit == NULL)
            return -EINVAL;
        shift = 10 * (unsigned int)(unit - units + 1);
        digits[length - 1] = '\0';
    }
    result = value_number(digits, 1, LLONG_MAX >> shift, &number);
    if (result == 0)
        *size = number << shift;
    return result;
}

int
value_range(const char *text, uint32_t *first, uint32_t *count)
{
    char left[16];
    const char *colon = strchr(text, ':');
    uint64_t first_number, count_number;
    int result;

    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof left)
        return -EINVAL;
    memcpy(left, text, (size_t)(colon - text));
    left[colon - text] = '\0';
    result = value_number(left, 0, UINT32_MAX, &first_number);
    if (result == 0)
        result = value_number(colon + 1, 1, UINT32_MAX, &count_number);
    if (result < 0)
        return result;
    *first = (uint32_t)first_number;
    *count = (uint32_t)count_number;
    return 0;
}

static uint8_t
hex_digit(char digit)
{
    return (uint8_t)(isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10);
}

int
value_mac(const char *text, uint8_t mac[ETH_ALEN])
{
    static const uint8_t zero[ETH_ALEN];
    uint8_t value[ETH_ALEN];

    if (strlen(text) != 3 * ETH_ALEN - 1)
        return -EINVAL;
    for (size_t i = 0; i < ETH_ALEN; i++) {
        const char *pair = text + 3 * i;

        if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
            return -EINVAL;
        if (i < ETH_ALEN - 1 && pair[2] != ':')
            return -EINVAL;
        value[i] = (uint8_t)(hex_digit(pair[0]) << 4 | hex_digit(pair[1]));
    }
    /* The lowest bit of the first byte marks a group. */
    if ((value[0] & 1) != 0 || memcmp(value, zero, sizeof value) == 0)
        return -ERANGE;
    memcpy(mac, value, sizeof value);
    return 0;
}

int
value_host_address(const char *text, struct in_addr *address)
{
    struct in_addr value;
    uint32_t first;

    if (inet_pton(AF_INET, text, &value) != 1)
        return -EINVAL;
    first = ntohl(value.s_addr) >> 24;
    if (first == 0 || first == 127 || first >= 224)
        return -ERANGE;
    *address = value;
    return 0;
}

int
value_netmask(const char *text, struct in_addr *netmask)
{
    struct in_addr value;
    uint32_t zeros;

    if (inet_pton(AF_INET, text, &value) != 1)
        return -EINVAL;
    zeros = ~ntohl(value.s_addr);
    /* The inverse of ones-then-zeros is one less than a power of two. */
    if (zeros == UINT32_MAX || (zeros & (zeros + 1)) != 0)
        return -ERANGE;
    *netmask = value;
    return 0;
}

bool
value_is_host_in_network(struct in_addr address, struct in_addr netmask)
{
    uint32_t host_mask = ~ntohl(netmask.s_addr);
    uint32_t host = ntohl(address.s_addr) & host_mask;

    if (host_mask <= 1)
        return true;
    return host != 0 && host != host_mask;
}

/* One part of a path, between slashes. */
static bool
is_dots(const char *part, size_t length)
{
    return (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.');
}

int
value_path(const char *text, size_t length, char **path)
{
    size_t at = 0, made = 0;
    char *result;

    if (length == 0 || text[0] != '/')
        return -EINVAL;
    if (length >= PATH_MAX)
        return -ERANGE;
    result = malloc(length + 1);
    if (result == NULL)
        return -ENOMEM;
    while (at < length) {
        size_t part = 0;

        while (at < length && text[at] == '/')
            at++;
        while (at + part < length && text[at + part] != '/')
            part++;
        if (part == 0)
            break;
        if (is_dots(text + at, part)) {
            free(result);
            return -ERANGE;
        }
        result[made++] = '/';
        memcpy(result + made, text + at, part);
        made += part;
        at += part;
    }
    if (made == 0)
        result[made++] = '/';
    result[made] = '\0';
    *path = result;
    return 0;
}
