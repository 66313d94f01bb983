#!/usr/bin/env bash
# What a plugin is granted of the host's files: which are refused, what it can do with those that it gets, how long they are locked, and
# microvm, which has its kernel and its disks so.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

USAGE=64 NOINPUT=66 TEMPFAIL=75 CONFIG=78
guests=$BUILD/tests/system/guests
file=$WORK/file disk=$WORK/disk
truncate -s 1M "$file" "$disk"
chmod 0644 "$file" "$disk"
network=(--host-ip 10.118.79.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a)
snapshot >"$WORK/before"

refused() { # NAME EXIT-CODE REGEX ARGUMENTS-OF-START…
    local name=$1 code=$2 regex=$3
    shift 3
    expect_refusal "$name" "$code" "$regex" start -f "$@"
}
grant() { # NAME EXIT-CODE REGEX GRANT…
    local name=$1 code=$2 regex=$3 each words=()
    shift 3
    for each in "$@"; do words+=(--grant "$each"); done
    refused "$name" "$code" "$regex" "${words[@]}" --plugin "$ACTOR" demo
}

# --- what is no grant

grant 'a grant without a path' $USAGE '--grant is "a": expected NAME=PATH' a
grant 'a grant without a name' $USAGE '--grant is "=/x": expected NAME=PATH' =/x
grant 'a name of its own' $USAGE 'net1 is a name that vmsup itself uses' "net1=$file"
grant 'a flag that is none' $USAGE '"wr" stands behind the path of a: expected ro, rw or lock' "a=$file,wr"
grant 'a name twice' $USAGE 'a is granted already' "a=$file" "a=$disk"
grant 'a file that is not there' $NOINPUT "--grant $WORK/none: No such file or directory: expected an existing file" "a=$WORK/none"
mkdir "$WORK/folder"
grant 'a folder' $CONFIG 'neither a regular file nor a block device' "a=$WORK/folder"
grant 'a device that is no disk' $CONFIG 'neither a regular file nor a block device' a=/dev/null
mkfifo "$WORK/fifo"
grant 'a FIFO, which nobody writes to' $CONFIG 'neither a regular file nor a block device' "a=$WORK/fifo"
ln -s file "$WORK/link"
grant 'a symbolic link' $CONFIG 'is a symbolic link: expected the file itself' "a=$WORK/link"
cp "$file" "$WORK/open"
chmod 0666 "$WORK/open"
grant 'a file that everybody may write' $CONFIG 'may be written by everybody' "a=$WORK/open"
cp "$file" "$WORK/owned"
chown "$FIRST_UID" "$WORK/owned"
grant 'a file of an id that VMs run under' $CONFIG 'belongs to an id that VMs run under' "a=$WORK/owned"
grant 'a file twice, to be written' $CONFIG 'is granted as a already' "a=$file,lock" "b=$file,rw,lock"
refused 'more queues than a TAP has' $USAGE '--net-queues is "9": expected a number from 1 to 8' --net-queues 9 --plugin "$ACTOR" demo
refused 'queues without a network' $USAGE '--net-queues: expected --host-ip' --net-queues 2 --plugin "$ACTOR" demo
refused 'a disk with another plugin' $USAGE "--disk is for microvm, not for another plugin: expected --grant disk0=$disk" \
    --disk "$disk" --plugin "$ACTOR" demo
refused 'memory with another plugin' $USAGE '--memory is for microvm' --memory 64M --plugin "$ACTOR" demo
refused 'no kernel for microvm' $USAGE 'neither --kernel nor --plugin' --disk "$disk" demo
refused 'too little memory for microvm' $USAGE '--memory is "1M": expected whole pages of 4K' --memory 1M --kernel "$file" demo
check_host 'nothing was left behind' "$WORK/before"

# --- what a plugin can do with it

# shellcheck disable=SC2317
use() { # GRANT: what the plugin says of it, in the background
    : >"$WORK/said"
    timeout $((30 * TIME_FACTOR)) "$VMSUP" start -f --runtime-dir "$RUN" --uid-range "$FIRST_UID:64" --grant "$1" --plugin "$ACTOR" user -- grant a \
        >"$WORK/said" 2>"$WORK/err" </dev/null &
    USER_VM=$!
    wait_until 30 grep -q '^unlock' "$WORK/said" || cat "$WORK/err"
}
says() { # NAME LINE…
    local name=$1
    shift
    check "$name" diff <(printf '%s\n' "$@") "$WORK/said"
}
other() { # NAME EXIT-CODE REGEX GRANT: of another VM
    expect "$1" "$2" "$3" start -f --grant "$4" --plugin "$ACTOR" other -- exit 0
}
end_use() {
    stop --now user >/dev/null 2>&1
    wait "$USER_VM"
}

use "a=$file"
says 'a grant for reading can be read, not written nor opened anew' 'read: done' 'write: Bad file descriptor' 'open anew: Permission denied' \
    'unlock: done'
