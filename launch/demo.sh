#!/usr/bin/env bash
# The whole way on one machine: packages, build, corpus, pretraining on two ranks, evaluation, text, fine-tuning.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/demo.sh [--text DIR] [--out DIR] [--languages "L…"] [--minutes N] [--ranks N] [--help]

Installs what is missing, builds tsugi, gathers the Debian Administrator's Handbook, trains a vocabulary and pretrains a
small GPT on it through mpirun, measures it, lets it write, and fine-tunes it to tell the handbook's chapters apart, beside a model
without pretraining and two simple baselines. Stopped at any point, the same command goes on from there.

  --text DIR        pretrain on the *.txt files below DIR instead (then there is no labelled task to fine-tune on)
  --out DIR         where everything goes (default: runs/demo)
  --languages "L…"  of the handbook (default: "en-US ja-JP"; the task is made from the first)
  --minutes N       about how long to pretrain (default: 3.5)
  --ranks N         processes; 1, 2 and 4 give the same weights, bit for bit (default: 2)
TEXT
}

fail() {
  echo "demo.sh: $1" >&2
  exit 2
}

text="" out="" languages="en-US ja-JP" minutes=3.5 ranks=2
while (($#)); do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --text | --out | --languages | --minutes | --ranks)
      (($# > 1)) || fail "$1 needs a value"
      case "$1" in
        --text) text=$(realpath -e "$2") || fail "--text $2: there is no such file or folder" ;;
        --out) out=$(realpath -m "$2") ;;
        --languages) languages=$2 ;;
        --minutes) minutes=$2 ;;
        --ranks) ranks=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2; fail "unknown argument '$1'" ;;
  esac
done
[[ $minutes =~ ^[0-9]*[1-9][0-9]*(\.[0-9]+)?$|^0*\.[0-9]*[1-9][0-9]*$ ]] || fail "--minutes $minutes: not a positive number"
[[ $ranks =~ ^[1-9][0-9]*$ ]] || fail "--ranks $ranks: not a positive whole number"

cd "$(dirname "$0")/.."
out=${out:-$PWD/runs/demo}
recipe=launch/recipes/demo.textproto
export TSUGI=$PWD/build/release/tsugi
mkdir -p "$out"

# What is there was made of one text for one length: of another nothing would be gathered again.
choices="${text:-the handbook in $languages}, $minutes minutes"
if [[ -e $out/choices && $(<"$out/choices") != "$choices" ]]; then
  fail "$out was begun with other choices ($(<"$out/choices"); now: $choices): name another folder with --out, or remove that one"
fi
echo "$choices" >"$out/choices"

step() { printf '\n== %s\n' "$1"; }

# The number (or null) that is the value of a key in one JSON object.
json_number() { sed -n "s/.*\"$2\": \{0,1\}\([-+0-9.eE]*\|null\)[,}].*/\1/p" "$1" | head -n 1; }

# A field of a run's resolved configuration.
config_field() { sed -n "s/^ *$2: *\([0-9]*\).*/\1/p" "$1" | head -n 1; }

step "Packages"
launch/setup.sh

step "Build"
# CUDA kernels are a third of the work, and without a device nothing here would run on them.
cuda=AUTO
if ! command -v nvidia-smi >/dev/null && [[ ! -e build/release/ops/cuda/libtsugi_cuda.a ]]; then
  cuda=OFF
  echo "no nvidia-smi, so no device: without CUDA (cmake --preset release && ninja -C build/release builds it, too)"
fi
cmake --preset release -DTSUGI_CUDA=$cuda >"$out/build.log" || { cat "$out/build.log"; exit 1; }
ninja -C build/release tsugi

launcher=(mpirun -np "$ranks")
if ((ranks > $(nproc))); then launcher+=(--oversubscribe); fi
if ((EUID == 0)); then
  echo "You are root, which mpirun refuses unless told twice: setting OMPI_ALLOW_RUN_AS_ROOT and …_CONFIRM."
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

step "Corpus"
if [[ -n $text ]]; then
  echo "your text: $text"
  corpus=(--text "$text")
  # Validation takes whole documents; of a single one, the end.
  if (($(find "$text" -name '*.txt' -type f | head -n 2 | wc -l) < 2)); then corpus+=(--split tail); fi
  sentence="The "
else
  if [[ ! -e $out/corpus/ORIGIN.txt ]]; then
    rm -rf "$out/corpus"
    # shellcheck disable=SC2086  # a list of words
    launch/corpus.sh $languages "$out/corpus"
  fi
  corpus=(--text "$out/corpus/train" --validation-text "$out/corpus/validation" --form-feed)
  sentence="The package "
  cat "$out/corpus/ORIGIN.txt"
fi

step "Tokens"
if [[ ! -e $out/tokenizer/tokenizer.json ]]; then
  "$TSUGI" tokenizer train --text "${corpus[1]}" --out "$out/tokenizer" --vocabulary 4096
fi
if [[ ! -e $out/tokens/summary.json ]]; then
  "$TSUGI" prepare "${corpus[@]}" --out "$out/tokens" --tokenizer "$out/tokenizer" --append-eot
