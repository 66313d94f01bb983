#!/usr/bin/env bash
# Rate limits of a disk and of a network card, and two pairs of the card's queues, as a stock kernel's drivers meet them.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

host=10.119.7.5
address=10.119.7.6
truncate -s 8M "$WORK/bytes" "$WORK/requests"
head -c 1M /dev/urandom >"$WORK/data"
sum=$(md5sum <"$WORK/data" | cut -d' ' -f1)

# How long it takes that a line runs in the guest, by the guest's clock, in hundredths of a second: "took 123".
timed() { # LINE
    local now="sed 's/\\.\\([0-9]*\\) .*/\\1/' /proc/uptime"
    echo "began=\$($now); $1 && echo \"took \$((\$($now) - began))\""
}

# Never sooner than the limit says, and not many times later, but for a processor that others had just then: once in three times is proof.
takes() { # LEAST COMMAND…
    local least=$1 hundredths
    shift
    for _ in 1 2 3; do
        "$@" || return 1
        hundredths=$(sed -n 's/^took \([0-9]*\)$/\1/p' "$WORK/answer")
        [ -n "$hundredths" ] && [ "$hundredths" -ge "$least" ] || return 1
        [ "$hundredths" -gt $((5 * least)) ] || return 0
    done
    return 1
}

line() { # LINE
    guest "$(timed "$1")"
}

to_guest() {
    guest_takes 60 "$(timed "timeout $((50 * TIME_FACTOR)) nc -l -p 5001 </dev/null >/tmp/data"); md5sum </tmp/data" \
        tcp_send "$address" 5001 "$WORK/data" && grep -q "^$sum" "$WORK/answer"
}

# By the host's clock: the guest is done with what lies in its socket's buffer still.
from_guest() {
    guest_takes 60 "timeout $((50 * TIME_FACTOR)) nc -l -p 5002 -e cat /tmp/data" take_timed && cmp "$WORK/data" "$WORK/back" &&
        cat "$WORK/took" >>"$WORK/answer"
}

take_timed() {
    local began=${EPOCHREALTIME/./}
    tcp_take "$address" 5002 "$WORK/back" && echo "took $(((${EPOCHREALTIME/./} - began) / 10000))" | tee "$WORK/took"
}

# How often the card's threads, one a pair, have waited for something: two numbers.
waits() {
    local pid name
    for name in net/0 net/1; do
        processes | while read -r _ pid _; do
            for task in /proc/"$pid"/task/*; do
                [ "$(cat "$task/comm")" != "$name" ] || sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "$task/status"
            done
        done
    done
}

# The driver has a pair for each vCPU.
both_work() {
    local before after
    before=$(waits | paste -sd' ')
    guest "taskset 1 ping -c 2 $host && taskset 2 ping -c 2 $host" || return 1
    after=$(waits | paste -sd' ')
    echo "waits of the threads: $before, then $after"
    [ "${after% *}" -gt "${before% *}" ] && [ "${after#* }" -gt "${before#* }" ]
}

guest_start --cpus 2 --host-ip "$host" --netmask 255.255.255.252 --mac 02:11:22:33:44:56 --net-queues 2 \
    --disk "$WORK/bytes,bandwidth=2M:256K" --disk "$WORK/requests,operations=40:4" -- --net=bandwidth=256K:32K
check 'a guest with limits and two pairs of queues boots' guest_is_up
check 'its card is up' guest "ip link set eth0 up && ip addr add $address/30 dev eth0"
check 'it has two queues in each direction' guest_says '^rx-0 rx-1 tx-0 tx-1 $' 'ls /sys/class/net/eth0/queues | tr "\n" " "; echo'
check 'both are at work' both_work
# Eight MiB less the burst, at two MiB a second; 80 requests less four, at 40 a second; one MiB less 32 KiB, at 256 KiB a second.
check 'a disk is written as fast as its limit says' takes 387 line 'dd if=/dev/zero of=/dev/vda bs=64k count=128 conv=fsync 2>/dev/null'
check 'and read' takes 387 line 'echo 3 >/proc/sys/vm/drop_caches; cat /dev/vda >/dev/null'
check 'another as many times a second as its limit says' takes 190 line 'dd if=/dev/vdb of=/dev/null bs=4k count=80 iflag=direct 2>/dev/null'
check 'the network sends as fast as its limit says' takes 387 to_guest
check 'and receives' takes 387 from_guest
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
check_host 'nothing is left' "$WORK/before"
done_testing
