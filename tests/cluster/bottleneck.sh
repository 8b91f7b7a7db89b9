#!/usr/bin/env bash
# Bottleneck adapters: training begins with the model as it is and leaves its weights alone; they lie apart, every command
# computes with them, nothing pretends that they are weights, and a run that is stopped goes on bitwise.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 10
number() { sed -n "s/.*\"$2\":\([-0-9.eE+]*\)[,}].*/\1/p" "$1"; }
equal() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 2e-6 && d > -2e-6 && a > 0) }'; }
checksum() { find "$1" -type f -exec cksum {} + | sort; }
evaluate() { "$TSUGI" evaluate --checkpoint "$1" --tokens "$WORK/data/validation.bin" --json > "$WORK/evaluated"; number "$WORK/evaluated" loss; }

declare -A architecture=([gpt2]="model.family=GPT2" [llama]="model.family=LLAMA model.key_heads=1")
declare -A placement=([gpt2]=both [llama]=feed-forward)
for family in gpt2 llama; do
  # shellcheck disable=SC2086  # a list of words
  "$TSUGI" pretrain --config "$WORK/config" --set ${architecture[$family]} model.dropout=0 --out "$WORK/$family" \
    > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "pretraining of $family"; }
  checksum "$WORK/$family/checkpoints" > "$WORK/before"
  finetune() {
    ranks "$1" "$TSUGI" finetune --checkpoint "$WORK/$family" --task language-modelling --train "$WORK/data" \
      --bottleneck 6 --bottleneck-placement "${placement[$family]}" --learning-rate 5e-2 --epochs 3 --json "${@:2}"
  }
  finetune 2 --out "$WORK/adapted-$family" > "$WORK/tuned" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning"; }
  adapted=$(last_checkpoint "$WORK/adapted-$family")
  [ ! -e "$adapted/model.safetensors" ] || fail "the adapted weights lie in the adapter's folder"
  grep -q mlp_adapter.up "$adapted/adapter_model.safetensors" || fail "no adapter"
  [ "$(grep -c attention_adapter "$adapted/adapter_model.safetensors" || true)" = "$([ $family = gpt2 ] && echo 1 || echo 0)" ] ||
    fail "$family: adapters at other places than asked for"
  checksum "$WORK/$family/checkpoints" | cmp - "$WORK/before" || fail "the adapted weights changed"

  untouched=$(evaluate "$WORK/$family")
  equal "$untouched" "$(number "$WORK/tuned" first_validation_loss)" || fail "$family does not begin as it was: $(cat "$WORK/tuned")"
  tuned=$(evaluate "$adapted")
  equal "$tuned" "$(number "$WORK/tuned" validation_loss)" || fail "$family: $tuned, in training $(cat "$WORK/tuned")"
  awk -v a="$tuned" -v b="$untouched" 'BEGIN { exit !(a < b - 0.02) }' || fail "$family: $untouched only became $tuned"
  [ "$(evaluate "$WORK/$family")" = "$untouched" ] || fail "$family computes something else than before"
  finetune 1 --out "$WORK/alone-$family" > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning alone"; }
  cmp "$(last_checkpoint "$WORK/alone-$family")/adapter_model.safetensors" "$adapted/adapter_model.safetensors" ||
    fail "1 and 2 ranks differ"

  # Every command takes the folder; none takes the adapters for weights.
  "$TSUGI" generate --checkpoint "$adapted" --prompt "Line" --tokens 8 --temperature 0 --json > "$WORK/said"
  expect_said '"text":'
  "$TSUGI" inspect "$adapted" --json > "$WORK/said"
  expect_said '"kind":"checkpoint"'
  expect_code 2 "$TSUGI" export --checkpoint "$adapted" --out "$WORK/exported"
  expect_said "bottleneck adapters, which cannot be merged into weights"
  expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --init-from "$adapted" --out "$WORK/none"
  expect_said "cannot be merged.*"
  expect_code 2 "$TSUGI" finetune --checkpoint "$adapted" --task language-modelling --train "$WORK/data"
  [ ! -e "$WORK/exported" ] || fail "something was exported"
