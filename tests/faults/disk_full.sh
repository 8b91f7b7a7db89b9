#!/bin/bash
# A disk that fills up while a checkpoint is written: exit code 5, what there was is untouched, nothing half-written
# stays, and the job goes on once there is room. Needs to mount a small tmpfs.
#   disk_full.sh CHECKPOINT_PROGRAM
set -u
program=$1
folder=$(mktemp -d)
floats=20000  # 240 kB a checkpoint
failures=0
if ! mount -t tmpfs -o size=1300k tmpfs "$folder" 2>/dev/null; then
  rmdir "$folder"
  echo "skipped: mounting a tmpfs is not allowed here"
  exit 77
fi
log=$(mktemp)
trap 'umount "$folder"; rmdir "$folder"; rm -f "$log"' EXIT
run=$folder/run

expect() {  # what condition...
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; sed 's/^/    | /' "$log"; failures=$((failures + 1)); fi
}
save() { "${@:2}" "$program" save "$run" "$1" $floats 0 > "$log" 2>&1; code=$?; }
found() { "$program" find "$run" $floats > "$log" 2>&1; sed -n 's/^step //p' "$log"; }
partials() { find "$run" -name '*.partial*' | wc -l; }

for step in 1 2 3; do
  save $step
  expect "step $step fits" [ $code = 0 ]
done

expect_full() {
  expect "exit code 5" [ $code = 5 ]
  expect "the reason is named" grep -q 'No space left on device' "$log"
  expect "nothing half-written stays" [ "$(partials)" = 0 ]
  expect "the newest checkpoint is intact" [ "$(found)" = 3 ]
}
echo "== found before anything is written"
left=$(df --output=avail "$folder" | tail -1)
dd if=/dev/zero of="$folder/filler" bs=1k count=$((left - 150)) 2> /dev/null
save 4
expect "when the room is reserved" grep -q 'cannot reserve' "$log"
expect_full
if strace -qq -o /dev/null true 2>/dev/null; then
  echo "== on a file system that cannot reserve"
  save 4 strace -f -qq -o /dev/null -e trace=fallocate -e inject=fallocate:error=EOPNOTSUPP
  expect "when it is written" grep -q 'cannot write' "$log"
  expect_full
fi
echo "== not one block left"
dd if=/dev/zero of="$folder/filler2" bs=1k 2> /dev/null
save 4
expect "exit code 5" [ $code = 5 ]
expect "the newest checkpoint is intact" [ "$(found)" = 3 ]
echo "== room again"
rm "$folder/filler" "$folder/filler2"
save 4
expect "step 4 is written" [ $code = 0 ]
expect "and found" [ "$(found)" = 4 ]
exit $((failures > 0))
