#!/usr/bin/env bash
# A small Linux of our own (tests/bed/small-kernel.config) boots with one vCPU and with two, from an initramfs and from a disk alone. It has
# no modules and none of a distribution's drivers: what it finds, it finds by the machine's tables.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

small=$BUILD/small-kernel
if [ ! -r "$small/bzImage" ]; then
    why='the test bed makes it for itself'
    [ ! -s "$small/missing" ] || why=$(cat "$small/missing")
    skip 'a small kernel boots' "there is none: $why"
    done_testing
    exit 0
fi

# shellcheck disable=SC2034 # guest_start has it
KERNEL=$small/bzImage
host=10.119.8.1
address=10.119.8.2
network=(--host-ip "$host" --netmask 255.255.255.252 --mac 02:11:22:33:44:66)

# What is read back comes from the disk, not from the guest's memory.
write_and_read() {
    guest "dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null && dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null" &&
        guest 'echo 3 >/proc/sys/vm/drop_caches; md5sum </tmp/data; dd if=/dev/vda bs=64k count=64 2>/dev/null | md5sum' &&
        grep -oE '^[0-9a-f]{32}' "$WORK/answer" >"$WORK/sums" && [ "$(wc -l <"$WORK/sums")" = 2 ] && [ "$(uniq "$WORK/sums" | wc -l)" = 1 ]
}

host_reads_it() {
    [ "$(head -c 4M "$WORK/disk" | md5sum | cut -d' ' -f1)" = "$(head -n 1 "$WORK/sums")" ]
}

# The initramfs as a file system.
make_root() {
    mkdir "$WORK/tree" && (cd "$WORK/tree" && cpio -id --quiet <"$WORK/initrd") &&
        truncate -s 64M "$WORK/root" && chmod 0600 "$WORK/root" && mke2fs -q -t ext2 -d "$WORK/tree" "$WORK/root"
}

for cpus in 1 2; do
    truncate -s 16M "$WORK/disk"
    chmod 0600 "$WORK/disk"
    guest_start --cpus "$cpus" --disk "$WORK/disk" "${network[@]}"
    check "$cpus vCPUs: a small Linux boots to userspace" guest_is_up
    check "$cpus vCPUs: it is not the host's" guest '! grep -q "^[^ ]* [^ ]* '"$(uname -r)"' " /proc/version && [ ! -e /proc/modules ]'
    check "$cpus vCPUs: it has them all" guest_says "^$cpus\$" nproc
    check "$cpus vCPUs: its clock is KVM's" guest_says '^kvm-clock$' 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource'
    check "$cpus vCPUs: the entropy device is what it draws from" guest_says '^virtio_rng' 'cat /sys/class/misc/hw_random/rng_current'
    check "$cpus vCPUs: what is written to the disk is read from it" write_and_read
    check "$cpus vCPUs: the network card is up" guest "ip link set eth0 up && ip addr add $address/30 dev eth0"
    check "$cpus vCPUs: it reaches the host" guest_says '3 packets received' "ping -c 3 $host"
    check "$cpus vCPUs: the host reaches it" ping -c 3 -W 10 "$address"
    check "$cpus vCPUs: poweroff ends it with 0" guest_ends 0 'guest powered off' 'poweroff -f'
    guest_done
    check "$cpus vCPUs: the disk's file has what was written" host_reads_it
    check_host "$cpus vCPUs: nothing is left" "$WORK/before"
    rm "$WORK/disk"
done

check 'a file system is made of the initramfs' make_root
# shellcheck disable=SC2034 # and these
{
    INITRD=
    MEMORY=32M
}
COMMAND_LINE+=' root=/dev/vda rw init=/init'
guest_start --cpus 2 --disk "$WORK/root"
check 'without an initrd it boots from the disk, and with 32 MiB' guest_is_up
check 'which is its root' guest_says '^/dev/root / ext2 ' 'grep " / ext2" /proc/mounts'
check 'it has both vCPUs' guest_says '^2$' nproc
check 'a file is written there' guest 'echo written >/note && sync'
check 'reboot ends it with 104' guest_ends 104 'guest reset' 'reboot -f'
guest_done
check 'the host finds the file' test "$(debugfs -R 'cat /note' "$WORK/root" 2>/dev/null)" = written
check_host 'nothing is left of this one either' "$WORK/before"
done_testing
