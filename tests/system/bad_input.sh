#!/usr/bin/env bash
# Bad input from whoever calls: each mistake is one line that says what was wrong and what was expected, with an exit code of
# <sysexits.h>, and leaves nothing behind.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

USAGE=64 DATAERR=65 NOINPUT=66 NOPERM=77 CONFIG=78
plugin=$WORK/plugin
cp "$ACTOR" "$plugin"
chmod 0755 "$plugin"
mkdir "$WORK/folder"

refused() { # NAME EXIT-CODE REGEX ARGUMENTS-OF-START…
    local name=$1 code=$2 regex=$3
    shift 3
    expect_refusal "$name" "$code" "$regex" start -f "$@"
}

snapshot >"$WORK/before"

expect 'no verb' $USAGE 'usage: vmsup start' "$VMSUP"
expect 'an unknown verb' $USAGE 'frobnicate: no such verb' "$VMSUP" frobnicate

refused 'no name' $USAGE 'no name: expected' --plugin "$plugin"
refused 'neither plugin nor kernel' $USAGE 'neither --kernel nor --plugin: expected' demo
refused 'two names' $USAGE 'expected one name only' --plugin "$plugin" one two
refused 'a name with a capital' $USAGE 'the name is "Demo": expected' --plugin "$plugin" Demo
refused 'a name with a slash' $USAGE 'the name is "a/b": expected' --plugin "$plugin" a/b
refused 'a name that begins with a dot' $USAGE 'the name is "\.a": expected' --plugin "$plugin" .a
refused 'an empty name' $USAGE 'name' --plugin "$plugin" ''
refused 'a name of 33 characters' $USAGE 'expected a lower-case letter' --plugin "$plugin" "$(printf 'a%.0s' {1..33})"
refused 'an unknown option' $USAGE '--frobnicate: no such option' --frobnicate --plugin "$plugin" demo
refused 'an unknown letter' $USAGE '-x: no such option' -x --plugin "$plugin" demo
refused 'an option without its value' $USAGE 'expected a value after it' demo --plugin
refused 'a value where none is' $USAGE '--foreground: expected no value' --foreground=yes --plugin "$plugin" demo

for value in 0 127 -1 1.5 two '' ' 1' 99999999999999999999; do
    refused "--cpus '$value'" $USAGE '--cpus is ".*": expected a number from 1 to 126' --cpus "$value" --plugin "$plugin" demo
done

refused 'a plugin that is not there' $NOINPUT 'No such file' --plugin "$WORK/none" demo
refused 'an empty path of a plugin' $USAGE 'expected the path of a program' --plugin '' demo
refused 'a plugin that is a folder' $CONFIG 'is a directory: expected a program' --plugin "$WORK/folder" demo
refused 'a plugin that is a device' $CONFIG 'no regular file' --plugin /dev/null demo
mkfifo "$WORK/fifo"
refused 'a plugin that is a FIFO' $CONFIG 'no regular file' --plugin "$WORK/fifo" demo
ln -s "$WORK/none" "$WORK/dangling"
refused 'a plugin that is a dangling link' $NOINPUT 'No such file' --plugin "$WORK/dangling" demo
ln -s loop "$WORK/loop"
refused 'a plugin that is a loop of links' $NOINPUT 'symbolic links' --plugin "$WORK/loop" demo

