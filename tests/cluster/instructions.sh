#!/usr/bin/env bash
# Supervised fine-tuning: the loss of the responses falls, that of prompts is no part of it, the bits are those of one rank
# on any number of them and after kill -9, packed or one example a row, with adapters and frozen blocks.
. "$(dirname "$0")/lib.sh"
number() { sed -n "s/.*\"$2\":\([-0-9.eE+]*\)[,}].*/\1/p" "$1" | head -n 1; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a + 0 < b + 0) }'; }
equal() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 2e-5 && d > -2e-5 && a > 0) }'; }

# Prompts are digits without any rule, and the answer is always one of two words: who learns the answers alone gets to a
# loss near zero, and whoever scores the prompts too cannot.
make_tasks() {  # LINES SEED
  awk -v n="$1" -v seed="$2" 'BEGIN {
    srand(seed)
    for (i = 0; i < n; ++i) {
      digits = ""
      length_ = 6 + int(rand() * 12)
      for (k = 0; k < length_; ++k) digits = digits int(rand() * 10)
      odd = int(rand() * 2)
      printf "{\"prompt\": \"%s %s\", \"response\": \"%s\"}\n", digits, odd ? "a" : "b", odd ? " alpha" : " beta beta"
    }
  }'
}
make_tasks 160 1 > "$WORK/train.jsonl"
make_tasks 40 2 > "$WORK/validation.jsonl"
mkdir "$WORK/text"
for i in $(seq 1 20); do make_tasks 12 "$((i + 10))" | tr -d '{}' > "$WORK/text/$i.txt"; done
"$TSUGI" prepare --text "$WORK/text" --out "$WORK/data" --vocabulary bytes > /dev/null
make_config "$WORK/config" "$WORK/data" 60
"$TSUGI" pretrain --config "$WORK/config" --set model.family=LLAMA model.dropout=0 --out "$WORK/base" > /dev/null 2> "$WORK/err" ||
  { cat "$WORK/err" >&2; fail "pretraining"; }

tune() {  # RANKS NAME MORE
  local n=$1 name=$2; shift 2
  ranks "$n" "$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/train.jsonl" \
    --validation "$WORK/validation.jsonl" --learning-rate 1e-2 --epochs 6 --checkpoint-every 5 --threads 1 \
    --out "$WORK/$name" --json "$@" > "$WORK/$name.json" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning $name"; }
}
evaluate() { "$TSUGI" evaluate --checkpoint "$1" --instructions "$WORK/validation.jsonl" --json > "$WORK/evaluated"; number "$WORK/evaluated" loss; }

declare -A more=([rows]="" [packed]="--packed" [lora]="--lora-rank 4 --packed" [frozen]="--freeze-layers 1")
for kind in rows packed lora frozen; do
  # shellcheck disable=SC2086  # a list of words
  tune 1 one-$kind ${more[$kind]}
  # shellcheck disable=SC2086
  tune 2 two-$kind ${more[$kind]}
  file=model; [ $kind = lora ] && file=adapter_model
  diff <(losses "$WORK/one-$kind") <(losses "$WORK/two-$kind") > /dev/null || fail "$kind: the losses of 1 and 2 ranks differ"
  cmp "$(last_checkpoint "$WORK/one-$kind")/$file.safetensors" "$(last_checkpoint "$WORK/two-$kind")/$file.safetensors" ||
    fail "$kind: the weights of 1 and 2 ranks differ"
  before=$(number "$WORK/one-$kind.json" first_validation_loss) after=$(number "$WORK/one-$kind.json" validation_loss)
  equal "$before" "$(evaluate "$WORK/base")" || fail "$kind: before training $before, but evaluate says otherwise"
  equal "$after" "$(evaluate "$WORK/one-$kind")" || fail "$kind: after training $after, but evaluate says otherwise"
  less "$after" "$(awk -v a="$before" 'BEGIN { print a - 0.3 }')" || fail "$kind: the loss only went from $before to $after"
done
# No better than chance would be log(2) for a response's first letter; the digits of a prompt cost log(10) each.
less "$(number "$WORK/one-rows.json" validation_loss)" 0.1 || fail "the responses were not learnt: $(cat "$WORK/one-rows.json")"

