#!/usr/bin/env bash
# Each of the three processes killed, stopped and crashed in each phase of a VM's life, and the supervisor told to end in each. It is held
# at a named point (a build of it with such points; see supervisor/hold.h), the deed is done, the supervisor is let go, and the VM is
# ended if it is not ending by itself. Whatever was done when: the VM ends soon, and the host is as it was before.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

# What is installed has no such points: there the supervisor alone is another, and starts the installed vmproc.
export VMSUP=$BUILD/tests/held/vmsup
fifo=$WORK/hold
mkfifo "$fifo" "$fifo.go"
exec 8<>"$fifo" 9<>"$fifo.go"
# With all that a VM can have: a TAP, and the filter of its frames.
network=()
[ ! -c /dev/net/tun ] || network=(--host-ip 10.118.79.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a --guest-ip 10.118.79.2
    --guest-mac de:21:e8:47:6b:6b)
snapshot >"$WORK/before"

# Before both run their programs each is named as its parent is: then vmproc is the older.
child_of() { # SUPERVISOR ROLE POINT
    local child name
    if [ "$3" = begun ]; then
        if [ "$2" = vmproc ]; then pgrep -o -P "$1"; else pgrep -n -P "$1"; fi
        return
    fi
    for child in $(pgrep -P "$1"); do
        name=$(cat "/proc/$child/comm")
        case $2 in
        vmproc) [ "$name" != vmproc ] || echo "$child" ;;
        plugin) [ "$name" = vmproc ] || echo "$child" ;;
        esac
    done
}

do_deed() { # DEED PID
    case $1 in
    killed) kill -KILL "$2" ;;
    stopped) kill -STOP "$2" ;;
    crashed) "$BUILD/tests/system/crash" "$2" ;;
    SIG*) kill -s "$1" "$2" ;;
    esac
}

is_gone() { # PID
    ! kill -0 "$1" 2>/dev/null
}

# Ends what does not end by itself, then waits. A supervisor that is gone has left things, which stop clears.
end_it() { # PID
    case $role/$deed in
    supervisor/SIG*)
        wait_until 10 is_gone "$1"
        return
        ;;
    supervisor/*) ;;
    *) [ "$ending" = 1 ] && wait_until 5 is_gone "$1" && return 0 ;;
    esac
    stop demo
    wait_until 10 is_gone "$1"
}

try() { # POINT ROLE DEED
    local point=$1 role=$2 deed=$3 name="$2 $3 at $1" ending=1 job word supervisor victim status
    # Emptied here: the one before it must not be read while the new one is on its way.
    : >"$WORK/log"
    VMSUP_HOLD=$point:$fifo start -f --grace 200 "${network[@]}" --plugin "$ACTOR" demo -- stay </dev/null >"$WORK/log" 2>&1 8<&- 9<&- &
    job=$!
    case $point in stopping | killing | gone)
        wait_until 10 grep -q '^vmsup: plugin ' "$WORK/log"
        pkill -TERM -P "$job"
        ;;
    esac
    if ! read -r -t $((10 * TIME_FACTOR)) -u 8 word supervisor || [ "$word" != "$point" ]; then
        not_ok "$name" 'the supervisor did not come to that point:' "$(cat "$WORK/log")"
        kill "$job" 2>/dev/null
        wait "$job"
        return
    fi
    victim=$supervisor
    [ "$role" = supervisor ] || victim=$(child_of "$supervisor" "$role" "$point")
    if [ -z "$victim" ] || ! do_deed "$deed" "$victim"; then
        not_ok "$name" "there is no $role to be $deed"
        victim=
    fi
    # What is stopped does not end the VM, unless it was to end anyway.
    case $deed/$point in stopped/stopping | stopped/killing | stopped/gone) ;; stopped/*) ending=0 ;; esac
    echo >&9
    if [ -n "$victim" ]; then check "$name: the VM ends" end_it "$supervisor"; fi
    wait "$job"
    status=$?
    case $deed in SIG*) check "$name: it was stopped, exit code $status" test "$status" = 113 ;; esac
    # Who was killed in the middle of a word leaves a byte.
    while read -r -t 0.01 -u 9 word; do :; done
    check_host "$name: nothing was left behind" "$WORK/before"
}

for deed in killed stopped crashed; do
    for point in runtime resources begun vmproc children confined setup ready running stopping killing gone; do
        try "$point" supervisor "$deed"
    done
    for point in begun vmproc children confined setup ready running stopping killing; do
        try "$point" vmproc "$deed"
    done
    for point in begun children confined setup ready running stopping killing; do
        try "$point" plugin "$deed"
    done
done
for point in runtime resources begun vmproc children confined setup ready running; do
    for signal in SIGTERM SIGINT SIGQUIT SIGHUP; do
        try "$point" supervisor "$signal"
    done
done
done_testing
