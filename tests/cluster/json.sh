#!/usr/bin/env bash
# --json is a promise: of every command that has it, standard output is one JSON object, by the word of another parser.
# A command that nobody tries here fails the test.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
command -v jq > /dev/null || fail "there is no jq: launch/setup.sh --tests installs it"
one_object() { jq -es 'length == 1 and (.[0] | type) == "object"' "$1" > /dev/null 2>&1; }
tried=()
# try WORDS… -- ARGUMENTS…: the command of these words, alone or on $np ranks; its object is in $WORK/object.
try() {
  local words=() launcher=()
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  tried+=("${words[*]}")
  [ -z "${np:-}" ] || launcher=(mpirun --oversubscribe -np "$np")
  "${launcher[@]}" "$TSUGI" "${words[@]}" "$@" --json < "${input:-/dev/null}" > "$WORK/object" 2> "$WORK/said" ||
    { cat "$WORK/said" >&2; fail "${words[*]}"; }
  one_object "$WORK/object" || { head -c 400 "$WORK/object" >&2; fail "${words[*]}: not one JSON object"; }
}
# value FILTER WANTED: what the last object says.
value() { [ "$(jq -r "$1" "$WORK/object")" = "$2" ] || { cat "$WORK/object" >&2; fail "$1 is not $2"; }; }
cd "$WORK"
make_corpus .
make_config config data 3
make_task .

echo "- texts"
mkdir -p html/en
for chapter in 1 2 3 4; do
  echo "<h1>Chapter $chapter. Of $chapter \"quotes\" &amp; ü</h1>"
  for section in 1 2 3; do
    echo "<h2>$chapter.$section</h2>"
    for i in $(seq 1 3); do echo "<p>$(seq -s " and $chapter$section$i " 1 30)"; done
  done > part
  cat part
  rm part
done > all.html
csplit -s -z -f html/en/ -b '%d.html' all.html '/<h1>/' '{*}'
try corpus handbook -- --html html/en --out corpus --validation-every 4 --classes 2 --train-per-class 2 --validation-per-class 1
value '.task.labels | length' 2
try tokenizer train -- --text text --out tokenizer --vocabulary 300
printf 'Line 1 "of"\n\001' > input
input=input try tokenizer encode -- --tokenizer tokenizer
jq -r '.ids | map(tostring) | join(" ")' object > ids
input=ids try tokenizer decode -- --tokenizer tokenizer
jq -j .text object | cmp - input || fail "encode and decode"
try prepare -- --text text --out alone --tokenizer tokenizer
np=2 try prepare -- --text text --out together --tokenizer tokenizer

echo "- a model"
try plan -- --config config --ranks 2
try bench step -- --config config --set model.vocabulary=50 --steps 1 --warm-up 0 --profile
value '.loss > 3 and .loss < 5' true
try bench decode -- --config config --set model.vocabulary=50 --tokens 3
try pretrain -- --config config --out run
np=2 try pretrain -- --config config --out run-2
value .ranks 2
for run in run run-2; do jq -es 'length > 3 and all(type == "object")' "$run/metrics.jsonl" > /dev/null || fail "metrics.jsonl of $run"; done
try inspect -- run
value '"\(.step) \(.verified)"' '3 true'
try inspect -- data/train.bin
try ngrams -- --train data/train.bin --tokens data/validation.bin --order 4
value '.losses | length == 4 and .[3] < .[0]' true
# What could not be printed is not done.
for command in "inspect run" "plan --config config"; do
  expect_code 5 sh -c "'$TSUGI' $command --json > /dev/full"
  expect_said "cannot write all of standard output"
done
expect_code 5 "$TSUGI" pretrain --config config --out config
expect_said "cannot create folder config: Not a directory"
try export -- --checkpoint run --out exported
try import -- --from exported --out imported
try generate -- --checkpoint run --prompt Line --tokens 3
try generate -- --checkpoint run --prompt Line --prompt 'the ' --tokens 3 --samples 2
echo '{"ctx":"Line 1","endings":[" of"," fo"],"label":0}' > questions
echo '{"prompt":"Line 1","response":" of"}' > instructions
try finetune -- --checkpoint run --train task-train.jsonl --validation task-validation.jsonl --epochs 0.5 --baselines --out classifier
np=2 try finetune -- --checkpoint run --task language-modelling --train data --epochs 0.1
try finetune -- --checkpoint run --task instructions --train instructions --epochs 1 --batch 1 --micro-batches 1
try evaluate -- --checkpoint run --tokens data/validation.bin --sequences 2
try evaluate -- --checkpoint run --multiple-choice questions
try evaluate -- --checkpoint run --instructions instructions
try evaluate -- --checkpoint classifier --labelled task-validation.jsonl --predictions predictions
jq -es 'length == 30 and all(type == "object")' predictions > /dev/null || fail "predictions are not a line of JSON each"

