#!/usr/bin/env bash
# Encoders with a decoder on real ranks: the same bits for any number of ranks and threads and after a resume; evaluated,
# asked, exported, imported, fine-tuned; and what does not fit is refused before training.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 6
vocabulary=$("$TSUGI" inspect "$WORK/data/train.bin" --json | grep -oE '"vocabulary":[0-9]+' | cut -d: -f2)
sed -E "s/^model .*/model { family: T5 layers: 1 decoder_layers: 2 heads: 2 width: 32 context: 32 dropout: 0.1 }/" \
  "$WORK/config" > "$WORK/plain"
{ cat "$WORK/plain"; echo "objective { span_corruption { first_sentinel: $((vocabulary + 8)) end_token: $vocabulary } }"; } > "$WORK/spans"
cat "$WORK/plain" > "$WORK/mixture"
cat >> "$WORK/mixture" <<CONFIG
objective { denoising { first_sentinel: $((vocabulary + 20)) end_token: $vocabulary
  denoiser { weight: 2 }
  denoiser { noise: SUFFIX inputs: DROP mode_token: $((vocabulary + 21)) }
  denoiser { density: 0.4 inputs: MASK mask_token: $((vocabulary + 22)) targets: TEXT } } }
CONFIG
mkdir "$WORK/reverse"
for i in $(seq 1 60); do printf '{"prompt":"%s","response":"%s"}\n' "fox $i" "$(echo "fox $i" | rev)"; done > "$WORK/reverse/train.jsonl"
cp "$WORK/data/tokenizer.json" "$WORK/reverse/"
{ grep -v '^data' "$WORK/plain"
  echo "data { train: \"$WORK/reverse/train.jsonl\" validation: \"$WORK/reverse/train.jsonl\" }"
  echo "objective { sequence_to_sequence { response_sequence: 12 end_token: $vocabulary prompt_template: \"turn {prompt}\" } }"
} > "$WORK/answers"

train() {  # CONFIG RUN RANKS THREADS [--set …]
  local config=$1 run=$2 n=$3 threads=$4; shift 4
  ranks "$n" "$TSUGI" pretrain --config "$WORK/$config" --set "dist.threads=$threads" "$@" --out "$WORK/$run" --json \
    > "$WORK/$run.json" 2> "$WORK/$run.err" || { cat "$WORK/$run.err" >&2; fail "training $run"; }
}
for config in spans mixture answers; do
  train $config $config-1 1 1
  train $config $config-2 2 2
  train $config $config-3 3 1
  same_run "$WORK/$config-1" "$WORK/$config-2"
  same_run "$WORK/$config-1" "$WORK/$config-3"
done
train spans bf16 1 1 numerics.compute=BF16
train spans bf16-2 2 1 numerics.compute=BF16 numerics.recompute=true
same_run "$WORK/bf16" "$WORK/bf16-2"
train mixture resumed 2 1
rm -r "$WORK/resumed/checkpoints/step-00000006"
train mixture resumed 3 1
same_run "$WORK/mixture-1" "$WORK/resumed"

echo "- evaluation, as in training"
value() { grep -oE "\"$1\":[0-9.e-]+" "$2" | head -n 1 | cut -d: -f2; }
same_loss() { awk -v a="$(value loss "$1")" -v b="$(value validation_loss "$2")" 'BEGIN { exit !(a - b < 1e-4 && b - a < 1e-4) }'; }
"$TSUGI" evaluate --checkpoint "$WORK/spans-1" --tokens "$WORK/data/validation.bin" --sequence 32 --sequences 20 --json > "$WORK/evaluated"
same_loss "$WORK/evaluated" "$WORK/spans-1.json" || fail "evaluate and training differ"
"$TSUGI" evaluate --checkpoint "$WORK/answers-1" --instructions "$WORK/reverse/train.jsonl" --prompt-template 'turn {prompt}' \
  --sequences 20 --json > "$WORK/evaluated"
same_loss "$WORK/evaluated" "$WORK/answers-1.json" || fail "evaluate and training differ on responses"

echo "- what it says"
expect_code 0 "$TSUGI" generate --checkpoint "$WORK/answers-1" --prompt "turn fox 12" --prompt "turn fox" --tokens 5 --temperature 0 --json
expect_said '"prompt":1,"sample":0,"text":'
cp "$WORK/said" "$WORK/both"
expect_code 0 "$TSUGI" generate --checkpoint "$WORK/answers-1" --prompt "turn fox" --tokens 5 --temperature 0 --json
ids=$(grep -oE '"ids":\[[0-9,]*\]' "$WORK/said")
grep -qF "$ids" "$WORK/both" || fail "other answers together than alone"

