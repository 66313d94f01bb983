#!/usr/bin/env bash
# Whichever process is killed, and whenever: the VM ends, and nothing of it is left.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

truncate -s 8M "$WORK/root"
chmod 0600 "$WORK/root"

pid_of() { # ROLE
    local child
    [ "$1" != supervisor ] || cat "$RUN/guest/pid"
    for child in $(pgrep -P "$(cat "$RUN/guest/pid")"); do
        case $1:$(cat "/proc/$child/comm") in vmproc:vmproc | plugin:microvm) echo "$child" ;; esac
    done
}

is_there() { # ROLE
    [ -n "$(pid_of "$1")" ]
}

# The kernel says nothing before it has its console, and little after that: what is waited for is time.
killed() { # ROLE WHEN EXIT-CODE
    local pid
    guest_start --cpus 2 --disk "$WORK/root"
    wait_until 10 is_there "$1" || { show_guest; return 1; }
    if [ "$2" = userspace ]; then guest_is_up || return 1; else sleep "$2"; fi
    pid=$(pid_of "$1")
    kill -9 "$pid" || { show_guest; return 1; }
    guest_ended "$3" ''
}

declare -A codes=([supervisor]=137 [vmproc]=111 [plugin]=101)
for when in 0 1 3 userspace; do
    for role in supervisor vmproc plugin; do
        # Userspace takes longer to reach, and one process there is as good as another.
        [ "$when" != userspace ] || [ "$role" = plugin ] || continue
        check "the $role is killed ($when)" killed "$role" "$when" "${codes[$role]}"
        # What a supervisor that is killed leaves behind, the next command clears.
        [ "$role" != supervisor ] || check "the supervisor is killed ($when): stop clears what it left" stop guest
        check_host "the $role is killed ($when): nothing is left" "$WORK/before"
    done
done
done_testing
