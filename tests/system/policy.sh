#!/usr/bin/env bash
# vmsup policy: what an admin with somebody's policy in hand is told.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

cat >"$WORK/good.policy" <<'POLICY'
# A comment.
{read, write}: 1
openat: arg2 in O_CLOEXEC; return EACCES
lseek: arg0 == 1 || arg1 > 5
POLICY
printf 'read: 1\nwrite: arg6 == 1\n' >"$WORK/wrong.policy"
echo 'openat: arg0 == -100' >"$WORK/never.policy"

evaluates() { # CALL RESULT
    expect "eval $1: $2" 0 "^$2\$" "$VMSUP" policy eval "$WORK/good.policy" "$1"
}

check 'check says nothing of a good policy' test -z "$("$VMSUP" policy check "$WORK/good.policy" 2>&1)"
expect 'check says where it is wrong' 65 "wrong\.policy:2:8: .*arg0 to arg5" "$VMSUP" policy check "$WORK/good.policy" "$WORK/wrong.policy"
expect 'check warns of what can never match' 0 'never' "$VMSUP" policy check "$WORK/never.policy"
echo 'read: 1' >"$WORK/open.policy"
chmod 0664 "$WORK/open.policy"
expect 'check of a file that others may write' 65 'others than its owner may write' "$VMSUP" policy check "$WORK/open.policy"
printf '@include good.policy\nread: arg0 == 1\n' >"$WORK/twice.policy"
expect 'check names both places of a contradiction' 65 'twice\.policy:2:1: .*good\.policy:2' "$VMSUP" policy check "$WORK/twice.policy"
# A start adds what lets it through to its program: check counts that too, so that a policy which it takes is not refused later.
longest() { # VERB [CALL]: how many conditions it takes at most, of those tried
    local count most=0
    for count in $(seq 670 685); do
        seq "$count" | sed 's/^/lseek: arg0 == /' >"$WORK/long.policy"
        "$VMSUP" policy "$1" "$WORK/long.policy" ${2:+"$2"} >/dev/null 2>&1 && most=$count
    done
    echo "$most"
}
check 'check leaves room for what a start adds' test "$(longest check)" -lt "$(longest eval read)"
seq 500 | sed 's/.*/{lseek, read}: arg0 == &/' >"$WORK/long.policy"
expect_refusal 'a policy that is longer than a filter' 65 'at most 4096' "$VMSUP" policy check "$WORK/long.policy"
expect_refusal 'check of a file that is not there' 66 'none\.policy' "$VMSUP" policy check "$WORK/none.policy"
expect 'show prints it as understood' 0 '^openat: arg2 in 0x80000; return EACCES$' "$VMSUP" policy show "$WORK/good.policy"
"$VMSUP" policy show "$WORK/good.policy" >"$WORK/shown.policy"
"$VMSUP" policy show "$WORK/shown.policy" >"$WORK/again.policy"
check 'what show prints is a policy that says the same' cmp "$WORK/shown.policy" "$WORK/again.policy"
evaluates read allow
evaluates 'openat(-100, 0, 0x80000)' allow
evaluates 'openat(-100, 0, O_WRONLY)' 'errno EACCES'
evaluates 'lseek(2, 5)' kill
evaluates 'lseek(0, 6)' allow
evaluates ptrace kill
expect 'eval of a call that there is not' 64 'name of a system call' "$VMSUP" policy eval "$WORK/good.policy" nosuch
expect 'eval with seven arguments' 64 'six arguments' "$VMSUP" policy eval "$WORK/good.policy" 'read(1,2,3,4,5,6,7)'
for words in '' 'frobnicate' 'check' 'show' 'eval' 'trace'; do
    # shellcheck disable=SC2086
    expect_refusal "vmsup policy $words" 64 '^usage: ' "$VMSUP" policy $words
done

check 'trace prints a policy' sh -c '"$1" policy trace -- /bin/true >"$2" && "$1" policy check "$2" && grep -q "^[a-z].*: 1$" "$2"' \
    sh "$VMSUP" "$WORK/traced.policy"
expect 'with the calls that the program made' 0 '^allow$' "$VMSUP" policy eval "$WORK/traced.policy" exit_group
expect 'and no other' 0 '^kill$' "$VMSUP" policy eval "$WORK/traced.policy" socket
expect 'trace exits as the program did' 3 'exit_group' "$VMSUP" policy trace -- /bin/sh -c 'exit 3'
# Enough lines for sort to have a second thread.
seq 300000 >"$WORK/lines"
check 'a traced thread needs clone with its flags, and no clone3' sh -c '"$1" policy trace -- sort --parallel=2 -o /dev/null "$2" >"$3" &&
    grep -qx "clone: arg0 == 0x3d0f00" "$3" && grep -qx "clone3: return ENOSYS" "$3"' sh "$VMSUP" "$WORK/lines" "$WORK/threads.policy"
expect_refusal 'trace of a program that is not there prints no policy' 69 '/nonexistent' "$VMSUP" policy trace -- /nonexistent
done_testing
