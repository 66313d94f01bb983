#!/usr/bin/env bash
# The demo as a person meets it: on a terminal, without one, with input from a pipe; what it shows of its processes against what the
# host says of them; and its serial port, as a driver would use it.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

hello=$EXAMPLES/hello
screen=$WORK/screen
snapshot >"$WORK/before"

# Runs the demo on a terminal, types the keys at its prompt, and waits for its end, after which the terminal's settings are shown.
type_at_demo() { # KEYS
    local command="timeout --foreground $((30 * TIME_FACTOR)) '$VMSUP' start -f --runtime-dir '$RUN' --uid-range $FIRST_UID:64"
    : >"$screen"
    {
        wait_until 20 grep -q '^guest> ' "$screen"
        # shellcheck disable=SC2059
        printf "$1"
        wait_until 20 grep -q '^ended [0-9]' "$screen"
    } | script -qefc "$command --plugin '$hello' demo; echo ended \$?; stty -a" "$screen" >/dev/null
    tr -d '\r' <"$screen" >"$WORK/text"
}

shows() { # NAME REGEX
    check "$1" grep -qE -e "$2" "$WORK/text"
}

if type script >/dev/null 2>&1; then
    type_at_demo 'help\rwho\r'"it's mee\177\r"'quit\r'
    check 'the table comes before the guest, which speaks of it' awk '/vmsup: plugin / { table = NR } /Hello from a guest/ { exit !(table) }' "$WORK/text"
    shows 'help is given' '^  quit  end this guest'
    shows 'who is told' '^  vmproc +holds /dev/kvm'
    shows 'a line comes back as it was corrected' "^you said: it's me\$"
    shows 'quit ends it well' '^ended 0$'
    check 'the end is told on a line of its own' grep -qx 'vmsup: demo: plugin exited 0' "$WORK/text"
    shows 'the terminal is as it was' '[^-]icanon.*[^-]echo '
    type_at_demo 'half a line\003'
    shows 'control-C ends it well' '^ended 0$'
    type_at_demo '\004'
    shows 'so does control-D' '^There is no more input'
    shows 'with 0' '^ended 0$'
    type_at_demo '\035'
    shows 'control-] has the supervisor end it' '^ended 113$'
    shows 'the terminal is as it was then, too' '[^-]icanon.*[^-]echo '
else
    skip 'the demo on a terminal' 'there is no script(1)'
fi
expect 'without a terminal it ends by itself' 0 '^There is no more input' start -f --plugin "$hello" demo
expect 'also with four vCPUs' 0 'vmsup: demo: plugin exited 0' start -f -c 4 --plugin "$hello" demo
check_host 'nothing is left' "$WORK/before"

# Held by its input, its table is compared with /proc.
mkfifo "$WORK/keys"
start -f --plugin "$hello" demo <"$WORK/keys" >"$WORK/out" 2>"$WORK/err" &
running=$!
exec 3>"$WORK/keys"
check 'a prompt comes' wait_until 20 grep -q '^guest> ' "$WORK/out"

own_namespaces() { # PID
    local name
    for name in user mnt pid net ipc uts cgroup; do
        [ "$(readlink "/proc/$1/ns/$name")" = "$(readlink "/proc/self/ns/$name")" ] || printf '%s ' "$name"
    done
}

check_row() { # PROCESS NAME-OF-COMMAND UID CAPABILITIES
    local row pid effective filters
    row=$(grep "^vmsup: $1 " "$WORK/err")
    pid=$(echo "$row" | awk '{ print $3 }')
    check "the table has the $1" grep -q "^$2" "/proc/${pid:-none}/comm"
    check "the $1's uid is the host's for it" test "$(echo "$row" | awk '{ print $4 }')" = "$(awk '/^Uid:/ { print $3 }' "/proc/$pid/status")"
    check "it is $3" test "$(echo "$row" | awk '{ print $4 }')" = "$3"
    effective=$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")
    check "its capabilities, $effective, are told as $4" sh -c 'case $2 in none) [ $((0x$1)) = 0 ] ;; kill) [ $((0x$1)) = 32 ] ;; esac &&
        echo "$3" | grep -q " $2 "' sh "$effective" "$4" "$row"
    check 'its namespaces are' grep -qE " $(own_namespaces "$pid" | sed 's/^$/none /') +[0-9]+\$" <<<"$row"
    filters=$(awk '/^Seccomp_filters:/ { print $2 }' "/proc/$pid/status")
    check 'its filters are' test "$(echo "$row" | awk '{ print $NF }')" = "$filters"
}

if [ "${SANITIZED:-0}" = 1 ]; then
    skip 'the table of the processes' 'a build with sanitizers leaves layers out'
else
    check_row supervisor vmsup 0 kill
    check_row vmproc vmproc $FIRST_UID none
    check_row plugin hello $((FIRST_UID + 1)) none
fi

# Every byte, in order; far more than the port holds.
for i in $(seq 100); do echo "line $i of a hundred"; done >"$WORK/lines"
cat "$WORK/lines" >&3
echo quit >&3
status=0
wait "$running" || status=$?
exec 3>&-
check "quit ends it well (exit code $status)" test "$status" = 0
check 'every line came back' cmp -s <(sed 's/^/you said: /' "$WORK/lines") <(grep '^you said: ' "$WORK/out" | tr -d '\r')
check_host 'nothing is left of it' "$WORK/before"

# The hello example with a guest that is a test of its serial port.
echo 'one byte an interrupt' >"$WORK/lines"
start -f --plugin "$BUILD/tests/system/serial" serial <"$WORK/lines" >"$WORK/out" 2>"$WORK/err"
check "its serial port is one ($(sed -n "s/^vmsup: .*serial: //p" "$WORK/err"), the number is the step that failed)" grep -q 'plugin exited 0' "$WORK/err"
check 'output and input are whole' cmp -s "$WORK/out" <(printf 'sent by interrupts\nsent at once\none byte an interrupt\n')
done_testing
