#!/usr/bin/env bash
# The demo where KVM runs a stock kernel: the host's own Linux, and a shell on its console.
# shellcheck source=tests/microvm/lib.sh
source "$(dirname "$0")/lib.sh"

# The keys come once there is somebody to read them.
demo() {
    {
        wait_until 30 grep -q 'ends this guest' "$WORK/out"
        echo 'echo "it is $((6 * 7))"'
        wait_until 30 grep -q 'it is 42' "$WORK/out"
        echo 'poweroff -f'
        wait_until 30 grep -q 'Power down' "$WORK/out"
    } | "$TREE/tools/demo" --runtime-dir "$RUN" --uid-range "$FIRST_UID:64" >"$WORK/out" 2>&1
}

: >"$WORK/out"
check 'the demo ends well' demo
check 'it says that its guest is Linux' grep -q "^The guest is this machine's own Linux" "$WORK/out"
check 'Linux is there' grep -q "^Hello from Linux $(uname -r)" "$WORK/out"
check 'its shell computes' grep -q '^it is 42' "$WORK/out"
check_host 'nothing is left' "$WORK/before"
done_testing
