#!/usr/bin/env bash
# `tsugi plan`: published parameter counts, more than 2³¹ parameters without allocating them, and bytes as they are used.
. "$(dirname "$0")/lib.sh"
recipe=$(dirname "$0")/../../launch/recipes/gpt2_124m.textproto
number() { grep -oE "\"$1\":[0-9]+" "$WORK/plan" | head -n 1 | cut -d: -f2; }

"$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 --json > "$WORK/plan"
[ "$(number parameters)" = 124439808 ] || fail "GPT-2 124M has $(number parameters) parameters"
"$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 model.layers=48 model.heads=25 model.width=1600 --json > "$WORK/plan"
[ "$(number parameters)" = 1557611200 ] || fail "GPT-2 1558M has $(number parameters) parameters"

# Other families, as published.
shape() {  # NAME PARAMETERS
  "$TSUGI" plan --config "$(dirname "$recipe")/shapes/$1.textproto" --set batch.sequence=1024 --json > "$WORK/plan"
  [ "$(number parameters)" = "$2" ] || fail "$1 has $(number parameters) parameters, not $2"
}
shape llama2_7b 6738415616
shape llama3_8b 8030261248
shape llama3_2_1b 1235814400
shape qwen2_5_0_5b 494032768
shape qwen3_0_6b 596049920
"$TSUGI" plan --config "$recipe" --set model.layers=24 model.heads=16 model.width=1024 --json > "$WORK/plan"
[ "$(number parameters)" = 354823168 ] || fail "GPT-2 355M has $(number parameters) parameters"
"$TSUGI" plan --config "$recipe" --set model.layers=36 model.heads=20 model.width=1280 --json > "$WORK/plan"
[ "$(number parameters)" = 774030080 ] || fail "GPT-2 774M has $(number parameters) parameters"

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
  planned=$(number total) process=$(($(number total) + $(number program_bytes)))
  peak=$({ /usr/bin/time -f '%M' "$TSUGI" pretrain --config "$WORK/config" --set "${change[@]}" --out "$WORK/run-$1" \
    --json > /dev/null; } 2>&1 | tail -n 1)
  peak=$((peak * 1024))
}
[ -x /usr/bin/time ] || fail "there is no /usr/bin/time to measure with: launch/setup.sh --tests installs it"
for family in GPT2 "LLAMA key_heads: 1"; do  # grouped queries, rotary tables, an untied head
  sed -i "s/^model {\( family: .* layers\| layers\)/model { family: $family layers/" "$WORK/config"
  rm -rf "$WORK/run-8" "$WORK/run-512"
  measure 8; small_plan=$planned small_peak=$peak
  measure 512; large_plan=$planned large_peak=$peak
  awk -v p=$((large_plan - small_plan)) -v m=$((large_peak - small_peak)) \
    'BEGIN { print "planned growth", p, "measured", m; exit !(m > 0.7 * p && m < 1.1 * p) }' || fail "the plan is off"
  awk -v p="$process" -v m="$peak" 'BEGIN { print "planned process", p, "measured", m; exit !(m > 0.95 * p && m < 1.05 * p) }' ||
    fail "the planned process is off"
done
# A plan for a device needs none.
if "$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 compute.device=CUDA --json > "$WORK/plan" 2> "$WORK/said"; then
  grep -q '"device":"CUDA"' "$WORK/plan" || fail "the plan is of another device"
  [ "$(number on_device)" -gt 1000000000 ] || fail "GPT-2 124M needs $(number on_device) bytes of a device"
  [ "$(number on_host)" = "$(number checkpoint_copy)" ] || fail "the copy of a checkpoint takes $(number on_host) bytes of the host"
  [ "$(number total)" = $(($(number on_device) + $(number on_host))) ] || fail "the sum is off"
  # What a run would refuse, its plan refuses.
  expect_code 2 "$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 compute.device=CUDA compute.attention=WGMMA model.heads=3
  expect_said 'attention by wgmma in bf16 with heads of 256 elements'
  expect_code 2 "$TSUGI" plan --config "$recipe" --set model.vocabulary=50257 compute.device=CPU compute.attention=WGMMA
  expect_said 'compute.attention is WGMMA, a kernel of CUDA, but this run computes on the CPU'
else
  grep -q "built without CUDA" "$WORK/said" || fail "no plan for a device: $(cat "$WORK/said")"
fi
echo "plans are exact and free"
