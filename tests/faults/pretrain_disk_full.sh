#!/usr/bin/env bash
# A disk that fills up under two training ranks: exit code 5 and the file's name, no hang, every finished checkpoint
# usable; and with room again the same command ends as if nothing had been. Needs to mount a small tmpfs.
. "$(dirname "$0")/../cluster/lib.sh"
disk=$WORK/disk
mkdir "$disk"
# Room for seven checkpoints.
mount -t tmpfs -o size=2600k tmpfs "$disk" 2> /dev/null || { echo "skipped: mounting a tmpfs is not allowed here"; exit 77; }
cleanup() { umount "$disk"; rm -rf "$WORK"; }
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 12
train() { timeout -k 5 60 mpirun --oversubscribe -np 2 "$TSUGI" pretrain --config "$WORK/config" --set checkpoint.keep=0 checkpoint.every_steps=1 "$@"; }
"$TSUGI" pretrain --config "$WORK/config" --set checkpoint.every_steps=0 --out "$WORK/undisturbed" > /dev/null 2>&1

for asynchronous in true false; do
  run=$disk/run
  mount -o remount,size=2600k "$disk"
  expect_code 5 train checkpoint.asynchronous=$asynchronous --out "$run"
  expect_said "tsugi: error: .*$run/checkpoints/step-[0-9]*[^ ]*/[^ ]+: .*No space left on device"
  [ -z "$(find "$run" -name '*.partial*')" ] || fail "something half-written stays: $(find "$run" -name '*.partial*')"
  last=$(last_checkpoint "$run")
  [ "$(find "$run/checkpoints" -name 'step-????????' | wc -l)" -ge 3 ] || fail "there are hardly any checkpoints"
  for step in "$run"/checkpoints/step-*; do
    expect_code 0 "$TSUGI" inspect "$step" --json
    expect_said '"verified":true'
  done
  expect_code 0 "$TSUGI" inspect "$run" --json
  expect_said "\"path\":\"$last\""
  expect_code 0 "$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/data/validation.bin" --sequences 2
  mount -o remount,size=64m "$disk"
  expect_code 0 train checkpoint.asynchronous=$asynchronous --out "$run" --json
  expect_said "\"start_step\":$((10#${last##*step-})),"
  same_run "$WORK/undisturbed" "$run"
  rm -r "$run"
done
echo "a full disk stops the job, loses nothing, and is gone on from"
