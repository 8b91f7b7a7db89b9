#!/usr/bin/env bash
# The loss curve and the weights are the same bits for any number of ranks and threads.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
for compute in FP32 BF16; do
  make_config "$WORK/config" "$WORK/data" 8
  train() {  # RUN RANKS THREADS
    ranks "$2" "$TSUGI" pretrain --config "$WORK/config" --set "dist.threads=$3" "numerics.compute=$compute" \
      --out "$WORK/$1" --json > "$WORK/$1.json" 2> "$WORK/$1.err" || { cat "$WORK/$1.err" >&2; fail "training $1"; }
  }
  train "one-$compute" 1 1
  [ "$(losses "$WORK/one-$compute" | wc -l)" -ge 9 ] || fail "too few lines in metrics.jsonl"
  for n in 2 3 4 6; do
    train "$compute-$n" "$n" 1
    same_run "$WORK/one-$compute" "$WORK/$compute-$n"
  done
  train "threads-$compute" 1 2
  same_run "$WORK/one-$compute" "$WORK/threads-$compute"
  train "both-$compute" 2 2
  same_run "$WORK/one-$compute" "$WORK/both-$compute"
done
# The test can fail: another seed gives another run.
ranks 1 "$TSUGI" pretrain --config "$WORK/config" --set seed=2 --out "$WORK/other" --json > /dev/null 2>&1
if cmp -s "$(last_checkpoint "$WORK/other")/model.safetensors" "$(last_checkpoint "$WORK/one-FP32")/model.safetensors"; then
  fail "another seed gave the same weights"
fi
echo "same bits on 1, 2, 3, 4 and 6 ranks and on 1 and 2 threads, in fp32 and bf16"
