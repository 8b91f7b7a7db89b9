#!/usr/bin/env bash
# `tsugi plan`: published parameter counts, more than 2³¹ parameters without allocating them, and bytes as they are used.
. "$(dirname "$0")/lib.sh"
recipe=$(dirname "$0")/../../launch/recipes/gpt2_124m.textproto
number() { grep -oE "\"$1\":[0-9]+" "$WORK/plan" | head -n 1 | cut -d: -f2; }

"$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 --json > "$WORK/plan"
[ "$(number parameters)" = 124439808 ] || fail "GPT-2 124M has $(number parameters) parameters"
"$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 model.layers=48 model.heads=25 model.width=1600 --json > "$WORK/plan"
[ "$(number parameters)" = 1557611200 ] || fail "GPT-2 1558M has $(number parameters) parameters"

# 60 layers of width 2560: 4.8 billion parameters, on a machine that could not hold them.
(ulimit -v 4000000; "$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 model.layers=60 model.heads=20 \
  model.width=2560 --ranks 8 --json > "$WORK/plan") || fail "plan of a large model"
[ "$(number parameters)" = 4851873280 ] || fail "the large model has $(number parameters) parameters"
[ "$(number total)" -gt 40000000000 ] || fail "the large model needs $(number total) bytes"

# What is planned is what a run takes: a small model's resident memory grows by the plan when its batch does.
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 2
measure() {  # ROWS → planned total and measured peak, in bytes
  local change=("batch.micro_batch=$1" batch.micro_batches=1 model.width=256 model.dropout=0 evaluation.sequences=1)
  "$TSUGI" plan --config "$WORK/config" --set "${change[@]}" --json > "$WORK/plan"
  planned=$(number total)
  peak=$({ command time -f '%M' "$TSUGI" pretrain --config "$WORK/config" --set "${change[@]}" --out "$WORK/run-$1" \
    --json > /dev/null; } 2>&1 | tail -n 1)
  peak=$((peak * 1024))
}
if command -v time > /dev/null && [ -x /usr/bin/time ]; then
  measure 8; small_plan=$planned small_peak=$peak
  measure 512; large_plan=$planned large_peak=$peak
  awk -v p=$((large_plan - small_plan)) -v m=$((large_peak - small_peak)) \
    'BEGIN { print "planned growth", p, "measured", m; exit !(m > 0.7 * p && m < 1.1 * p) }' || fail "the plan is off"
fi
echo "plans are exact and free"
