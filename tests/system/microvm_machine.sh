#!/usr/bin/env bash
# microvm on this machine's KVM, with kernels of some hundred bytes: how they are booted, which processors they find, which files are
# refused; what its room, its threads and its memory are.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

guests=$BUILD/tests/system/guests
OVERHEAD_MAX=6144 # KiB
network=(--host-ip 10.118.0.1 --netmask 255.255.255.252 --mac 02:11:22:33:44:55)
snapshot >"$WORK/before"

printf 'RAM disk' >"$WORK/initrd"
printf '#!/bin/sh\necho no kernel\n' >"$WORK/script"
head -c 100 "$guests/pvh" >"$WORK/cut"
truncate -s 1M "$WORK/disk"
printf -v long '%2048s' x

# --- kernels

# What the guest prints is looked at alone: a line of the log may come in the middle of one of its.
boots() { # NAME REGEX ARGUMENTS…
    local name=$1 regex=$2 status=0
    shift 2
    start -f "$@" </dev/null >"$WORK/console" 2>"$WORK/log" || status=$?
    if [ "$status" = 0 ] && grep -qE -e "$regex" "$WORK/console"; then
        ok "$name"
    else
        not_ok "$name" "exit code $status, expected 0; expected /$regex/ in:" "$(cat "$WORK/console" "$WORK/log")"
    fi
}

refused() { # NAME REGEX ARGUMENTS…
    local name=$1 regex=$2
    shift 2
    expect "$name" 100 "microvm: error: $regex" start -f "$@"
}

boots 'a PVH kernel with its initrd and command line' '^mark=Rh$' --kernel "$guests/pvh" --initrd "$WORK/initrd" --cmdline mark= demo
for cpus in 1 2 4; do
    # Their ids are 0, 1 and so on: each but the first sets its bit.
    bits=$(printf "\\x$(printf %x $(((1 << cpus) - 2 + 48)))")
    boots "a 64-bit ELF kernel wakes $cpus processors" "^found $cpus $bits\$" -c "$cpus" --kernel "$guests/smp" --cmdline found demo
done
# More threads than the C library would have of heaps.
boots 'a 64-bit ELF kernel wakes 40 processors' '^found X ' -c 40 --kernel "$guests/smp" --cmdline found demo
boots 'as little memory as there may be' '^mark=Rh$' --memory 32M --kernel "$guests/pvh" --initrd "$WORK/initrd" --cmdline mark= demo
boots 'a feature is hidden by its name' '^mark=R-$' --kernel "$guests/pvh" --initrd "$WORK/initrd" --cmdline mark= demo -- \
    --cpu-mask avx2,hypervisor
boots 'and by its bit' '^mark=R-$' --kernel "$guests/pvh" --initrd "$WORK/initrd" --cmdline mark= demo -- --cpu-mask 1:ecx=0x80000000

refused 'a script is no kernel' 'the kernel is neither a bzImage nor an ELF file$' --kernel "$WORK/script" demo
refused 'a kernel that is cut short' 'the kernel is cut short: it has 100 bytes$' --kernel "$WORK/cut" demo
refused 'a program is no kernel' 'the kernel takes .* from address 0 on' --kernel "$(realpath "$BUILD/vmproc")" demo
refused 'a command line that is too long' 'the command line has 2048 characters, the kernel takes 2047$' --kernel "$guests/pvh" \
    --cmdline "$long" demo
refused 'a feature that nobody knows' '--cpu-mask: warp is neither' --kernel "$guests/pvh" demo -- --cpu-mask warp
refused 'a disk that is no grant' '--disk: nothing is granted as disk0: expected --disk or --grant of vmsup start$' \
    --kernel "$guests/pvh" demo -- --disk disk0
refused 'a network card without a network' '--net: the VM has no network: expected --host-ip, --netmask and --mac of vmsup start$' \
    --kernel "$guests/pvh" demo -- --net
