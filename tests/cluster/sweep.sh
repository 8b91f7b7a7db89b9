#!/usr/bin/env bash
# A sweep: planned by exact FLOPs, trained side by side, never lost and never trained twice, whoever is killed.
# Usage: TSUGI=build/release/tsugi tests/cluster/sweep.sh [KILLS]
. "$(dirname "$0")/lib.sh"
kills=${1:-5}
make_corpus "$WORK"
make_base "$WORK/base.textproto" "$WORK/data"
make_sweep() {
  cat > "$WORK/$1" <<CONFIG
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "middle" layers: 1 heads: 1 width: 24 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
budgets { flops: 1e9 }
budgets { flops: 2e9 seeds: 2 }
budgets { flops: 1e10 sizes: "large" held_out: true }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
$2
CONFIG
}
make_sweep sweep.textproto ""
sweep() { "$TSUGI" sweep "$1" --config "$WORK/sweep.textproto" "${@:2}"; }
# What was found, without how long it took.
outcome() { cut -d, -f1-18 "$1/runs.csv"; }

sweep plan --json > "$WORK/plan"
[ "$(grep -o '"id":"[0-9a-f]*"' "$WORK/plan" | sort -u | wc -l)" = 10 ] || { cat "$WORK/plan" >&2; fail "not 10 runs"; }
# 1 layer, width 16, 43 characters: N = 12·16² + 13·16 + 2·16 + V·16; with T = 32: 6 N + 12·16·32 FLOPs per token.
vocabulary=$(grep -o '"vocabulary_size":[0-9]*\|"vocabulary":[0-9]*' "$WORK/prepared.json" | head -n 1 | grep -o '[0-9]*$')
awk -v v="$vocabulary" -v line="$(grep -o '"name":"c1e+09-small[^}]*' "$WORK/plan")" 'BEGIN {
  n = 12*16*16 + 13*16 + 2*16 + v*16; per_step = (6*n + 12*16*32) * 4*32; steps = int(1e9/per_step + 0.5)
  match(line, /"steps":[0-9]+/); planned = substr(line, RSTART + 8, RLENGTH - 8)
  match(line, /"parameters_in_products":[0-9]+/); counted = substr(line, RSTART + 25, RLENGTH - 25)
  if (planned != steps || counted != n) { print line, n, steps; exit 1 } }' || fail "steps are not what the FLOPs say"

sweep run --out "$WORK/undisturbed" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the sweep"; }
[ "$(wc -l < "$WORK/undisturbed/runs.csv")" = 11 ] || fail "not 10 rows"
sweep run --out "$WORK/undisturbed" --json | grep -q '"done":0,' || fail "a finished sweep was trained again"
sweep status --out "$WORK/undisturbed" --json | grep -q '"share":1.0,' || fail "status of a finished sweep"
# The held-out row is known to the fit, and the laws of its columns hold together.
"$TSUGI" sweep fit --csv "$WORK/undisturbed/runs.csv" --where 'status == "done"' --hold-out 'held_out == 1' \
  --form kaplan_d --json > "$WORK/fit" || fail "the fit of the runs"
grep -q '"held_out"' "$WORK/fit" || fail "nothing is held out"

# Killed again and again, then finished: the same numbers, to the last digit, and no run that had ended began anew.
mkdir -p "$WORK/killed/runs"
starts() { find "$1" -name 'generation-*' | sort; }
for i in $(seq 1 "$kills"); do
  "$TSUGI" sweep run --config "$WORK/sweep.textproto" --out "$WORK/killed" > /dev/null 2>&1 & launcher=$!
  sleep "0.$((RANDOM % 9 + 1))"
  kill -9 "$launcher" 2> /dev/null || true
  wait "$launcher" 2> /dev/null || true
  # Not deeper: a run that is dying may still take files away.
  find "$WORK/killed/runs" -maxdepth 2 -name result.json -printf '%h\n' > "$WORK/ended-$i"
  while read -r run; do starts "$run"; done < "$WORK/ended-$i" > "$WORK/starts-$i"
done
sweep run --out "$WORK/killed" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the sweep after $kills kills"; }
diff <(outcome "$WORK/undisturbed") <(outcome "$WORK/killed") >&2 || fail "killed and undisturbed sweeps differ"
for i in $(seq 1 "$kills"); do
  while read -r run; do
    diff <(starts "$run") <(grep -F "$run/" "$WORK/starts-$i") >&2 ||
      fail "$run had ended and was started again"
  done < "$WORK/ended-$i"
done