fi
echo "$out/tokens"

step "Pretraining: $ranks ranks, about $minutes minutes"
pretrain=("${launcher[@]}" "$TSUGI" pretrain --config "$recipe" --set "data.train=$out/tokens")
# How many steps fit is measured once, so that a run that goes on keeps its schedule.
if [[ ! -e $out/steps ]]; then
  rm -rf "$out/probe"
  "${pretrain[@]}" --set steps=20 --set schedule.warmup_steps=0 --set evaluation.sequences=1 --out "$out/probe" \
    --resume never --json >"$out/probe.json"
  speed=$(json_number "$out/probe.json" tokens_per_second)
  resolved=$out/probe/config.textproto
  tokens_per_step=$(($(config_field "$resolved" sequence) * $(config_field "$resolved" micro_batch) *
    $(config_field "$resolved" micro_batches)))
  awk -v speed="$speed" -v minutes="$minutes" -v tokens="$tokens_per_step" \
    'BEGIN {steps = int(speed * minutes * 60 / tokens); print steps < 100 ? 100 : steps}' >"$out/steps.partial"
  mv "$out/steps.partial" "$out/steps"
  rm -rf "$out/probe"
  echo "measured: $speed tokens/s, so $(<"$out/steps") steps of $tokens_per_step tokens"
fi
"${pretrain[@]}" --set "steps=$(<"$out/steps")" --out "$out/pretrain" --resume auto

step "Evaluation on text that was not trained on"
"$TSUGI" evaluate --checkpoint "$out/pretrain" --tokens "$out/tokens/validation.bin" --sequence 128 --json |
  tee "$out/evaluation.json"

step "What it writes after \"$sentence\""
"$TSUGI" generate --checkpoint "$out/pretrain" --prompt "$sentence" --tokens 300 --temperature 0.8 --seed 1

if [[ -z $text ]]; then
  step "Fine-tuning: which chapter does a paragraph come from?"
  mkdir -p "$out/finetune"
  labels=$(sed 's/.*"label": *//' "$out/corpus/task/validation.jsonl" | sort -u | wc -l)
  # finetune NAME LABELS_PER_CLASS OPTIONS…
  finetune() {
    head -n $(($2 * labels)) "$out/corpus/task/train.jsonl" >"$out/finetune/train-$2.jsonl"
    "${launcher[@]}" "$TSUGI" finetune --checkpoint "$out/pretrain" --task classification \
      --train "$out/finetune/train-$2.jsonl" --validation "$out/corpus/task/validation.jsonl" \
      --epochs $((200 / $2)) --learning-rate 1e-3 --device CPU "${@:3}" --json >"$out/finetune/$1-$2.json" 2>"$out/finetune/$1-$2.log" ||
      { cat "$out/finetune/$1-$2.log" >&2; exit 1; }
  }
  for few in 10 50; do
    finetune pretrained $few --baselines
    finetune frozen $few --freeze-layers 2
    finetune lora $few --lora-rank 8
    finetune scratch $few --from-scratch
  done
  # row TEXT NAME FIELD
  row() {
    local few line
    line=$(printf '  %-42s' "$1")
    for few in 10 50; do
      line+=$(awk -v x="$(json_number "$out/finetune/$2-$few.json" "$3")" 'BEGIN {printf "%10.1f %%", 100 * x}')
    done
    echo "$line"
  }
  {
    echo "accuracy on $(json_number "$out/finetune/pretrained-10.json" validation_examples) paragraphs of other sections," \
      "$labels chapters, after 10 and 50 labelled paragraphs of each:"
    row "always the same chapter" pretrained majority_accuracy
    row "naive Bayes on byte n-grams" pretrained ngram_accuracy
    row "this model, without pretraining" scratch accuracy
    row "pretrained, low-rank adapters" lora accuracy
    row "pretrained, two of four blocks frozen" frozen accuracy
    row "pretrained, everything is trained" pretrained accuracy
  } | tee "$out/finetune/table.txt"
fi

step "Where everything lies"
cat <<TEXT
$out/
  tokenizer/    a byte-level BPE vocabulary of 4096 tokens, as Hugging Face's tokenizers read it
  tokens/       token files
  pretrain/     config.textproto, metrics.jsonl, checkpoints/ (folders that transformers loads)
  evaluation.json
TEXT
if [[ -z $text ]]; then
  cat <<'TEXT'
  corpus/       text of the handbook and the labelled task, with its origin and licence
  finetune/     one JSON per row, and table.txt
TEXT
fi

step "What to try next"
cat <<TEXT
build/release/tsugi generate --checkpoint $out/pretrain --prompt "The " --temperature 0.8 --samples 3
launch/demo.sh --minutes 30 --out runs/longer            # it learns more
launch/demo.sh --text DIR --out runs/mine                # your own text
build/release/tsugi plan --config launch/recipes/gpt2_124m.textproto --ranks 8   # what a larger one will need
build/release/tsugi sweep run --config launch/recipes/sweeps/cpu_10min.textproto --set data.train=DIR --out runs/sweep
README.md: your own runs, Hugging Face in and out, Slurm, sweeps
TEXT
