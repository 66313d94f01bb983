#include "supervisor/net_filter.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define RULES_MAX 1024
#define MAC_TEXT 18
#define NFTABLES "libnftables.so.1"

/*
 * The library, once a filter is wanted: with what it needs itself it is most of the program's libraries, and most VMs have no filter.
 * It stays for good.
 */
static struct {
    struct nft_ctx *(*ctx_new)(uint32_t);
    void (*ctx_free)(struct nft_ctx *);
    int (*buffer_output)(struct nft_ctx *);
    int (*buffer_error)(struct nft_ctx *);
    const char *(*get_error)(struct nft_ctx *);
    int (*run)(struct nft_ctx *, const char *);
} nft;

static int
load_nftables(const char *link, struct failure *failure)
{
    const struct {
        const char *name;
        void *function;
    } functions[] = {
        { "nft_ctx_new", &nft.ctx_new },
        { "nft_ctx_free", &nft.ctx_free },
        { "nft_ctx_buffer_output", &nft.buffer_output },
        { "nft_ctx_buffer_error", &nft.buffer_error },
        { "nft_ctx_get_error_buffer", &nft.get_error },
        { "nft_run_cmd_from_buffer", &nft.run },
    };
    void *library = dlopen(NFTABLES, RTLD_NOW);

    for (size_t i = 0; library != NULL && i < sizeof functions / sizeof functions[0]; i++) {
        void *function = dlsym(library, functions[i].name);

        if (function == NULL)
            library = NULL;
        else
            memcpy(functions[i].function, &function, sizeof function);
    }
    return library != NULL ? 0 : failure_set(failure, EX_UNAVAILABLE, -ENOSYS, "%s: the source filter needs nftables: %s", link, dlerror());
}

/*
 * One accepting rule for IPv4 and one for ARP; the policy drops the rest. A tagged frame does not match "ether type ip": the kernel
 * compares the type that stands behind the addresses. Of ARP, the format is compared first, because the places of its addresses
 * depend on it. "flags owner" ties the table to this netlink socket (nft(8), TABLES). "create" refuses a table that is there; the chain
 * stands beside it because nftables 1.0.6 passes over what stands inside of a "create".
 */
static const char rules_format[] =
    "create table netdev %1$s { flags owner; }\n"
    "add chain netdev %1$s guest { type filter hook ingress device \"%1$s\" priority -500; policy drop; }\n"
    "add rule netdev %1$s guest ether saddr %2$s ether type ip ip saddr %3$s accept\n"
    "add rule netdev %1$s guest ether saddr %2$s ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 "
    "arp saddr ether %2$s arp saddr ip %3$s accept\n";

static int
format_rules(const char *link, const uint8_t mac[ETH_ALEN], struct in_addr ip, char rules[RULES_MAX])
{
    char mac_text[MAC_TEXT], ip_text[INET_ADDRSTRLEN];
    int length;

    snprintf(mac_text, sizeof mac_text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    if (inet_ntop(AF_INET, &ip, ip_text, sizeof ip_text) == NULL)
        return -errno;
    length = snprintf(rules, RULES_MAX, rules_format, link, mac_text, ip_text);
    return length < RULES_MAX ? 0 : -E2BIG;
}

/* The first line of what libnftables says. */
static int
rules_failure(struct nft_ctx *context, const char *link, struct failure *failure)
{
    const char *said = nft.get_error(context);

    if (said == NULL || said[0] == '\0')
        said = "no reason given";
    return failure_set(failure, EX_UNAVAILABLE, -EOPNOTSUPP, "%s: the source filter cannot be set up by nftables: %.*s", link,
                       (int)strcspn(said, "\n"), said);
}

/* Asks the kernel for the chain: a filter that was taken and is not there is none. */
static int
find_chain(struct nft_ctx *context, const char *link)
{
    char command[64];

    snprintf(command, sizeof command, "list chain netdev %s guest\n", link);
    return nft.run(context, command);
}

int
net_filter_install(const char *link, const uint8_t guest_mac[ETH_ALEN], struct in_addr guest_ip, struct net_filter *filter,
                   struct failure *failure)
{
    char rules[RULES_MAX];
    int result;

    filter->context = NULL;
    result = format_rules(link, guest_mac, guest_ip, rules);
    if (result < 0)
        return failure_set(failure, EX_SOFTWARE, result, "%s: the source filter is too long", link);
    /* A kernel may take a chain for a link that is yet to come. */
    if (if_nametoindex(link) == 0)
        return failure_set(failure, EX_SOFTWARE, -ENODEV, "%s: no such link to filter", link);
    result = load_nftables(link, failure);
    if (result < 0)
        return result;
    filter->context = nft.ctx_new(NFT_CTX_DEFAULT);
    if (filter->context == NULL)
        return failure_set(failure, EX_OSERR, -ENOMEM, "%s: nftables cannot be used", link);
    /* Neither of them writes to our terminal. */
    nft.buffer_output(filter->context);
    nft.buffer_error(filter->context);
    if (nft.run(filter->context, rules) == 0 && find_chain(filter->context, link) == 0)
        return 0;
    result = rules_failure(filter->context, link, failure);
    net_filter_remove(filter);
    return result;
}

void
net_filter_remove(struct net_filter *filter)
{
    if (filter->context != NULL)
        nft.ctx_free(filter->context);
    filter->context = NULL;
}
