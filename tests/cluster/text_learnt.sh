#!/usr/bin/env bash
# What the recipes of letters learn of Shakespeare, held to what was asked of them, with a table: counting alone, nanoGPT's recipe
# for CPUs and hidden letters. Ten minutes of one core. The text is read where it is: TSUGI_TEXT_DATA, else ../shared/data/text
# beside this folder; 77 where it is not.
#   tinyshakespeare.txt  github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${TSUGI_TEXT_DATA:-$root/../shared/data/text}
[ -e "$data/tinyshakespeare.txt" ] || { echo "no tinyshakespeare.txt in $data (TSUGI_TEXT_DATA)"; exit 77; }
sha256sum --check --quiet <<SUMS || fail "another text than the numbers below are of"
86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed  $data/tinyshakespeare.txt
SUMS
"$TSUGI" prepare --text "$data/tinyshakespeare.txt" --out "$WORK/shakespeare" --tokenizer characters --split tail \
  --validation-fraction 0.1 --json > /dev/null
failures=0
holds() { jq -en "$2" > /dev/null || { echo "FAILED: $1: $2" >&2; failures=$((failures + 1)); }; }

echo "| Witten-Bell n-grams | nats per letter | known |"
counted=$("$TSUGI" ngrams --train "$WORK/shakespeare/train.bin" --tokens "$WORK/shakespeare/validation.bin" --order 6 --json)
order=0
for known in 3.350 2.487 2.050 1.770 1.664 1.691; do
  loss=$(jq ".losses[$order] * 1000 | round / 1000" <<< "$counted")
  order=$((order + 1))
  printf '| %-19s | %15s | %5s |\n' "$order" "$loss" "$known"
  holds "order $order" "$loss - $known | fabs <= 0.008"
done

# learnt RECIPE HIGHEST_LOSS LEAST_ACCURACY
echo "| recipe               | steps | CPU s | loss (asked) | right (asked) |"
learnt() {
  local run=$WORK/$1 seconds loss accuracy
  seconds=$({ TIMEFORMAT=%U; time "$TSUGI" pretrain --config "$root/launch/recipes/$1.textproto" \
    --set "data.train=$WORK/shakespeare" --set dist.threads=1 --out "$run" --json > "$run.json" 2> "$run.err"; } 2>&1) ||
    { cat "$run.err" >&2; fail "training $1"; }
  loss=$(jq '.validation_loss * 1000 | round / 1000' "$run.json")
  accuracy=$(jq '(.validation_accuracy // 0) * 1000 | round / 1000' "$run.json")
  printf '| %-20s | %5s | %5.0f | %5s (%4s) | %5s (%3s)   |\n' "$1" "$(jq .step "$run.json")" "$seconds" "$loss" "$2" \
    "$accuracy" "$3"
  holds "$1: loss" "$loss < $2"
  holds "$1: accuracy" "$accuracy >= $3"
}
learnt shakespeare_char_cpu 1.93 0
learnt shakespeare_char_bert 1.75 .48
[ "$failures" = 0 ] || fail "$failures figures beyond what was asked"
