#!/usr/bin/env bash
# The machine as a stock kernel sees it: one package of cores, without what the admin hid of the processor, in huge pages of the host's.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

huge=/proc/sys/vm/nr_hugepages
needed=$((256 / 2))
reserved=$(cat "$huge")
trap 'lib_clean; echo "$reserved" >"$huge"' EXIT

# Those that nobody has, nor was promised: a guest has them all from its beginning, but touches them later.
spare() {
    awk '/^HugePages_Free:/ { free = $2 } /^HugePages_Rsvd:/ { promised = $2 } END { print free - promised }' /proc/meminfo
}

spare_is() { # COUNT
    grep ^HugePages_ /proc/meminfo
    [ "$(spare)" = "$1" ]
}

# Memory that is in pieces is put together for them.
reserve() {
    echo 3 >/proc/sys/vm/drop_caches
    echo 1 >/proc/sys/vm/compact_memory
    echo $((reserved + needed)) >"$huge"
    grep ^HugePages_ /proc/meminfo
    [ "$(spare)" -ge "$needed" ]
}

cpu=/sys/devices/system/cpu
check 'the host reserves huge pages' reserve
before=$(spare)
check 'the host'"'"'s processor has cx16' grep -q '^flags.* cx16 ' /proc/cpuinfo
check 'and nx' grep -q '^flags.* nx ' /proc/cpuinfo
guest_start --cpus 2 -- --huge-pages --cpu-mask cx16
check 'a guest in huge pages boots' guest_is_up
check 'all of its memory is of them' spare_is $((before - needed))
check 'its vCPUs are of one package' guest_says '^0 0 $' "cat $cpu/cpu[01]/topology/physical_package_id | tr '\n' ' '; echo"
check 'each is a core of its own' guest_says '^0 1 $' "cat $cpu/cpu[01]/topology/core_id | tr '\n' ' '; echo"
check 'without siblings' guest_says '^0 1 $' "cat $cpu/cpu[01]/topology/thread_siblings_list | tr '\n' ' '; echo"
check 'and both are in the package' guest_says '^0-1 0-1 $' "cat $cpu/cpu[01]/topology/package_cpus_list | tr '\n' ' '; echo"
check 'its processor has nx, too' guest 'grep -q "^flags.* nx " /proc/cpuinfo'
check 'and no cx16, which was hidden' guest '! grep -q "^flags.* cx16 " /proc/cpuinfo'
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
check 'the host has its huge pages again' wait_until 10 spare_is "$before"
check_host 'nothing is left' "$WORK/before"
done_testing
