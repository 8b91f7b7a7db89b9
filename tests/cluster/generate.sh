#!/usr/bin/env bash
# Generation and evaluation as a user meets them: texts continued together are those continued one by one; samples, ends
# and full contexts; bits per byte of a BPE vocabulary; a classifier's accuracy and predictions.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
"$TSUGI" tokenizer train --text "$WORK/text" --out "$WORK/tokenizer" --vocabulary 300 --json > /dev/null
# The same documents as compressed JSON lines give the same vocabulary.
for file in "$WORK/text"/*; do
  sed -z 's/\\/\\\\/g; s/"/\\"/g; s/\n/\\n/g; s/.*/{"body":"&"}\n/' "$file"
done | gzip > "$WORK/text.jsonl.gz"
"$TSUGI" tokenizer train --text "$WORK/text.jsonl.gz" --field body --out "$WORK/tokenizer-json" --vocabulary 300 --json > /dev/null
cmp "$WORK/tokenizer/tokenizer.json" "$WORK/tokenizer-json/tokenizer.json" || fail "JSON lines give another vocabulary"
"$TSUGI" prepare --input "$WORK/text" --tokenizer "$WORK/tokenizer" --append-eot --out "$WORK/bpe" --json > /dev/null
generate() { "$TSUGI" generate --checkpoint "$run" "$@"; }
# One line per continuation.
ids() { grep -oE '"ids":\[[^]]*\]' "$1"; }
restarts() { grep -oE '"context_restarts":[0-9]+' "$1"; }
value() { grep -oE "\"$2\":[0-9.e-]+" "$1" | cut -d: -f2; }
same() { [ -s "$1" ] && diff "$1" "$2" > "$WORK/difference" || { head -4 "$WORK/difference" >&2; fail "$3"; }; }

prompts=("Line" "Line 7 of document 3: the quick brown" "fox jumps over the lazy dogs. Line 12 of" "e")
printf '%s\n' "${prompts[@]}" > "$WORK/prompts.txt"
for model in "family: GPT2 layers: 2 heads: 2 width: 32 context: 48" \
  "family: LLAMA layers: 2 heads: 4 key_heads: 2 width: 32 mlp_width: 48 context: 48" \
  "family: QWEN3 layers: 2 heads: 4 key_heads: 2 width: 32 head_dim: 8 mlp_width: 48 context: 48 sliding_window: 9"; do
  run=$WORK/$(echo "$model" | cut -d' ' -f2)
  make_config "$WORK/config" "$WORK/bpe" 12
  sed -i "s/^model .*/model { $model }/" "$WORK/config"
  "$TSUGI" pretrain --config "$WORK/config" --out "$run" --json > "$WORK/said" 2>&1 || { cat "$WORK/said" >&2; fail "training $model"; }

  echo "- together and one by one: $model"
  for temperature in 0 0.9; do
    generate --prompts "$WORK/prompts.txt" --samples 2 --tokens 25 --temperature "$temperature" --seed 5 --json > "$WORK/said"
    ids "$WORK/said" > "$WORK/together"
    : > "$WORK/alone"
    for prompt in "${prompts[@]}"; do
      for seed in 5 6; do
        generate --prompt "$prompt" --tokens 25 --temperature "$temperature" --seed "$seed" --json > "$WORK/one"
        ids "$WORK/one" >> "$WORK/alone"
      done
    done
    same "$WORK/together" "$WORK/alone" "temperature $temperature: other texts than alone"
    generate --prompts "$WORK/prompts.txt" --samples 2 --tokens 25 --temperature "$temperature" --seed 5 --batch 3 --json > "$WORK/said"
    ids "$WORK/said" > "$WORK/threes"
    same "$WORK/together" "$WORK/threes" "--batch changes texts"
  done
  [ "$(sed -n 1p "$WORK/together")" != "$(sed -n 2p "$WORK/together")" ] || fail "samples are alike"

  # Contexts that fill up at different times.
  generate --prompts "$WORK/prompts.txt" --tokens 70 --temperature 0 --ignore-end --json > "$WORK/said"
  { ids "$WORK/said"; restarts "$WORK/said"; } > "$WORK/together"
  : > "$WORK/alone"; : > "$WORK/restarts"
  for prompt in "${prompts[@]}"; do
    generate --prompt "$prompt" --tokens 70 --temperature 0 --ignore-end --json > "$WORK/one"
    ids "$WORK/one" >> "$WORK/alone"
    restarts "$WORK/one" >> "$WORK/restarts"
  done
  cat "$WORK/restarts" >> "$WORK/alone"
  same "$WORK/together" "$WORK/alone" "other texts than alone when contexts are full"
  grep -q '"context_restarts":[1-9]' "$WORK/restarts" || fail "a full context is not said"
done
expect_code 0 generate --prompt e --tokens 70 --ignore-end
expect_said 'context of 48 tokens was full'

