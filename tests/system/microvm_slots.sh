#!/usr/bin/env bash
# microvm's slots of virtio devices on this machine's KVM: wherever a device is, its interrupt is the one that its slot has; and how many
# devices there may be.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

kernel=$BUILD/tests/system/guests/slot
DISKS_MAX=14
snapshot >"$WORK/before"
for number in $(seq 0 "$DISKS_MAX"); do truncate -s 64K "$WORK/disk$number"; done

disks() { # NUMBER
    local number
    for ((number = 0; number < $1; number++)); do printf -- '--disk\n%s\n' "$WORK/disk$number"; done
}

# The entropy device stands behind the disks: with each disk its slot is the next.
for count in 0 1 7 8 13 14; do
    mapfile -t arguments < <(disks "$count")
    status=0
    start -f --kernel "$kernel" --cmdline interrupts "${arguments[@]}" demo -- --console </dev/null >"$WORK/console" 2>"$WORK/log" || status=$?
    name="a device in slot $count, its interrupt, and no controller of interrupts that the guest does not know of"
    if [ "$status" = 0 ] && [ "$(cat "$WORK/console")" = "slot $count" ]; then
        ok "$name"
    else
        not_ok "$name" "exit code $status, expected 0; expected \"slot $count\" in:" "$(cat "$WORK/console" "$WORK/log")"
    fi
done

mapfile -t arguments < <(disks "$DISKS_MAX")
expect 'with two other devices they are too many' 100 '--disk: with the other devices, 14 disks are more than the 13 that there may be$' \
    start -f --kernel "$kernel" "${arguments[@]}" demo -- --console --balloon
mapfile -t arguments < <(disks $((DISKS_MAX + 1)))
expect 'one disk more than there may be' 100 'is one more than the 14 that there may be$' start -f --kernel "$kernel" "${arguments[@]}" demo
check_host 'nothing was left behind by any of them' "$WORK/before"
done_testing
