#!/usr/bin/env bash
# kill -9 of a sweep's launcher at random times, with runs that share trunks and are fine-tuned: the table is that of an
# undisturbed sweep, to the last digit, and nothing that had ended was begun again.
# Usage: TSUGI=build/release/tsugi tests/cluster/sweep_kills.sh [KILLS]
. "$(dirname "$0")/lib.sh"
kills=${1:-20}
make_corpus "$WORK"
make_task "$WORK"
make_base "$WORK/base.textproto" "$WORK/data"
cat > "$WORK/sweep.textproto" <<CONFIG
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "middle" layers: 1 heads: 1 width: 24 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
budgets { flops: 2e9 }
budgets { flops: 4e9 seeds: 2 }
budgets { flops: 1.6e10 sizes: "middle" sizes: "large" seeds: 2 held_out: true }
decay_fraction: 0.25
downstream { train: "$WORK/task-train.jsonl" validation: "$WORK/task-validation.jsonl" epochs: 30 learning_rate: 3e-3 }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
CONFIG
run=("$TSUGI" sweep run --config "$WORK/sweep.textproto")
# What was found, without how long it took and where.
outcome() { cut -d, -f1-18,28-31 "$1/runs.csv"; }
starts() { find "$1" -name 'generation-*' | sort; }
# results SWEEP: what has ended. Not deeper, where files come and go.
results() { find "$WORK/$1" -maxdepth 4 -name result.json -printf '%h\n' | sort; }

milliseconds() { date +%s%3N; }
begin=$(milliseconds)
"${run[@]}" --out "$WORK/undisturbed" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the sweep"; }
length=$(($(milliseconds) - begin))
tasks=$(results undisturbed | wc -l)
mkdir "$WORK/killed"
landed=0 tries=0
while [ "$landed" -lt "$kills" ]; do
  tries=$((tries + 1))
  "${run[@]}" --out "$WORK/killed" > /dev/null 2>&1 & launcher=$!
  # Not before its part of the sweep is done, so that the kills spread over all of it, on a machine of any speed; then at
  # a random moment soon after.
  until [ "$(results killed | wc -l)" -ge $((landed * (tasks - 2) / kills)) ] || ! readlink "/proc/$launcher/exe" > /dev/null; do
    sleep 0.02
  done
  wait_for=$((RANDOM % (length / kills / 2 + 1) + 20))
  sleep "$((wait_for / 1000)).$(printf %03d $((wait_for % 1000)))"
  # Only a launcher that still has work counts; one that has ended has no program any more.
  if readlink "/proc/$launcher/exe" > /dev/null; then landed=$((landed + 1)); fi
  kill -9 "$launcher" 2> /dev/null || true
  wait "$launcher" 2> /dev/null || true
  results killed > "$WORK/ended-$landed"
  while read -r one; do starts "$one/train"; done < "$WORK/ended-$landed" > "$WORK/starts-$landed"
  [ "$tries" -lt $((kills + 3)) ] || fail "the sweep ended before it was killed $kills times: only $landed times"
done
"${run[@]}" --out "$WORK/killed" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the sweep after $kills kills"; }
diff <(outcome "$WORK/undisturbed") <(outcome "$WORK/killed") >&2 || fail "killed and undisturbed sweeps differ"
for i in $(seq 1 "$kills"); do
  while read -r one; do
    diff <(starts "$one/train") <(grep -F "$one/train/" "$WORK/starts-$i") >&2 || fail "$one had ended and was begun again"
  done < "$WORK/ended-$i"
done
# A kill costs what was not saved, never a whole task: there are no more starts than tasks and kills on two lanes.
[ "$(results killed | wc -l)" = "$tasks" ] || fail "$(results killed | wc -l) of $tasks tasks have a result"
began=$(find "$WORK/killed" -name 'generation-*' | wc -l)
lanes=$(nproc)
[ "$began" -le $((tasks + kills * lanes)) ] || fail "$began starts of $tasks tasks after $kills kills"
half=$(wc -l < "$WORK/ended-$((kills / 2))")
[ "$half" -gt 0 ] && [ "$half" -lt "$tasks" ] || fail "$half of $tasks tasks had ended at half of the kills"
echo "sweep_kills: $tasks tasks, $began starts, $kills kills; $half tasks had ended at half of them"
