#!/usr/bin/env bash
# `tsugi bench step`: the step that it measures is the run's, on one rank and on two, and its table accounts for it.
# `tsugi bench decode`: what it says that a token reads is what is there.
. "$(dirname "$0")/lib.sh"
recipe=$(dirname "$0")/../../launch/recipes/shakespeare_char_cpu.textproto
field() { grep -oE "\"$1\":[0-9.e+-]+" "$WORK/result" | head -n 1 | cut -d: -f2; }

"$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 --steps 3 --warm-up 1 --profile --json > "$WORK/result" ||
  fail "bench step"
awk -v rate="$(field tokens_per_second)" -v step="$(field seconds_per_step)" \
  'BEGIN { exit !(rate * step > 767.9 && rate * step < 768.1) }' || fail "a step has $(field tokens_per_second) x $(field seconds_per_step) tokens"
# Random tokens of 65, and a model that knows nothing: ln 65, and a little.
awk -v loss="$(field loss)" 'BEGIN { exit !(loss > 4.1 && loss < 4.6) }' || fail "the loss is $(field loss)"
# Shares of all operators and of what is outside of them: one step.
grep -oE '"share":[0-9.e+-]+' "$WORK/result" | cut -d: -f2 |
  awk '{ sum += $1 } END { exit !(sum > 0.999 && sum < 1.001) }' || fail "the shares do not add up to 1"
for operator in matmul attention "attention backward" "layer norm" AdamW "cross-entropy"; do
  grep -q "\"operator\":\"$operator\"" "$WORK/result" || fail "no row for $operator"
done
# 2 FLOPs for each parameter in products and token forward, and 4 backward.
planned=$("$TSUGI" plan --config "$recipe" --set model.vocabulary=65 --json | grep -oE '"palm":[0-9.e+]+' | head -n 1 | cut -d: -f2)
[ "$(grep -oE '"palm":[0-9.e+]+' "$WORK/result" | cut -d: -f2)" = "$planned" ] || fail "FLOPs per token differ from the plan's"

# A small model, of whose process the program itself is a good part: what is planned, and what the program takes.
"$TSUGI" bench step --config "$recipe" --set model.width=64 model.context=1024 model.vocabulary=4096 batch.micro_batch=2 \
  batch.micro_batches=2 --steps 1 --warm-up 2 --json > "$WORK/result" || fail "bench step of a small model"
awk -v planned="$(field planned_bytes)" -v program="$(field program_resident_bytes)" -v peak="$(field peak_resident_bytes)" \
  'BEGIN { print "planned", planned, "program", program, "peak", peak; p = planned + program; exit !(peak > 0.95 * p && peak < 1.05 * p) }' ||
  fail "the process takes something else"

ranks 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 batch.micro_batches=2 \
  --steps 2 --warm-up 1 --json > "$WORK/result" || fail "on two ranks"
[ "$(field ranks)" = 2 ] || fail "it ran on $(field ranks) ranks"

expect_code 2 "$TSUGI" bench step --config "$recipe"
expect_said "model.vocabulary is 0"
expect_code 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 batch.micro_bath=2
expect_said "batch.micro_bath"
expect_code 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 --steps 0
expect_said "steps"

# 4 layers of 12·128² + 13·128, 65·128 tokens and the last norm, of 2 bytes; keys and values of 32 + 16 / 2 tokens.
"$TSUGI" bench decode --config "$recipe" --set model.vocabulary=65 numerics.compute=BF16 --rows 2 --tokens 16 --json > "$WORK/result" ||
  fail "bench decode"
[ "$(field weight_bytes)" = 1603328.0 ] || fail "the weights take $(field weight_bytes) bytes"
[ "$(field cache_bytes)" = 163840.0 ] || fail "keys and values take $(field cache_bytes) bytes"
awk -v rate="$(field tokens_per_second)" -v token="$(field seconds_per_token)" \
  'BEGIN { exit !(rate * token > 1.999 && rate * token < 2.001) }' || fail "two texts, $(field tokens_per_second) tokens/s"
expect_code 2 "$TSUGI" bench decode --config "$(dirname "$recipe")/shakespeare_char_bert.textproto" --set model.vocabulary=66
expect_said "causal"
echo "the table accounts for the step, and a token for what it reads"
