#!/usr/bin/env bash
# What supervisor and microvm have to say to each other: the power button, the balloon, the sockets of host and guest. A guest of some
# hundred bytes hears the button; a plugin in microvm's place says what a guest that has taken it over could.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

guests=$BUILD/tests/system/guests
snapshot >"$WORK/before"

# A VM in the foreground, until it has printed something.
runs() { # NAME-OF-CHECK ARGUMENTS-OF-START…
    local name=$1
    shift
    : >"$WORK/console"
    start -f "$@" </dev/null >"$WORK/console" 2>"$WORK/log" &
    running=$!
    check "$name" wait_until 10 test -s "$WORK/console"
}

ended() { # NAME EXIT-CODE REGEX
    local status=0
    wait "$running" || status=$?
    if [ "$status" = "$2" ] && tail -n 1 "$WORK/log" | grep -qE -e "$3"; then
        ok "$1"
    else
        not_ok "$1" "exit code $status, expected $2; expected /$3/ in:" "$(cat "$WORK/log")"
    fi
}

said() { # REGEX
    grep -qE -e "$1" "$WORK/console"
}

refused() { # TIMES
    [ "$(grep -c '^refused$' "$WORK/console")" = "$1" ]
}

balloon() { # ARGUMENTS…
    timeout $((10 * TIME_FACTOR)) "$VMSUP" balloon --runtime-dir "$RUN" "$@"
}

# The program, vmproc and the policies in a folder, and beside them a microvm that is none.
mkdir -p "$WORK/other/plugin"
cp "$VMSUP" "$WORK/other/vmsup"
beside=$(dirname "$(realpath "$VMSUP")")
if [ -x "$beside/vmproc" ]; then
    cp "$beside/vmproc" "$WORK/other"
    cp -rL "$beside/policy" "$WORK/other"
else
    cp "$beside/../libexec/vmsup/vmproc" "$WORK/other"
    cp -r "$beside/../share/vmsup/policy" "$WORK/other"
fi
cp "$BUILD/tests/system/pretender" "$WORK/other/plugin/microvm"
chmod -R go-w "$WORK/other"
pretends() { # NAME-OF-CHECK PART ARGUMENTS-OF-START…
    local name=$1 part=$2
    shift 2
    VMSUP=$WORK/other/vmsup runs "$name" --kernel "$guests/idle" "$@" demo -- "$part"
}

# --- the power button, of a machine

runs 'a guest waits for its power button' --kernel "$guests/button" demo
check 'it is stopped' stop demo
ended 'and turns itself off' 0 'demo: stopped by uid 0: guest powered off'
check 'because it saw the button' said '^wb$'

runs 'a guest waits for its power button again' --kernel "$guests/button" demo
kill -TERM "$(cat "$RUN/demo/pid")"
ended 'a signal to the supervisor presses it, too' 0 'demo: stopped by SIGTERM from uid 0: guest powered off'

runs 'a guest that has no ear for it' --guest-grace 300 --kernel "$guests/idle" demo
check 'it is stopped nevertheless' stop demo
ended 'once its time was over' 113 'demo: stopped by uid 0; the guest did not turn itself off in 300 ms$'

runs 'another one' --guest-grace 60000 --kernel "$guests/idle" demo
stop demo 2>/dev/null &
first=$!
check 'list says that it is stopping' wait_until 5 sh -c "'$VMSUP' list --runtime-dir '$RUN' | grep -q '^demo *stopping'"
check 'asked twice, it ends at once' stop demo
wait "$first"
ended 'which is said' 113 'demo: stopped by uid 0'

runs 'one that nobody asks' --guest-grace 0 --kernel "$guests/button" demo
check 'it is stopped without a question' stop demo
ended 'which is said, too' 113 'demo: stopped by uid 0$'
check_host 'nothing was left behind by any of them' "$WORK/before"

# --- sockets

pretends 'a guest with sockets' obedient --vsock 3
check 'their socket is root'\''s alone' test "$(stat -c '%A %U' "$RUN/demo/vsock")" = 'srw------- root'
check 'a port where nobody listens is refused' wait_until 5 said '^refused$'
"$BUILD/tests/system/caller" listen "$RUN/demo/vsock_1024" host >"$WORK/heard" 2>&1 &
LONG_LIVED+=($!)
check 'a program listens on the host' wait_until 5 grep -qx listening "$WORK/heard"
expect 'another reaches the guest' 0 '^echo$' "$BUILD/tests/system/caller" connect "$RUN/demo/vsock" echo
check 'the guest hears what the first says' wait_until 5 said '^connected: host$'
check 'and that what the guest says' wait_until 5 grep -qx guest "$WORK/heard"
check 'the next port has nobody' wait_until 5 refused 2
check 'the guest is stopped' stop demo
ended 'as it was told' 0 'guest powered off'
check_host 'no socket was left behind, whoever made it' "$WORK/before"

pretends 'a guest without sockets' obedient
check 'has none' test ! -e "$RUN/demo/vsock"
check 'and reaches nobody' wait_until 5 said '^refused$'

# --- the balloon

check 'memory is asked of it' balloon demo 4K
check 'it hears so' wait_until 5 said '^set$'
expect 'what it says is shown' 0 '^free 77$' balloon demo
check 'with what it was asked for' grep -qx 'target 4096' "$WORK/both"
check 'and what it gave' grep -qx 'balloon 4096' "$WORK/both"
check 'nothing may be asked of it' balloon demo 0
expect_refusal 'a size that is none' 64 'SIZE is "much": expected bytes' balloon demo much
expect_refusal 'no name' 64 'usage: vmsup balloon' balloon
check 'it is stopped at last' stop demo
ended 'as it was told at last' 0 'guest powered off'
expect_refusal 'a VM that is gone' 69 'demo is not running' balloon demo 4K

# --- a guest that has taken its machine over

pretends 'a deaf one' deaf --guest-grace 200 --grace 200
expect_refusal 'has no balloon' 69 'demo has no balloon' balloon demo
check 'a deaf one is stopped' stop demo
ended 'the old way' 113 'did not turn itself off in 200 ms; the plugin did not exit in 200 ms and was killed'

pretends 'one that asks and asks' flood --vsock 3 --guest-grace 200 --grace 200
supervisor=$(cat "$RUN/demo/pid")
ticks() { awk '{ print $14 + $15 }' "/proc/$supervisor/stat"; }
before=$(ticks)
sleep 1
used=$(($(ticks) - before))
check "the supervisor works little for it: $used of 100 ticks" test "$used" -le $((20 * TIME_FACTOR))
list >"$WORK/list"
check 'and has time for others' grep -q '^demo *starting *supervisor [0-9]*, vmproc' "$WORK/list"
check 'it is stopped, however much it asks' stop demo
ended 'and gone' 113 'stopped by uid 0'

pretends 'a rude one' rude --grace 200
check 'the supervisor says what it did' wait_until 5 grep -q 'microvm sent bytes that are no message' "$WORK/log"
check 'it is stopped without being asked' stop demo
ended 'and it is told how' 113 'stopped by uid 0; the plugin did not exit in 200 ms and was killed$'
check_host 'nothing was left behind' "$WORK/before"

# --- another plugin

expect 'another plugin has no channel' 100 'there is no channel' start -f --plugin "$BUILD/tests/system/pretender" demo -- deaf
expect_refusal 'and no sockets' 64 '--vsock is for microvm' start -f --vsock 3 --plugin "$ACTOR" demo
expect_refusal 'an address that is reserved' 64 '--vsock is "2": expected' start -f --vsock 2 --kernel "$guests/idle" demo
done_testing
