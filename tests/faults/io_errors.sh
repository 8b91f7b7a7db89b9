#!/bin/bash
# System calls that fail, or say that they wrote what they did not: no error passes unreported, and what was lost
# silently is found at the next reading.
#   io_errors.sh CHECKPOINT_PROGRAM
set -u
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
floats=3000
failures=0
if ! strace -qq -o /dev/null true 2>/dev/null; then
  echo "skipped: strace is missing or may not trace"
  exit 77
fi
fail() { echo "FAILED: $*"; sed 's/^/    | /' "$folder/out" "$folder/found"; failures=$((failures + 1)); }

base=$folder/base
for step in 10 20; do
  "$program" save "$base" $step $floats 2 > "$folder/out" 2>&1 || { cat "$folder/out"; exit 1; }
done
# disturbed INJECTION: a job whose calls are tampered with; sets $code, $step
disturbed() {
  rm -rf "$folder/run"
  cp -r "$base" "$folder/run"
  strace -f -qq -o /dev/null -e trace="${1%%:*}" -e inject="$1" "$program" save "$folder/run" 30 $floats 2 > "$folder/out" 2>&1
  code=$?
  "$program" find "$folder/run" $floats > "$folder/found" 2>&1 || fail "$1: find"
  step=$(sed -n 's/^step //p' "$folder/found")
}
count() { grep -c "^[0-9]* *$1(" "$folder/calls"; }

rm -rf "$folder/run"
cp -r "$base" "$folder/run"
strace -f -qq -o "$folder/calls" "$program" save "$folder/run" 30 $floats 2 > "$folder/out" 2>&1

echo "== errors"
for k in $(seq "$(count fsync)"); do
  disturbed "fsync:error=EIO:when=$k"
  { [ $code = 5 ] && grep -q 'Input/output error' "$folder/out"; } || fail "fsync $k: exit code $code"
  # An error after the rename: the checkpoint is there and whole, only perhaps not for ever.
  { [ "$step" = 20 ] || { [ "$step" = 30 ] && grep -q 'fsync folder' "$folder/out"; }; } || fail "fsync $k: step $step"
  grep -q '^damaged' "$folder/found" && fail "fsync $k: damaged"
done
for k in $(seq "$(count pwrite64)"); do
  disturbed "pwrite64:error=EIO:when=$k"
  { [ $code = 5 ] && [ "$step" = 20 ]; } || fail "pwrite64 $k: exit code $code, step $step"
done
for injection in mkdir:error=EACCES:when=1 mkdir:error=EROFS:when=2 ftruncate:error=EFBIG:when=1 \
  ftruncate:error=EFBIG:when=2 rename:error=EIO:when=2; do
  disturbed $injection
  { [ $code = 5 ] && [ "$step" = 20 ]; } || fail "$injection: exit code $code, step $step"
  [ -z "$(find "$folder/run" -name '*.partial*')" ] || fail "$injection: a partial checkpoint stays"
done

echo "== interrupted calls are repeated"
for injection in pwrite64:error=EINTR:when=1..9+2 fallocate:error=EINTR:when=1; do
  disturbed $injection
  { [ $code = 0 ] && [ "$step" = 30 ]; } || fail "$injection: exit code $code, step $step"
done

echo "== four bytes that were never written, though the system said so"
lost=0
for k in $(seq "$(count pwrite64)"); do
  disturbed "pwrite64:retval=4:when=$k"
  if grep -q '^damaged' "$folder/found" || { [ $code = 5 ] && [ "$step" = 20 ]; }; then  # found, or reported at once
    lost=$((lost + 1))
  else
    fail "pwrite64 $k: not noticed"
  fi
  # Never wrong content: find checks it. The older checkpoint must not have been deleted for a damaged one.
  [ "$step" = 20 ] || grep -q 'damaged.*generation' "$folder/found" || fail "pwrite64 $k: step $step"
done
[ $lost -ge 6 ] || fail "only $lost lost writes"
exit $((failures > 0))
