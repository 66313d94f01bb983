#include "supervisor/options.h"

#include "proto/wire.h"
#include "supervisor/memory.h"
#include "supervisor/options_list.h"
#include "supervisor/options_machine.h"
#include "supervisor/options_time.h"
#include "supervisor/options_value.h"
#include "supervisor/runtime.h"
#include "supervisor/tap.h"
#include "supervisor/uids.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* What getopt_long() gives for the first entry of the table; above all characters and its own answers. */
#define OPTION_BASE 1000

/* While the arguments are read: which of those that belong together have come. */
struct parse {
    struct options *options;
    struct failure *failure;
    bool has_host_ip, has_netmask, has_mac, has_guest_ip, has_guest_mac;
};

/* One option. `name` is as it was written in the table; `value` is NULL where the option takes none. */
typedef int option_handler(struct parse *parse, const char *name, const char *value);

static int
refuse(struct parse *parse, const char *name, const char *value, const char *expected)
{
    return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected %s", name, value, expected);
}

static int
handle_foreground(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    (void)value;
    parse->options->foreground = true;
    return 0;
}

static int
handle_cpus(struct parse *parse, const char *name, const char *value)
{
    uint64_t number;

    if (value_number(value, 1, WIRE_VCPUS_MAX, &number) < 0)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected a number from 1 to %d", name, value,
                           WIRE_VCPUS_MAX);
    parse->options->cpus = (unsigned int)number;
    return 0;
}

static int
handle_plugin(struct parse *parse, const char *name, const char *value)
{
    if (value[0] == '\0')
        return refuse(parse, name, value, "the path of a program");
    parse->options->plugin = value;
    return 0;
}

static int
handle_plugin_root(struct parse *parse, const char *name, const char *value)
{
    if (value[0] != '/')
        return refuse(parse, name, value, "an absolute path");
    parse->options->plugin_root = value;
    return 0;
}

static int
handle_mount(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_mount(parse->options, value, "--plugin-mount", EX_USAGE, parse->failure);
}

static int
handle_mount_file(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_file(parse->options, options_add_mount, value, parse->failure);
}

static int
handle_gid_map(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_gid_map(parse->options, value, "--plugin-gid-map", EX_USAGE, parse->failure);
}

static int
handle_gid_map_file(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_file(parse->options, options_add_gid_map, value, parse->failure);
}

static int
handle_grant(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_grant(parse->options, value, parse->failure);
}

static int
handle_kernel(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_image(parse->options, "--kernel", value, parse->failure);
}

static int
handle_initrd(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_image(parse->options, "--initrd", value, parse->failure);
}

static int
handle_disk(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_add_disk(parse->options, value, parse->failure);
}

static int
handle_memory(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_set_memory(parse->options, value, parse->failure);
}

static int
handle_cmdline(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    parse->options->command_line = value;
    return 0;
}

static int
handle_policy_dir(struct parse *parse, const char *name, const char *value)
{
    if (value[0] == '\0')
        return refuse(parse, name, value, "a folder that holds plugin.policy");
    parse->options->policy_dir = value;
    return 0;
}

static int
handle_host_ip(struct parse *parse, const char *name, const char *value)
{
    if (value_host_address(value, &parse->options->host_ip) < 0)
        return refuse(parse, name, value, "the IPv4 address of a host, such as 10.118.0.1");
    parse->has_host_ip = true;
    return 0;
}

static int
handle_netmask(struct parse *parse, const char *name, const char *value)
{
    if (value_netmask(value, &parse->options->netmask) < 0)
        return refuse(parse, name, value, "a contiguous IPv4 netmask, such as 255.255.255.252");
    parse->has_netmask = true;
    return 0;
}

static int
handle_mac(struct parse *parse, const char *name, const char *value)
{
    if (value_mac(value, parse->options->mac) < 0)
        return refuse(parse, name, value, "the MAC address of one station, such as de:21:e8:47:6b:6a");
    parse->has_mac = true;
    return 0;
}

static int
handle_guest_ip(struct parse *parse, const char *name, const char *value)
{
    if (value_host_address(value, &parse->options->guest_ip) < 0)
        return refuse(parse, name, value, "the IPv4 address of a host, such as 10.118.0.2");
    parse->has_guest_ip = true;
    return 0;
}

static int
handle_guest_mac(struct parse *parse, const char *name, const char *value)
{
    if (value_mac(value, parse->options->guest_mac) < 0)
        return refuse(parse, name, value, "the MAC address of one station, such as de:21:e8:47:6b:6b");
    parse->has_guest_mac = true;
    return 0;
}

static int
handle_net_queues(struct parse *parse, const char *name, const char *value)
{
    uint64_t number;

    if (value_number(value, 1, TAP_QUEUES_MAX, &number) < 0)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected a number from 1 to %d", name, value,
                           TAP_QUEUES_MAX);
    parse->options->net_queues = (unsigned int)number;
    return 0;
}

static int
handle_tap_vnet_header(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    (void)value;
    parse->options->tap_vnet_header = true;
    return 0;
}

