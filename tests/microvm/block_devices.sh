#!/usr/bin/env bash
# Block devices of the host's as a guest's disks: a whole one to be written, and a partition of another for reading.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

whole=
parted=
detach() {
    for device in $whole $parted; do losetup -d "$device"; done
}
trap 'detach; lib_clean' EXIT

# A partition table of the old kind with one entry: Linux, 4096 sectors from the 2048th on.
write_table() { # FILE
    dd if=/dev/zero of="$1" bs=512 count=1 conv=notrunc status=none
    printf '\0\0\0\0\203\0\0\0\0\010\0\0\0\020\0\0' | dd of="$1" bs=1 seek=446 conv=notrunc status=none
    printf '\125\252' | dd of="$1" bs=1 seek=510 conv=notrunc status=none
}

attach() {
    truncate -s 8M "$WORK/whole"
    head -c 4M /dev/urandom >"$WORK/parted"
    write_table "$WORK/parted"
    whole=$(losetup -f --show "$WORK/whole") && parted=$(losetup -P -f --show "$WORK/parted") && wait_until 10 test -b "${parted}p1"
}

sum_of() { # FILE
    md5sum <"$1" | cut -d' ' -f1
}

# What the guest wrote last is what is read here.
is_written() { # FILE
    grep -oE '^[0-9a-f]{32}' "$WORK/sum" | cmp - <(sum_of "$1")
}

note_sum() {
    guest 'md5sum </dev/vda' && cp "$WORK/answer" "$WORK/sum"
}

refused() { # DEVICE
    local status=0
    start -f --kernel "$KERNEL" --disk "$1" other </dev/null || status=$?
    [ "$status" = 75 ]
}

attach || {
    not_ok 'the host has two loop devices, one with a partition' "$(losetup -l; ls -l /dev/loop*; dmesg | tail)"
    done_testing
    exit 1
}
part=$(sum_of "${parted}p1")
before=$(sum_of "$WORK/parted")
guest_start --cpus 1 --disk "$whole" --disk "${parted}p1,ro"
check 'a guest with two block devices boots' guest_is_up
check 'each is as large as it is on the host' guest_says '^16384 4096 $' 'cat /sys/block/vd[ab]/size | tr "\n" " "; echo'
check 'the one for writing is written' guest 'dd if=/dev/urandom of=/dev/vda bs=64k count=128 conv=fsync 2>/dev/null'
check 'what was written is read back' note_sum
check 'and is on the host'"'"'s device' is_written "$whole"
check 'nobody else can have it meanwhile' refused "$whole"
check 'the partition reads as the host'"'"'s' guest_says "^$part" 'md5sum </dev/vdb'
check 'it says that it is for reading alone' guest_says '^1$' 'cat /sys/block/vdb/ro'
check 'it refuses to be written' guest_says '^refused$' 'dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync,notrunc 2>/dev/null || echo refused'
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
detach
whole='' parted=''
check 'the file behind the one has what was written' is_written "$WORK/whole"
check 'that behind the other is as it was' test "$(sum_of "$WORK/parted")" = "$before"
check_host 'nothing is left' "$WORK/before"
done_testing
