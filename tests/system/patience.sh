#!/usr/bin/env bash
# Who waits for whom: readers that do not read, commands that hang, callers that give up. None of them keeps a VM alive, and none makes
# an ordinary stop a violent one.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

snapshot >"$WORK/before"

reason_is() { # NAME REGEX
    list | grep -E "^$1 +stopped +" | grep -qE -e "$2"
}

state_is() { # NAME STATE
    list | grep -qE "^$1 +$2 +"
}

# A job ends by itself, with that exit code.
check_end() { # NAME JOB EXIT-CODE
    local status=0
    wait "$2" || status=$?
    if [ "$status" = "$3" ]; then ok "$1"; else not_ok "$1" "exit code $status, expected $3"; fi
}

# Stops demo by asking: not by killing a supervisor that does not answer.
stop_politely() {
    stop "$@" demo >"$WORK/stop" 2>&1 || { cat "$WORK/stop"; return 1; }
    ! grep -q 'it is killed' "$WORK/stop" || { cat "$WORK/stop"; return 1; }
}

# A pipe that is full and that nobody reads.
mkfifo "$WORK/full"
exec 7<>"$WORK/full"
dd if=/dev/zero of="$WORK/full" oflag=nonblock bs=4096 2>/dev/null

# --- readers that do not read

start -f --plugin "$ACTOR" demo -- exit 3 </dev/null 2>&7 &
check_end 'a VM ends though nobody reads its log' $! 100
check 'its reason is kept' reason_is demo 'plugin exited 3'
for full in '1>&7 2>/dev/null' '2>&7 1>/dev/null' '1>&7 2>&7'; do
    for part in deaf flood; do
        eval "start -f --grace 200 --plugin \"\$ACTOR\" demo -- $part </dev/null $full &"
        job=$!
        check "$part, $full: it runs" wait_until 10 state_is demo running
        check "$part, $full: it stops on request" stop_politely
        check_end "$part, $full: for that reason" "$job" 113
        check_host "$part, $full: nothing was left behind" "$WORK/before"
    done
done
exec 7<&-
check 'a plugin that reads nothing runs in the background' start --grace 200 --plugin "$ACTOR" demo -- deaf
check 'it stops on request' stop_politely
check_host 'nothing was left behind by it' "$WORK/before"

# --- commands that hang

check 'a VM runs' start --grace 200 --plugin "$ACTOR" demo -- idle
held=$(ls "/proc/$(cat "$RUN/demo/pid")/fd")
"$BUILD/tests/system/visitor" "$RUN/demo/control" 6 >"$WORK/visitor" &
LONG_LIVED+=($!)
check 'six visitors who say nothing are connected' wait_until 10 grep -q connected "$WORK/visitor"
check 'list waits for its turn' grep -qE '^demo +running +supervisor [0-9]+, vmproc' <(list)
check 'and so does stop' stop_politely
kill "${LONG_LIVED[@]}"
wait "${LONG_LIVED[@]}" 2>/dev/null
LONG_LIVED=()
check_host 'nothing was left behind by visitors' "$WORK/before"
check 'a VM runs again' start --grace 200 --plugin "$ACTOR" demo -- idle
for i in {1..30}; do list >"$WORK/list.$i" 2>&1 & done
wait
check 'thirty lists at once are all answered' test "$(cat "$WORK"/list.* | grep -cE '^demo +running +supervisor [0-9]+, vmproc')" = 30
supervisor=$(cat "$RUN/demo/pid")
holds_the_same() {
    [ "$(ls "/proc/$supervisor/fd")" = "$held" ]
}
check 'the supervisor holds the descriptors that it held before' wait_until 5 holds_the_same
kill -STOP "$supervisor"
check 'list does not wait for a supervisor that hangs' grep -qE '^demo +running +supervisor [0-9]+, which does not answer' <(list)
kill -CONT "$supervisor"
check 'which then stops on request' stop_politely

# --- callers that give up

start --grace 200 --plugin "$ACTOR" demo -- silent </dev/null >"$WORK/out" 2>&1 &
job=$!
check 'a start whose plugin never calls start is seen' wait_until 10 state_is demo starting
kill -TERM "$(pgrep -P "$job" -f 'vmsup start')"
check_end 'who is told to end meanwhile ends it' "$job" 113
check 'and says so in one line' grep -qxE "vmsup: error: .*stopped by SIGTERM.*" "$WORK/out"
check_host 'nothing was left behind by a start that was given up' "$WORK/before"
start --grace 200 --plugin "$ACTOR" demo -- silent </dev/null >/dev/null 2>&1 &
job=$!
check 'another start waits' wait_until 10 state_is demo starting
check 'it can be stopped' stop_politely
check_end 'and its caller is told' "$job" 113

(
    umask 0777
    start -f --plugin "$ACTOR" demo -- exit 0 </dev/null >/dev/null 2>&1
)
check_host "the caller's umask leaves nothing behind" "$WORK/before"
if type setsid >/dev/null 2>&1; then
    check 'a supervisor in the background' start --plugin "$ACTOR" demo -- idle
    supervisor=$(cat "$RUN/demo/pid")
    check 'has no terminal' test "$(awk '{ print $7 }' "/proc/$supervisor/stat")" = 0
    check 'is in the root folder' test "$(readlink "/proc/$supervisor/cwd")" = /
    check 'has nothing of its caller open' test "$(readlink "/proc/$supervisor/fd/"[012] | sort -u)" = /dev/null
    check 'stops' stop_politely
fi

# --- a stop at any moment of a short life

for delay in 0 0.005 0.01 0.015 0.02 0.03 0.04 0.05 0.06 0.08; do
    start -f --grace 200 --plugin "$ACTOR" demo -- exit 3 </dev/null >"$WORK/out" 2>&1 &
    job=$!
    sleep "$delay"
    stop demo >"$WORK/stop" 2>&1
    status=0
    wait "$job" || status=$?
    case $status in
    113 | 100) ok "a stop after $delay s" ;;
    *) not_ok "a stop after $delay s" "exit code $status" "$(cat "$WORK/out" "$WORK/stop")" ;;
    esac
done
check_host 'nothing was left behind by any' "$WORK/before"
done_testing
