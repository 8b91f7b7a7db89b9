#!/usr/bin/env bash
# Low-rank adapters: what they compute beside the weights is what they compute merged into them; they lie apart, the
# adapted weights stay as they are, and a run that is stopped goes on bitwise.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 10
number() { sed -n "s/.*\"$2\":\([-0-9.eE+]*\)[,}].*/\1/p" "$1"; }
equal() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 2e-6 && d > -2e-6 && a > 0) }'; }
checksum() { find "$1" -type f -exec cksum {} + | sort; }

declare -A architecture=([gpt2]="model.family=GPT2" [llama]="model.family=LLAMA model.key_heads=1")
for family in gpt2 llama; do
  # shellcheck disable=SC2086  # a list of words
  "$TSUGI" pretrain --config "$WORK/config" --set ${architecture[$family]} model.dropout=0 --out "$WORK/$family" \
    > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "pretraining of $family"; }
  checksum "$WORK/$family/checkpoints" > "$WORK/before"
  finetune() {
    ranks "$1" "$TSUGI" finetune --checkpoint "$WORK/$family" --task language-modelling --train "$WORK/data" \
      --lora-rank 3 --learning-rate 2e-2 --epochs 0.5 --json "${@:2}"
  }
  finetune 2 --out "$WORK/adapted-$family" > "$WORK/tuned" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning"; }
  [ -e "$(last_checkpoint "$WORK/adapted-$family")/adapter_model.safetensors" ] || fail "no adapter file"
  [ ! -e "$(last_checkpoint "$WORK/adapted-$family")/model.safetensors" ] || fail "the adapted weights lie in the adapter's folder"
  checksum "$WORK/$family/checkpoints" | cmp - "$WORK/before" || fail "the adapted weights changed"

  evaluate() { "$TSUGI" evaluate --checkpoint "$1" --tokens "$WORK/data/validation.bin" --json > "$WORK/evaluated"; number "$WORK/evaluated" loss; }
  untouched=$(evaluate "$WORK/$family")
  merged=$(evaluate "$WORK/adapted-$family")
  equal "$merged" "$(number "$WORK/tuned" validation_loss)" || fail "$family: merged $merged, beside $(cat "$WORK/tuned")"
  awk -v a="$merged" -v b="$untouched" 'BEGIN { exit !(a < b - 0.05) }' || fail "$family: $untouched only became $merged"
  "$TSUGI" export --checkpoint "$WORK/adapted-$family" --out "$WORK/exported-$family" > /dev/null
  [ ! -e "$WORK/exported-$family/adapter_config.json" ] || fail "the export still has an adapter"
  [ "$(evaluate "$WORK/exported-$family")" = "$merged" ] || fail "$family: the export computes something else"
  finetune 1 --out "$WORK/alone-$family" > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning alone"; }
  cmp "$(last_checkpoint "$WORK/alone-$family")/adapter_model.safetensors" \
    "$(last_checkpoint "$WORK/adapted-$family")/adapter_model.safetensors" || fail "1 and 2 ranks differ"
done

# A head of its own is kept beside the adapter.
for i in $(seq 1 24); do echo "{\"text\": \"Line $i of document $((i % 2))\", \"label\": \"$((i % 2))\"}"; done > "$WORK/task.jsonl"
"$TSUGI" finetune --checkpoint "$WORK/llama" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --lora-rank 2 \
  --lora-targets q_proj,v_proj --out "$WORK/classifier" --json > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "a classifier"; }
"$TSUGI" export --checkpoint "$WORK/classifier" --out "$WORK/exported" > /dev/null
grep -q score.weight "$WORK/exported/model.safetensors" || fail "the export has no head"

# Stopped and gone on with.
long=(--train "$WORK/data" --task language-modelling --lora-rank 3 --epochs 6 --learning-rate 1e-2 --json)
"$TSUGI" finetune --checkpoint "$WORK/gpt2" "${long[@]}" --out "$WORK/whole" > /dev/null 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "the whole run"; }
"$TSUGI" finetune --checkpoint "$WORK/gpt2" "${long[@]}" --out "$WORK/asked" > /dev/null 2>&1 & pid=$!
for _ in $(seq 1 600); do grep -q '"step":7,' "$WORK/asked/metrics.jsonl" 2>/dev/null && break; sleep 0.02; done
kill -TERM $pid; code=0; wait $pid || code=$?
[ "$code" = 75 ] || fail "exit code $code instead of 75"
"$TSUGI" finetune --checkpoint "$WORK/gpt2" "${long[@]}" --out "$WORK/asked" > "$WORK/resumed" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "going on"; }
cmp "$(last_checkpoint "$WORK/asked")/adapter_model.safetensors" "$(last_checkpoint "$WORK/whole")/adapter_model.safetensors" ||
  fail "the stopped run ended elsewhere"

# What is wrong is named.
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --set adapter.rank=2 --out "$WORK/none"
expect_said "no weights to adapt"
expect_code 2 "$TSUGI" finetune --checkpoint "$WORK/llama" "${long[@]}" --lora-targets q_proj,c_attn
expect_said "no projection \"c_attn\""
expect_said "it has .*q_proj"
broken=$WORK/broken; cp -r "$(last_checkpoint "$WORK/adapted-gpt2")" "$broken"; rm "$broken/manifest.json"
sed -i 's/"r": 3/"r": 4/' "$broken/adapter_config.json"
expect_code 3 "$TSUGI" evaluate --checkpoint "$broken" --tokens "$WORK/data/validation.bin"
expect_said "adapter_model.safetensors: tensor .* does not fit r = 4"
sed -i 's/"r": 4/"use_dora": true, "r": 3/' "$broken/adapter_config.json"
expect_code 3 "$TSUGI" evaluate --checkpoint "$broken" --tokens "$WORK/data/validation.bin"
expect_said "adapter_config.json: field use_dora: is not supported"
sed -i 's/"use_dora": true, //; s/"base_model_name_or_path": "[^"]*"/"base_model_name_or_path": "."/' "$broken/adapter_config.json"
expect_code 3 "$TSUGI" evaluate --checkpoint "$broken" --tokens "$WORK/data/validation.bin"
expect_said "adapt each other, or a circle"
echo "adapters compute the same beside the weights and merged, lie apart, and go on bitwise"
