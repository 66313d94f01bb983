#!/usr/bin/env bash
# Boots one Linux under vmsup's microvm and under qemu's, with the same kernel, initramfs, disk and address, and compares them. Prints TAP
# around a table, so that it can run within the test bed. The kernel is this host's own.
set -uo pipefail

: "${TREE:?}" "${BUILD:?}" "${VMSUP:?}"
bench=$BUILD/tests/bench
release=$(uname -r)
kernel=/boot/vmlinuz-$release

skip() {
    echo "1..1"
    echo "ok 1 - Linux under vmsup beside qemu # SKIP $1"
    exit 0
}

type qemu-system-x86_64 cpio modprobe >/dev/null 2>&1 || skip "qemu-system-x86_64, cpio or modprobe is not installed"
[ -r "$kernel" ] || skip "there is no $kernel to boot"
[ -d /sys/module/kvm_amd ] || [ -d /sys/module/kvm_intel ] || skip "KVM on this machine does not run stock kernels"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$TREE/tools/make-initramfs" "$work/initrd" "$bench/linux_guest" || skip "its initramfs could not be made"
# All of it written, so that no file system has to find room while it is measured.
head -c 64M /dev/zero >"$work/disk"
chmod 0600 "$work/disk"
sync

echo "1..1"
if "$bench/linux" "$VMSUP" "$kernel" "$work/initrd" "$work/disk" "$BUILD/bench-linux.json" >"$work/table" 2>"$work/errors"; then
    sed 's/^/# /' "$work/table"
    echo "ok 1 - Linux under vmsup beside qemu"
else
    sed 's/^/# /' "$work/table" "$work/errors"
    echo "not ok 1 - Linux under vmsup beside qemu"
    exit 1
fi