refused 'more queues than its TAP has' \
    '--net: queues=3, but nothing is granted as net2: expected --net-queues 3 of vmsup start$' "${network[@]}" --net-queues 2 \
    --kernel "$guests/pvh" demo -- --net=queues=3
refused 'more memory than the host has' '--memory: the host has less than that' --memory 1024G --kernel "$guests/pvh" demo
# Huge pages are taken from the host for as long as one machine runs, where it has them.
pages=/sys/kernel/mm/hugepages/hugepages-2048kB
if [ ! -w "$pages/nr_hugepages" ]; then
    skip 'huge pages' 'this kernel has none'
else
    before=$(cat "$pages/nr_hugepages")
    free=$(cat "$pages/free_hugepages")
    refused 'huge pages that the host has not' '--huge-pages: the host has too few' --memory $((2 * (free + 64)))M --kernel "$guests/pvh" demo \
        -- --huge-pages
    echo $((before + 40)) >"$pages/nr_hugepages"
    if [ "$(cat "$pages/free_hugepages")" -ge 32 ]; then
        boots 'huge pages' '^mark=Rh$' --memory 64M --kernel "$guests/pvh" --initrd "$WORK/initrd" --cmdline mark= demo -- --huge-pages
    else
        skip 'huge pages' 'the host has no 64M of them together'
    fi
    echo "$before" >"$pages/nr_hugepages"
fi
check_host 'nothing was left behind by any of them' "$WORK/before"

# --- a machine that idles

# KiB that a process has beside the guest's memory; of what it shares, its part.
own_memory() { # PID
    awk '/^[0-9a-f]+-[0-9a-f]+ / { guest = / \/memfd:guest / } /^Pss:/ && !guest { sum += $2 } END { print sum + 0 }' "/proc/$1/smaps"
}

is_idle() {
    grep -q '^State:	S' "/proc/$plugin/status" && [ -s "$WORK/idle" ]
}

threads_of() { # PID
    cat "/proc/$1"/task/*/comm | sort | tr '\n' ' '
}

start -f -c 2 --memory 256M --disk "$WORK/disk" "${network[@]}" --kernel "$guests/idle" demo \
    </dev/null >"$WORK/idle" 2>"$WORK/log" &
running=$!
check 'a machine runs' wait_until 10 test -s "$WORK/idle"
supervisor=$(cat "$RUN/demo/pid")
plugin=$(pgrep -P "$supervisor" -x microvm)
vmproc=$(pgrep -P "$supervisor" -x vmproc)
check 'it idles' wait_until 10 is_idle
if [ "${SANITIZED:-0}" = 1 ]; then
    skip 'what it takes of memory' 'a build with sanitizers takes many times as much'
    skip 'its room' 'a build with sanitizers has its libraries in it'
else
    sum=0
    for process in "$supervisor" "$vmproc" "$plugin"; do sum=$((sum + $(own_memory "$process"))); done
    check "three processes take $sum KiB beside the guest's memory: $OVERHEAD_MAX are allowed" test "$sum" -gt 0 -a "$sum" -le "$OVERHEAD_MAX"
    check 'its room has one file' test "$(find "/proc/$plugin/root/" -xdev -mindepth 1 ! -type d | wc -l)" = 1
    check 'and no /proc' test ! -e "/proc/$plugin/root/proc"
fi
threads=$(threads_of "$plugin")
check "its threads have names: $threads" test "$(tr ' ' '\n' <<<"$threads" | grep -cx microvm)" = 1
for thread in serial vcpu0 vcpu1; do check "one is $thread" grep -qw "$thread" <<<"$threads"; done
# Its filter lets the kernel go on with the calls that it was stopped in.
kill -STOP "$plugin"
check 'it can be stopped' wait_until 10 grep -q '^State:	T' "/proc/$plugin/status"
kill -CONT "$plugin"
check 'and continued' wait_until 10 is_idle
stop --now demo 2>/dev/null
wait "$running"
check 'until it is told to end' grep -q 'demo: stopped by uid 0' "$WORK/log"
check_host 'nothing was left behind by it' "$WORK/before"
done_testing
