#!/usr/bin/env bash
# `tsugi bench step`: the step that it measures is the run's, on one rank and on two, and its table accounts for it.
. "$(dirname "$0")/lib.sh"
recipe=$(dirname "$0")/../../launch/recipes/shakespeare_char_cpu.textproto
field() { grep -oE "\"$1\":[0-9.e+-]+" "$WORK/result" | head -n 1 | cut -d: -f2; }

"$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 --steps 3 --warm-up 1 --profile --json > "$WORK/result" ||
  fail "bench step"
awk -v rate="$(field tokens_per_second)" -v step="$(field seconds_per_step)" \
  'BEGIN { exit !(rate * step > 767.9 && rate * step < 768.1) }' || fail "a step has $(field tokens_per_second) x $(field seconds_per_step) tokens"
# Shares of all operators and of what is outside of them: one step.
grep -oE '"share":[0-9.e+-]+' "$WORK/result" | cut -d: -f2 |
  awk '{ sum += $1 } END { exit !(sum > 0.999 && sum < 1.001) }' || fail "the shares do not add up to 1"
for operator in matmul attention "attention backward" "layer norm" AdamW "cross-entropy"; do
  grep -q "\"operator\":\"$operator\"" "$WORK/result" || fail "no row for $operator"
done
# 2 FLOPs for each parameter in products and token forward, and 4 backward.
planned=$("$TSUGI" plan --config "$recipe" --set model.vocabulary=65 --json | grep -oE '"palm":[0-9.e+]+' | head -n 1 | cut -d: -f2)
[ "$(grep -oE '"palm":[0-9.e+]+' "$WORK/result" | cut -d: -f2)" = "$planned" ] || fail "FLOPs per token differ from the plan's"

ranks 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 batch.micro_batches=2 \
  --steps 2 --warm-up 1 --json > "$WORK/result" || fail "on two ranks"
[ "$(field ranks)" = 2 ] || fail "it ran on $(field ranks) ranks"

expect_code 2 "$TSUGI" bench step --config "$recipe"
expect_said "model.vocabulary is 0"
expect_code 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 batch.micro_bath=2
expect_said "batch.micro_bath"
expect_code 2 "$TSUGI" bench step --config "$recipe" --set model.vocabulary=65 --steps 0
expect_said "steps"
echo "the table accounts for the step"
