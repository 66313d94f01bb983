#!/usr/bin/env bash
# What make install gives: that all of it is there, that it runs from where it is, and that an author can build a plugin with it.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

# In a host where it is installed there is nothing to install; elsewhere a prefix of its own is used.
if [ "${INSTALLED:-0}" = 1 ]; then
    prefix=/usr/local
else
    prefix=$WORK/prefix
    sanitize=
    [ "${SANITIZED:-0}" != 1 ] || sanitize=1
    check 'make install' env -u MAKEFLAGS -u MFLAGS make -s -C "$TREE" BUILD="$BUILD" SANITIZE="$sanitize" PREFIX="$prefix" install
fi
VMSUP=$prefix/sbin/vmsup

for file in sbin/vmsup libexec/vmsup/vmproc libexec/vmsup/microvm libexec/vmsup/examples/hello libexec/vmsup/examples/adder libexec/vmsup/examples/ping \
    share/vmsup/policy/supervisor.policy share/vmsup/policy/vmproc.policy share/vmsup/policy/plugin.policy \
    share/vmsup/policy/microvm.policy share/vmsup/plugin.proto \
    include/vmsup-plugin.h include/crosvm.h lib/libvmsup-plugin.so.0 lib/libvmsup-plugin.so lib/libvmsup-plugin.a \
    lib/libcrosvm_plugin.so lib/pkgconfig/vmsup-plugin.pc share/man/man8/vmsup.8 share/man/man5/vmsup-policy.5 \
    share/man/man3/vmsup-plugin.3 share/man/man7/vmsup-plugin.7; do
    check "$file is there" test -s "$prefix/$file"
done
check 'nobody but its owner may write any of it' test -z "$(find "$prefix" -path "$prefix/share/man" -prune -o -newer "$TREE/Makefile" \
    -not -type l -perm /022 -print)"
expect 'version' 0 '^vmsup [0-9.]+ \(build [0-9a-f]+\)$' "$VMSUP" version
expect 'the installed hello runs under the installed vmsup' 0 'plugin exited 0' start -f --plugin "$prefix/libexec/vmsup/examples/hello" demo
expect 'the installed adder runs' 0 'plugin exited 0' start -f --plugin "$prefix/libexec/vmsup/examples/adder" demo
for policy in "$prefix"/share/vmsup/policy/*.policy; do
    check "policy check $(basename "$policy")" "$VMSUP" policy check "$policy"
done

if type cc pkg-config >/dev/null 2>&1 && [ "${SANITIZED:-0}" != 1 ]; then
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    mkdir "$WORK/author"
    # shellcheck disable=SC2046
    check 'an author builds a plugin with pkg-config' cc -D_GNU_SOURCE -o "$WORK/author/plugin" "$TREE/tests/system/actor.c" \
        $(pkg-config --cflags --libs vmsup-plugin) "-Wl,-rpath,$prefix/lib"
    expect 'which runs' 100 'plugin exited 4' start -f --plugin "$WORK/author/plugin" demo -- exit 4
    # As vmsup-plugin(7) has it.
    cp "$prefix"/share/vmsup/examples/adder* "$WORK/author"
    check "the manual's commands build the adder" sh -e -c 'cd "$1" && cc -c -o guest.o adder_guest.S &&
        ld -Ttext 0 -e 0 -o guest guest.o && objcopy -O binary -j .text guest adder_guest.bin &&
        cc -o adder adder.c $(pkg-config --cflags --libs vmsup-plugin) "-Wl,-rpath,$2"' sh "$WORK/author" "$prefix/lib"
    expect 'which adds' 0 '^20 \+ 22 = 42' start -f --plugin "$WORK/author/adder" demo -- 20 22
    mkdir "$WORK/author/policy"
    policy=$WORK/author/policy/plugin.policy
    check 'its trace is a policy' sh -c '"$1" policy trace -- "$2/adder" 2>/dev/null >"$3"; "$1" policy check "$3"' \
        sh "$VMSUP" "$WORK/author" "$policy"
    # The manual's way to the rest of it: what a start names as missing is added, until nothing is.
    for _ in $(seq 20); do
        start -f --plugin "$WORK/author/adder" --policy-dir "$WORK/author/policy" demo >"$WORK/both" 2>&1 && break
        missing=$(sed -n 's/.*killed by SIGSYS: `\([a-z0-9_]*\)` is not in plugin.policy.*/\1/p' "$WORK/both")
        [ -n "$missing" ] || break
        echo "$missing: 1" >>"$policy"
    done
    check 'with what it misses added, the adder runs under it' grep -qx '20 + 22 = 42' "$WORK/both"
    # shellcheck disable=SC2046
    check 'an author builds a static plugin' cc -D_GNU_SOURCE -static -o "$WORK/author/static" "$TREE/tests/system/actor.c" \
        $(pkg-config --cflags --libs --static vmsup-plugin)
    expect 'which runs, with no library in its root' 100 'plugin exited 6' start -f --plugin "$WORK/author/static" demo -- exit 6
elif [ "${SANITIZED:-0}" = 1 ]; then
    skip 'an author builds a plugin' 'the library needs the sanitizers of this build'
else
    skip 'an author builds a plugin' 'no compiler on this host'
fi
done_testing
