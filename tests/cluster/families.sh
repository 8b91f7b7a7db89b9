#!/usr/bin/env bash
# A Llama on real ranks: the same bits for any number of ranks and threads; resumed, exported, imported, continued,
# fine-tuned and generated from like any other model; and a Hugging Face folder taken as it is.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 8
sed -i 's/^model .*/model { family: LLAMA layers: 2 heads: 4 key_heads: 2 width: 32 mlp_width: 48 context: 32 dropout: 0.1 }/' "$WORK/config"
for compute in FP32 BF16; do
  train() {  # RUN RANKS THREADS [--set …]
    local run=$1 n=$2 threads=$3; shift 3
    ranks "$n" "$TSUGI" pretrain --config "$WORK/config" --set "dist.threads=$threads" "numerics.compute=$compute" "$@" \
      --out "$WORK/$run" --json > "$WORK/$run.json" 2> "$WORK/$run.err" || { cat "$WORK/$run.err" >&2; fail "training $run"; }
  }
  train "one-$compute" 1 1
  for n in 2 3; do
    train "$compute-$n" "$n" 1
    same_run "$WORK/one-$compute" "$WORK/$compute-$n"
  done
  train "both-$compute" 2 2
  same_run "$WORK/one-$compute" "$WORK/both-$compute"
  train "recompute-$compute" 2 1 numerics.recompute=true
  same_run "$WORK/one-$compute" "$WORK/recompute-$compute"
  # Stopped after 5 steps of 8, and taken up by another number of ranks.
  train "resumed-$compute" 2 1 steps=8
  rm -r "$WORK/resumed-$compute/checkpoints/step-00000008"
  train "resumed-$compute" 3 1 steps=8
  same_run "$WORK/one-$compute" "$WORK/resumed-$compute"
done
run=$WORK/one-FP32
compute=FP32
train apart 1 1 data.documents=APART objective.causal_lm.z_loss=1e-3 objective.causal_lm.label_smoothing=0.1
train apart-3 3 2 data.documents=APART objective.causal_lm.z_loss=1e-3 objective.causal_lm.label_smoothing=0.1
same_run "$WORK/apart" "$WORK/apart-3"
cmp -s "$(last_checkpoint "$WORK/apart")/model.safetensors" "$(last_checkpoint "$run")/model.safetensors" &&
  fail "documents, z-loss and label smoothing change nothing"
head -c 4000 /dev/zero > "$WORK/headerless.bin"
expect_code 3 "$TSUGI" pretrain --config "$WORK/config" --set data.documents=APART "data.train=$WORK/headerless.bin" model.vocabulary=50 --out "$WORK/no"
expect_said 'headerless.bin: does not know its documents'

echo "- export, import"
"$TSUGI" export --checkpoint "$run" --out "$WORK/exported" --max-shard-bytes 20000 --json > "$WORK/said"
expect_said '"model_type":"llama"'
[ -e "$WORK/exported/model.safetensors.index.json" ] || fail "no index"
"$TSUGI" import --from "$WORK/exported" --out "$WORK/imported" --json > /dev/null
cmp "$WORK/imported/model.safetensors" "$(last_checkpoint "$run")/model.safetensors" || fail "export and import changed weights"
cmp "$WORK/imported/tokenizer.json" "$WORK/data/tokenizer.json" || fail "the tokenizer did not travel"

echo "- every command takes the folder"
loss() { "$TSUGI" evaluate --checkpoint "$1" --tokens "$WORK/data/validation.bin" --json | grep -oE '"loss":[0-9.]+'; }
[ "$(loss "$run")" = "$(loss "$WORK/exported")" ] || fail "the exported model has another loss"
text() { "$TSUGI" generate --checkpoint "$1" --prompt Line --tokens 60 --temperature 0 --json | grep -oE '"ids":\[[^]]*\]'; }
[ "$(text "$run")" = "$(text "$WORK/exported")" ] || fail "the exported model writes another text"
expect_code 0 "$TSUGI" inspect "$WORK/exported" --json
expect_said '"family":"LLAMA".*"key_heads":2'
least=(--set model.family=LLAMA steps=3 numerics.compute=FP32)
expect_code 0 ranks 2 "$TSUGI" pretrain --config "$WORK/config" "${least[@]}" --init-from "$WORK/exported" --out "$WORK/continued" --json
cmp "$(last_checkpoint "$WORK/continued")/tokenizer.json" "$WORK/data/tokenizer.json"
# It begins where the other ended, not at ln(vocabulary).
first=$(grep -oE '"loss":[0-9.]+' "$WORK/continued/metrics.jsonl" | head -n 1 | cut -d: -f2)
last=$(grep -oE '"loss":[0-9.]+' "$run/metrics.jsonl" | tail -n 1 | cut -d: -f2)
awk -v a="$first" -v b="$last" 'BEGIN { exit !(a < b + 0.4 && a > b - 0.4) }' || fail "continued at $first after $last"
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" "${least[@]}" --set model.mlp_width=64 --init-from "$WORK/exported" --out "$WORK/no"
expect_said 'model.mlp_width is 64 but .*exported has 48'
for i in $(seq 1 40); do printf '{"text":"Line %d of","label":"%s"}\n' "$i" "$([ $((i % 2)) = 0 ] && echo even || echo odd)"; done > "$WORK/task.jsonl"
for extra in "" --linear-probe "--freeze-layers 1"; do
  # shellcheck disable=SC2086
  expect_code 0 "$TSUGI" finetune --checkpoint "$WORK/exported" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --epochs 2 $extra --out "$WORK/tuned$extra" --json
  expect_code 0 "$TSUGI" inspect "$WORK/tuned$extra"
  expect_said 'LLAMA'
done
grep -q LlamaForSequenceClassification "$(last_checkpoint "$WORK/tuned")/config.json" || fail "not a classifier"

expect_code 3 "$TSUGI" generate --checkpoint "$WORK/tuned" --prompt Line
expect_said 'classifier'

echo "- folders that lie"
bad() { rm -rf "$WORK/bad"; cp -r "$WORK/exported" "$WORK/bad"; }
refused() { for command in "evaluate --tokens $WORK/none --checkpoint" "generate --prompt L --checkpoint" inspect; do
  # shellcheck disable=SC2086
  IFS=' ' read -ra words <<< "$(echo $command | sed "s|--tokens .*none|--tokens|")"
  if [ "${words[0]}" = evaluate ]; then words=(evaluate --tokens "$WORK/data/validation.bin" --checkpoint); fi
  expect_code 3 "$TSUGI" "${words[@]}" "$WORK/bad"; expect_said "$1"; done; }
bad; sed -i 's/model-00001-of/..\/exported\/model-00001-of/' "$WORK/bad/model.safetensors.index.json"; refused 'index.json'
bad; ln -sf "$WORK/exported/model-00001-of-00002.safetensors" "$WORK/bad/linked.safetensors"
sed -i 's/"model-00001-of-[0-9]*.safetensors"/"linked.safetensors"/' "$WORK/bad/model.safetensors.index.json"; refused 'symbolic link'
bad; sed -i 's/"intermediate_size": 48/"intermediate_size": 50/' "$WORK/bad/config.json"; refused 'shape.*48.*needs.*50'
bad; sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' "$WORK/bad/config.json"; refused 'layers.1.*not part'
bad; sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' "$WORK/bad/config.json"; refused 'layers.2.*missing'
bad; sed -i 's/"silu"/"gelu"/' "$WORK/bad/config.json"; refused 'hidden_act'
echo "a Llama behaves like every model, on any number of ranks"
