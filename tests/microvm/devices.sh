#!/usr/bin/env bash
# What a stock kernel has beside disks and a network card: the virtio console, sockets of host and guest, the balloon, the power button.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

stream=$BUILD/tests/microvm/stream
head -c 1M /dev/urandom >"$WORK/data"
sum=$(md5sum <"$WORK/data" | cut -d' ' -f1)
for i in $(seq 1000); do echo "line $i of a thousand, pasted"; done >"$WORK/lines"
pasted=$(md5sum <"$WORK/lines" | cut -d' ' -f1)

type_lines() {
    cat "$WORK/lines" >&3
}

paste_lines() {
    guest_takes 20 'head -n 1000 | md5sum' type_lines && grep -q "$pasted" "$WORK/answer"
}

# Until the guest listens, its kernel refuses the connection.
send_data() {
    wait_until 10 sh -c "'$stream' send-host '$RUN/guest/vsock' 1000 <'$WORK/data' >'$WORK/back'"
}

to_guest() {
    guest_takes 20 'stream echo-guest 1000' send_data && cmp "$WORK/data" "$WORK/back"
}

to_host() {
    "$stream" echo-host "$RUN/guest/vsock_2000" &
    wait_until 10 test -S "$RUN/guest/vsock_2000"
    guest_says "^$sum" 'stream send-guest 2000 </tmp/data | md5sum'
}

balloon() { # ARGUMENTS…
    timeout $((10 * TIME_FACTOR)) "$VMSUP" balloon --runtime-dir "$RUN" guest "$@"
}

balloon_is() { # NAME VALUE
    balloon | grep -qx "$1 $2"
}

balloon_becomes() { # BYTES
    balloon "$1" || return 1
    if ! wait_until 10 balloon_is balloon "$1"; then
        balloon
        return 1
    fi
}

# Shared memory of the host's is what guests have, in KiB.
shared() {
    awk '/^Shmem:/ { print $2 }' /proc/meminfo
}

shared_is_below() { # KIB
    [ "$(shared)" -lt "$1" ]
}

# shellcheck disable=SC2034 # guest_start has it
COMMAND_LINE='console=hvc0 quiet panic=-1'
guest_start --vsock 3 --guest-grace $((10000 * TIME_FACTOR)) -- --console --balloon
check 'a guest with a virtio console boots, and talks there' guest_is_up
check 'a thousand lines pasted there arrive' paste_lines
check 'a socket from the host into the guest: what was sent comes back' to_guest
check 'a port where nobody listens is refused' bash -c "! '$stream' send-host '$RUN/guest/vsock' 1001 </dev/null"
check 'data for the other way' guest 'dd if=/dev/zero of=/tmp/data bs=64k count=16 2>/dev/null'
sum=$(head -c 1M /dev/zero | md5sum | cut -d' ' -f1)
check 'a socket from the guest to the host: what was sent comes back' to_host
check 'a port without a socket is refused' guest_says '^refused$' 'stream send-guest 2001 </dev/null 2>/dev/null || echo refused'

check 'the balloon is empty at first' balloon_is balloon 0
check 'the guest writes a hundred MiB' guest 'dd if=/dev/zero of=/tmp/large bs=1M count=100 2>/dev/null'
before=$(shared)
check 'it frees them' guest 'rm /tmp/large'
check 'and the host has them again' wait_until 10 shared_is_below $((before - 64 * 1024))
check 'the guest notes what it has free' guest 'sed -n "s/^MemFree:[^0-9]*\([0-9]*\).*/\1/p" /proc/meminfo >/tmp/free'
check 'it is asked for 128 MiB and gives them' balloon_becomes $((128 << 20))
check 'they are not used' wait_until 10 shared_is_below $((128 * 1024))
# shellcheck disable=SC2016 # it is the guest that expands it
check 'the guest knows that it has less' guest_says '^less$' \
    '[ "$(sed -n "s/^MemFree:[^0-9]*\([0-9]*\).*/\1/p" /proc/meminfo)" -lt $(($(cat /tmp/free) - 100000)) ] && echo less'
check 'what it says of its memory comes' wait_until 10 bash -c "'$VMSUP' balloon --runtime-dir '$RUN' guest | grep -qE '^total [1-9][0-9]{7,}'"
check 'it gets all of it back' balloon_becomes 0
check 'and can use it' guest 'dd if=/dev/zero of=/tmp/large bs=1M count=100 2>/dev/null'

check 'it listens for the power button' guest '(dd if=/dev/input/event0 of=/dev/null bs=24 count=1 2>/dev/null; poweroff -f) &'
check 'it is stopped' stop guest
check 'by turning itself off' guest_ended 0 'stopped by uid 0: guest powered off'
guest_done
check_host 'nothing is left' "$WORK/before"
done_testing
