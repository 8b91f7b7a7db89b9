#!/usr/bin/env bash
# What users get wrong: each mistake has a clear message, the designed exit code, and leaves no hanging rank.
. "$(dirname "$0")/../cluster/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 10
# shellcheck disable=SC2120  # its arguments come through expect_code
pretrain() { ranks "${RANKS:-2}" "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/${RUN:-run}" "$@"; }

echo "- configuration"
sed 's/learning_rate/lerning_rate/' "$WORK/config" > "$WORK/bad"
expect_code 2 "$TSUGI" pretrain --config "$WORK/bad" --out "$WORK/run"
expect_said 'bad:6.*lerning_rate.*learning_rate'
expect_code 2 pretrain --set model.dropout=3
expect_said 'model.dropout'
expect_code 2 pretrain --set model.heads=5
expect_said 'width.*heads|heads.*width'
expect_code 2 pretrain --set batch.micro_batches=1
expect_said 'micro_batches'
expect_code 2 "$TSUGI" pretrain --config "$WORK/missing" --out "$WORK/run" || true
expect_code 2 "$TSUGI" pretrain --config "$WORK/config"
expect_said '\-\-out'
expect_code 2 "$TSUGI" pretrian --config "$WORK/config"
expect_said 'there is no command "pretrian"'
expect_said 'did you mean pretrain'
# Shared by all ranks: said once, and no rank ends the others.
for ranks in 2 5; do
  expect_code 2 ranks $ranks "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/run" --set "batch.micro_batches=$((ranks - 1))"
  [ "$(grep -c 'every rank needs at least one micro-batch' "$WORK/said")" = 1 ] || { cat "$WORK/said" >&2; fail "not said once"; }
  ! grep -q MPI_ABORT "$WORK/said" || fail "$ranks ranks were ended instead of leaving"
done
RANKS=2 expect_code 2 pretrain --no-such-flag
[ "$(grep -c 'no-such-flag' "$WORK/said")" = 1 ] || { cat "$WORK/said" >&2; fail "a mistake in the command line is not said once"; }
# No driver (or no device) here, or not built with CUDA: said before anything begins.
if ! ls /dev/nvidia[0-9]* > /dev/null 2>&1; then
  RANKS=1 expect_code 2 pretrain --set compute.device=CUDA
  expect_said 'compute.device is CUDA, but .*(driver|no device|built without)'
  RANKS=1 expect_code 2 pretrain --set compute.attention=PING_PONG model.dropout=0.1
  expect_said 'compute.attention: PING_PONG is not built with dropout'
  RANKS=1 expect_code 2 pretrain --set compute.attention=PING_PONG model.dropout=0
  expect_said 'compute.attention is PING_PONG, a kernel of CUDA, but this run computes on the CPU'
fi
[ ! -e "$WORK/run/checkpoints/step-00000005" ] || fail "a refused run wrote a checkpoint"

echo "- data"
expect_code 3 pretrain --set "data.train=$WORK/nothing"
expect_said 'nothing.*no such file'
: > "$WORK/empty.bin"
expect_code 3 pretrain --set "data.train=$WORK/empty.bin" model.vocabulary=50
expect_said 'empty.bin'
head -c 1000 "$WORK/data/train.bin" > "$WORK/cut.bin"
expect_code 3 pretrain --set "data.train=$WORK/cut.bin" model.vocabulary=50
expect_said 'cut.bin'
# nanoGPT's form with an id that the vocabulary does not have, read by one rank only.
head -c 2000 /dev/zero > "$WORK/wild.bin"
printf '\xff\x00' | dd of="$WORK/wild.bin" bs=1 seek=900 conv=notrunc 2> /dev/null
expect_code 3 pretrain --set "data.train=$WORK/wild.bin" model.vocabulary=50
expect_said 'wild.bin.*255'
# What is only validated on, too, and before training: a header that says so, and a file without one.
"$TSUGI" prepare --text "$WORK/text" --out "$WORK/as-bytes" --vocabulary bytes --json > /dev/null 2>&1
mkdir "$WORK/bare"
cp "$WORK/as-bytes/train.bin" "$WORK/bare/tokens.bin"
expect_code 2 pretrain --set "data.validation=$WORK/bare/tokens.bin"
expect_said 'tokens.bin, to validate on, has 256 ids'
expect_code 3 pretrain --set "data.validation=$WORK/wild.bin"
expect_said 'wild.bin.*255'
expect_code 3 pretrain --set "data.validation=$WORK/as-bytes/validation.bin" model.vocabulary=256
expect_said 'as-bytes/tokenizer.json is not the tokenizer of'
[ ! -e "$WORK/run/checkpoints/step-00000005" ] || fail "a refused run wrote a checkpoint"
mkdir "$WORK/no text"
expect_code 3 "$TSUGI" prepare --text "$WORK/no text" --out "$WORK/prepared"
expect_code 3 "$TSUGI" evaluate --checkpoint "$WORK/data" --tokens "$WORK/data/train.bin"