variant() { # NAME MODE: a copy of the plugin
    cp "$plugin" "$WORK/$1"
    chmod "$2" "$WORK/$1"
}
variant plain 0644
refused 'a plugin that is not executable' $CONFIG 'not executable' --plugin "$WORK/plain" demo
variant setuid 4755
refused 'a plugin that is setuid' $CONFIG 'setuid or setgid' --plugin "$WORK/setuid" demo
variant setgid 2755
refused 'a plugin that is setgid' $CONFIG 'setuid or setgid' --plugin "$WORK/setgid" demo
variant private 0700
refused 'a plugin that only its owner may run' $CONFIG 'everybody may read and execute' --plugin "$WORK/private" demo
printf '#!/bin/sh\nexit 0\n' >"$WORK/script"
chmod 0755 "$WORK/script"
refused 'a plugin that is a script' $CONFIG 'script' --plugin "$WORK/script" demo
printf 'MZ and then nothing' >"$WORK/other"
chmod 0755 "$WORK/other"
refused 'a plugin of another format' $CONFIG 'ELF' --plugin "$WORK/other" demo
: >"$WORK/empty"
chmod 0755 "$WORK/empty"
refused 'an empty plugin' $CONFIG 'ELF|empty|short' --plugin "$WORK/empty" demo
# e_machine, at 18: 183 is another architecture; e_ident[4]: 1 is 32 bits; e_type, at 16: 1 is an object.
patch() { # NAME OFFSET BYTES
    variant "$1" 0755
    # shellcheck disable=SC2059
    printf "$3" | dd of="$WORK/$1" bs=1 seek="$2" conv=notrunc status=none
}
patch machine 18 '\267'
refused 'a plugin of another architecture' $CONFIG 'x86-64|architecture|machine' --plugin "$WORK/machine" demo
patch class 4 '\001'
refused 'a plugin of 32 bits' $CONFIG '64|bit' --plugin "$WORK/class" demo
patch object 16 '\001'
refused 'a plugin that is an object file' $CONFIG 'executable|program' --plugin "$WORK/object" demo
variant truncated 0755
truncate -s 100 "$WORK/truncated"
refused 'a plugin that is cut off' $CONFIG 'ELF|header|short|cut|end' --plugin "$WORK/truncated" demo

refused 'a root that is relative' $USAGE '--plugin-root is "folder": expected an absolute path' --plugin-root folder --plugin "$plugin" demo
refused 'a root that is not there' $NOINPUT '--plugin-root .*expected an existing directory' --plugin-root "$WORK/none" --plugin "$plugin" demo
refused 'a root that is a file' $CONFIG '--plugin-root .*not a directory' --plugin-root "$plugin" --plugin "$plugin" demo

refused 'a mount from nowhere' $NOINPUT '--plugin-mount .*expected an existing source' --plugin-mount "$WORK/none" --plugin "$plugin" demo
refused 'a mount with a relative source' $USAGE '--plugin-mount: .*expected an absolute path' --plugin-mount tmp --plugin "$plugin" demo
refused 'a mount with dots' $USAGE '--plugin-mount: .*expected a path without' --plugin-mount "$WORK/folder:/a/../b" --plugin "$plugin" demo
refused 'a mount with a third field unknown' $USAGE 'expected true \(writable\) or false' --plugin-mount "$WORK/folder:/a:rw" --plugin "$plugin" demo
refused 'a mount with four fields' $USAGE '--plugin-mount' --plugin-mount "$WORK/folder:/a:true:x" --plugin "$plugin" demo
printf '# comment\n/tmp\ntmp\n' >"$WORK/mounts"
refused 'a wrong line in a file of mounts' $DATAERR "mounts:3: .*expected an absolute path" --plugin-mount-file "$WORK/mounts" --plugin "$plugin" demo
refused 'a file of mounts that is not there' $NOINPUT 'none' --plugin-mount-file "$WORK/none" --plugin "$plugin" demo

for value in x -1 1:x 1:2:0 1:2:3:4 4294967296; do
    refused "a gid map '$value'" $USAGE '--plugin-gid-map: .*expected' --plugin-gid-map "$value" --plugin "$plugin" demo
done
printf '5:x\n' >"$WORK/gids"
refused 'a wrong line in a file of gid maps' $DATAERR 'gids:1: .*expected' --plugin-gid-map-file "$WORK/gids" --plugin "$plugin" demo

refused 'a policy folder that is not there' $NOINPUT '--policy-dir .*expected an existing directory' --policy-dir "$WORK/none" --plugin "$ACTOR" demo
refused 'a policy folder without a policy' $NOINPUT 'plugin\.policy.*expected that file' --policy-dir "$WORK/folder" --plugin "$ACTOR" demo
echo 'frobnicate: 1' >"$WORK/folder/plugin.policy"
expect 'a policy with an unknown call' $DATAERR 'plugin\.policy:1:1: .*frobnicate' start -f --policy-dir "$WORK/folder" --plugin "$ACTOR" demo
echo 'read: 1' >"$WORK/folder/plugin.policy"
chmod 0666 "$WORK/folder/plugin.policy"
expect 'a policy that everybody may write' $DATAERR 'plugin\.policy.*writ' start -f --seccomp-policy-dir "$WORK/folder" --plugin "$ACTOR" demo

