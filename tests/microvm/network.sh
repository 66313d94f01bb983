#!/usr/bin/env bash
# The network card as a stock kernel drives it: ping and TCP, both ways, with the host at the other end of the TAP.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

host=10.119.7.1
address=10.119.7.2
size=50
head -c "${size}M" /dev/urandom >"$WORK/data"
sum=$(md5sum <"$WORK/data" | cut -d' ' -f1)

# What comes lies in the guest's memory, and goes back from there. Whatever becomes of the connection, the guest's console comes back.
to_guest() {
    guest_takes 60 "timeout $((50 * TIME_FACTOR)) nc -l -p 5001 </dev/null >/tmp/data; md5sum </tmp/data" tcp_send "$address" 5001 "$WORK/data" &&
        grep -q "^$sum" "$WORK/answer" && return
    show_network
    return 1
}

from_guest() {
    guest_takes 60 "timeout $((50 * TIME_FACTOR)) nc -l -p 5002 -e cat /tmp/data" tcp_take "$address" 5002 "$WORK/back" &&
        cmp "$WORK/data" "$WORK/back" && return
    show_network
    return 1
}

# Both ends of the connection, what the card counted, and whether frames still come and go.
show_network() {
    local before
    echo 'the host'"'"'s end:'
    ls -l "$WORK/data" "$WORK/back"
    ss -tinm "dst $address"
    ip -s link show dev "$(ip -o -4 addr show | awk -v host="$host/30" '$4 == host { print $2 }')"
    ping -c 3 -W 10 "$address"
    show_threads
    echo 'the guest'"'"'s end:'
    before=$(wc -l <"$WORK/out")
    echo 'ls -l /tmp/data; netstat -tn; ip -s link show dev eth0; cat /proc/uptime /proc/interrupts; echo SHOWN' >&3
    guest_printed 60 '^SHOWN' "$before"
    tail -n "+$((before + 1))" "$WORK/out" | tr -d '\r'
}

guest_start --cpus 1 --host-ip "$host" --netmask 255.255.255.252 --mac 02:11:22:33:44:54
check 'a guest with a network card boots' guest_is_up
check 'its address is not the host'"'"'s' guest_says '^02:11:22:33:44:55$' 'cat /sys/class/net/eth0/address'
check 'it is up' guest "ip link set eth0 up && ip addr add $address/30 dev eth0"
check 'the link is' guest_says '^1$' 'cat /sys/class/net/eth0/carrier'
check 'it reaches the host' guest "ping -c 3 $host >/tmp/ping"
check 'all three packets came back' guest_says '3 packets received' 'cat /tmp/ping'
check 'the host reaches it' ping -c 3 -W 10 "$address"
for offloads in on off; do
    [ "$offloads" = on ] && bit=1 || bit=0
    check "offloads are switched $offloads" guest_says "^checksum $bit segmentation $bit $bit $bit\$" "offloads eth0 $offloads"
    check "offloads $offloads: $size MB of TCP to the guest are whole" to_guest
    check "offloads $offloads: and from it" from_guest
done
check 'no error was counted' guest_says '^0 0 0 0 $' 'cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/tx_errors /sys/class/net/eth0/statistics/rx_dropped /sys/class/net/eth0/statistics/tx_dropped | tr "\n" " "; echo'
check 'poweroff ends it with 0' guest_ends 0 'guest powered off' 'poweroff -f'
guest_done
check_host 'nothing is left, the TAP neither' "$WORK/before"
done_testing
