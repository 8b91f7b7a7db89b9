#!/usr/bin/env bash
# What is measured and adapted besides the loss on text: multiple-choice questions, asked alone and while training, on any
# number of ranks; and a GPT that goes on with other text, whole or with frozen layers.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 30
number() { grep -oE "\"$1\":[0-9.e-]+" "$2" | tail -n 1 | cut -d: -f2; }

echo "- questions"
# The answer is what the text has, at a place that changes; else there is what it never says. The key to the last two is
# wrong. The first three have other endings of one letter, likelier as a whole though not per letter.
for i in $(seq 1 9); do
  label=$((i % 4))
  wrong=('"qqqqqqq"' '"zzzjjjj"' '"vvvwwww"')
  if [ "$i" -le 3 ]; then wrong=('"q"' '"z"' '"v"'); fi
  endings=("${wrong[@]:0:label}" '"own fox"' "${wrong[@]:label}")
  if [ "$i" -gt 7 ]; then label=$(((label + 1) % 4)); fi
  echo "{\"ctx\": \"Line $i of document: the quick br\", \"endings\": [$(IFS=,; echo "${endings[*]}")], \"label\": $label}"
done > "$WORK/questions.jsonl"
for n in 1 2; do
  ranks "$n" "$TSUGI" pretrain --config "$WORK/config" --set "evaluation.multiple_choice=$WORK/questions.jsonl" --out "$WORK/run-$n" --json \
    > "$WORK/run-$n.json" 2> "$WORK/run-$n.err" || { cat "$WORK/run-$n.err" >&2; fail "training with questions"; }
done
grep -c '"choice_accuracy":.*"choice_accuracy_per_token":' "$WORK/run-1/metrics.jsonl" | grep -qx 6 || fail "not asked at every evaluation"
same_run "$WORK/run-1" "$WORK/run-2"
"$TSUGI" evaluate --checkpoint "$WORK/run-2" --multiple-choice "$WORK/questions.jsonl" --json > "$WORK/evaluated"
awk -v a="$(number accuracy "$WORK/evaluated")" -v b="$(number accuracy_per_token "$WORK/evaluated")" \
  'BEGIN { exit !(sprintf("%.9f %.9f", a, b) == sprintf("%.9f %.9f", 4/9, 7/9)) }' || fail "not 4 and 7 of 9: $(cat "$WORK/evaluated")"
grep -q '"chance":0.25,"questions":9' "$WORK/evaluated" || fail "other questions: $(cat "$WORK/evaluated")"
for name in accuracy accuracy_per_token; do
  for n in 1 2; do
    [ "$(number "choice_$name" "$WORK/run-$n.json")" = "$(number $name "$WORK/evaluated")" ] || fail "$name differs on $n ranks"
    [ "$(number "choice_$name" "$WORK/run-$n/metrics.jsonl")" = "$(number $name "$WORK/evaluated")" ] || fail "$name of metrics.jsonl"
  done
done
echo '{"ctx": "a", "endings": ["b", "c"], "label": 2}' >> "$WORK/questions.jsonl"
expect_code 3 "$TSUGI" evaluate --checkpoint "$WORK/run-2" --multiple-choice "$WORK/questions.jsonl"
expect_said 'questions.jsonl:10'
expect_code 3 "$TSUGI" pretrain --config "$WORK/config" --set "evaluation.multiple_choice=$WORK/questions.jsonl" --out "$WORK/no"
expect_said 'questions.jsonl:10'
[ ! -e "$WORK/no" ] || fail "something was begun"

echo "- a GPT goes on with other text"
mkdir "$WORK/other"
for i in $(seq 1 40); do echo "dogs lazy over jumps $i" "fox brown quick the" "$((i * 3)) document of Line" > "$WORK/other/$i.txt"; done
"$TSUGI" prepare --text "$WORK/other" --out "$WORK/tokens" --tokenizer "$WORK/data" --json > /dev/null
tune() {  # RUN ARGUMENTS…
  ranks 2 "$TSUGI" finetune --task language-modelling --checkpoint "$WORK/run-1" --train "$WORK/tokens" --epochs 4 --threads 1 \
    --learning-rate 1e-2 --out "$WORK/$1" "${@:2}" --json > "$WORK/$1.json" 2> "$WORK/$1.err" || { cat "$WORK/$1.err" >&2; fail "tuning $1"; }
  awk -v a="$(number first_validation_loss "$WORK/$1.json")" -v b="$(number validation_loss "$WORK/$1.json")" \
    'BEGIN { exit !(b < a - 0.1) }' || fail "nothing was learnt: $(cat "$WORK/$1.json")"
  # What the checkpoint says is what was reported.
  "$TSUGI" evaluate --checkpoint "$WORK/$1" --tokens "$WORK/tokens/validation.bin" --json > "$WORK/evaluated"
  awk -v a="$(number loss "$WORK/evaluated")" -v b="$(number validation_loss "$WORK/$1.json")" 'BEGIN { exit !(a - b < 1e-5 && b - a < 1e-5) }' ||
    fail "evaluate says otherwise: $(cat "$WORK/evaluated" "$WORK/$1.json")"
}
changed() {  # RUN PATTERN: are tensors of that name other ones than before?
  tensors "$2" "$(last_checkpoint "$WORK/run-1")/model.safetensors" > "$WORK/before"
  tensors "$2" "$(last_checkpoint "$WORK/$1")/model.safetensors" > "$WORK/after"
  ! cmp -s "$WORK/before" "$WORK/after"
}
tune whole
tune frozen --freeze-layers 1
for part in 'wte' 'wpe' 'h[.]0[.]ln_1' 'h[.]0[.]attn.*weight' 'h[.]0[.]mlp.*bias'; do
  changed whole "$part" || fail "$part was not trained"
  if changed frozen "$part"; then fail "$part is frozen, but changed"; fi
done
for part in 'h[.]1[.]attn.*weight' 'h[.]1[.]mlp.*bias' 'ln_f'; do
  changed frozen "$part" || fail "$part was not trained beside frozen layers"
done
if (tensors '^exp_avg/.*(wte|wpe|h[.]0)' "$(last_checkpoint "$WORK/frozen")"/state/shard-*) > /dev/null 2>&1; then fail "moments of frozen layers are kept"; fi
echo "questions and text of another kind: measured and learnt, on any number of ranks"