echo "- an encoder, and pictures"
vocabulary=$(jq .vocabulary <("$TSUGI" inspect data/train.bin --json))
sed "s/^model .*/model { family: BERT layers: 1 heads: 1 width: 8 context: 32 vocabulary: $((vocabulary + 1)) }/" config > bert
echo "objective { masked_lm { mask_token: $vocabulary } }" >> bert
try pretrain -- --config bert --out encoder
try fill-mask -- --checkpoint encoder --text 'the [MASK]uick' --top-k 2
try evaluate -- --checkpoint encoder --tokens data/validation.bin --sequences 2
pictures=$root/tests/golden/images
for class in '"a"' b; do
  mkdir -p "folder/$class"
  for i in 1 2 3 4; do cp "$pictures/colour.png" "folder/$class/$i.png"; done
done
try prepare-images -- --images folder --out images --validation-fraction 0.25
value '.classes[0]' '"a"'
size=$(jq '"image_size: \(.height) image_channels: \(.channels) patch_size: \(.height)"' -r object)
sed "s/^model .*/model { family: VIT layers: 1 heads: 1 width: 8 $size }/; s/^data .*/data { train: \"images\" }/" config > vit
echo 'objective { image_classification {} }' >> vit
try pretrain -- --config vit --out vision
try probe -- --checkpoint vision --train images --test images --neighbours 1
try embed -- --checkpoint vision --images images --out features
try finetune -- --checkpoint vision --train images --validation images --per-class 1 --epochs 4 --batch 4

echo "- a sweep"
make_base base.textproto "$WORK/data"
cat > sweep.textproto <<'CONFIG'
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
budgets { flops: 1e9 }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
CONFIG
try sweep plan -- --config sweep.textproto
try sweep status -- --config sweep.textproto --out sweep
try sweep run -- --config sweep.textproto --out sweep
value .done 1
try sweep status -- --config sweep.textproto --out sweep
try sweep collect -- --config sweep.textproto --out sweep
table=$(find "$root/benchmarks/results" -name '*_sweep_cpu_10min_*.csv' | sort | tail -n 1)
rows=(--csv "$table" --where 'status == "done"' --hold-out 'held_out == 1')
for form in envelope isoflop; do try sweep fit -- "${rows[@]}" --form "$form" --bootstraps 20; done
awk 'BEGIN { print "n,d,lr,batch,loss"
  for (n = 1e6; n < 9e6; n *= 2) for (d = 2e7; d < 5e7; d *= 2) for (i = -1; i <= 1; ++i) for (j = -1; j <= 1; ++j)
    print n "," d "," 0.001 * 2^i "," 1000 * 2^j "," (1.7 + 400 / n^0.34) * (1 + 0.002 * (i * i + j * j)) }' > rates.csv
try sweep fit -- --csv rates.csv --form hyperparameters --bootstraps 20
try sweep fit -- "${rows[@]}" --form chinchilla --bootstraps 20 --starts 4 --backtest --out chinchilla.json
try sweep predict -- --fit chinchilla.json --c 1e14
try sweep predict -- --fit chinchilla.json --n 1e5 --d 1e7 --out prediction.json
try sweep report -- "${rows[@]}" --fit chinchilla.json --prediction prediction.json --bootstraps 20 --out report.html
for file in *.json; do one_object "$file" || fail "$file is not one JSON object"; done

echo "- and nothing else"
got=0
"$TSUGI" plan --config none --json > object 2> said || got=$?
if [ "$got" != 2 ] || [ -s object ]; then fail "an error is on standard output, or its code is $got"; fi
# Every command that says it has --json was tried.
commands() {  # WORDS…
  local help sub
  help=$("$TSUGI" "$@" --help)
  if grep -q '^  --json  ' <<< "$help"; then echo "$*"; fi
  for sub in $(sed -n '/^Subcommands:/,$ s/^  \([a-z-]\+\) .*/\1/p' <<< "$help"); do commands "$@" "$sub"; done
}
commands > there
[ "$(wc -l < there)" -ge 24 ] || fail "hardly any command has --json: $(cat there)"
comm -23 <(sort there) <(printf '%s\n' "${tried[@]}" | sort -u) > left
[ ! -s left ] || fail "not tried: $(cat left)"
echo "every command prints one JSON object: ${#tried[@]} times, $(wc -l < there) commands"
