#!/usr/bin/env bash
# A run that is killed or asked to stop, and started again, ends as one that nobody disturbed: on any number of ranks.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 200  # long enough that a run is met while it runs
run() { ranks "$1" "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/$2" "${@:3}"; }

run 2 whole > /dev/null 2> "$WORK/whole.err" || { cat "$WORK/whole.err" >&2; fail "the undisturbed run"; }

# kill -9 of every rank, once it has a checkpoint.
run 2 killed > /dev/null 2>&1 &
for _ in $(seq 1 3000); do compgen -G "$WORK/killed/checkpoints/step-????????" > /dev/null && break; sleep 0.01; done
pkill -9 -f "tsugi pretrain --config $WORK/config --out $WORK/killed" || fail "nothing to kill"
wait || true
[ -e "$(last_checkpoint "$WORK/killed")/manifest.json" ] || fail "no checkpoint after kill -9"
run 3 killed > /dev/null 2> "$WORK/killed.err" || { cat "$WORK/killed.err" >&2; fail "resume after kill -9"; }
same_run "$WORK/whole" "$WORK/killed"

# SIGTERM to one rank: all agree, save and exit 75; again with SIGUSR1 to mpirun.
for how in rank mpirun; do
  rm -rf "$WORK/asked"
  run 2 asked > "$WORK/asked.out" 2> "$WORK/asked.err" & launcher=$!
  for _ in $(seq 1 600); do grep -q '"step":7,' "$WORK/asked/metrics.jsonl" 2>/dev/null && break; sleep 0.02; done
  if [ $how = rank ]; then
    kill -TERM "$(pgrep -f "tsugi pretrain --config $WORK/config --out $WORK/asked" | tail -n 1)"
  else
    kill -USR1 "$(pgrep -o -f "^mpirun .*--out $WORK/asked")"  # $launcher is the shell around it
  fi
  code=0; wait "$launcher" || code=$?
  [ "$code" = 75 ] || { cat "$WORK/asked.err" >&2; fail "exit code $code instead of 75 after a signal to $how"; }
  run 1 asked --json > "$WORK/asked.json" 2> "$WORK/asked.err" || { cat "$WORK/asked.err" >&2; fail "resume after a signal"; }
  grep -q '"start_step":0,' "$WORK/asked.json" && fail "began anew instead of going on"
  same_run "$WORK/whole" "$WORK/asked"
done

# A damaged newest checkpoint is named and the one before is used; --resume never refuses.
damaged=$(last_checkpoint "$WORK/killed")
printf 'x' | dd of="$damaged/model.safetensors" bs=1 seek=5000 conv=notrunc 2> /dev/null
expect_code 0 run 2 killed
expect_said "$(basename "$damaged").*model.safetensors"
same_run "$WORK/whole" "$WORK/killed"
expect_code 2 run 2 killed --resume never
expect_said "already has checkpoints"
echo "killed, stopped and damaged runs end bitwise equal to the undisturbed one"
