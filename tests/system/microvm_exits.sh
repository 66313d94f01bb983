#!/usr/bin/env bash
# No access to a device of microvm's goes through an exit on the data path: a guest drives its disk, network card and entropy device, with
# interrupts and their acknowledgement, while the kernel counts how often its vCPUs leave it. What exits by its nature is counted first,
# which shows that the count can tell.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

TIMES=1000
# For the handshake around a phase, letters on a serial port and one that is typed; and still far from one each time.
OTHER_EXITS=50
network=(--host-ip 10.118.76.1 --netmask 255.255.255.252 --mac 02:11:22:33:44:54)
snapshot >"$WORK/before"

exits() { # NAME LEAST MOST
    local count
    count=$(sed -n "s/^\([0-9]*\) $1\$/\1/p" "$WORK/counts")
    check "$TIMES $1 cost ${count:-unknown} exits, $2 to $3 are expected: $what" test "${count:--1}" -ge "$2" -a "${count:--1}" -le "$3"
}

count_exits() { # CPUS WORDS
    local status=0 what="$2, vCPUs: $1" phase
    mkfifo "$WORK/console" "$WORK/keyboard"
    start -f -c "$1" --kernel "$BUILD/tests/system/guests/counted" --disk "$WORK/disk" --cmdline "$2" "${network[@]}" demo \
        <"$WORK/keyboard" >"$WORK/console" 2>"$WORK/log" &
    exec 4>"$WORK/keyboard" 5<"$WORK/console"
    wait_until 10 vmproc
    "$BUILD/tests/system/counter" "$(vmproc)" <&5 >&4 3>"$WORK/counts" 2>"$WORK/why" || status=$?
    exec 4>&- 5<&-
    [ "$status" = 0 ] || stop --now demo 2>/dev/null
    wait $! || [ "$status" != 0 ] || status=1
    rm "$WORK/console" "$WORK/keyboard"
    if [ "$status" = 77 ]; then
        skip "exits: $what" "$(cat "$WORK/why")"
        return
    fi
    if [ "$status" = 0 ]; then
        ok "all phases are done: $what"
    else
        not_ok "all phases are done: $what" "$(cat "$WORK/why" "$WORK/log")"
    fi
    for phase in 'reads of a port' 'selections of a queue'; do exits "$phase" "$TIMES" $((2 * TIMES)); done
    for phase in 'reads of three registers' 'requests to the entropy device' 'reads from the disk' 'writes to the disk' \
        'echoes of the host'; do
        exits "$phase" 0 "$OTHER_EXITS"
    done
}

vmproc() {
    pgrep -P "$(cat "$RUN/demo/pid")" -x vmproc
}

if [ ! -c /dev/net/tun ]; then
    skip 'exits' '/dev/net/tun is not there'
    done_testing
    exit 0
fi
truncate -s 1M "$WORK/disk"
count_exits 1 polled
count_exits 1 interrupts
count_exits 1 'interrupts index indirect'
count_exits 2 'interrupts elsewhere'
check_host 'nothing was left behind by any of them' "$WORK/before"
done_testing
