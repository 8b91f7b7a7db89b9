#!/usr/bin/env bash
# `prepare` on ranks: the bytes of one rank, whatever is killed on the way, and errors that end all ranks.
. "$(dirname "$0")/lib.sh"

# Text of all kinds: files, lines of JSON (one compressed), duplicates, empty documents, and one document of many blocks.
mkdir -p "$WORK/text"
for i in $(seq 1 60); do
  for j in $(seq 1 40); do echo "Line $j of document $i: größer 世界 ＆ $((i * j)) lazy dogs, isn't it?"; done > "$WORK/text/$i.txt"
  cp "$WORK/text/$i.txt" "$WORK/text/again-$i.txt"
done
: > "$WORK/text/empty.txt"
for i in $(seq 1 4000); do echo "{\"text\": \"line $i of JSON, \\u00e9 and \\ud83d\\ude00 $((i * 7919))\"}"; done > "$WORK/text/lines.jsonl"
sed 's/line/row/' "$WORK/text/lines.jsonl" | gzip > "$WORK/text/rows.jsonl.gz"
# Lines of 200 KB, so that there are blocks enough for all ranks, and one document of 3 MB.
for i in $(seq 1 40); do
  printf '{"text": "%s"}\n' "$(seq -s " $i " 1 30000)"
done > "$WORK/text/wide.jsonl"
seq -s ' und ' 1 350000 > "$WORK/text/long.txt"
"$TSUGI" tokenizer train --text "$WORK/text/lines.jsonl" "$WORK/text/1.txt" --vocabulary 400 --out "$WORK/bpe" > /dev/null 2>&1

same_folder() { diff -r "$1" "$2" > "$WORK/difference" || { cat "$WORK/difference" >&2; fail "$1 and $2 differ"; }; }

prepare() { "$TSUGI" prepare --text "$WORK/text" --out "$WORK/$1" --json "${@:2}"; }
declare -A options=(
  [bpe]="--tokenizer '$WORK/bpe' --append-eot --shard-tokens 300000"
  [tail]="--tokenizer '$WORK/bpe' --split tail"
  [characters]="--tokenizer characters"
)
for kind in bpe tail characters; do
  these=()
  eval "these=(${options[$kind]})"
  prepare "$kind-1" "${these[@]}" --threads 1 > "$WORK/$kind-1.json"
  for n in 2 3; do
    ranks $n "$TSUGI" prepare --text "$WORK/text" --out "$WORK/$kind-$n" --json "${these[@]}" --threads $((4 - n)) \
      > "$WORK/$kind-$n.json" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "$kind on $n ranks"; }
    same_folder "$WORK/$kind-1" "$WORK/$kind-$n"
    cmp "$WORK/$kind-1.json" "$WORK/$kind-$n.json" || fail "results of $kind on $n ranks"
  done
done
ls "$WORK/bpe-1/train-00003.bin" > /dev/null || fail "there are too few shards for this test"

# One byte in the middle of a shard: inspect reads them all, against the index.
expect_code 0 "$TSUGI" inspect "$WORK/bpe-1/train.index.json" --json
expect_said '"verified":true'
cp -r "$WORK/bpe-1" "$WORK/damaged"
chmod u+w "$WORK/damaged/train-00001.bin"
printf '\xff' | dd of="$WORK/damaged/train-00001.bin" bs=1 seek=200001 conv=notrunc status=none
expect_code 3 "$TSUGI" inspect "$WORK/damaged/train.index.json"
expect_said 'train-00001.bin.*checksum'
cmp -s "$WORK/bpe-1/train-00000.bin" "$WORK/tail-1/train.bin" && fail "this test compares nothing"

# A rank is killed: the job ends at once, and the same command goes on, also on other ranks.
eval "these=(${options[bpe]})"
for victim in 0 1; do
  out=$WORK/killed-$victim
  for _ in 1 2 3 4 5; do
    rm -rf "$out"
    ranks 2 "$TSUGI" prepare --text "$WORK/text" --out "$out" "${these[@]}" --threads 1 > /dev/null 2>&1 & job=$!
    # Between the passes: what the first one found is on the disk.
    for _ in $(seq 1 3000); do [ -e "$out/.work/scan.json" ] && break; sleep 0.01; done
    pid=
    for pid in $(pgrep -f -- "$out"); do
      tr '\0' '\n' < "/proc/$pid/environ" 2> /dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$victim" && break
      pid=
    done
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    begun=$(date +%s)
    code=0; wait $job || code=$?
    [ $(($(date +%s) - begun)) -lt 30 ] || fail "the job outlived rank $victim"
    [ -e "$out/.work/scan.json" ] && break  # else it was done already
  done
  [ -e "$out/.work/scan.json" ] || fail "rank $victim was not killed at work"
  [ $code != 0 ] || fail "a killed rank gave exit code 0"
  noted=$(stat -c %Y.%i "$out/.work/scan.json")
  ranks 3 "$TSUGI" prepare --text "$WORK/text" --out "$out" "${these[@]}" > /dev/null 2> "$WORK/err" & job=$!
  for _ in $(seq 1 3000); do [ -e "$out/.work/train-00000.bin.partial" ] && break; sleep 0.01; done
  again=$(stat -c %Y.%i "$out/.work/scan.json" 2> /dev/null || echo "$noted")
  [ "$again" = "$noted" ] || fail "the first pass was done again"
  wait $job || { cat "$WORK/err" >&2; fail "going on"; }
  same_folder "$WORK/bpe-1" "$out"
done

# What is wrong with the text ends all ranks with its code, and is said once, wherever it was found.
printf 'fine\n' > "$WORK/text/bad.txt"
printf '\xff\xfe no UTF-8' >> "$WORK/text/bad.txt"
expect_code 3 ranks 3 "$TSUGI" prepare --text "$WORK/text" --out "$WORK/bad" --tokenizer characters
expect_said 'bad\.txt: byte 5: not valid UTF-8'
[ "$(grep -c 'tsugi: error' "$WORK/said")" = 1 ] || fail "said more than once"
rm "$WORK/text/bad.txt"
for i in $(seq 1 50); do echo '{"text": "as it should be"}'; done > "$WORK/text/field.jsonl"
echo '{"other": "no text"}' >> "$WORK/text/field.jsonl"
expect_code 3 ranks 2 "$TSUGI" prepare --text "$WORK/text" --out "$WORK/bad" --tokenizer "$WORK/bpe"
expect_said 'field\.jsonl: line 51'
expect_code 2 ranks 2 "$TSUGI" prepare --text "$WORK/text" --out "$WORK/bad" --tokenizer bytes --validation-fraction 2
expect_code 5 ranks 2 "$TSUGI" prepare --text "$WORK/absent" --out "$WORK/bad" --tokenizer bytes
[ ! -e "$WORK/bad" ] || fail "a refused job left something"
echo "prepare gives the same bytes on any number of ranks, whole or gone on with"
