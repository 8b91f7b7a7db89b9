#!/usr/bin/env bash
# Encoders on real ranks: the same bits for any number of ranks and threads and after a resume; evaluated, asked for
# hidden tokens, exported, imported, continued and fine-tuned; and what does not fit is refused before training.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 8
vocabulary=$("$TSUGI" inspect "$WORK/data/train.bin" --json | grep -oE '"vocabulary":[0-9]+' | cut -d: -f2)
for family in BERT ROBERTA DISTILBERT; do
  sed -E "s/^model .*/model { family: $family layers: 2 heads: 2 width: 32 context: 32 dropout: 0.1 vocabulary: $((vocabulary + 1)) }/" \
    "$WORK/config" > "$WORK/$family"
  echo "objective { masked_lm { mask_token: $vocabulary } }" >> "$WORK/$family"
done

train() {  # FAMILY RUN RANKS THREADS [--set …]
  local family=$1 run=$2 n=$3 threads=$4; shift 4
  ranks "$n" "$TSUGI" pretrain --config "$WORK/$family" --set "dist.threads=$threads" "$@" --out "$WORK/$run" --json \
    > "$WORK/$run.json" 2> "$WORK/$run.err" || { cat "$WORK/$run.err" >&2; fail "training $run"; }
}
for compute in FP32 BF16; do
  train BERT "one-$compute" 1 1 "numerics.compute=$compute"
  for n in 2 3; do
    train BERT "$compute-$n" "$n" 1 "numerics.compute=$compute"
    same_run "$WORK/one-$compute" "$WORK/$compute-$n"
  done
  train BERT "both-$compute" 2 2 "numerics.compute=$compute" numerics.recompute=true
  same_run "$WORK/one-$compute" "$WORK/both-$compute"
  train BERT "resumed-$compute" 2 1 "numerics.compute=$compute"
  rm -r "$WORK/resumed-$compute/checkpoints/step-00000008"
  train BERT "resumed-$compute" 3 1 "numerics.compute=$compute"
  same_run "$WORK/one-$compute" "$WORK/resumed-$compute"
done
for packing in CONTINUOUS BEST_FIT; do
  train ROBERTA "apart-$packing" 1 1 data.documents=APART "data.packing=$packing"
  train ROBERTA "apart-$packing-3" 3 2 data.documents=APART "data.packing=$packing"
  same_run "$WORK/apart-$packing" "$WORK/apart-$packing-3"
done
train DISTILBERT distilbert 2 1
run=$WORK/one-FP32
grep -q '"validation_accuracy":' "$run.json" || fail "no accuracy"

echo "- pairs of pieces of documents, and whether they follow each other"
marks="mask_token: $vocabulary cls_token: $((vocabulary + 1)) sep_token: $((vocabulary + 2))"
sed -E "s/^model .*/model { family: BERT pooler: true next_sentence_head: true layers: 2 heads: 2 width: 32 context: 32 dropout: 0.1 vocabulary: $((vocabulary + 3)) }/" \
  "$WORK/config" > "$WORK/PAIRS"
echo "objective { masked_lm { next_sentence: true $marks } }" >> "$WORK/PAIRS"
train PAIRS pairs-1 1 1
train PAIRS pairs-2 2 2
same_run "$WORK/pairs-1" "$WORK/pairs-2"
rm -r "$WORK/pairs-2/checkpoints/step-00000008"
train PAIRS pairs-2 3 1
same_run "$WORK/pairs-1" "$WORK/pairs-2"
grep -q '"next_sentence_accuracy":' "$WORK/pairs-1/metrics.jsonl" || fail "pairs are not reported"
# Of several files as of one: a file and its copy have twice the documents.
mkdir "$WORK/twice"
for part in a b; do
  for end in bin bin.documents; do cp "$WORK/data/train.$end" "$WORK/twice/$part.$end"; done