other 'without a lock another VM may have the file' 0 'plugin exited 0' "a=$file,rw,lock"
end_use

use "a=$file,rw,lock"
says 'a grant for writing can be read and written, not opened anew' 'read: done' 'write: done' 'open anew: Permission denied' 'unlock: done'
other 'the plugin gave up its lock, and the file is locked' $TEMPFAIL 'is locked by another process, such as another VM: expected a file that nobody else uses' \
    "a=$file,rw,lock"
other 'for reading, too' $TEMPFAIL 'expected a file that nobody else writes' "a=$file,lock"
end_use
other 'with the VM goes the lock' 0 'plugin exited 0' "a=$file,rw,lock"

use "a=$file,lock"
other 'two may read' 0 'plugin exited 0' "a=$file,lock"
other 'nobody may write what another reads' $TEMPFAIL 'is locked by another process' "a=$file,rw,lock"
read -r supervisor _ <"$RUN/user/pid"
kill -9 "$supervisor"
{ wait "$USER_VM"; } 2>/dev/null
stop user >/dev/null 2>&1
check 'a supervisor that is killed leaves no lock' wait_until 10 start -f --grant "a=$file,rw,lock" --plugin "$ACTOR" other -- exit 0
check_host 'nothing was left behind by plugins' "$WORK/before"

# --- a block device, which the host may have in use

loop=$(losetup -f --show "$disk" 2>/dev/null)
if [ -n "$loop" ] && mkfs.ext4 -q "$loop" 2>/dev/null && mkdir "$WORK/mounted" && mount "$loop" "$WORK/mounted"; then
    grant 'a disk that the host has mounted, to be written' $TEMPFAIL "--grant $loop: Device or resource busy: expected what is not in use" \
        "a=$loop,rw,lock"
    expect 'to be read' 0 'plugin exited 0' start -f --grant "a=$loop,lock" --plugin "$ACTOR" demo -- exit 0
    umount "$WORK/mounted"
    use "a=$loop,rw,lock"
    other 'a disk that is not mounted can be had once' $TEMPFAIL 'Device or resource busy|is locked by another process' "a=$loop,rw,lock"
    end_use
    other 'and then again' 0 'plugin exited 0' "a=$loop,rw,lock"
else
    skip 'block devices' 'this host has no loop devices with a file system'
fi
[ -z "$loop" ] || losetup -d "$loop"

# --- microvm

expect 'a kernel that is none, told in one line' 100 'plugin: microvm: error: .*kernel' start -f --kernel "$file" demo
check 'with the reason behind it' test "$(grep -c . "$WORK/both")" -le "$((2 + ${SANITIZED:-0}))"
expect 'a guest that turns itself off' 0 'guest powered off' start -f --kernel "$guests/off" --memory 64M demo
expect 'a guest that resets' 104 'guest reset' start -f --kernel "$guests/reset" --memory 64M demo
list >"$WORK/list"
check 'list says so' grep -qE '^demo +stopped +guest reset: .*exit code 104' "$WORK/list"
expect 'with two disks and a network' 0 'guest powered off' start -f --kernel "$guests/off" --initrd "$file" --disk "$disk" --disk "$file,ro" \
    --cmdline 'console=ttyS0 quiet' "${network[@]}" demo
expect 'an initrd that the guest could write' $CONFIG 'is granted as initrd already: expected each once, or all read-only' \
    start -f --kernel "$guests/off" --initrd "$file" --disk "$file" demo
check 'in the background' start --kernel "$guests/idle" --disk "$disk" demo
# How often each process holds it: the supervisor its lock, vmproc nothing, the plugin what it was given.
holders() { # FILE
    local supervisor pid
    read -r supervisor _ <"$RUN/demo/pid"
    for pid in "$supervisor" $(cat "/proc/$supervisor/task/$supervisor/children"); do
        echo "$([ "$pid" = "$supervisor" ] && echo supervisor || cat "/proc/$pid/comm")" "$(find "/proc/$pid/fd" -lname "$1" | wc -l)"
    done
}
check 'who holds the disk' diff <(printf '%s\n' 'supervisor 1' 'vmproc 0' 'microvm 1') <(holders "$disk")
check 'who holds the kernel' diff <(printf '%s\n' 'supervisor 1' 'vmproc 0' 'microvm 1') <(holders "$(realpath "$guests/idle")")
expect 'its kernel is nobody'"'"'s to write' $TEMPFAIL 'is locked by another process' start -f --kernel "$guests/off" --disk "$guests/idle" other
expect 'its disk is locked' $TEMPFAIL 'is locked by another process' start -f --kernel "$guests/off" --disk "$disk" other
check 'it is stopped' stop --now demo
expect 'and its disk is free' 0 'guest powered off' start -f --kernel "$guests/off" --disk "$disk" other
expect "the admin's arguments come last" 100 'plugin: microvm: error: --frobnicate: no option' \
    start -f --kernel "$guests/off" demo -- --frobnicate
check_host 'nothing was left behind by microvm' "$WORK/before"
done_testing
