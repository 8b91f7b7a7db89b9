#!/usr/bin/env bash
# Replaced-token detection: the same bits for any number of ranks and after a resume; planned; exported as transformers'
# ElectraForPreTraining, continued and fine-tuned without the generator; and what does not fit is refused.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 8
vocabulary=$("$TSUGI" inspect "$WORK/data/train.bin" --json | grep -oE '"vocabulary":[0-9]+' | cut -d: -f2)
sed -E "s/^model .*/model { family: ELECTRA layers: 2 heads: 2 width: 32 context: 32 dropout: 0.1 vocabulary: $((vocabulary + 1)) }/" \
  "$WORK/config" > "$WORK/electra"
echo "objective { replaced_token_detection { mask_token: $vocabulary } }" >> "$WORK/electra"

train() {  # RUN RANKS [--set …]
  local run=$1 n=$2; shift 2
  ranks "$n" "$TSUGI" pretrain --config "$WORK/electra" "$@" --out "$WORK/$run" --json > "$WORK/$run.json" 2> "$WORK/$run.err" ||
    { cat "$WORK/$run.err" >&2; fail "training $run"; }
}
train one 1
train two 2
same_run "$WORK/one" "$WORK/two"
train resumed 2
rm -r "$WORK/resumed/checkpoints/step-00000008"
train resumed 3
same_run "$WORK/one" "$WORK/resumed"
for score in generator_loss generator_accuracy discriminator_accuracy replaced_found discriminator_auc; do
  grep -q "\"$score\":" "$WORK/one.json" || fail "no $score"
done
"$TSUGI" plan --config "$WORK/electra" --json > "$WORK/said"
expect_said '"parameters":[1-9]'

echo "- without the generator"
checkpoint=$(last_checkpoint "$WORK/one")
grep -q '"ElectraForPreTraining"' "$checkpoint/config.json" || fail "not called ElectraForPreTraining"
grep -aq 'objective.generator.entrance.weight' "$checkpoint/model.safetensors" || fail "no generator to go on with"
"$TSUGI" export --checkpoint "$WORK/one" --out "$WORK/exported" --json > "$WORK/said"
expect_said '"model_type":"electra"'
grep -aq 'discriminator_predictions.dense_prediction.bias' "$WORK/exported/model.safetensors" || fail "no discriminator"
! grep -aq 'generator.entrance' "$WORK/exported/model.safetensors" || fail "the generator was exported"
train continued 1 --set steps=3 --init-from "$WORK/exported"
for i in $(seq 1 20); do printf '{"text":"Line %d","label":"%s"}\n' "$i" "$([ $((i % 2)) = 0 ] && echo even || echo odd)"; done > "$WORK/task.jsonl"
expect_code 0 "$TSUGI" finetune --checkpoint "$WORK/one" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --epochs 1 --out "$WORK/tuned" --json
expect_said '"accuracy":'
expect_code 0 "$TSUGI" evaluate --checkpoint "$WORK/tuned" --labelled "$WORK/task.jsonl" --json
expect_code 0 "$TSUGI" embed --checkpoint "$WORK/exported" --texts "$WORK/task.jsonl" --out "$WORK/features" --json

echo "- what does not fit"
expect_code 3 "$TSUGI" evaluate --checkpoint "$WORK/one" --tokens "$WORK/data/validation.bin"
expect_said 'an encoder without a head for the vocabulary'
expect_code 2 "$TSUGI" pretrain --config "$WORK/electra" --set model.family=BERT --out "$WORK/no"
expect_said 'set model.family: ELECTRA'
expect_code 2 "$TSUGI" pretrain --config "$WORK/electra" --set objective.replaced_token_detection.mask_token=-1 --out "$WORK/no"
expect_said 'no mask token'
[ ! -e "$WORK/no" ] || fail "something was begun"