done
cp "$WORK/data/tokenizer.json" "$WORK/twice/"
train PAIRS pairs-twice 1 1 "data.train=$WORK/twice/*.bin" "data.validation=$WORK/data/validation.bin"
train PAIRS pairs-twice-2 2 1 "data.train=$WORK/twice/*.bin" "data.validation=$WORK/data/validation.bin"
same_run "$WORK/pairs-twice" "$WORK/pairs-twice-2"
cmp -s "$(last_checkpoint "$WORK/pairs-twice")/model.safetensors" "$(last_checkpoint "$WORK/pairs-1")/model.safetensors" && fail "the second file is not read"
"$TSUGI" evaluate --checkpoint "$WORK/pairs-1" --tokens "$WORK/data/validation.bin" --next-sentence --sequences 20 --json > "$WORK/said"
expect_said '"pairs":20'
[ "$(grep -oE '"next_sentence_accuracy":[0-9.]+' "$WORK/said")" = "$(grep -oE '"next_sentence_accuracy":[0-9.]+' "$WORK/pairs-1.json")" ] ||
  fail "evaluate and training differ about pairs"
"$TSUGI" export --checkpoint "$WORK/pairs-1" --out "$WORK/pairs-out" --json > /dev/null
grep -q BertForPreTraining "$WORK/pairs-out/config.json" || fail "exported without its heads"
"$TSUGI" import --from "$WORK/pairs-out" --out "$WORK/pairs-in" --json > /dev/null
cmp "$WORK/pairs-in/model.safetensors" "$(last_checkpoint "$WORK/pairs-1")/model.safetensors" || fail "export and import changed weights"
train PAIRS pairs-more 1 1 steps=2 --init-from "$WORK/pairs-out"
expect_code 3 "$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/data/validation.bin" --next-sentence
expect_said 'no head that tells'
expect_code 2 "$TSUGI" pretrain --config "$WORK/PAIRS" --set objective.masked_lm.cls_token=-1 --out "$WORK/no"
expect_said 'no special token "\[CLS\]"'
expect_code 0 "$TSUGI" plan --config "$WORK/PAIRS" --json
expect_code 0 "$TSUGI" bench step --config "$WORK/PAIRS" --steps 1 --warm-up 0 --json
# With a vocabulary that has all these tokens, they need not be said.
"$TSUGI" tokenizer train --model wordpiece --text "$WORK/text" --out "$WORK/wordpiece" --vocabulary 120 --json > /dev/null
expect_code 2 "$TSUGI" tokenizer train --model wordpiece --nfc --text "$WORK/text" --out "$WORK/no"
expect_said 'nfc has no meaning'
"$TSUGI" prepare --text "$WORK/text" --tokenizer "$WORK/wordpiece" --out "$WORK/pieces" --json > /dev/null 2>&1
train PAIRS pieces 1 1 steps=2 "data.train=$WORK/pieces" model.vocabulary=0 objective.masked_lm.mask_token=-1 \
  objective.masked_lm.cls_token=-1 objective.masked_lm.sep_token=-1
expect_code 0 "$TSUGI" fill-mask --checkpoint "$WORK/pieces" --text "The quick brown [MASK] jumps" --json
expect_code 0 "$TSUGI" evaluate --checkpoint "$WORK/pieces" --tokens "$WORK/pieces/validation.bin" --next-sentence --json
expect_said '"next_sentence_accuracy":'

echo "- evaluation, as in training"
value() { grep -oE "\"$1\":[0-9.e-]+" "$2" | head -n 1 | cut -d: -f2; }
"$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/data/validation.bin" --sequence 32 --sequences 20 --json > "$WORK/evaluated"
# Batches of other sizes: other last bits.
awk -v a="$(value loss "$WORK/evaluated")" -v b="$(value validation_loss "$run.json")" 'BEGIN { exit !(a - b < 1e-5 && b - a < 1e-5) }' ||
  fail "evaluate and training differ"
[ "$(value accuracy "$WORK/evaluated")" = "$(value validation_accuracy "$run.json")" ] || fail "accuracies differ"
"$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/data/validation.bin" --threads 1 --json > "$WORK/one"
"$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/data/validation.bin" --threads 2 --json > "$WORK/two"
cmp "$WORK/one" "$WORK/two" || fail "threads change the loss"

