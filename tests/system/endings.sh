#!/usr/bin/env bash
# The endings that need more than a plugin that plays a part: another host, another vmproc, another policy, a guest that is lost. Each is
# told from the others by its exit code and its line, is kept for list, and leaves nothing behind. Those that a plugin alone brings
# about are in life.sh; a test compares both with the table of vmsup(8).
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

network=(--host-ip 10.118.78.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a)
snapshot >"$WORK/before"

reason_is() { # REGEX
    list | grep -E "^demo +stopped +" | grep -qE -e "$1"
}

ends() { # NAME EXIT-CODE REGEX COMMAND…
    local name=$1 code=$2 reason=$3 status=0
    shift 3
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    if [[ $status =~ ^($code)$ ]] && [ "$(grep -cE -e "^vmsup: error: (demo: )?.*($reason)" "$WORK/err")" = 1 ]; then
        ok "$name"
    else
        not_ok "$name" "exit code $status, expected $code; expected one line of /$reason/ in:" "$(cat "$WORK/err")"
    fi
    check_host "$name: nothing was left behind" "$WORK/before"
}

kept() { # the same, of a VM whose folder was made
    ends "$@"
    check "$1: list says so" reason_is "($3).*exit code ($2)\)"
}

# A mount over a file of the host's, seen by the command alone.
with_mount() { # SOURCE TARGET ARGUMENTS-OF-START…
    local source=$1 target=$2
    shift 2
    # shellcheck disable=SC2016
    unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$source" "$target" \
        timeout --kill-after=5 $((30 * TIME_FACTOR)) "$VMSUP" start -f --runtime-dir "$RUN" --uid-range "$FIRST_UID:64" "$@"
}

# The program, vmproc and the policies in a folder where they can be changed.
mkdir "$WORK/other"
cp "$VMSUP" "$WORK/other/vmsup"
beside=$(dirname "$(realpath "$VMSUP")")
if [ -x "$beside/vmproc" ]; then
    cp "$beside/vmproc" "$WORK/other"
    cp -rL "$beside/policy" "$WORK/other"
else
    cp "$beside/../libexec/vmsup/vmproc" "$WORK/other"
    cp -r "$beside/../share/vmsup/policy" "$WORK/other"
fi
chmod -R go-w "$WORK/other"
other() { # ARGUMENTS-OF-START…
    VMSUP=$WORK/other/vmsup start -f "$@"
}

# --- the guest, and KVM

kept 'a lost guest whose plugin does not mind' 110 'the plugin did not exit in 200 ms and was killed' \
    start -f --grace 200 --plugin "$ACTOR" demo -- stubborn
kept 'a plugin that breaks the protocol of its vCPU' 108 'vCPU|request' start -f --exit-pipes --grace 200 --plugin "$ACTOR" demo -- rude
ends 'a host whose /dev/kvm is none' 107 '/dev/kvm .*expected' with_mount /dev/null /dev/kvm --plugin "$ACTOR" demo -- exit 0

# --- vmproc

cp "$WORK/other/vmproc" "$WORK/vmproc"
if [ "${SANITIZED:-0}" = 1 ]; then
    skip "a call that vmproc's policy does not allow" 'a build with sanitizers has no filter'
else
    sed -i 's/arg1 == KVM_CREATE_IRQCHIP ||//' "$WORK/other/policy/vmproc.policy"
    kept "a call that vmproc's policy does not allow" 112 'vmproc killed by SIGSYS: `ioctl` is not in vmproc.policy' \
        other --plugin "$ACTOR" demo -- exit 0
fi
build=$("$VMSUP" version | sed 's/.*build \([0-9a-f]*\)).*/\1/')
check 'version tells the build' test -n "$build"
LC_ALL=C sed "s/$build/$(tr 0-9a-f f0-9a-e <<<"$build")/g" "$WORK/vmproc" >"$WORK/other/vmproc"
kept 'a vmproc of another build' 114 'vmproc is of another build than this program' other --plugin "$ACTOR" demo -- exit 0
if [ "${SANITIZED:-0}" != 1 ]; then
    cp "$(type -P true)" "$WORK/other/vmproc"
    kept 'a vmproc that is some other program' '11[1-5]' 'vmproc' other --plugin "$ACTOR" demo -- exit 0
