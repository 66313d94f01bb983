#!/usr/bin/env bash
# A VM's network: a TAP with the addresses asked for, that the host can reach the guest through, and that is gone with the VM.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

snapshot >"$WORK/before"
ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort >"$WORK/links"
address=10.118.77.1
guest=10.118.77.2
mac=de:21:e8:47:6b:6a
network=(--host-ip "$address" --netmask 255.255.255.252 --mac "$mac")

not_persistent() {
    ! ip tuntap show dev "$1" | grep -q persist
}

no_new_link() {
    [ -z "$(new_link)" ]
}

new_link() {
    ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort | comm -13 "$WORK/links" - | head -n 1
}

if [ ! -c /dev/net/tun ]; then
    skip 'network' '/dev/net/tun is not there'
    done_testing
    exit 0
fi

start -f "${network[@]}" --grace 200 --plugin "$ACTOR" demo -- network </dev/null >"$WORK/output" 2>"$WORK/log" &
running=$!
check 'the plugin is told of its network' wait_until 10 grep -qxF "network $address 255.255.255.252 $mac" "$WORK/output"
link=$(new_link)
check 'there is one link more' test -n "$link"
check 'it has the address' grep -qF "inet $address/30" <(ip -4 -o address show dev "$link")
check 'it has the MAC' grep -qF "link/ether $mac" <(ip -o link show dev "$link")
check 'it is up' grep -qE '<[^>]*\bUP\b' <(ip -o link show dev "$link")
check 'it has no IPv6 address' test -z "$(ip -6 -o address show dev "$link")"
[ ! -e "/proc/sys/net/ipv6/conf/$link/disable_ipv6" ] || check 'IPv6 is off on it' grep -qx 1 "/proc/sys/net/ipv6/conf/$link/disable_ipv6"
check 'it is not persistent' not_persistent "$link"
stop demo 2>/dev/null
status=0
wait "$running" || status=$?
check "stop ends it with 113, not $status" test "$status" = 113
check_host 'the link is gone' "$WORK/before"

start -f "${network[@]}" --net-queues 2 --grace 200 --plugin "$ACTOR" demo -- queue </dev/null >"$WORK/output" 2>"$WORK/log" &
running=$!
check 'a plugin says which of its queues it uses' wait_until 10 grep -qx 'attach: done' "$WORK/output"
check 'and which it does not' grep -qx 'detach: done' "$WORK/output"
stop --now demo 2>/dev/null
wait "$running"
check_host 'nothing was left behind by two queues' "$WORK/before"

check 'a VM with a network whose supervisor is to be killed runs' start "${network[@]}" --plugin "$ACTOR" demo -- network
kill -KILL "$(cat "$RUN/demo/pid")"
check 'its link goes with it' wait_until 10 no_new_link
stop demo 2>/dev/null
check_host 'nothing was left behind' "$WORK/before"

if [ -x "$EXAMPLES/ping" ]; then
    check 'the ping example starts' start "${network[@]}" --plugin "$EXAMPLES/ping" demo
    check 'the host reaches the guest' ping -q -c 3 -i 0.2 -W $((2 * TIME_FACTOR)) "$guest"
    check 'it stops' stop demo
    check_host 'nothing was left behind by ping' "$WORK/before"

    check 'with the source filter it starts' start "${network[@]}" --guest-ip "$guest" --guest-mac de:21:e8:47:6b:6b \
        --plugin "$EXAMPLES/ping" demo
    check 'and lets nothing through that has another source' \
        sh -c '! ping -q -c 2 -i 0.2 -W 1 "$1"' sh "$guest"
    stop demo 2>/dev/null
    check_host 'the filter is gone too' "$WORK/before"
    check "with the guest's own address it starts" start "${network[@]}" --guest-ip "$guest" --guest-mac 02:76:6d:73:75:70 \
        --plugin "$EXAMPLES/ping" demo
    check 'and the host reaches the guest' ping -q -c 3 -i 0.2 -W $((2 * TIME_FACTOR)) "$guest"
    stop demo 2>/dev/null
else
    not_ok 'the ping example is there'
fi
done_testing
