#!/usr/bin/env bash
# microvm's console and balloon on this machine's KVM, in its jail, driven by a kernel of some hundred bytes.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

kernel=$BUILD/tests/system/guests/console
snapshot >"$WORK/before"

# What is typed comes back behind what the kernel says of itself, to the last byte.
echoes() { # NAME INPUT CPUS
    local status=0
    start -f -c "$3" --kernel "$kernel" demo -- --console --balloon <"$2" >"$WORK/console" 2>"$WORK/log" || status=$?
    { printf 'EG\n'; cat "$2"; } >"$WORK/expected"
    if [ "$status" = 0 ] && cmp -s "$WORK/expected" "$WORK/console"; then
        ok "$1"
    else
        not_ok "$1" "exit code $status; in the console and the log:" "$(head -c 2000 "$WORK/console" | cat -v)" "$(cat "$WORK/log")"
    fi
}

printf 'hello\n\4' >"$WORK/hello"
for number in $(seq 1000); do echo "line $number of what somebody pastes into a terminal: it arrives, whole and in order"; done >"$WORK/lines"
printf '\4' >>"$WORK/lines"
for cpus in 1 2; do
    echoes "the console, its emergency write, and a balloon that gives memory back; vCPUs: $cpus" "$WORK/hello" "$cpus"
    echoes "1,000 lines pasted into it; vCPUs: $cpus" "$WORK/lines" "$cpus"
done

# While it hears nothing: what it gave, and what it is asked for, which it finds and does not obey.
mkfifo "$WORK/keyboard"
start -f --kernel "$kernel" demo -- --console --balloon <"$WORK/keyboard" >"$WORK/console" 2>"$WORK/log" &
running=$!
exec 3>"$WORK/keyboard"
check 'its pages are given' wait_until 10 grep -q G "$WORK/console"
balloon() { # ARGUMENTS…
    timeout $((10 * TIME_FACTOR)) "$VMSUP" balloon --runtime-dir "$RUN" "$@"
}
check 'memory is asked of it' balloon demo 1M
check 'what it was asked for and what it gave, of a guest without statistics' \
    test "$(balloon demo)" = "$(printf 'target 1048576\nballoon 262144')"
printf '\4' >&3
exec 3>&-
status=0
wait "$running" || status=$?
check 'it turns itself off' test "$status" = 0
check_host 'nothing was left behind by any of them' "$WORK/before"
done_testing