echo "- ranks that differ"
cat > "$WORK/differ" <<'SCRIPT'
#!/usr/bin/env bash
[ "$OMPI_COMM_WORLD_RANK" = 1 ] && set -- "$@" --set seed=99
exec "$@"
SCRIPT
chmod +x "$WORK/differ"
expect_code 2 ranks 2 "$WORK/differ" "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/differing"
expect_said 'rank 1 has another config'

echo "- divergence"
RUN=diverged expect_code 4 pretrain --set optimizer.learning_rate=100 optimizer.clip_norm=0 schedule.warmup_steps=0 steps=200 optimizer.weight_decay=10
expect_said 'diverged at step'

echo "- checkpoints"
pretrain > /dev/null 2>&1
step=$(last_checkpoint "$WORK/run")
expect_code 0 "$TSUGI" inspect "$WORK/run" --json
expect_said '"verified":true'
for file in model.safetensors config.json manifest.json state/run.json; do
  cp -r "$step" "$WORK/broken"
  truncate -s -7 "$WORK/broken/$file"
  expect_code 3 "$TSUGI" generate --checkpoint "$WORK/broken" --prompt Line --tokens 2
  expect_said "$file"
  RUN=resumed expect_code 3 pretrain --resume "$WORK/broken"
  expect_said "$file"
  rm -rf "$WORK/broken" "$WORK/resumed"
done
expect_code 3 "$TSUGI" generate --checkpoint "$WORK/run" --prompt 'λ' --tokens 2
expect_said 'λ|U\+03BB'
expect_code 2 "$TSUGI" generate --checkpoint "$WORK/run" --prompt '' --tokens 2
generate=("$TSUGI" generate --checkpoint "$WORK/run" --prompt Line --tokens 2)
expect_code 2 "${generate[@]}" --temperature -1
expect_said '--temperature: must be from 0 to 1e\+06, not -1'
expect_code 2 "${generate[@]}" --temperature nan
expect_said '--temperature: must be a finite number, not nan'
expect_code 2 "${generate[@]}" --top-p 0
expect_said '--top-p: must be greater than 0 and at most 1, not 0'
expect_code 2 "${generate[@]}" --top-k -1
expect_said '--top-k: must be at least 0, not -1'
expect_code 2 "${generate[@]}" --seed -1
expect_said '--seed: must be at least 0'
expect_code 2 "$TSUGI" sweep fit --csv "$WORK/none.csv" --delta nan
expect_said '--delta: must be a finite number'

echo "- flags of another mode"
evaluate=("$TSUGI" evaluate --checkpoint "$WORK/run")
expect_code 2 "${evaluate[@]}" --tokens "$WORK/data/train.bin" --prompt-template x
expect_said '--prompt-template has a meaning with --instructions only'
for flag in --mask-probability --mask-share --random-share --mean-span --mask-token; do
  expect_code 2 "${evaluate[@]}" --tokens "$WORK/data/train.bin" $flag 1
  expect_said "$flag is for encoders.*run/.* holds none"
done
expect_code 2 "${evaluate[@]}" --instructions "$WORK/none.jsonl" --mask-probability 0.1
expect_said '--mask-probability has a meaning with --tokens only'
expect_code 2 "${evaluate[@]}" --labelled "$WORK/none.jsonl" --sequences 3
expect_said '--sequences has a meaning with --tokens and --instructions only'