# Asked to stop: code 75, and the rest afterwards. Two launchers share what is left.
"$TSUGI" sweep run --config "$WORK/sweep.textproto" --out "$WORK/shared" --jobs 1 > /dev/null 2>&1 & launcher=$!
for _ in $(seq 1 600); do grep -qs '"step":[0-9]' "$WORK"/shared/runs/*/train/metrics.jsonl && break; sleep 0.02; done
kill -TERM "$launcher"
code=0; wait "$launcher" || code=$?
[ "$code" = 75 ] || fail "exit code $code instead of 75"
before=$(find "$WORK/shared/runs" -name result.json | wc -l)
sweep run --out "$WORK/shared" --jobs 1 --json > "$WORK/first" & one=$!
sweep run --out "$WORK/shared" --jobs 1 --json > "$WORK/second" & two=$!
wait "$one" || fail "the first launcher"
wait "$two" || fail "the second launcher"
done_by() { grep -o '"done":[0-9]*' "$1" | grep -o '[0-9]*$'; }
[ $((before + $(done_by "$WORK/first") + $(done_by "$WORK/second"))) = 10 ] ||
  { cat "$WORK/first" "$WORK/second" >&2; fail "two launchers did not share the runs"; }
diff <(outcome "$WORK/undisturbed") <(outcome "$WORK/shared") >&2 || fail "shared and undisturbed sweeps differ"

# On ranks: asked to stop through mpirun, which passes it on, and again. Only two runs; the numbers are the same.
ids=$(awk -F, '$1 == "c2e+09-small-s1337" || $1 == "c1e+10-large-s1337" {printf "%s%s", sep, $2; sep = ","}' "$WORK/undisturbed/runs.csv")
on_ranks=(run --out "$WORK/ranks" --jobs 1 --only "$ids" --launcher "mpirun --oversubscribe -n 2")
sweep "${on_ranks[@]}" > "$WORK/said" 2>&1 & launcher=$!
for _ in $(seq 1 600); do grep -qs '"step":[0-9]' "$WORK"/ranks/runs/*/train/metrics.jsonl && break; sleep 0.05; done
kill -TERM "$(pgrep -o -f "^$TSUGI sweep .*--launcher")"  # $launcher is the shell around it
code=0; wait "$launcher" || code=$?
[ "$code" = 75 ] || { cat "$WORK/said" >&2; fail "exit code $code instead of 75 on ranks"; }
sweep "${on_ranks[@]}" > "$WORK/said" 2>&1 || { cat "$WORK/said" >&2; fail "the sweep on ranks"; }
diff <(outcome "$WORK/undisturbed" | grep -E '^(name|c2e\+09-small-s1337|c1e\+10)') <(outcome "$WORK/ranks") >&2 ||
  fail "runs on two ranks differ"
grep -q '2 ranks\|rank 1 of 2' -r "$WORK"/ranks/runs/*/train/logs || fail "there were not two ranks"
expect_code 5 "$TSUGI" sweep collect --config "$WORK/sweep.textproto" --out "$WORK/ranks"; expect_said '^tsugi: error: 8 runs have no result'

# A rate at which nothing is learnt: tried at half of it, then kept as diverged, and the sweep goes on.
sed 's/value: 4e-3/value: 60/' "$WORK/sweep.textproto" > "$WORK/wild.textproto"
# Where all do, there is nothing to fit, and run and fit say what to change.
expect_code 4 "$TSUGI" sweep run --config "$WORK/wild.textproto" --set optimizer.clip_norm=0 --out "$WORK/wild"
expect_said "again at half the learning rate"; expect_said 'all 10 runs diverged'; expect_said 'clip_norm'
[ "$(grep -c ",diverged," "$WORK/wild/runs.csv")" = 10 ] || { cat "$WORK/wild/runs.csv" >&2; fail "not all diverged"; }
expect_code 3 "$TSUGI" sweep fit --csv "$WORK/wild/runs.csv" --where 'status == "done"'; expect_said 'all 10 runs diverged'

# Scripts are written where a Slurm client finds no controller.
mkdir "$WORK/no-controller"
printf '#!/bin/sh\necho "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1\n' > "$WORK/no-controller/squeue"
chmod +x "$WORK/no-controller/squeue"
PATH="$WORK/no-controller:$PATH" sweep run --out "$WORK/dry" --executor slurm --dry-run > "$WORK/said" 2>&1 ||
  { cat "$WORK/said" >&2; fail "a dry run without a controller"; }
expect_said 'could not be looked up'; expect_said 'Unable to contact'
[ -s "$WORK/dry/slurm/0001/class-0.sbatch" ] || fail "a dry run wrote no script"

# What cannot be planned.
make_sweep wrong.textproto 'budgets { flops: 3e9 sizes: "huge" }'
expect_code 2 "$TSUGI" sweep plan --config "$WORK/wrong.textproto"; expect_said 'wrong.textproto.*3e\+09 names no size.*huge'
make_sweep wrong.textproto 'budgets { flops: 1e9 }'
expect_code 2 "$TSUGI" sweep plan --config "$WORK/wrong.textproto"; expect_said 'are the same run'
make_sweep wrong.textproto 'budgets { flops: 1e7 }'
expect_code 2 "$TSUGI" sweep plan --config "$WORK/wrong.textproto"; expect_said 'within 1 %'
make_sweep wrong.textproto 'most_flops: 1e9'
expect_code 2 "$TSUGI" sweep run --config "$WORK/wrong.textproto" --out "$WORK/capped"; expect_said 'over most_flops'
[ ! -e "$WORK/capped" ] || fail "a refused sweep left a folder"
sed 's/value: 4e-3/value: 90/' "$WORK/sweep.textproto" > "$WORK/wrong.textproto"
expect_code 2 "$TSUGI" sweep plan --config "$WORK/wrong.textproto"; expect_said 'learning_rate is 127.* at most 100'
make_sweep wrong.textproto 'budget { flops: 1e9 }'
expect_code 2 "$TSUGI" sweep plan --config "$WORK/wrong.textproto"; expect_said 'budgets'
echo "sweep: the same $(($(wc -l < "$WORK/undisturbed/runs.csv") - 1)) runs after $kills kills, one stop, two launchers"