echo "- what is shown"
# Streamed and whole are the same text.
generate --prompt "Line 1" --tokens 20 --temperature 0 > "$WORK/streamed"
generate --prompt "Line 1" --tokens 20 --temperature 0 --json > "$WORK/one"
{ printf 'Line 1'; ids "$WORK/one" | sed 's/^/{/; s/$/}/' | "$TSUGI" tokenizer decode --tokenizer "$WORK/tokenizer"; echo; } > "$WORK/whole"
same "$WORK/whole" "$WORK/streamed" "the streamed text differs"
printf '{"prompt": "Line 1"}\n{"prompt": "e"}\n' > "$WORK/prompts.jsonl"
generate --prompts "$WORK/prompts.jsonl" --max-tokens 20 --temperature 0 --json > "$WORK/together"
[ "$(ids "$WORK/together" | head -n 1)" = "$(ids "$WORK/one")" ] || fail "prompts of JSON lines"
expect_code 0 generate --prompt "Line 1" --prompt e --tokens 3
expect_said '^--- prompt 2, sample 1$'

# The end of text ends a text: some at this temperature, and not at the same place.
end=$(printf '<|endoftext|>' | "$TSUGI" tokenizer encode --tokenizer "$WORK/tokenizer")
hot=(--prompt Line --samples 40 --batch 40 --tokens 40 --temperature 3)
generate "${hot[@]}" --json > "$WORK/stopping"
generate "${hot[@]}" --ignore-end --json > "$WORK/going_on"
# The text up to the first end.
ids "$WORK/going_on" | sed -E "s/\[$end([],]).*/[]/; s/,$end([],]).*/]/" > "$WORK/cut"
ids "$WORK/stopping" > "$WORK/stopped"
same "$WORK/cut" "$WORK/stopped" "texts end elsewhere than at the end of text"
ended=$(grep -oE '"stopped":true' "$WORK/stopping" | wc -l)
[ "$ended" = "$(ids "$WORK/going_on" | grep -cE "[[,]${end}[],]")" ] && [ "$ended" -gt 0 ] || fail "$ended texts say that they ended"

echo "- wrong input"
expect_code 2 generate --prompt "" --tokens 3
expect_said 'is empty'
expect_code 2 generate --prompt a --prompt-ids 1,2
: > "$WORK/empty.txt"
expect_code 3 generate --prompts "$WORK/empty.txt"
expect_said 'there is no prompt'
printf '{"prompt": "a"}\n{"text": "b"}\n' > "$WORK/wrong.jsonl"
expect_code 3 generate --prompts "$WORK/wrong.jsonl"
expect_said 'wrong.jsonl:2.*prompt'

echo "- bits per byte"
"$TSUGI" evaluate --checkpoint "$run" --tokens "$WORK/bpe/validation.bin" --sequence 16 --sequences 3 --json > "$WORK/evaluated"
# The tokens 1 … 48 behind a header of 64 bytes are scored; special ones are no text.
bytes=$(od -An -v -tu2 -j66 -N96 "$WORK/bpe/validation.bin" | tr -s ' \n' '  ' |
  "$TSUGI" tokenizer decode --tokenizer "$WORK/tokenizer" --skip-special | wc -c)
[ "$(value "$WORK/evaluated" tokens)" = 48 ] || fail "$(cat "$WORK/evaluated")"
awk -v loss="$(value "$WORK/evaluated" loss)" -v bits="$(value "$WORK/evaluated" bits_per_byte)" -v bytes="$bytes" \
  'BEGIN { want = loss * 48 / log(2) / bytes; exit !(bytes > 48 && bits > want * (1 - 1e-9) && bits < want * (1 + 1e-9)) }' ||
  fail "bits per byte: $(cat "$WORK/evaluated") over $bytes bytes"

echo "- a classifier"
for i in $(seq 1 40); do printf '{"text":"Line %d of","label":"%s"}\n' "$i" "$([ $((i % 2)) = 0 ] && echo even || echo odd)"; done > "$WORK/task.jsonl"
"$TSUGI" finetune --checkpoint "$run" --train "$WORK/task.jsonl" --validation "$WORK/task.jsonl" --epochs 4 --out "$WORK/tuned" --json \
  > "$WORK/tuned.json" 2> /dev/null
"$TSUGI" evaluate --checkpoint "$WORK/tuned" --labelled "$WORK/task.jsonl" --predictions "$WORK/predictions.jsonl" --json > "$WORK/labelled"
[ "$(value "$WORK/labelled" accuracy)" = "$(value "$WORK/tuned.json" accuracy)" ] ||
  fail "$(cat "$WORK/labelled"), where fine-tuning said $(cat "$WORK/tuned.json")"
right=$(grep -cE '"label":"([a-z]+)",.*"expected":"\1"' "$WORK/predictions.jsonl" || true)
awk -v right="$right" -v share="$(value "$WORK/labelled" accuracy)" 'BEGIN { exit !(right / 40 == share) }' || fail "$right predictions are right"
diff <(grep -oE '"expected":"[a-z]+"' "$WORK/predictions.jsonl" | cut -d: -f2) <(grep -oE '"label":"[a-z]+"' "$WORK/task.jsonl" | cut -d: -f2) ||
  fail "predictions stand in another order"
expect_code 3 "$TSUGI" evaluate --checkpoint "$run" --labelled "$WORK/task.jsonl"
expect_said 'language model'
printf '{"text":"Line","label":"neither"}\n' > "$WORK/unknown.jsonl"
expect_code 3 "$TSUGI" evaluate --checkpoint "$WORK/tuned" --labelled "$WORK/unknown.jsonl"
expect_said 'unknown.jsonl:1'
echo "texts are continued together as alone, and scored by the byte"