done

# In continued pretraining; killed and gone on with. The weights' gradients and moments take no memory.
"$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/llama" --set adapter.bottleneck=4 steps=40 --out "$WORK/whole" \
  > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "pretraining adapters"; }
"$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/llama" --set adapter.bottleneck=4 steps=40 --out "$WORK/killed" \
  > /dev/null 2>&1 & pid=$!
for _ in $(seq 1 600); do [ -e "$WORK/killed/checkpoints/step-00000010" ] && break; sleep 0.02; done
kill -9 $pid || fail "nothing to kill"
wait $pid || true
"$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/llama" --set adapter.bottleneck=4 steps=40 --out "$WORK/killed" \
  > "$WORK/resumed" 2>&1
cmp "$(last_checkpoint "$WORK/whole")/adapter_model.safetensors" "$(last_checkpoint "$WORK/killed")/adapter_model.safetensors" ||
  fail "the killed run ended elsewhere"
bytes() { "$TSUGI" plan --config "$WORK/config" --set model.family=LLAMA model.width=256 "$@" --json > "$WORK/said"; echo $(($(number "$WORK/said" optimizer) + $(number "$WORK/said" gradients))); }
[ $((10 * $(bytes adapter.bottleneck=4))) -lt "$(bytes steps=10)" ] || fail "adapters need $(bytes adapter.bottleneck=4) bytes of $(bytes steps=10)"

# A head of its own is kept beside the adapters.
for i in $(seq 1 24); do echo "{\"text\": \"Line $i of document $((i % 2))\", \"label\": \"$((i % 2))\"}"; done > "$WORK/task.jsonl"
"$TSUGI" finetune --checkpoint "$WORK/llama" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --bottleneck 4 \
  --out "$WORK/classifier" --json > "$WORK/tuned" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "a classifier"; }
"$TSUGI" evaluate --checkpoint "$WORK/classifier" --labelled "$WORK/task.jsonl" --json > "$WORK/evaluated"
[ "$(number "$WORK/evaluated" accuracy)" = "$(number "$WORK/tuned" accuracy)" ] || fail "the classifier says something else"

# What is wrong is named.
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --set adapter.bottleneck=2 --out "$WORK/none"
expect_said "no weights to adapt"
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/llama" --set adapter.bottleneck=2 adapter.rank=2 --out "$WORK/none"
expect_said "exclude each other"
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/llama" --set adapter.placement=BOTH --out "$WORK/none"
expect_said "adapter.placement"
broken=$WORK/broken; cp -r "$(last_checkpoint "$WORK/adapted-gpt2")" "$broken"; rm "$broken/manifest.json"
refused() {  # SED PATTERN: evaluating refuses the folder so changed
  cp "$(last_checkpoint "$WORK/adapted-gpt2")/adapter_config.json" "$broken/"
  sed -i "$1" "$broken/adapter_config.json"
  expect_code 3 "$TSUGI" evaluate --checkpoint "$broken" --tokens "$WORK/data/validation.bin"
  expect_said "$2"
}
refused 's/"bottleneck": 6/"bottleneck": 5/' 'adapter.*has shape'
refused 's/"bottleneck": 6/"bottleneck": 1000000000/' 'adapter_config.json: field bottleneck'
refused 's/"both"/"feed_forward"/' 'attention_adapter.* is not part of the adapted model'
refused 's/"both"/"above"/' 'field placement'
refused 's/gelu_new/relu/' 'field non_linearity'
refused 's/TSUGI_BOTTLENECK/IA3/' 'field peft_type'
refused 's/"base_model_name_or_path": "[^"]*"/"base_model_name_or_path": "."/' 'a circle'
echo "bottleneck adapters begin as nothing, lie apart, and go on bitwise"
