#!/usr/bin/env bash
# The host's kernel as an ELF file, taken out of its bzImage: entered by its PVH note, and as Linux has it where there is no such note.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

number_at() { # OFFSET BYTES
    od -An -v -t "u$2" -j "$1" -N "$2" "$KERNEL" | tr -d ' '
}

# The boot protocol has it at payload_offset of what follows the setup sectors; how it is compressed, its first bytes tell.
unpack() {
    local setup=$((($(number_at 497 1) + 1) * 512)) program=
    tail -c "+$((setup + $(number_at 584 4) + 1))" "$KERNEL" | head -c "$(number_at 588 4)" >"$WORK/payload"
    case $(od -An -v -t x1 -N 4 "$WORK/payload") in
    ' 02 21 4c 18') program=lz4 ;;
    ' 28 b5 2f fd') program=zstd ;;
    ' fd 37 7a 58') program=xz ;;
    ' 1f 8b '*) program=gzip ;;
    esac
    # The length of what comes out stands behind the payload, which none of them asks for.
    "${program:?unknown compression}" -dc <"$WORK/payload" >"$WORK/vmlinux" 2>"$WORK/unpacked"
    [ "$(head -c 4 "$WORK/vmlinux")" = $'\177ELF' ] || {
        cat "$WORK/unpacked"
        return 1
    }
}

# The same, whose note has another number.
hide_note() {
    local at
    cp "$WORK/vmlinux" "$WORK/vmlinux.plain"
    at=$(LC_ALL=C grep -obUaP '\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0' "$WORK/vmlinux" | cut -d: -f1)
    [[ $at =~ ^[0-9]+$ ]] || {
        echo "the note is at: $at"
        return 1
    }
    printf '\023' | dd of="$WORK/vmlinux.plain" bs=1 seek=$((at + 8)) conv=notrunc status=none
}

check 'the kernel is taken out of its bzImage' unpack
check 'and once more without a PVH note' hide_note

# How Linux was started is in its bootloader_type: its PVH entry says 11 times 16, and microvm that it is a boot loader without a number.
KERNEL=$WORK/vmlinux
guest_start --cpus 2
check 'by the PVH note it boots' guest_is_up
check 'and knows that' guest_says '^176$' 'cat /proc/sys/kernel/bootloader_type'
check 'it has both vCPUs' guest_says '^2$' nproc
check 'the tables are found' guest_says '^virtio_rng' 'cat /sys/class/misc/hw_random/rng_current'
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done

KERNEL=$WORK/vmlinux.plain
guest_start --cpus 2
check 'without the note it boots' guest_is_up
check 'and was told so' guest_says '^255$' 'cat /proc/sys/kernel/bootloader_type'
check 'it has both vCPUs, too' guest_says '^2$' nproc
check 'and the tables' guest_says '^virtio_rng' 'cat /sys/class/misc/hw_random/rng_current'
check 'poweroff ends this one with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
check_host 'nothing is left' "$WORK/before"
done_testing
