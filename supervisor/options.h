/*
 * The configuration of a VM as `vmsup start [options] NAME [-- argument ...]` gives it. options_parse() reads arguments and the files
 * that they name, and decides on the text alone; options_check() looks at the host (folders, sources of mounts). Every mistake is one line
 * that names the argument, or file and line, and what was expected.
 *
 * The structure owns what it points to, but for what points into argv, which lives as long as the process; options_free() is due
 * after a failure too.
 */
#ifndef VMSUP_SUPERVISOR_OPTIONS_H
#define VMSUP_SUPERVISOR_OPTIONS_H

#include "common/log.h"
#include "jail/jail.h"
#include "supervisor/failure.h"
#include "supervisor/name.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Mounts of --plugin-mount and its file together. */
#define OPTIONS_MOUNTS_MAX 64
#define OPTIONS_GID_MAPS_MAX JAIL_ID_MAPS_MAX
/* A file of mounts or of gid maps, in bytes. */
#define OPTIONS_FILE_MAX 65536
/* A plugin that has not ended an hour after it was asked to is not going to. */
#define OPTIONS_GRACE_MAX 3600000
#define OPTIONS_GRACE_DEFAULT 1000
/* A system that is told to turn itself off ends its services first. */
#define OPTIONS_GUEST_GRACE_DEFAULT 10000

/* In microseconds. */
#define OPTIONS_EXIT_SPIN_MAX 10000
#define OPTIONS_EXIT_SPIN_DEFAULT 100
#define OPTIONS_RUNTIME_DIR_DEFAULT "/run/vmsup"
/* Of --grant, --kernel, --initrd and --disk together. */
#define OPTIONS_GRANTS_MAX 32
#define OPTIONS_GRANT_NAME_MAX 31
/* A guest's memory, in bytes: what microvm can make a machine of. */
#define OPTIONS_MACHINE_MEMORY_MIN (UINT64_C(32) << 20)
#define OPTIONS_MACHINE_MEMORY_MAX (UINT64_C(1) << 40)
#define OPTIONS_MACHINE_MEMORY_UNIT 4096
/*
 * Ids that nobody else hands out: above what distributions give to people and their subordinate ids (100000 and up, from /etc/subuid),
 * above systemd's dynamic users (61184 to 65519), its containers (524288 to 1879048191) and foreign ids (2147352576 and up), and
 * below the sign bit, which some programs trip over. VMs take two each.
 */
#define OPTIONS_UID_FIRST_DEFAULT 1900000000u
#define OPTIONS_UID_COUNT_DEFAULT 65536u

struct options_mount {
    char *source; /* absolute */
    char *target; /* absolute, without "." and ".." */
    bool writable;
};

/* A file or block device that the plugin gets as a descriptor. */
struct options_grant {
    char name[OPTIONS_GRANT_NAME_MAX + 1];
    char *path;         /* owned */
    const char *option; /* that asked for it: "--disk" */
    const char *flags;  /* of a disk, for microvm: what stands behind its path, or NULL */
    bool writable;
    bool lock;
    bool direct; /* O_DIRECT */
};

struct options {
    char name[NAME_LENGTH_MAX + 1];
    bool foreground;
    unsigned int cpus; /* 1 to WIRE_VCPUS_MAX */

    const char *plugin;              /* as given; NULL: microvm, the one that ships */
    const char *const *arguments;    /* after "--"; argument_count of them */
    size_t argument_count;
    const char *plugin_root;         /* NULL: none given */
    struct options_mount mounts[OPTIONS_MOUNTS_MAX];
    size_t mount_count;
    struct jail_id_map gid_maps[OPTIONS_GID_MAPS_MAX];
    size_t gid_map_count;
    const char *policy_dir; /* NULL: the policies that ship */
    bool disable_sandbox;

    struct options_grant grants[OPTIONS_GRANTS_MAX];
    size_t grant_count;
    size_t disk_count;        /* of the grants: disk0 and so on */
    uint64_t machine_memory;  /* bytes; 0: none given; this one and the next two are microvm's */
    const char *command_line; /* of the guest's kernel, or NULL */
    uint32_t vsock_cid;       /* 0: no socket device */

    bool has_network;
    struct in_addr host_ip;
    struct in_addr netmask;
    uint8_t mac[ETH_ALEN];
    unsigned int net_queues; /* 1 to TAP_QUEUES_MAX */
    bool tap_vnet_header;    /* wanted; microvm's TAP has one in any case */
    bool has_guest; /* the two that follow are given: the source filter is on */
    struct in_addr guest_ip;
    uint8_t guest_mac[ETH_ALEN];

    uint32_t uid_first;
    uint32_t uid_count;
    unsigned int grace;       /* of the plugin, in milliseconds */
    unsigned int guest_grace; /* of microvm's guest */
    unsigned int exit_spin;   /* of the vCPUs' channels, in microseconds */
    bool exit_pipes;          /* the plugin gets pipes, and no channels */
    uint64_t memory_max; /* bytes; 0: none given */
    enum log_level log_level;
    const char *runtime_dir; /* absolute */
};

/*
 * argv[0] is "start". 0, or a negative errno with `failure` filled (EX_USAGE; EX_NOINPUT for a file that cannot be read, EX_DATAERR for what
 * stands in one). Prints nothing.
 */
int options_parse(int argc, char **argv, struct options *options, struct failure *failure);

/*
 * --plugin-root is an existing directory, the sources of mounts exist, the policy folder holds plugin.policy. 0, or a negative errno
 * with `failure` filled (EX_NOINPUT, EX_CONFIG). The plugin itself is checked by plugin_file_open().
 */
int options_check(const struct options *options, struct failure *failure);

void options_free(struct options *options);

#endif