echo "- export, import, fine-tuning"
"$TSUGI" export --checkpoint "$WORK/spans-1" --out "$WORK/exported" --json > "$WORK/said"
expect_said '"model_type":"t5"'
"$TSUGI" import --from "$WORK/exported" --out "$WORK/imported" --json > /dev/null
cmp "$WORK/imported/model.safetensors" "$(last_checkpoint "$WORK/spans-1")/model.safetensors" || fail "export and import changed weights"
for n in 1 2; do
  expect_code 0 ranks $n "$TSUGI" finetune --task instructions --checkpoint "$WORK/exported" --train "$WORK/reverse/train.jsonl" \
    --validation-fraction 0.2 --epochs 2 --out "$WORK/tuned-$n" --json
done
expect_said '"validation_loss":[0-9.]+'
same_run "$WORK/tuned-1" "$WORK/tuned-2"
expect_code 0 "$TSUGI" finetune --task language-modelling --checkpoint "$WORK/exported" --train "$WORK/data" --epochs 0.01 --out "$WORK/more" --json
expect_code 0 "$TSUGI" finetune --task instructions --checkpoint "$WORK/exported" --train "$WORK/reverse/train.jsonl" --lora-rank 2 --epochs 0.1 \
  --out "$WORK/lora" --json

echo "- what does not fit"
expect_code 2 "$TSUGI" pretrain --config "$WORK/plain" --out "$WORK/no"
expect_said 'objective.causal_lm is not built .*model.family T5'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set model.family=GPT2 --set model.decoder_layers=0 --out "$WORK/no"
expect_said 'objective.span_corruption needs an encoder and a decoder'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set objective.span_corruption.first_sentinel=-1 --out "$WORK/no"
expect_said 'sentinels are needed, but the tokenizer has no "<extra_id_0>"'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set "objective.span_corruption.first_sentinel=$((vocabulary - 1))" --out "$WORK/no"
expect_said 'is text in the tokenizer'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set objective.span_corruption.end_token=-1 --out "$WORK/no"
expect_said 'end_token: there is no token that ends a text'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set batch.sequence=2 --out "$WORK/no"
expect_said 'batch.sequence is 2'
expect_code 2 "$TSUGI" pretrain --config "$WORK/spans" --set data.packing=BEST_FIT --out "$WORK/no"
expect_said 'objective.span_corruption takes data.packing'
expect_code 2 "$TSUGI" pretrain --config "$WORK/answers" --set objective.sequence_to_sequence.response_sequence=33 --out "$WORK/no"
expect_said 'response_sequence .*is longer than'
[ ! -e "$WORK/no" ] || fail "something was begun"
expect_code 2 "$TSUGI" finetune --checkpoint "$WORK/exported" --train "$WORK/reverse/train.jsonl" --validation "$WORK/reverse/train.jsonl"
expect_said 'an encoder and a decoder, for which --task classification is not built'
printf '{"ctx":"a","endings":["b","c"],"label":0}\n' > "$WORK/questions.jsonl"
expect_code 3 "$TSUGI" evaluate --checkpoint "$WORK/exported" --multiple-choice "$WORK/questions.jsonl"
expect_said 'needs a model that goes on with a text'
for config in spans mixture answers; do
  expect_code 0 "$TSUGI" plan --config "$WORK/$config" --json
  expect_said '"parameters":'
done
bad() { rm -rf "$WORK/bad"; cp -r "$WORK/exported" "$WORK/bad"; }
refused() { expect_code 3 "$TSUGI" generate --checkpoint "$WORK/bad" --prompt Line; expect_said "$1"; }
bad; sed -i 's/"relu"/"gated-silu"/' "$WORK/bad/config.json"; refused 'feed_forward_proj'
bad; sed -i 's/"num_decoder_layers": 2/"num_decoder_layers": 3/' "$WORK/bad/config.json"; refused 'decoder.block.2.*missing'
bad; sed -i 's/"d_kv": 16/"d_kv": 8/' "$WORK/bad/config.json"; refused 'shape'
echo "encoders with a decoder behave like every model, on any number of ranks"
