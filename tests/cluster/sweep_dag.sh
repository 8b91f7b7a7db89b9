#!/usr/bin/env bash
# A sweep whose runs share trunks and are fine-tuned: a branch is, bit for bit, what training it alone gives; nothing is
# trained twice; a trunk that diverges leaves its runs to themselves.
# Usage: TSUGI=build/release/tsugi tests/cluster/sweep_dag.sh
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_task "$WORK"
make_base "$WORK/base.textproto" "$WORK/data"
cat > "$WORK/sweep.textproto" <<CONFIG
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
budgets { flops: 1e9 }
budgets { flops: 2e9 }
budgets { flops: 4e9 sizes: "large" seeds: 2 held_out: true }
decay_fraction: 0.25
downstream { train: "$WORK/task-train.jsonl" validation: "$WORK/task-validation.jsonl" epochs: 4 learning_rate: 3e-3 }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
CONFIG
sweep() { "$TSUGI" sweep "$1" --config "$WORK/sweep.textproto" "${@:2}"; }
outcome() { cut -d, -f1-18,28-31 "$1/runs.csv"; }
# field NAME KEY: of the run or trunk of that name in the plan.
field() { grep -o "\"name\":\"$1\"[^}]*" "$WORK/plan" | grep -o "\"$2\":[0-9.e+]*" | head -n 1 | cut -d: -f2; }