echo "- hidden tokens"
expect_code 0 "$TSUGI" fill-mask --checkpoint "$run" --text "the quick b[MASK]own fo<mask>" --top-k 3 --json
expect_said '"masks":\[\{"position":11,"candidates":\[\{"id":[0-9]+,"token":".*"probability":0\.[0-9]+.*"position":18'
expect_code 0 "$TSUGI" fill-mask --checkpoint "$run" --text "b[MASK]own"
expect_said '^token 1$'
expect_code 2 "$TSUGI" fill-mask --checkpoint "$run" --text "brown"
expect_said 'no mask'
expect_code 2 "$TSUGI" fill-mask --checkpoint "$run" --text "[MASK] the quick brown fox jumps over it all"
expect_said 'tokens, but the model reads 32'

echo "- export, import, continued"
"$TSUGI" export --checkpoint "$run" --out "$WORK/exported" --json > "$WORK/said"
expect_said '"model_type":"bert"'
"$TSUGI" import --from "$WORK/exported" --out "$WORK/imported" --json > /dev/null
cmp "$WORK/imported/model.safetensors" "$(last_checkpoint "$run")/model.safetensors" || fail "export and import changed weights"
"$TSUGI" import --from "$WORK/exported" --out "$WORK/larger" --vocabulary $((vocabulary + 5)) --json > /dev/null
expect_code 0 "$TSUGI" fill-mask --checkpoint "$WORK/larger" --text "b[MASK]own"
train BERT continued 2 1 steps=3 --init-from "$WORK/exported"
first=$(value loss "$WORK/continued/metrics.jsonl")
last=$(grep -oE '"loss":[0-9.]+' "$run/metrics.jsonl" | tail -n 1 | cut -d: -f2)
awk -v a="$first" -v b="$last" 'BEGIN { exit !(a < b + 0.5 && a > b - 0.5) }' || fail "continued at $first after $last"

echo "- fine-tuning"
for i in $(seq 1 60); do printf '{"text":"Line %d","label":"%s"}\n' "$i" "$([ $((i % 2)) = 0 ] && echo even || echo odd)"; done > "$WORK/task.jsonl"
task=(--train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --epochs 2)
for family in BERT ROBERTA DISTILBERT; do
  case $family in BERT) from=$run ;; ROBERTA) from=$WORK/apart-CONTINUOUS ;; *) from=$WORK/distilbert ;; esac
  n=0
  for extra in "" --linear-probe "--freeze-layers 1" "--lora-rank 2"; do
    n=$((n + 1))
    # shellcheck disable=SC2086
    expect_code 0 ranks 2 "$TSUGI" finetune --checkpoint "$from" "${task[@]}" $extra --out "$WORK/tuned-$family-$n" --json
    expect_said '"accuracy":'
    said=$(grep -oE '"accuracy":[0-9.]+' "$WORK/said")
    expect_code 0 "$TSUGI" evaluate --checkpoint "$WORK/tuned-$family-$n" --labelled "$WORK/task.jsonl" --json
    [ "$(grep -oE '"accuracy":[0-9.]+' "$WORK/said")" = "$said" ] || fail "$family $extra: evaluate says otherwise than finetune"
  done
  "$TSUGI" export --checkpoint "$WORK/tuned-$family-4" --out "$WORK/merged-$family" --json > /dev/null
  grep -q "ForSequenceClassification" "$WORK/merged-$family/config.json" || fail "not a classifier"
  # shellcheck disable=SC2086
  "$TSUGI" finetune --checkpoint "$from" "${task[@]}" --out "$WORK/tuned-one-$family" --json > /dev/null
  same_run "$WORK/tuned-$family-1" "$WORK/tuned-one-$family"