echo "- tokens of another tokenizer"
expect_code 0 "${evaluate[@]}" --tokens "$WORK/data/validation.bin" --sequences 2
expect_code 3 "${evaluate[@]}" --tokens "$WORK/as-bytes/validation.bin"
expect_said 'as-bytes/validation.bin are of another tokenizer: .*as-bytes/tokenizer.json, not .*run/checkpoints/.*/tokenizer.json'
expect_code 3 "${evaluate[@]}" --tokens "$WORK/bare/tokens.bin"
expect_said 'tokens.bin was prepared with a vocabulary of 256, but .*run/checkpoints/.*/tokenizer.json has'
rm "$WORK/bare/"*
cp "$WORK/data/validation.bin" "$WORK/bare/tokens.bin"
expect_code 0 "${evaluate[@]}" --tokens "$WORK/bare/tokens.bin" --sequences 2
vocabulary=$("$TSUGI" inspect "$WORK/data/train.bin" --json | grep -oE '"vocabulary":[0-9]+' | cut -d: -f2)
"$TSUGI" import --from "$step" --out "$WORK/larger" --vocabulary 256 --json > /dev/null
RUN=begun expect_code 3 pretrain --init-from "$WORK/larger" --set "data.train=$WORK/as-bytes"
expect_said 'as-bytes/train.bin are of another tokenizer'
expect_code 3 "$TSUGI" finetune --task language-modelling --checkpoint "$WORK/larger" --train "$WORK/as-bytes"
expect_said 'as-bytes/train.bin are of another tokenizer'
[ ! -e "$WORK/begun" ] || fail "a refused run was begun"
expect_code 2 "$TSUGI" import --from "$step" --out "$WORK/smaller" --vocabulary $((vocabulary - 1))
expect_said "tokenizer.json has $vocabulary ids; lost would be \"z\" \(id $((vocabulary - 1))\)"
[ ! -e "$WORK/smaller" ] || fail "a folder without all tokens was written"
expect_code 0 "$TSUGI" import --from "$WORK/larger" --out "$WORK/smaller" --vocabulary "$vocabulary" --json

echo "- fine-tuning"
printf '{"text":"Line 1","label":"a"}\n{"text":3,"label":"a"}\n' > "$WORK/task.jsonl"
expect_code 3 "$TSUGI" finetune --checkpoint "$WORK/run" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl"
expect_said 'task.jsonl:2'
printf '{"text":"Line 1","label":"a"}\n{"text":"Line 2","label":"b"}\n' > "$WORK/task.jsonl"
task=(--checkpoint "$WORK/run" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl")
expect_code 2 "$TSUGI" finetune "${task[@]}" --batch 10
expect_said '--batch 10 is no multiple of --micro-batches 4'
expect_code 2 "$TSUGI" finetune "${task[@]}" --packed
expect_said '--packed is for --task instructions, not classification'
expect_code 2 "$TSUGI" finetune "${task[@]}" --task instructions --baselines
expect_said '--baselines is for --task classification, not instructions'
expect_code 2 ranks 5 "$TSUGI" finetune "${task[@]}"
[ "$(grep -c -- '--micro-batches is 4, but there are 5 ranks' "$WORK/said")" = 1 ] || fail "not said once"
expect_code 2 ranks 2 "$TSUGI" pretrain --config "$WORK/config" --init-from "$WORK/run" --set adapter.rank=2 \
  adapter.targets=nothing --out "$WORK/adapted"
[ "$(grep -c 'no projection "nothing"' "$WORK/said")" = 1 ] || { cat "$WORK/said" >&2; fail "not said once"; }
! grep -q MPI_ABORT "$WORK/said" || fail "ranks were ended instead of leaving"
expect_code 2 "$TSUGI" finetune "${task[@]}" --learning-rate nan
expect_said '--learning-rate: must be a finite number, not nan'
expect_code 2 "$TSUGI" finetune "${task[@]}" --dropout 1
expect_said '--dropout: must be from 0 to 0.95, not 1'
expect_code 2 "$TSUGI" finetune "${task[@]}" --batch 1048576 --micro-batches 1
expect_said 'error: --batch \(batch.micro_batch\) is 1048576, but must be'
expect_code 2 "$TSUGI" finetune "${task[@]}" --checkpoint-every 5
expect_said '--checkpoint-every requires --out'
expect_code 2 "$TSUGI" finetune "${task[@]}" --validation-fraction 0.1
expect_said '--validation excludes --validation-fraction'
echo "every mistake was named"
