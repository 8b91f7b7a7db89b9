#!/usr/bin/env bash
# Mixtures and packed documents: exact proportions, the same bits on any number of ranks and after kill -9, and what is
# wrong with them is named.
. "$(dirname "$0")/lib.sh"
# Two sources with one vocabulary: lines of letters, and documents of digits.
mkdir -p "$WORK/letters" "$WORK/digits"
for i in $(seq 1 30); do
  { echo "abcdefghijklmnopqrstuvwxyz 0123456789"; echo "$i again and again the same $i words"; } > "$WORK/letters/$i.txt"
  seq -s ' ' "$i" "$((i + i % 9))" > "$WORK/digits/$i.txt"
done
"$TSUGI" prepare --text "$WORK/letters" --out "$WORK/a" --vocabulary bytes > /dev/null
"$TSUGI" prepare --text "$WORK/digits" --out "$WORK/b" --vocabulary bytes > /dev/null
make_config "$WORK/config" unused 30
sed -i '/^data {/d; s/context: 32/context: 64 family: LLAMA/; s/micro_batches: 12/micro_batches: 6/' "$WORK/config"
sources() {  # WEIGHT_A WEIGHT_B MORE
  { cat "$WORK/config"; echo "data { mixture { path: \"$WORK/a\" weight: $1 } mixture { path: \"$WORK/b\" weight: $2 } $3 }"; } > "$WORK/mixed"
}

for packing in CONTINUOUS BEST_FIT; do
  sources 0.7 0.3 "packing: $packing documents: APART"
  run() { ranks "$1" "$TSUGI" pretrain --config "$WORK/mixed" --out "$WORK/$2-$packing" "${@:3}"; }
  for n in 1 2; do
    run $n whole-$n > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "$packing on $n ranks"; }
  done
  same_run "$WORK/whole-1-$packing" "$WORK/whole-2-$packing"

  "$TSUGI" pretrain --config "$WORK/mixed" --out "$WORK/killed-$packing" > /dev/null 2>&1 & pid=$!
  for _ in $(seq 1 600); do [ -e "$WORK/killed-$packing/checkpoints/step-00000005" ] && break; sleep 0.05; done
  kill -9 $pid || fail "nothing to kill"
  wait $pid || true
  run 2 killed --json > "$WORK/resumed" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "$packing: going on"; }
  grep -q '"start_step":0,' "$WORK/resumed" && fail "began anew instead of going on"
  same_run "$WORK/whole-1-$packing" "$WORK/killed-$packing"

  # 30 steps of 6 samples: 126 and 54.
  "$TSUGI" inspect "$WORK/whole-1-$packing" --json > "$WORK/said"
  expect_said "\"mixture\":\[\{\"path\":\"$WORK/a\",\"part\":0.7,\"samples\":126\},\{\"path\":\"$WORK/b\",\"part\":0.3,\"samples\":54\}\]"
  "$TSUGI" plan --config "$WORK/mixed" --json > "$WORK/said"
  expect_said '"data":\[\{.*"part":0.7,"samples":126,.*"part":0.3,"samples":54,'
  "$TSUGI" plan --config "$WORK/mixed" > "$WORK/said"
  expect_said "b/train.bin: .* 30 % of the samples \(54\)"
done
# The test can fail: other weights are another run, and so is the other packing.
for other in "whole-1-BEST_FIT" "weights"; do
  if [ $other = weights ]; then
    sources 0.5 0.5 "documents: APART"
    "$TSUGI" pretrain --config "$WORK/mixed" --out "$WORK/weights" > /dev/null 2>&1
  fi
  cmp -s "$(last_checkpoint "$WORK/whole-1-CONTINUOUS")/model.safetensors" \
    "$(last_checkpoint "$WORK/$other")/model.safetensors" && fail "$other gave the same weights"
done

# What is wrong is named, with its field and place.
pretrain() { "$TSUGI" pretrain --config "$WORK/mixed" --out "$WORK/refused"; }
for weight in 0 -1 nan inf; do
  sources 1 $weight ""
  expect_code 2 pretrain
  expect_said 'mixed:[0-9]+:[0-9]+: data\.mixture\[1\]\.weight is'
done
sources 1 0.3333333333 ""
expect_code 2 pretrain
expect_said 'data\.mixture\.weight: .*too many digits'
sources 1 1 "train: \"$WORK/a\""
expect_code 2 pretrain
expect_said 'data\.train and data\.mixture'
sed "s/$/ /; /^data {/s/mixture { path[^}]*}//g" "$WORK/mixed" | sed 's/train: "[^"]*"//' > "$WORK/none"
expect_code 2 "$TSUGI" pretrain --config "$WORK/none" --out "$WORK/refused"
expect_said 'data\.train is required'
sources 1 1 ""
sed -i "s|$WORK/b|$WORK/absent|" "$WORK/mixed"
expect_code 3 pretrain
expect_said "absent: there is no such file \(data\.mixture"
sources 1 1 "packing: WHOLE_DOCUMENTS"
expect_code 3 pretrain
expect_said 'a/train.bin: document .* tokens, but rows of whole documents have 64 \(data.packing'
expect_said 'BEST_FIT'
"$TSUGI" prepare --text "$WORK/digits" --out "$WORK/c" --vocabulary characters > /dev/null
sources 1 1 ""
sed -i "s|$WORK/b|$WORK/c|" "$WORK/mixed"
expect_code 3 pretrain
expect_said 'c/tokenizer.json is not the tokenizer of .*a/tokenizer.json'
[ ! -e "$WORK/refused/checkpoints" ] || fail "a refused run wrote checkpoints"
echo "mixtures have exact proportions, on any number of ranks, whole or gone on with"
