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

# What the guest has of a system: the program that measures, and the modules of the devices, in the order in which they need each other.
mkdir -p "$work/root/modules" "$work/root/dev"
cp "$bench/linux_guest" "$work/root/init"
number=100
for module in virtio_mmio virtio_blk virtio_net; do
    modprobe -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
while read -r file; do
    cp "$file" "$work/root/modules/$number-$(basename "$file")"
    number=$((number + 1))
done <"$work/modules"
(cd "$work/root" && find . | cpio --quiet -o -H newc) >"$work/initrd"
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