done
expect_code 0 "$TSUGI" finetune --task language-modelling --checkpoint "$run" --train "$WORK/data" --epochs 0.01 --out "$WORK/more" --json
expect_code 0 "$TSUGI" finetune --checkpoint "$run" "${task[@]}" --per-class 7 --json
expect_said '"train_examples":14,"validation_examples":60'
"$TSUGI" embed --checkpoint "$run" --texts "$WORK/task.jsonl" --out "$WORK/mean" --threads 1 --json > "$WORK/said"
expect_said '"rows":60,"width":[0-9]+,"classes":\["even","odd"\]'
"$TSUGI" embed --checkpoint "$run" --texts "$WORK/task.jsonl" --out "$WORK/again" --threads 2 --json > "$WORK/said"
cmp "$WORK/mean/features.npy" "$WORK/again/features.npy" || fail "threads change features"
"$TSUGI" embed --checkpoint "$run" --texts "$WORK/task.jsonl" --pooling first --out "$WORK/first" --json > "$WORK/said"
! cmp -s "$WORK/mean/features.npy" "$WORK/first/features.npy" || fail "--pooling changes nothing"

echo "- what does not fit"
printf '{"text":"a","label":"b"}\n{"text":"c"}\n' > "$WORK/half.jsonl"
expect_code 3 "$TSUGI" embed --checkpoint "$run" --texts "$WORK/half.jsonl" --out "$WORK/no"
expect_said 'of 2 texts only 1 have the field label'
expect_code 2 "$TSUGI" pretrain --config "$WORK/config" --set model.family=BERT --out "$WORK/no"
expect_said 'objective.causal_lm .*model.bidirectional is true'
expect_code 2 "$TSUGI" pretrain --config "$WORK/BERT" --set model.family=GPT2 --out "$WORK/no"
expect_said 'objective.masked_lm .*model.bidirectional is false'
expect_code 2 "$TSUGI" pretrain --config "$WORK/BERT" --set objective.masked_lm.mask_token=-1 --out "$WORK/no"
expect_said 'no mask token'
expect_code 2 "$TSUGI" pretrain --config "$WORK/BERT" --set "objective.masked_lm.mask_token=$((vocabulary + 1))" --out "$WORK/no"
expect_said 'not below the vocabulary'
expect_code 2 "$TSUGI" pretrain --config "$WORK/BERT" --set objective.masked_lm.probability=0 --out "$WORK/no"
expect_said 'more than 0'
[ ! -e "$WORK/no" ] || fail "something was begun"
expect_code 3 "$TSUGI" generate --checkpoint "$run" --prompt Line
expect_said 'encoder.*next token'
echo '{"prompt":"a","response":"b"}' > "$WORK/instructions.jsonl"
expect_code 3 "$TSUGI" finetune --task instructions --checkpoint "$run" --train "$WORK/instructions.jsonl"
expect_said 'encoder.*next token'
make_config "$WORK/gpt" "$WORK/data" 3
"$TSUGI" pretrain --config "$WORK/gpt" --out "$WORK/gpt-run" --json > /dev/null 2>&1
expect_code 3 "$TSUGI" fill-mask --checkpoint "$WORK/gpt-run" --text "b[MASK]own"
expect_said 'predicts the next token'
expect_code 0 "$TSUGI" plan --config "$WORK/BERT" --json
expect_said '"parameters":'
bad() { rm -rf "$WORK/bad"; cp -r "$WORK/exported" "$WORK/bad"; }
refused() { expect_code 3 "$TSUGI" fill-mask --checkpoint "$WORK/bad" --text "[MASK]"; expect_said "$1"; }
bad; sed -i 's/"gelu"/"silu"/' "$WORK/bad/config.json"; refused 'hidden_act'
bad; sed -i 's/"absolute"/"relative_key"/' "$WORK/bad/config.json"; refused 'position_embedding_type'
bad; sed -i 's/"type_vocab_size": 2/"type_vocab_size": 3/' "$WORK/bad/config.json"; refused 'token_type_embeddings.*shape'
bad; sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' "$WORK/bad/config.json"; refused 'layer.2.*missing'
bad; sed -i 's/BertForMaskedLM/BertForNextSentencePrediction/' "$WORK/bad/config.json"; refused 'is not built'
echo "encoders behave like every model, on any number of ranks"