static int
handle_uid_range(struct parse *parse, const char *name, const char *value)
{
    struct options *options = parse->options;

    if (value_range(value, &options->uid_first, &options->uid_count) < 0)
        return refuse(parse, name, value, "FIRST:COUNT, such as 1900000000:65536");
    if (!uids_range_is_valid(options->uid_first, options->uid_count))
        return refuse(parse, name, value, "at least two ids, none of 0 to 999, 65534, 65535 and 4294967295");
    return 0;
}

static int
handle_grace(struct parse *parse, const char *name, const char *value)
{
    return options_set_grace(name, value, &parse->options->grace, parse->failure);
}

static int
handle_guest_grace(struct parse *parse, const char *name, const char *value)
{
    return options_set_grace(name, value, &parse->options->guest_grace, parse->failure);
}

static int
handle_exit_spin(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_set_exit_spin(parse->options, value, parse->failure);
}

static int
handle_exit_pipes(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    (void)value;
    parse->options->exit_pipes = true;
    return 0;
}

static int
handle_vsock(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    return options_set_vsock(parse->options, value, parse->failure);
}

static int
handle_memory_max(struct parse *parse, const char *name, const char *value)
{
    if (value_size(value, &parse->options->memory_max) < 0 || parse->options->memory_max < MEMORY_MIN)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected bytes, at least %uM, such as 512M or 2G",
                           name, value, (unsigned int)(MEMORY_MIN >> 20));
    return 0;
}

static int
handle_disable_sandbox(struct parse *parse, const char *name, const char *value)
{
    (void)name;
    (void)value;
    parse->options->disable_sandbox = true;
    return 0;
}

static int
handle_log_level(struct parse *parse, const char *name, const char *value)
{
    if (log_level_parse(value, &parse->options->log_level) < 0)
        return refuse(parse, name, value, "error, warning, info or debug");
    return 0;
}

static int
handle_runtime_dir(struct parse *parse, const char *name, const char *value)
{
    if (value[0] != '/' || strlen(value) > RUNTIME_BASE_MAX)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected an absolute path of at most %d bytes",
                           name, value, RUNTIME_BASE_MAX);
    parse->options->runtime_dir = value;
    return 0;
}

static const struct {
    const char *name;
    int has_argument;
    option_handler *handler;
} option_table[] = {
    { "foreground", no_argument, handle_foreground },
    { "cpus", required_argument, handle_cpus },
    { "kernel", required_argument, handle_kernel },
    { "initrd", required_argument, handle_initrd },
    { "disk", required_argument, handle_disk },
    { "memory", required_argument, handle_memory },
    { "cmdline", required_argument, handle_cmdline },
    { "vsock", required_argument, handle_vsock },
    { "grant", required_argument, handle_grant },
    { "plugin", required_argument, handle_plugin },
    { "plugin-root", required_argument, handle_plugin_root },
    { "plugin-mount", required_argument, handle_mount },
    { "plugin-mount-file", required_argument, handle_mount_file },
    { "plugin-gid-map", required_argument, handle_gid_map },
    { "plugin-gid-map-file", required_argument, handle_gid_map_file },
    { "policy-dir", required_argument, handle_policy_dir },
    { "seccomp-policy-dir", required_argument, handle_policy_dir },
    { "host-ip", required_argument, handle_host_ip },
    { "netmask", required_argument, handle_netmask },
    { "mac", required_argument, handle_mac },
    { "guest-ip", required_argument, handle_guest_ip },
    { "guest-mac", required_argument, handle_guest_mac },
    { "net-queues", required_argument, handle_net_queues },
    { "tap-vnet-header", no_argument, handle_tap_vnet_header },
    { "uid-range", required_argument, handle_uid_range },
    { "grace", required_argument, handle_grace },
    { "guest-grace", required_argument, handle_guest_grace },
    { "exit-spin", required_argument, handle_exit_spin },
    { "exit-pipes", no_argument, handle_exit_pipes },
    { "memory-max", required_argument, handle_memory_max },
    { "disable-sandbox", no_argument, handle_disable_sandbox },
    { "log-level", required_argument, handle_log_level },
    { "runtime-dir", required_argument, handle_runtime_dir },
};
#define OPTION_COUNT (sizeof option_table / sizeof option_table[0])
#define OPTION_FOREGROUND 0
#define OPTION_CPUS 1

/* The answer of getopt_long() as an index of the table, or -1. */
static int
option_index(int answer)
{
    if (answer == 'f')
        return OPTION_FOREGROUND;
    if (answer == 'c')
        return OPTION_CPUS;
    if (answer >= OPTION_BASE && answer < OPTION_BASE + (int)OPTION_COUNT)
        return answer - OPTION_BASE;
    return -1;
}

/* What getopt_long() would not take. `argument` is the word that it looked at last. */
static int
refuse_option(struct parse *parse, int answer, const char *argument)
{
    int index = option_index(optopt);

    if (answer == ':')
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "%.128s: expected a value after it", argument);
    if (index >= 0)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s: expected no value", option_table[index].name);
    if (optopt != 0)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "-%c: no such option: expected one of vmsup(8)", optopt);
    return failure_set(parse->failure, EX_USAGE, -EINVAL, "%.128s: no such option, or more than one begins so: expected one of vmsup(8)",
                       argument);
}