fi
rm "$WORK/other/vmproc"
expect_refusal 'no vmproc at all' 78 'vmproc is neither' other --plugin "$ACTOR" demo

# --- layers that cannot be had: what was made before is undone

kept 'a mount that cannot be made' 115 'plugin: cannot show /etc at ' start -f --plugin-mount "/etc:$ACTOR" --plugin "$ACTOR" demo
if [ -c /dev/net/tun ]; then
    kept 'a host whose TUN device is none' 116 'TAP: cannot be made' with_mount /dev/null /dev/net/tun "${network[@]}" --plugin "$ACTOR" demo
    kept 'a mount that cannot be made, with a network' 115 'plugin: cannot show' start -f "${network[@]}" --guest-ip 10.118.78.2 \
        --guest-mac de:21:e8:47:6b:6b --plugin-mount "/etc:$ACTOR" --plugin "$ACTOR" demo
else
    skip 'a host whose TUN device is none' '/dev/net/tun is not there'
fi

# --- what the plugin is given

echo text >"$WORK/shared"
chgrp 12345 "$WORK/shared"
expect 'a group that no map names is nobody inside' 0 "^group 65534 of /shared" start -f --plugin-mount "$WORK/shared:/shared" \
    --plugin "$ACTOR" demo -- group /shared
expect 'a map makes it known' 0 "^group 7 of /shared" start -f --plugin-mount "$WORK/shared:/shared" \
    --plugin-gid-map 7:12345 --plugin "$ACTOR" demo -- group /shared
printf '# groups\n100:12300:50\n' >"$WORK/gids"
printf '%s:/shared # one\n' "$WORK/shared" >"$WORK/mounts"
expect 'so do files of mounts and of maps' 0 "^group 145 of /shared" start -f --plugin-mount-file "$WORK/mounts" \
    --plugin-gid-map-file "$WORK/gids" --plugin "$ACTOR" demo -- group /shared
mkdir "$WORK/root"
expect 'a root of its own place' 0 "^group 0 of /" start -f --plugin-root "$WORK/root" --plugin "$ACTOR" demo -- group /
check 'the host sees nothing in it' test -z "$(ls -A "$WORK/root")"
check_host 'nothing was left behind by mounts and maps' "$WORK/before"

# --- ids are one host's, whatever the runtime folder is

for i in 1 2 3 4 5; do
    timeout $((30 * TIME_FACTOR)) "$VMSUP" start --runtime-dir "$RUN.$i" --uid-range "$FIRST_UID:64" --plugin "$ACTOR" demo -- idle </dev/null &
done
wait
# Processes go while they are looked at, which awk would give up over.
uids=$(cat /proc/[0-9]*/status 2>/dev/null | awk '/^Uid:/ { print $2 }' | awk -v first="$FIRST_UID" '$1 >= first && $1 < first + 64' | sort)
check "supervisors with other runtime folders share no id: $(tr '\n' ' ' <<<"$uids")" \
    test "$(wc -l <<<"$uids") $(sort -u <<<"$uids" | wc -l)" = '10 10'
for i in 1 2 3 4 5; do
    "$VMSUP" stop --now --runtime-dir "$RUN.$i" demo 2>/dev/null
    rm -rf "$RUN.$i"
done
check_host 'nothing was left behind by them' "$WORK/before"

# --- who may ask

if type setpriv >/dev/null 2>&1; then
    expect_refusal 'list for who is not root' 77 'run this as root' setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$VMSUP" list --runtime-dir "$RUN"
    expect_refusal 'stop for who is not root' 77 'run this as root' setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$VMSUP" stop --runtime-dir "$RUN" demo
fi
# shellcheck disable=SC2016
expect_refusal 'a list that cannot be written' 74 'standard output cannot be written: ' sh -c '"$1" list --runtime-dir "$2" >/dev/full' sh "$VMSUP" "$RUN"
done_testing
