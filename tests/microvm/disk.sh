#!/usr/bin/env bash
# Disks as a stock kernel drives them: a file system that lives through a reboot, a disk for reading alone, and what goes wrong beneath.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

mkdir -p "$WORK/small"
mount -t tmpfs -o size=2M,mode=0755 small "$WORK/small"
trap 'umount -l "$WORK/small"; lib_clean' EXIT
snapshot >"$WORK/before"

truncate -s 32M "$WORK/root"
head -c 4M /dev/urandom >"$WORK/sealed"
truncate -s 16M "$WORK/small/full" "$WORK/cut"
chmod 0600 "$WORK/root" "$WORK/sealed" "$WORK/small/full" "$WORK/cut"
sealed=$(md5sum <"$WORK/sealed" | cut -d' ' -f1)
disks=(--disk "$WORK/root" --disk "$WORK/sealed,ro" --disk "$WORK/small/full" --disk "$WORK/cut")

read_and_note() {
    guest 'md5sum </mnt/data' && grep -oE '^[0-9a-f]{32}' "$WORK/answer" >"$WORK/noted"
}

same_data() {
    debugfs -R 'cat /data' "$WORK/root" 2>/dev/null | md5sum | cut -d' ' -f1 | cmp - "$WORK/noted"
}

cut_disk() {
    truncate -s 8M "$WORK/cut"
}

guest_start --cpus 2 "${disks[@]}"
check 'a guest with four disks boots' guest_is_up
check 'each is as large as its file' guest_says '^65536 8192 32768 32768 $' 'cat /sys/block/vd[abcd]/size | tr "\n" " "; echo'
check 'its serial number is its name' guest_says '^disk0 *$' 'cat /sys/block/vda/serial; echo'
check 'a file system is made' guest 'mke2fs -F /dev/vda >/dev/null'
check 'it is mounted' guest 'mount -t ext4 /dev/vda /mnt'
check 'a file is written and synchronized' guest 'dd if=/dev/urandom of=/mnt/data bs=64k count=192 conv=fsync 2>/dev/null'
check 'its checksum is noted' read_and_note
check 'the disk for reading alone says so' guest_says '^1$' 'cat /sys/block/vdb/ro'
check 'it reads as the file' guest_says "^$sealed" 'md5sum </dev/vdb'
check 'it refuses to be written' guest_says '^refused$' 'dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync,notrunc 2>/dev/null || echo refused'
check 'where the host has no space, the guest gets an error' guest_says '^error$' \
    'dd if=/dev/zero of=/dev/vdc bs=64k count=256 conv=fsync 2>/dev/null || echo error'
check 'what fits there can be written' guest 'dd if=/dev/urandom of=/dev/vdc bs=64k count=1 conv=fsync 2>/dev/null'
check 'where the file is cut short underneath' cut_disk
check 'what is left can be read' guest 'dd if=/dev/vdd of=/dev/null bs=64k count=128 2>/dev/null'
check 'and the rest is an error' guest_says '^error$' 'dd if=/dev/vdd of=/dev/null bs=64k skip=192 count=1 2>/dev/null || echo error'
check 'the other disks go on' guest 'dd if=/dev/urandom of=/mnt/more bs=64k count=16 conv=fsync 2>/dev/null'
check 'the file system is left' guest 'umount /mnt'
check 'reboot ends it with 104' guest_ends 104 'guest reset' 'reboot -f'
guest_done
check 'the file for reading alone is as it was' test "$(md5sum <"$WORK/sealed" | cut -d' ' -f1)" = "$sealed"
check "the host finds the file system in order" e2fsck -fn "$WORK/root"
check 'and what was written in it' same_data

guest_start --cpus 1 "${disks[@]}"
check 'the next boot finds its disks' guest_is_up
check 'the file system' guest 'mount -t ext4 -o ro /dev/vda /mnt'
check 'and the checksum' guest_says "^$(cat "$WORK/noted")" 'md5sum </mnt/data'
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
check_host 'nothing is left' "$WORK/before"
done_testing
