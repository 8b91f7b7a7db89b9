#!/bin/bash
# kill -9 of a job right before each of the system calls that touch its checkpoints: afterwards there is the old
# checkpoint or the new one, whole, and the next attempt goes on from it.
#   kill_at_syscall.sh CHECKPOINT_PROGRAM [--full] [MPIRUN]
# Without --full about 40 of the places are tried, spread evenly. With --full all of them, and with MPIRUN one rank of
# two is killed as well.
set -u
program=$1
full=no
[ "${2:-}" = --full ] && full=yes && shift
mpirun=${2:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
floats=3000
failures=0

if ! strace -qq -o /dev/null true 2>/dev/null; then
  echo "skipped: strace is missing or may not trace"
  exit 77
fi
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# One checkpoint is overtaken and deleted by the job that is to be killed, so deleting is disturbed too.
base=$folder/base
for step in 10 20; do
  "$program" save "$base" $step $floats 2 > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
done
job() { echo "save $folder/run 30 $floats 2"; }
fresh() { rm -rf "$folder/run"; cp -r "$base" "$folder/run"; }

# All calls of an undisturbed job, with the paths of descriptors.
fresh
# shellcheck disable=SC2046
strace -f -y -qq -o "$folder/calls" "$program" $(job) > "$folder/out" 2>&1 || { cat "$folder/out"; exit 1; }
grep -q '^saved 30' "$folder/out" || fail "the undisturbed job"

echo "== nothing is renamed or reported before it is on the disk"
awk -v partial="$folder/run/checkpoints/step-00000030.partial" -v parent="$folder/run/checkpoints" '
  function path_of_descriptor() { match($0, /<[^>]*>/); return substr($0, RSTART + 1, RLENGTH - 2) }
  function quoted(n,   parts) { split($0, parts, "\""); return parts[2 * n] }
  function folder_of(path) { sub(/\/[^\/]*$/, "", path); return path }
  / = -1 /                                        { next }
  /^[0-9]+ +(pwrite64|write|ftruncate|fallocate)\(/ { p = path_of_descriptor(); if (index(p, parent) == 1) dirty[p] = 1 }
  /^[0-9]+ +openat\(.*O_CREAT/                    { p = $0; sub(/.*= [0-9]+</, "", p); sub(/>$/, "", p)
                                                    if (index(p, parent) == 1) { dirty[p] = 1; dirty[folder_of(p)] = 1 } }
  /^[0-9]+ +mkdir(at)?\(/                         { p = quoted(1); dirty[p] = 1; dirty[folder_of(p)] = 1 }
  /^[0-9]+ +fsync\(/                              { dirty[path_of_descriptor()] = 0; syncs++ }
  /^[0-9]+ +rename(at|at2)?\(/ {
    from = quoted(1); to = quoted(2)
    for (p in dirty) if (dirty[p] && index(p, from) == 1) { print "not synced before its rename: " p; bad = 1 }
    if (index(from, partial) == 1) committed = 1
    dirty[folder_of(to)] = 1
  }
  /^[0-9]+ +write\(.*"saved 30/ {
    if (!committed) { print "reported before the rename"; bad = 1 }
    for (p in dirty) if (dirty[p] && index(p, parent) == 1 && p !~ /partial/) { print "reported before synced: " p; bad = 1 }
    reported = 1
  }
  END { print syncs " fsyncs"; exit bad || !reported || syncs < 10 }' "$folder/calls" || fail "order of fsync and rename"

# "NAME K" of every call on the run directory: the K-th call of that name.
awk -v run="$folder/run" '
  match($0, /^[0-9]+ +[a-z0-9_]+\(/) {
    name = $2; sub(/\(.*/, "", name); count[name]++
    if (index($0, run) && name ~ /^(openat|write|pwrite64|ftruncate|fallocate|fsync|close|mkdir|mkdirat|rename|renameat|renameat2|unlink|unlinkat)$/)
      print name, count[name]
  }' "$folder/calls" > "$folder/places"
all=$(wc -l < "$folder/places")
stride=1
[ $full = no ] && stride=$(((all + 39) / 40))
[ "$all" -gt 60 ] || fail "only $all places found"

# expect_intact WHAT OUTPUT: the right checkpoint is found, with the right content, and the next attempt succeeds.
expect_intact() {
  "$program" find "$folder/run" $floats > "$folder/found" 2>&1 || { fail "$1: find"; cat "$folder/found"; return; }
  grep -q '^damaged' "$folder/found" && { fail "$1: damaged"; cat "$folder/found"; }
  local step
  step=$(sed -n 's/^step //p' "$folder/found")
  { [ "$step" = 30 ] || { [ "$step" = 20 ] && ! grep -q '^saved 30' "$2"; }; } || fail "$1: found step $step"
  "$program" save "$folder/run" 40 $floats 2 > "$folder/next" 2>&1 || { fail "$1: the next attempt"; cat "$folder/next"; }
  local left
  left=$(find "$folder/run/checkpoints" -mindepth 1 -maxdepth 1 -name 'step-*' -printf '%f ')
  { [ "$(wc -w <<< "$left")" = 2 ] && [[ $left != *partial* ]]; } || fail "$1: left over: $left"
}

echo "== killed at every ${stride}. of $all calls"
tried=0
while read -r name k; do
  fresh
  # The shell's own word about the killed child is not news.
  # shellcheck disable=SC2046
  {
    strace -f -qq -o /dev/null -e trace="$name" -e inject="$name":signal=KILL:when="$k" "$program" $(job) > "$folder/out" 2>&1
    code=$?
  } 2> /dev/null
  # Counts differ by a few where the system's libraries read what changes; such a run may end by itself.
  [ $code = 137 ] || [ $code = 0 ] || fail "$name $k: exit code $code"
  [ $code = 137 ] && tried=$((tried + 1))
  expect_intact "$name $k" "$folder/out"
done < <(awk -v stride=$stride 'NR % stride == 0' "$folder/places")
echo "$tried kills"
[ $tried -ge 20 ] || fail "only $tried kills"

if [ -n "$mpirun" ]; then
  echo "== one rank of two killed"
  for place in "pwrite64 2" "fsync 1" "fsync 2" "openat 120"; do
    read -r name k <<< "$place"
    fresh
    # shellcheck disable=SC2016,SC2046
    timeout 60 "$mpirun" --oversubscribe -np 2 bash -c '
      [ "$OMPI_COMM_WORLD_RANK" = 1 ] && exec strace -f -qq -o /dev/null -e trace=$0 -e inject=$0:signal=KILL:when=$1 "${@:2}"
      exec "${@:2}"' "$name" "$k" "$program" $(job) > "$folder/out" 2>&1
    [ $? != 124 ] || fail "$place: hangs"
    expect_intact "rank 1, $place" "$folder/out"
  done
fi
exit $((failures > 0))
