/*
 * Single values of the command line, read strictly: the whole text is the value or it is none. Pure. Each gives 0, or -EINVAL where the
 * text is not such a value, or -ERANGE where it is one but out of range; the caller, who knows the option, says so. Internal to
 * supervisor/options*.c.
 */
#ifndef VMSUP_SUPERVISOR_OPTIONS_VALUE_H
#define VMSUP_SUPERVISOR_OPTIONS_VALUE_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A decimal number: digits only. */
int value_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number);

/* Bytes: a number and at most one of K, M, G, T (1024 each), in either case. Zero is out of range. */
int value_size(const char *text, uint64_t *size);

/* "FIRST:COUNT". */
int value_range(const char *text, uint32_t *first, uint32_t *count);

/* "aa:bb:cc:dd:ee:ff", that of one station: neither a group's nor all zero (-ERANGE). */
int value_mac(const char *text, uint8_t mac[ETH_ALEN]);

/* Dotted quad; an address that one host can have: none of 0/8, 127/8, 224/4, 240/4 (-ERANGE). */
int value_host_address(const char *text, struct in_addr *address);

/* Dotted quad; ones, then zeros, and at least one of the ones (-ERANGE). */
int value_netmask(const char *text, struct in_addr *netmask);

/* Whether it is an address of a host in its network, not the network's own nor its broadcast; /31 and /32 have neither. */
bool value_is_host_in_network(struct in_addr address, struct in_addr netmask);

/*
 * An absolute path with single slashes and none at its end, newly allocated into *path. -EINVAL where it is not absolute; -ERANGE where it
 * has a part that is "." or ".." or is longer than PATH_MAX; -ENOMEM.
 */
int value_path(const char *text, size_t length, char **path);

#endif