network='--host-ip 10.118.7.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a'
# shellcheck disable=SC2086
{
    refused 'an address without its mask' $USAGE 'is missing: expected all of' --host-ip 10.118.7.1 --plugin "$ACTOR" demo
    refused 'a MAC alone' $USAGE 'is missing: expected all of' --mac de:21:e8:47:6b:6a --plugin "$ACTOR" demo
    refused 'no IPv4 address' $USAGE '--host-ip is "300\.1\.1\.1"' $network --host-ip 300.1.1.1 --plugin "$ACTOR" demo
    refused 'an address of many' $USAGE '--host-ip is "224\.0\.0\.1"' $network --host-ip 224.0.0.1 --plugin "$ACTOR" demo
    refused "a network's own address" $USAGE "network's own" $network --host-ip 10.118.7.0 --plugin "$ACTOR" demo
    refused 'a mask with a hole' $USAGE '--netmask is "255\.0\.255\.0"' $network --netmask 255.0.255.0 --plugin "$ACTOR" demo
    refused 'a MAC of a group' $USAGE '--mac is "01:' $network --mac 01:00:5e:00:00:01 --plugin "$ACTOR" demo
    refused 'a MAC that is short' $USAGE '--mac is "de:21"' $network --mac de:21 --plugin "$ACTOR" demo
    refused "a guest's address alone" $USAGE '--guest-mac is missing' $network --guest-ip 10.118.7.2 --plugin "$ACTOR" demo
    refused "a guest's address without a network" $USAGE 'expected --host-ip' --guest-ip 10.118.7.2 --guest-mac de:21:e8:47:6b:6b --plugin "$ACTOR" demo
}

for value in 1900000000 0:64 1900000000:1 a:b 4294967290:100; do
    expect_refusal "--uid-range $value" $USAGE '--uid-range is' "$VMSUP" start -f --runtime-dir "$RUN" --uid-range "$value" --plugin "$ACTOR" demo
done
refused 'a grace time that is none' $USAGE '--grace is "soon"' --grace soon --plugin "$ACTOR" demo
refused 'a grace time without end' $USAGE '--grace is' --grace 3600001 --plugin "$ACTOR" demo
for value in nonsense 10001 -1 '' 1.5; do
    refused "--exit-spin '$value'" $USAGE "--exit-spin is \"$value\": expected microseconds, from 0 to 10000" --exit-spin "$value" --plugin "$plugin" demo
done
refused 'a spin without its value' $USAGE 'expected a value after it' demo --plugin "$plugin" --exit-spin
refused 'pipes with a value' $USAGE '--exit-pipes: expected no value' --exit-pipes=1 --plugin "$plugin" demo
refused 'a log level that is none' $USAGE '--log-level is "loud": expected' --log-level loud --plugin "$ACTOR" demo
refused 'memory that is too little' $USAGE '--memory-max is "1K": expected' --memory-max 1K --plugin "$ACTOR" demo

expect_refusal 'a runtime folder that is relative' $USAGE '--runtime-dir is "x"' "$VMSUP" start -f --runtime-dir x --plugin "$ACTOR" demo
mkdir "$WORK/open"
chmod 0777 "$WORK/open"
expect_refusal 'a runtime folder that everybody may write' $NOPERM 'open' "$VMSUP" start -f --runtime-dir "$WORK/open" --uid-range "$FIRST_UID:64" --plugin "$ACTOR" demo
if type setpriv >/dev/null 2>&1; then
    expect_refusal 'not root' $NOPERM 'root' setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$VMSUP" start -f --runtime-dir "$RUN" --plugin "$ACTOR" demo
else
    skip 'not root' 'setpriv is not installed'
fi

expect_refusal 'stop without a name' $USAGE 'usage: vmsup stop' stop
expect_refusal 'stop of a wrong name' $USAGE 'expected' stop A
expect_refusal 'stop of a name that is not known' $NOINPUT 'demo' stop demo
expect_refusal 'list with an argument' $USAGE 'usage: vmsup list' "$VMSUP" list demo
check_host 'nothing was left behind' "$WORK/before"
done_testing