# --- the plan: what is shared is counted once ---
sweep plan --json > "$WORK/plan"
[ "$(grep -o '"name":"trunk-[^"]*"' "$WORK/plan" | sort -u | wc -l)" = 5 ] || { cat "$WORK/plan" >&2; fail "not 5 pieces of trunks"; }
# all KEY: the sum of these numbers in the part of the plan that is read.
all() { grep -o "\"$1\":[0-9.e+]*" | cut -d: -f2 | awk '{ sum += $1 } END { printf "%.6e", sum }'; }
own=$(sed 's/"trunks":.*//' "$WORK/plan" | all own_flops)
shared=$(sed 's/.*"trunks"://' "$WORK/plan" | all flops)
said=$(grep -o '"flops":[0-9.e+]*' "$WORK/plan" | head -n 1 | cut -d: -f2)
apart=$(grep -o '"flops_apart":[0-9.e+]*' "$WORK/plan" | cut -d: -f2)
whole=$(sed 's/"trunks":.*//' "$WORK/plan" | grep -o '"own_flops"' | wc -l)
[ "$whole" = 5 ] || fail "$whole runs branch off, not 5: the one of the second seed shares nothing"
awk -v own="$own" -v shared="$shared" -v said="$said" -v apart="$apart" -v alone="$(field c4e+09-large-s1338 flops)" 'BEGIN {
  tuning = said - own - shared - alone
  # Of runs of 1, 2 (two sizes) and 4e9 three quarters are trunks: 1.5e9 + 3e9 instead of 2.25e9 + 5.25e9.
  if (!(tuning > 0 && tuning < 2e10 && apart - said > 0.98*3e9 && apart - said < 1.02*3e9)) { print said, own, shared, alone, apart; exit 1 } }' ||
  fail "the plan's costs"

sweep run --out "$WORK/swept" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the sweep"; }
grep -q 'trunk-large-s1337-[0-9]*  in ' "$WORK/said" || fail "no trunk was trained"
[ "$(wc -l < "$WORK/swept/runs.csv")" = 7 ] || { cat "$WORK/swept/runs.csv" >&2; fail "not 6 rows"; }

# --- a branch is what the run would be alone, and it began where the plan says ---
for name in c1e+09-small-s1337 c2e+09-large-s1337 c4e+09-large-s1337; do
  run=$(echo "$WORK"/swept/runs/"$name"-*)
  "$TSUGI" pretrain --config "$run/run.textproto" --out "$WORK/alone-$name" --json > "$WORK/alone" 2> /dev/null || fail "$name alone"
  cmp "$(last_checkpoint "$run/train")/model.safetensors" "$(last_checkpoint "$WORK/alone-$name")/model.safetensors" ||
    fail "$name is not what it is alone"
  loss=$(grep -o '"validation_loss":[0-9.]*' "$WORK/alone")
  grep -qF "$loss" <(grep -o '"validation_loss":[0-9.]*' "$run/summary.json") || fail "the loss of $name"
  branch=$(field "$name" branches_at_step)
  first=$(head -n 1 "$run/train/metrics.jsonl" | grep -o '"step":[0-9]*' | cut -d: -f2)
  [ "$first" = $((branch + 1)) ] || fail "$name began with step $first, not behind $branch"
  if grep -q 'differs from the checkpoint' "$run/log"; then fail "$name was told that it differs"; fi
done
grep -q 'kind: WSD' "$run/run.textproto" || fail "no schedule of warm-up, stable, decay"
# Every piece began where the one before it ended: no step was trained twice.
for trunk in "$WORK"/swept/trunks/*; do
  steps=$(grep -c '"loss"' "$trunk/train/metrics.jsonl")
  name=$(basename "$trunk"); name=${name%-*}
  [ "$steps" = $(($(field "$name" steps) - $(field "$name" first_step))) ] || fail "$name took $steps steps"
done
sweep run --out "$WORK/swept" --json | grep -q '"done":0,"diverged":0,"trunks":0,"fine_tuned":0,' || fail "a finished sweep was done again"
sweep status --out "$WORK/swept" --json | grep -q '"share":1.0,' || fail "status of a finished sweep"

# --- the labelled task: in the table, better than guessing, and a stage of its own ---
awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
  { if (!($at["accuracy"] > 0.5 && $at["accuracy"] <= 1 && $at["accuracy_majority"] > 0)) { print; exit 1 } }' \
  "$WORK/swept/runs.csv" || fail "no accuracies, or not better than guessing"
"$TSUGI" sweep report --csv "$WORK/swept/runs.csv" --form kaplan --bootstraps 20 \
  --out "$WORK/report.html" > "$WORK/said" 2>&1 || { cat "$WORK/said" >&2; fail "the report"; }
[ "$(wc -l < "$WORK/report_data/downstream.csv")" = 7 ] || fail "the report says nothing of the task"
grep -q 'id="downstream-loss"' "$WORK/report.html" || fail "accuracy is not drawn"
before=$(find "$WORK/swept" -name 'generation-*' | wc -l)
sed -i 's/epochs: 4/epochs: 1/' "$WORK/sweep.textproto"
sweep run --out "$WORK/swept" --json | grep -q '"done":0,"diverged":0,"trunks":0,"fine_tuned":6,' || fail "another task trained runs again"
[ "$(find "$WORK/swept" -name 'generation-*' | wc -l)" = $((before + 6)) ] || fail "more than the six fine-tunings were done"
sed -i 's/epochs: 1/epochs: 4/' "$WORK/sweep.textproto"
expect_code 2 sweep plan --set sweep.downstream.train="$WORK/nosuch.jsonl"; expect_said 'nosuch.jsonl'
expect_code 2 sweep plan --set sweep.downstream.validation=; expect_said 'downstream.validation is missing'

# --- a branch alone waits for its trunk, and does not train it ---
id=$(grep -o '"name":"c1e+09-large-s1337","id":"[0-9a-f]*' "$WORK/plan" | grep -o '[0-9a-f]*$')
timeout 5 "$TSUGI" sweep run --config "$WORK/sweep.textproto" --out "$WORK/only" --only "$id" > "$WORK/said" 2>&1 || true
[ ! -e "$WORK/only/trunks" ] || fail "--only trained more than it was told"

# --- trunks that diverge: their runs are trained whole at half the rate, and what diverges there is not fine-tuned ---
sed 's/value: 4e-3/value: 60/' "$WORK/sweep.textproto" > "$WORK/wild.textproto"
expect_code 4 "$TSUGI" sweep run --config "$WORK/wild.textproto" --set optimizer.clip_norm=0 --out "$WORK/wild"
expect_said 'all 6 runs diverged'
expect_rows=$(wc -l < "$WORK/wild/runs.csv")
[ "$expect_rows" = 7 ] || { cat "$WORK/said" >&2; fail "runs are missing after their trunks diverged"; }
grep -q ',diverged,' "$WORK/wild/runs.csv" || fail "nothing diverged"
"$TSUGI" sweep collect --config "$WORK/wild.textproto" --set optimizer.clip_norm=0 --out "$WORK/wild" > /dev/null || fail "diverged runs count as missing"

# --- by hand ---
run=$(echo "$WORK"/swept/runs/c1e+09-small-s1337-*)
expect_code 2 "$TSUGI" pretrain --config "$run/run.textproto" --set steps=3 --set schedule.warmup_steps=0 --set schedule.decay_steps=1 \
  --start-from "$run/train" --out "$WORK/by-hand"
expect_said 'nothing left to train'
echo "sweep_dag: branches as if alone, $(find "$WORK/swept/trunks" -mindepth 1 -maxdepth 1 | wc -l) pieces of trunks, fine-tuned runs"
