#!/usr/bin/env bash
# microvm's disk, network card and entropy device on this machine's KVM, in its jail, driven by guests of ours by their registers:
# polled and by interrupts, with and without the event index and indirect tables, by the first and by the second vCPU and by both at once,
# with interrupts to either; and by one that breaks the rules.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

guests=$BUILD/tests/system/guests
snapshot >"$WORK/before"

ONE_VCPU=(polled index interrupts 'interrupts index indirect')
TWO_VCPUS=('indirect second' 'interrupts second' 'interrupts index elsewhere' 'interrupts index indirect second elsewhere')

# The guest says just what is expected, and turns itself off.
says() { # NAME EXPECTED ARGUMENTS…
    local name=$1 expected=$2 status=0
    shift 2
    start -f "$@" </dev/null >"$WORK/console" 2>"$WORK/log" || status=$?
    if [ "$status" = 0 ] && [ "$(cat "$WORK/console")" = "$expected" ]; then
        ok "$name"
    else
        not_ok "$name" "exit code $status, expected 0; it said:" "$(head -c 2000 "$WORK/console" | cat -v)" "$(cat "$WORK/log")"
    fi
}

# --- the disk: what the guest said of it is what the host finds in the file

# Its first half is anything, its second zeroes.
new_disk() { # SIZE-OF-HALF
    head -c "$1" /dev/urandom >"$WORK/half"
    { cat "$WORK/half" && head -c "$1" /dev/zero; } >"$WORK/disk"
}

is_copied() {
    cmp "$WORK/disk" <(cat "$WORK/half" "$WORK/half")
}

disk_expected='disk0 of 1024 sectors
copied
read back
flushed
refused: read behind the end
refused: write behind the end
refused: read over the end
refused: write over the end
refused: write at the last number
refused: write where bytes overflow
refused: half a sector
refused: what nobody knows
read back
done'

drive_disk() { # CPUS WORDS
    new_disk 256K
    says "a disk, $2, vCPUs: $1" "$disk_expected" -c "$1" --kernel "$guests/blk" --disk "$WORK/disk" --cmdline "$2" demo
    check 'and it is so on the host' is_copied
}

for words in "${ONE_VCPU[@]}"; do drive_disk 1 "$words"; done
for words in "${TWO_VCPUS[@]}"; do drive_disk 2 "$words"; done

cat "$WORK/half" "$WORK/half" >"$WORK/disk"
says 'a disk that may only be read' 'disk0 of 1024 sectors, read-only
refused: write
read back
done' --kernel "$guests/blk" --disk "$WORK/disk,ro" --cmdline read-only demo
check 'and it was not written' is_copied

# --- the entropy device

rng_expected='64 requests differ
as many ones as zeroes
every size
in pieces
done'

drive_rng() { # CPUS WORDS
    says "entropy, $2, vCPUs: $1" "$rng_expected" -c "$1" --kernel "$guests/rng" --cmdline "$2" demo
}

for words in "${ONE_VCPU[@]}"; do drive_rng 1 "$words"; done
for words in "${TWO_VCPUS[@]}"; do drive_rng 2 "$words"; done

# --- the network card: the host's kernel answers what the guest makes by hand

mac=02:11:22:33:44:54
guest_mac=02:11:22:33:44:55
network=(--host-ip 10.118.76.1 --netmask 255.255.255.252 --mac "$mac")
net_expected="guest $guest_mac
host $mac
echoes
sums
dropped: unknown flags
dropped: a header longer than all
dropped: a sum behind the end
dropped: a sum far behind the end
dropped: segments that were not negotiated
dropped: unknown segments
dropped: a frame that is none
dropped: a frame that is too large
done"

drive_net() { # CPUS WORDS
    says "a network card, $2, vCPUs: $1" "$net_expected" -c "$1" --kernel "$guests/net" --cmdline "$2" "${network[@]}" demo
}

answers_ping() {
    local status=0
    rm -f "$WORK/console"
    start -f --kernel "$guests/net" --cmdline 'answer merge interrupts' "${network[@]}" demo </dev/null >"$WORK/console" 2>"$WORK/log" &
    wait_until 10 grep -q guest "$WORK/console" || status=$?
    ping -q -c 3 -i 0.2 -W $((2 * TIME_FACTOR)) 10.118.76.2 || status=$?
    wait $! || status=$?
    cat "$WORK/log"
    [ "$status" = 0 ] && [ "$(tail -n 1 "$WORK/console")" = 'done' ]
}

if [ ! -c /dev/net/tun ]; then
    skip 'a network card' '/dev/net/tun is not there'
else
    for words in "${ONE_VCPU[@]}" merge 'merge interrupts index'; do drive_net 1 "$words"; done
    for words in "${TWO_VCPUS[@]}"; do drive_net 2 "$words"; done
    check 'the host reaches the guest by itself' answers_ping
fi

# --- two devices at once, one by each vCPU

drive_both() { # WORDS ARGUMENTS…
    local words=$1
    shift
    new_disk 64K
    says "both vCPUs at once, $words" both -c 2 --kernel "$guests/both" --disk "$WORK/disk" --cmdline "$words" "$@" demo
    check 'and the disk is copied' is_copied
}

for words in polled interrupts 'interrupts index crossed'; do drive_both "$words"; done
[ ! -c /dev/net/tun ] || for words in 'net interrupts' 'net interrupts index crossed'; do drive_both "$words" "${network[@]}"; done

# --- a driver that breaks the rules

hostile_expected='needs a reset: a size that changes
needs a reset: an address that changes
needs a reset: features that change
needs a reset: a status that goes back
needs a reset: a chain that loops
needs a reset: a head that is no entry
needs a reset: a chain out of its table
needs a reset: a buffer in no memory
needs a reset: a buffer in registers
needs a reset: a buffer that wraps around
needs a reset: a table in a table
needs a reset: nowhere to answer
needs a reset: more requests than entries
refused: features that were not offered
needs a reset: a status out of order
needs a reset: queues that cannot be
written everywhere
reset amid requests
done'

be_hostile() { # CPUS WORDS EXPECTED
    new_disk 64K
    cp "$WORK/disk" "$WORK/untouched"
    says "a driver that breaks the rules, $2, vCPUs: $1" "$3" -c "$1" --kernel "$guests/hostile" --disk "$WORK/disk" --cmdline "$2" demo
    check 'and the disk is what it was' cmp "$WORK/disk" "$WORK/untouched"
}

be_hostile 1 polled "$hostile_expected"
be_hostile 1 'interrupts index' "$hostile_expected"
be_hostile 2 'interrupts index indirect second' "$hostile_expected"
for words in storm 'storm interrupts index'; do be_hostile 2 "$words" $'the storm is over\ndone'; done

check_host 'nothing was left behind by any of them' "$WORK/before"
done_testing
