#!/usr/bin/env bash
# The life of a VM as an admin sees it: start, list, stop, and every ending that a plugin can bring about, with its reason and its
# exit code; after each, the host is as it was before.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

plugin=$ACTOR
snapshot >"$WORK/before"

pid_of() { # NAME ROLE: as list or the runtime folder knows them
    case $2 in
    supervisor) cat "$RUN/$1/pid" ;;
    *) for child in $(pgrep -P "$(cat "$RUN/$1/pid")"); do
        case $2 in
        vmproc) [ "$(cat "/proc/$child/comm")" != vmproc ] || echo "$child" ;;
        plugin) [ "$(cat "/proc/$child/comm")" = vmproc ] || echo "$child" ;;
        esac
    done ;;
    esac
}

nothing_runs() {
    [ -z "$(processes)" ]
}

reason_is() { # NAME REGEX
    list | grep -E "^$1 +stopped +" | grep -qE -e "$2"
}

# --- in the foreground, each ending by itself

memory_max=

ends() { # NAME EXIT-CODE REASON PLUGIN-ARGUMENTS…
    local name=$1 code=$2 reason=$3
    shift 3
    expect "$name" "$code" "$reason" start -f --grace 300 ${memory_max:+--memory-max "$memory_max"} --plugin "$plugin" demo -- "$@"
    check "$name: list says so" reason_is demo "$reason.*exit code $code\)"
    check_host "$name: nothing was left behind" "$WORK/before"
}
ends 'a plugin that exits 0' 0 'plugin exited 0' exit 0
ends 'a plugin that exits 3' 100 'plugin exited 3' exit 3
ends 'a plugin that exits 0 without having connected' 0 'plugin exited 0' early 0
ends 'a plugin that exits 9 without having connected' 100 'plugin exited 9' early 9
ends 'a plugin that dies of a fault' 101 'plugin died of signal 11 \(Segmentation fault\)' fault
if [ "${SANITIZED:-0}" = 1 ]; then
    skip 'a plugin that makes a forbidden call' 'a build with sanitizers has no filter'
else
    ends 'a plugin that makes a forbidden call' 102 'SIGSYS: .*ptrace' forbidden
fi
ends 'a guest without code' 10[35] 'KVM|guest|internal error|shut down' lost

if grep -qw memory "$(findmnt -nt cgroup2 -o TARGET | head -n 1)/cgroup.controllers" 2>/dev/null; then
    memory_max=64M
    ends 'a plugin that takes more memory than the VM may have' 109 'out of memory' eat
    memory_max=
else
    skip 'a plugin that takes more memory than the VM may have' 'this host has no memory controller of cgroup v2'
    expect 'a limit on memory that the host cannot keep' 69 'memory controller' start -f --memory-max 64M --plugin "$plugin" demo -- idle
fi

# --- its root, wherever that is mounted

for root in "$(dirname "$plugin")" / /proc /dev; do
    expect "a plugin whose root is mounted over $root" 0 'plugin exited 0' \
        start -f --plugin-root "$root" --plugin-mount /etc/hostname --plugin "$plugin" demo -- exit 0
done
check_host 'nothing was left behind by any of them' "$WORK/before"

# --- its console

printf 'one\ntwo\n' >"$WORK/input"
status=0
start -f --plugin "$plugin" demo -- echo 'a b' '' '*' <"$WORK/input" >"$WORK/output" 2>"$WORK/log" || status=$?
printf 'argument a b\nargument \nargument *\nread one\nread two\n' >"$WORK/expected"
check 'a plugin gets its arguments and its input' diff "$WORK/expected" "$WORK/output"
check 'and exits 0 when the input ends' test "$status" = 0
expect 'without the jail there is a loud warning' 0 'NOT JAILED' start -f --disable-sandbox --plugin "$plugin" demo -- exit 0
status=0
start -f --plugin "$plugin" --grace 300 demo -- flood </dev/null >"$WORK/output" 2>"$WORK/log" &
flooding=$!
wait_until 10 grep -q 'says too much' "$WORK/log"
sleep 1
stop --now demo 2>/dev/null
wait "$flooding"
size=$(stat -c %s "$WORK/log")
check "a plugin's flood of lines is cut: $size bytes" test "$size" -lt 1000000

