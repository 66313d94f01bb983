#!/usr/bin/env bash
# microvm's policy: a program that keeps to it runs, and dies of every call outside of it, by that call's name.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

outsider=$BUILD/tests/system/outsider
policies=$(dirname "$(realpath "$VMSUP")")/policy
[ -d "$policies" ] || policies=$(dirname "$(realpath "$VMSUP")")/../share/vmsup/policy
check 'the policy is well-formed' "$VMSUP" policy check "$policies/microvm.policy"
mkdir "$WORK/policy"
cp "$policies/microvm.policy" "$WORK/policy/plugin.policy"
chmod 0755 "$WORK/policy"
snapshot >"$WORK/before"

outside() { # NAME EXIT-CODE REGEX ARGUMENTS…
    local name=$1 code=$2 regex=$3
    shift 3
    expect "$name" "$code" "$regex" start -f --policy-dir "$WORK/policy" --plugin "$outsider" demo -- "$@"
}

if [ "${SANITIZED:-0}" = 1 ]; then
    skip 'calls outside of the policy' 'a build with sanitizers has no filter'
else
    outside 'a static program keeps to the policy' 0 'plugin exited 0'
    for call in $("$outsider" list); do
        outside "$call is fatal" 102 "SIGSYS: \`$call\` is not in plugin.policy" "$call"
    done
fi
check_host 'nothing was left behind' "$WORK/before"
done_testing