static int
take_name(struct parse *parse, const char *name)
{
    struct options *options = parse->options;

    if (options->name[0] != '\0')
        return failure_set(parse->failure, EX_USAGE, -EINVAL,
                           "\"%.128s\": expected one name only, and arguments of the plugin after --", name);
    if (!name_is_valid(name))
        return failure_set(parse->failure, EX_USAGE, -EINVAL,
                           "the name is \"%.128s\": expected a lower-case letter or digit, then at most %d of a-z 0-9 _ . -", name,
                           NAME_LENGTH_MAX - 1);
    strlcpy(options->name, name, sizeof options->name);
    return 0;
}

/* The network's options belong together and must make sense together. */
static int
check_network(struct parse *parse)
{
    struct options *options = parse->options;
    int given = parse->has_host_ip + parse->has_netmask + parse->has_mac;

    if (given != 0 && given != 3)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is missing: expected all of --host-ip, --netmask and --mac, or none",
                           !parse->has_host_ip ? "host-ip" : !parse->has_netmask ? "netmask" : "mac");
    options->has_network = given == 3;
    if (!options->has_network && (options->net_queues > 1 || options->tap_vnet_header))
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s: expected --host-ip, --netmask and --mac beside it",
                           options->tap_vnet_header ? "tap-vnet-header" : "net-queues");
    if (options->has_network && !value_is_host_in_network(options->host_ip, options->netmask))
        return failure_set(parse->failure, EX_USAGE, -EINVAL,
                           "--host-ip is its network's own or broadcast address with this --netmask: expected the address of a host");
    if (parse->has_guest_ip != parse->has_guest_mac)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--%s is missing: expected both of --guest-ip and --guest-mac, or none",
                           parse->has_guest_ip ? "guest-mac" : "guest-ip");
    options->has_guest = parse->has_guest_ip;
    if (!options->has_guest)
        return 0;
    if (!options->has_network)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--guest-ip: expected --host-ip, --netmask and --mac beside it");
    if (options->guest_ip.s_addr == options->host_ip.s_addr)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--guest-ip is that of --host-ip: expected another");
    if (memcmp(options->guest_mac, options->mac, ETH_ALEN) == 0)
        return failure_set(parse->failure, EX_USAGE, -EINVAL, "--guest-mac is that of --mac: expected another");
    return 0;
}

static void
set_defaults(struct options *options)
{
    *options = (struct options){
        .cpus = 1,
        .net_queues = 1,
        .uid_first = OPTIONS_UID_FIRST_DEFAULT,
        .uid_count = OPTIONS_UID_COUNT_DEFAULT,
        .grace = OPTIONS_GRACE_DEFAULT,
        .guest_grace = OPTIONS_GUEST_GRACE_DEFAULT,
        .exit_spin = OPTIONS_EXIT_SPIN_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
        .runtime_dir = OPTIONS_RUNTIME_DIR_DEFAULT,
    };
}

static int
parse_arguments(struct parse *parse, int argc, char **argv)
{
    struct option table[OPTION_COUNT + 1] = { 0 };
    int answer, result = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++)
        table[i] = (struct option){ option_table[i].name, option_table[i].has_argument, NULL, OPTION_BASE + (int)i };
    /* 0 makes glibc begin anew. "-" gives words that are no options in their place, as answer 1, so that "--" is seen where it stands. */
    optind = 0;
    opterr = 0;
    while (result == 0 && (answer = getopt_long(argc, argv, "-:fc:", table, NULL)) != -1) {
        int index = option_index(answer);

        if (answer == 1)
            result = take_name(parse, optarg);
        else if (index < 0)
            result = refuse_option(parse, answer, argv[optind - 1]);
        else
            result = option_table[index].handler(parse, option_table[index].name, optarg);
    }
    return result;
}

int
options_parse(int argc, char **argv, struct options *options, struct failure *failure)
{
    struct parse parse = { .options = options, .failure = failure };
    int result;

    set_defaults(options);
    result = parse_arguments(&parse, argc, argv);
    if (result < 0)
        return result;
    if (options->name[0] == '\0')
        return failure_set(failure, EX_USAGE, -EINVAL, "no name: expected vmsup start [options] NAME [-- argument ...]");
    result = options_check_machine(options, failure);
    if (result < 0)
        return result;
    options->arguments = (const char *const *)argv + optind;
    options->argument_count = (size_t)(argc - optind);
    return check_network(&parse);
}

void
options_free(struct options *options)
{
    for (size_t i = 0; i < options->mount_count; i++) {
        free(options->mounts[i].source);
        free(options->mounts[i].target);
    }
    options->mount_count = 0;
    for (size_t i = 0; i < options->grant_count; i++)
        free(options->grants[i].path);
    options->grant_count = 0;
}
