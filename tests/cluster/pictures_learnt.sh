#!/usr/bin/env bash
# What the recipes of pictures learn of MNIST, held to what was asked of them, with a table: probes and neighbours of what was
# learnt without labels, puzzles solved, captions found, and how much a few labels gain by it. A quarter of an hour of one core.
# MNIST's test file is read where it is: TSUGI_SSL_DATA, else ../shared/data/ssl beside this folder; 77 where it is not.
#   mnist/t10k-images-idx3-ubyte.gz, mnist/t10k-labels-idx1-ubyte.gz  LeCun, Cortes and Burges
# Arguments: which of the recipes; none: all.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${TSUGI_SSL_DATA:-$root/../shared/data/ssl}
[ -d "$data/mnist" ] || { echo "no MNIST in $data (TSUGI_SSL_DATA)"; exit 77; }
sha256sum --check --quiet <<SUMS || fail "other pictures than the numbers below are of"
167310007f03058885c7e95e6c0b19c20de5c7fd3031f4cbdadc9014a523d80b  $data/mnist/t10k-images-idx3-ubyte.gz
fc607395669ec21321ea83e4b82c0544b7e8e63ff5b34337c06bc0a17cc0da3c  $data/mnist/t10k-labels-idx1-ubyte.gz
SUMS
printf '%s\n' zero one two three four five six seven eight nine > "$WORK/words"
"$TSUGI" prepare-images --images "$data/mnist/t10k-images-idx3-ubyte.gz" --class-captions "$WORK/words" --out "$WORK/mnist" \
  --validation-fraction 0.2 --json > /dev/null
failures=0
# least NAME VALUE BOUND: remembers what is below.
least() {
  jq -en "$2 >= $3" > /dev/null || { echo "FAILED: $1 is $2, not $3" >&2; failures=$((failures + 1)); }
}
probe() { "$TSUGI" probe --checkpoint "$1" --train "$WORK/mnist" --test "$WORK/mnist" --per-class 100 --threads 1 --json; }
number() { jq -r "($1) * 1000 | round / 1000" <<< "$2"; }

# learnt NAME TASK PROBE NEIGHBOURS: trains the recipe; the least accuracy in its own task and of its features, 0: any.
learnt() {
  local name=$1 run=$WORK/$1 seconds trained probed
  local config=$root/launch/recipes/mnist_$name.textproto
  seconds=$({ TIMEFORMAT=%U; time "$TSUGI" pretrain --config "$config" --set "data.train=$WORK/mnist" --set dist.threads=1 \
    --out "$run" --json > "$run.json" 2> "$run.err"; } 2>&1) || { cat "$run.err" >&2; fail "training $name"; }
  trained=$(< "$run.json"); probed=$(probe "$run")
  local loss accuracy linear nearest
  loss=$(number .validation_loss "$trained"); accuracy=$(number '.validation_accuracy // 0' "$trained")
  linear=$(number .linear_probe "$probed"); nearest=$(number .nearest_neighbours "$probed")
  printf '| %-17s | %5s | %6.0f | %6s | %5s (%4s) | %5s (%3s) | %5s (%3s) |\n' "$name" "$(jq .step <<< "$trained")" "$seconds" \
    "$loss" "$accuracy" "$2" "$linear" "$3" "$nearest" "$4"
  least "$name: accuracy" "$accuracy" "$2"
  least "$name: linear probe" "$linear" "$3"
  least "$name: neighbours" "$nearest" "$4"
}

echo "| recipe mnist_     | steps | CPU s  | loss   | right (asked) | probe (asked) | 5 nearest (asked) |"
while read -r name task linear nearest; do
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  learnt "$name" "$task" "$linear" "$nearest"
done <<'ASKED'
simclr 0 .75 .70
moco 0 .67 .63
rotation .85 0 0
jigsaw .85 0 0
relative_position .40 0 0
cpc .178 .66 .62
amdim 0 .70 .71
dim 0 0 0
mae 0 0 0
clip .90 0 0
ASKED

# A few labels, with SimCLR behind them and without.
if [ -d "$WORK/simclr" ]; then
  echo "| labels per class  | from scratch | pretrained | gain (asked) |"
  for labels in 10 50; do
    tune() {
      OMP_NUM_THREADS=1 "$TSUGI" finetune --checkpoint "$WORK/simclr" --train "$WORK/mnist" --validation "$WORK/mnist" \
        --per-class "$labels" --epochs 60 --learning-rate 1e-3 "$@" --json 2> /dev/null | jq .accuracy
    }
    scratch=$(tune --from-scratch --out "$WORK/scratch$labels"); pretrained=$(tune --out "$WORK/tuned$labels")
    asked=$([ "$labels" = 10 ] && echo .10 || echo .05)
    gain=$(jq -n "($pretrained - $scratch) * 1000 | round / 1000")
    printf '| %-17s | %12s | %10s | %5s (%3s)  |\n' "$labels" "$scratch" "$pretrained" "$gain" "$asked"
    least "gain of $labels labels" "$gain" "$asked"
  done
fi
[ "$failures" = 0 ] || fail "$failures figures below what was asked"
