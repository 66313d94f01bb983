#!/usr/bin/env bash
# The host's own kernel, stock, boots under microvm with one vCPU and with two; what it finds there; its console; its ways to end.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

for i in $(seq 1000); do echo "line $i of a thousand, pasted"; done >"$WORK/lines"
pasted=$(md5sum <"$WORK/lines" | cut -d' ' -f1)

type_lines() {
    cat "$WORK/lines" >&3
}

paste_lines() {
    guest_takes 30 'head -n 1000 | md5sum' type_lines && grep -q "$pasted" "$WORK/answer"
}

for cpus in 1 2; do
    guest_start --cpus "$cpus"
    check "$cpus vCPUs: Linux boots to userspace" guest_is_up
    check "$cpus vCPUs: it has them all" guest_says "^$cpus\$" nproc
    check "$cpus vCPUs: its clock is KVM's" guest_says '^kvm-clock$' 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource'
    check "$cpus vCPUs: its date is the host's" guest_says "^$(date -u +%F)" 'date -u +%F'
    check "$cpus vCPUs: the entropy device is what it draws from" guest_says '^virtio_rng' 'cat /sys/class/misc/hw_random/rng_current'
    # shellcheck disable=SC2016 # it is the guest that expands it
    check "$cpus vCPUs: which gives no zeroes, and other bytes each time" guest_says '^different$' \
        'dd if=/dev/hwrng bs=64 count=1 of=/tmp/a 2>/dev/null; dd if=/dev/hwrng bs=64 count=1 of=/tmp/b 2>/dev/null; cmp -s /tmp/a /tmp/b || [ "$(tr -d "\0" </tmp/a | wc -c)" -lt 48 ] || echo different'
    if [ "$cpus" = 1 ]; then
        check 'a thousand pasted lines arrive' paste_lines
        check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
    else
        check 'reboot ends it with 104' guest_ends 104 'guest reset' 'reboot -f'
    fi
    guest_done
    check_host "$cpus vCPUs: nothing is left" "$WORK/before"
done
done_testing