# Exactly the bytes of the responses are scored, and the end of the text where the tokenizer has one (bytes have none).
bytes=$(sed 's/.*"response": "\([^"]*\)".*/\1/' "$WORK/validation.jsonl" | tr -d '\n' | wc -c)
evaluate "$WORK/base" > /dev/null
[ "$(number "$WORK/evaluated" tokens)" = "$bytes" ] || fail "$bytes bytes of responses, but scored: $(cat "$WORK/evaluated")"
grep -q "\"validation\":{\"examples\":40,\"scored_tokens\":$bytes," "$WORK/one-rows.json" || fail "the counts: $(cat "$WORK/one-rows.json")"
# A prompt is context: with other prompts the same responses have another loss, and prompts in the messages' form too.
sed 's/"prompt": "[^"]*"/"prompt": "x"/' "$WORK/validation.jsonl" > "$WORK/other.jsonl"
"$TSUGI" evaluate --checkpoint "$WORK/one-rows" --instructions "$WORK/other.jsonl" --json > "$WORK/other"
[ "$(number "$WORK/other" tokens)" = "$bytes" ] || fail "other prompts change how much is scored"
less "$(number "$WORK/one-rows.json" validation_loss)" "$(number "$WORK/other" loss)" || fail "prompts have no influence"

# Killed and gone on with, on another number of ranks.
"$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/train.jsonl" \
  --validation "$WORK/validation.jsonl" --learning-rate 1e-2 --epochs 6 --checkpoint-every 5 --threads 1 \
  --out "$WORK/killed" --packed > /dev/null 2>&1 & pid=$!
for _ in $(seq 1 600); do [ -e "$WORK/killed/checkpoints/step-00000005" ] && break; sleep 0.02; done
kill -9 $pid || fail "nothing to kill"
wait $pid || true
tune 2 killed --packed
[ "$(grep -c '"validation_loss"' "$WORK/killed/metrics.jsonl")" = 2 ] || fail "evaluated other than before and after"
[ "$(number "$WORK/killed.json" first_validation_loss)" = "$(number "$WORK/one-packed.json" first_validation_loss)" ] ||
  fail "what was before the kill is forgotten"
cmp "$(last_checkpoint "$WORK/killed")/model.safetensors" "$(last_checkpoint "$WORK/one-packed")/model.safetensors" ||
  fail "the killed run ended elsewhere"

# Held out, cut, dropped and refused.
held() { "$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/train.jsonl" --epochs 0.1 --json "$@"; }
held --validation-fraction 0.25 > "$WORK/said" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "held out"; }
expect_said '"train":\{"examples":1[12][0-9],.*"validation":\{"examples":4[0-9],'
{ cat "$WORK/train.jsonl"; echo '{"prompt": "0123456789", "response": " a response that is longer than the context"}'
  echo '{"prompt": "a prompt that alone is longer than the whole context", "response": "x"}'
  echo '{"prompt": "a", "response": ""}'; } > "$WORK/long.jsonl"
long() { expect_code "$1" "$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/long.jsonl" --epochs 0.1 --json "${@:2}"; }
long 0
expect_said '"train":\{"examples":161,"scored_tokens":[0-9]+,"cut":1,"too_long":1,"without_response":1\}'
expect_said '"validation_loss":null'
long 0 --too-long drop
expect_said '"train":\{"examples":160,"scored_tokens":[0-9]+,"cut":0,"too_long":2,"without_response":1\}'
long 3 --too-long refuse
expect_said 'long.jsonl: line 161: the example has [0-9]+ tokens, but at most 33 fit'

# What is wrong is named.
wrong() { echo "$1" > "$WORK/wrong.jsonl"; cat "$WORK/train.jsonl" "$WORK/wrong.jsonl" > "$WORK/bad.jsonl"
  expect_code 3 ranks 2 "$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/bad.jsonl" --out "$WORK/refused"; }
wrong '{"prompt": "a"}'
expect_said 'bad.jsonl: line 161: .*response'
wrong '{"prompt": "a", "response": 5}'
expect_said 'bad.jsonl: line 161: .*response'
wrong 'no json'
expect_said 'bad.jsonl: line 161: '
wrong '{"messages": [{"role": "wizard", "content": "x"}]}'
expect_said 'bad.jsonl: line 161: .*messages\[0\]\.role.*"wizard"'
expect_code 2 "$TSUGI" finetune --checkpoint "$WORK/base" --task instructions --train "$WORK/train.jsonl" --sequence 33
expect_said 'sequence 33 is longer than the model.s context of 32'
"$TSUGI" pretrain --config "$WORK/config" --set steps=2 schedule.warmup_steps=0 --out "$WORK/gpt2" > /dev/null 2>&1
expect_code 2 "$TSUGI" finetune --checkpoint "$WORK/gpt2" --task instructions --train "$WORK/train.jsonl" --packed
expect_said 'learned positions'
[ ! -e "$WORK/refused/checkpoints" ] || fail "a refused run wrote checkpoints"
echo "responses are learnt, prompts are context; the same bits on 1 and 2 ranks and after kill -9"
