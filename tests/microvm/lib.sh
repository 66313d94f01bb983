# What the tests of microvm share: a guest of the host's own kernel with a small initramfs, to which lines are given over its console.
# Sourced; it brings what the system tests have.
# shellcheck shell=bash
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/../system/lib.sh"

KERNEL=/boot/vmlinuz-$(uname -r)
INITRD=$WORK/initrd
MEMORY=256M
COMMAND_LINE='console=ttyS0 quiet panic=-1'
GUEST=
# A guest lives as long as what is tried with it takes: up to the end of its suite's time (tests/suites).
# shellcheck disable=SC2034 # start has it
START_SECONDS=580

# Why no stock kernel runs here; nothing where one does.
no_linux_because() {
    if [ "${SANITIZED:-0}" = 1 ]; then
        echo 'with sanitizers a guest would take longer than there is time'
    elif [ -e /sys/module/kvm_pvm ]; then
        echo "this host's KVM (kvm_pvm) emulates what a guest's kernel does: no stock kernel boots on it"
    elif [ ! -e /dev/kvm ]; then
        echo 'there is no /dev/kvm'
    elif [ ! -r "$KERNEL" ]; then
        echo "there is no $KERNEL for the guest"
    elif ! type busybox modprobe cpio >/dev/null 2>&1; then
        echo 'busybox, modprobe or cpio is not installed'
    fi
}

skip_without_linux() {
    local why
    why=$(no_linux_because)
    [ -n "$why" ] || return 0
    skip "$(basename "$0" .sh)" "$why"
    done_testing
    exit 0
}

guest_start() { # ARGUMENTS-OF-START…
    rm -f "$WORK/keys" "$WORK/status"
    mkfifo "$WORK/keys"
    : >"$WORK/out"
    {
        start -f --kernel "$KERNEL" ${INITRD:+--initrd "$INITRD"} --memory "$MEMORY" --cmdline "$COMMAND_LINE" guest "$@" \
            <"$WORK/keys" >"$WORK/out" 2>"$WORK/err"
        echo $? >"$WORK/status"
    } &
    GUEST=$!
    exec 3>"$WORK/keys"
}

guest_is_gone() {
    [ -s "$WORK/status" ]
}

# Looked for seldom: the guest needs the processor.
guest_printed() { # SECONDS REGEX LINES-BEFORE
    local end=$((SECONDS + $1 * TIME_FACTOR))
    until tail -n "+$(($3 + 1))" "$WORK/out" | grep -qE -e "$2"; do
        if [ "$SECONDS" -ge "$end" ] || guest_is_gone; then
            show_guest
            return 1
        fi
        sleep 0.3
    done
}

show_guest() {
    echo 'the guest:'
    tail -n 30 "$WORK/out"
    echo 'its supervisor:'
    cat "$WORK/err"
    show_threads
}

# What each thread of the VM's processes waits for; "running" where it does not.
show_threads() {
    local pid task
    processes | while read -r _ pid _; do
        for task in /proc/"$pid"/task/*; do
            echo "thread ${task##*/} of $pid: $(paste -sd' ' "$task"/{comm,wchan,syscall} 2>&1)"
        done
    done
}

guest_is_up() {
    guest_printed 25 '^GUEST-READY' 0
}

# Runs a line in the guest. What it printed then stands in $WORK/answer; it fails where the line fails or nothing comes back.
guest() { # LINE
    guest_takes 25 "$1" true
}

# The same; once the line is begun the command is run here, beside it.
guest_takes() { # SECONDS LINE COMMAND…
    local seconds=$1 line=$2 before
    shift 2
    before=$(wc -l <"$WORK/out")
    printf '%s\n' "$line" >&3
    if ! "$@"; then
        show_guest
        return 1
    fi
    guest_printed "$seconds" '^RESULT ' "$before" || return 1
    tail -n "+$((before + 1))" "$WORK/out" | tr -d '\r' >"$WORK/answer"
    cat "$WORK/answer"
    grep -qx 'RESULT 0' "$WORK/answer"
}

guest_says() { # REGEX LINE
    guest "$2" && grep -qE -e "$1" "$WORK/answer"
}

# A connection to the guest, whose kernel refuses it until somebody listens. What becomes of it, it ends.
tcp_open() { # ADDRESS PORT
    exec 4<>"/dev/tcp/$1/$2"
}

tcp_send() { # ADDRESS PORT FILE
    local status=0
    wait_until 10 tcp_open "$1" "$2" && timeout $((40 * TIME_FACTOR)) cat "$3" >&4 || status=$?
    exec 4>&-
    return "$status"
}

tcp_take() { # ADDRESS PORT FILE
    local status=0
    wait_until 10 tcp_open "$1" "$2" && timeout $((40 * TIME_FACTOR)) cat <&4 >"$3" || status=$?
    exec 4>&-
    return "$status"
}

# Lets the guest end itself by the line; the supervisor's exit code and reason.
guest_ends() { # EXIT-CODE REASON LINE
    printf '%s\n' "$3" >&3
    guest_ended "$1" "$2"
}

guest_ended() { # EXIT-CODE REASON
    wait_until 20 guest_is_gone
    if [ "$(cat "$WORK/status")" != "$1" ] || ! grep -qE -e "$2" "$WORK/err"; then
        echo "exit code $(cat "$WORK/status"), expected $1 and /$2/"
        show_guest
        return 1
    fi
}

# Closes the guest's console once it has ended.
guest_done() {
    exec 3>&-
    wait "$GUEST"
}

skip_without_linux
export FURTHER_MODULES="ext4 button evdev"
"$TREE/tools/make-initramfs" "$WORK/initrd" "$TREE/tests/microvm/init" "$(command -v busybox)" "$BUILD"/tests/microvm/{offloads,stream} \
    >"$WORK/made" 2>&1 || {
    not_ok 'an initramfs for the guest is made' "$(cat "$WORK/made")"
    done_testing
    exit 1
}
snapshot >"$WORK/before"
