#!/usr/bin/env bash
# A rank is killed with transfers over NCCL under way: nobody hangs, and where the launcher does not end the others, they
# say what they wait for and end with exit code 6. They do so too where one hangs, and their hosts with it.
# usage: nccl_death.sh MPIEXEC PROGRAM
set -uo pipefail
said=$(mktemp)
trap 'rm -f "$said"' EXIT
fail() { cat "$said" >&2; echo "FAILED: $*" >&2; exit 1; }

timeout 30 "$1" --oversubscribe -np 3 "$2" --die > "$said" 2>&1
code=$?
((code != 0 && code != 124)) || fail "exit code $code where the launcher notices the death"

timeout 30 "$1" --enable-recovery --oversubscribe -np 3 "$2" --die > "$said" 2>&1
(($? != 124)) || fail "the ranks that are left hang"
for rank in 0 2; do
  grep -q "^rank $rank: exchange #3 over NCCL did not finish within 2 s: a rank is gone" "$said" || fail "rank $rank does not say what it waited for"
done
grep -q 'errorcode 6' "$said" || fail "another exit code"

timeout 30 "$1" --oversubscribe -np 3 "$2" --hang > "$said" 2>&1
code=$?
((code == 6)) || fail "exit code $code where the hosts hang too"
grep -q "^rank [012]: exchange #1 over NCCL is not over after 1 s, and this process waits for its device" "$said" ||
  fail "no rank says what its device waits for"
echo "ranks that are left say so and end"
