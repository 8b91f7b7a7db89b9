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
expect_code 2 "$TSUGI" unknown
# No driver (or no device) here, or not built with CUDA: said before anything begins.
if ! ls /dev/nvidia[0-9]* > /dev/null 2>&1; then
  RANKS=1 expect_code 2 pretrain --set compute.device=CUDA
  expect_said 'compute.device is CUDA, but .*(driver|no device|built without)'
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
expect_code 2 "$TSUGI" generate --checkpoint "$WORK/run" --prompt Line --tokens 2 --temperature -1

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
echo "every mistake was named"