# --- in the background

check 'start returns once the VM runs' start --plugin "$plugin" demo -- idle
check 'list shows it' grep -qE '^demo +running +' <(list)
count=$(processes | wc -l)
check "three processes, $count found" test "$count" = 3
expect 'the name is taken' 75 'demo is already running' start --plugin "$plugin" demo -- idle
check 'stop ends it' stop demo
check 'list says by whom' reason_is demo 'stopped by (root|uid 0)'
check_host 'nothing was left behind by stop' "$WORK/before"
expect 'stop of what is stopped' 69 'not running' stop demo
expect 'a start in the background that fails says why' 100 'plugin exited 5' start --plugin "$plugin" demo -- early 5

check 'a plugin that does not mind the end runs' start --plugin "$plugin" --grace 200 demo -- stay
check 'and is stopped after the grace time' stop demo
check 'the reason says so' reason_is demo 'did not exit in 200 ms and was killed'
check 'a plugin with a long grace time runs' start --plugin "$plugin" --grace 600000 demo -- stay
check 'and is stopped now' stop --now demo
check_host 'nothing was left behind by stop --now' "$WORK/before"

# --- killed from outside

for role in plugin vmproc supervisor; do
    check "a VM whose $role is to be killed runs" start --plugin "$plugin" --grace 200 demo -- stay
    victim=$(pid_of demo "$role")
    check "its $role is found" test -n "$victim"
    [ -z "$victim" ] || kill -KILL "$victim"
    case $role in
    plugin) check 'the reason names the plugin' wait_until 10 reason_is demo 'plugin died of signal 9' ;;
    vmproc) check 'the reason names vmproc' wait_until 10 reason_is demo 'vmproc died of signal 9' ;;
    supervisor)
        check 'the others die with the supervisor' wait_until 10 nothing_runs
        check 'list says that it was killed' reason_is demo 'its supervisor was killed'
        check 'stop clears what it left' stop demo
        ;;
    esac
    check_host "nothing was left behind when the $role was killed" "$WORK/before"
done

# --- stopped processes do not keep a VM alive

for role in plugin vmproc supervisor; do
    check "a VM whose $role is to be stopped runs" start --plugin "$plugin" --grace 200 demo -- stay
    victim=$(pid_of demo "$role")
    [ -z "$victim" ] || kill -STOP "$victim"
    check "it can be ended while its $role hangs" stop demo
    check_host "nothing was left behind when the $role hung" "$WORK/before"
done

# --- several at once

for i in 1 2 3 4; do
    start --plugin "$plugin" "many$i" -- idle &
done
wait
uids=$(processes | sed -n 's/.*uid \([0-9]*\).*/\1/p' | sort)
check 'four VMs that start at once have eight ids' test "$(sort -u <<<"$uids" | wc -l)" = 8
check 'and none is shared' test "$(uniq -d <<<"$uids")" = ''
for i in 1 2 3 4; do stop "many$i" 2>/dev/null; done
check_host 'nothing was left behind by four' "$WORK/before"
expect 'a range with no ids left' 75 'id' bash -c "
    '$VMSUP' start --runtime-dir '$RUN' --uid-range $((FIRST_UID + 60)):2 --plugin '$plugin' first -- idle || exit 1
    '$VMSUP' start --runtime-dir '$RUN' --uid-range $((FIRST_UID + 60)):2 --plugin '$plugin' second -- idle
    status=\$?
    '$VMSUP' stop --runtime-dir '$RUN' first
    exit \$status"
check_host 'nothing was left behind by a start without ids' "$WORK/before"
done_testing
