# shellcheck shell=bash
# Sourced by the tests that run the real program: where it is, a folder to work in, mpirun for everybody.
# Usage of a test: TSUGI=build/release/tsugi tests/cluster/NAME.sh
set -euo pipefail
: "${TSUGI:?set TSUGI to the program under test}"
TSUGI=$(realpath "$TSUGI")
# The folder's path has a space and an umlaut: whoever forgets a quote fails here.
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tsugi test ü.XXXXXX")
# Whatever a failed test left in the background ends with it.
cleanup() { jobs -p | xargs -r kill 2> /dev/null || true; rm -rf "$WORK"; }
trap cleanup EXIT
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# Many small ranks on few cores give way instead of spinning.
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0
# Ranks of one host, without a look at every network there might be: a third of a second less for each of hundreds of
# starts. launchers.sh starts them as users do.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader

fail() { echo "FAILED: $*" >&2; exit 1; }

# ranks N COMMAND…: runs it under mpirun, whatever the number of cores; a single rank by itself.
ranks() {
  local n=$1; shift
  if [ "$n" = 1 ]; then "$@"; else mpirun --oversubscribe -np "$n" "$@"; fi
}

# expect_code CODE COMMAND…: runs it, keeps what it said in $WORK/said, and checks the exit code.
expect_code() {
  local want=$1 got=0; shift
  "$@" >"$WORK/said" 2>&1 || got=$?
  [ "$got" = "$want" ] || { cat "$WORK/said" >&2; fail "exit code $got instead of $want: $*"; }
}
# expect_said PATTERN: the last expect_code's output matches (grep -E).
expect_said() { grep -qE -- "$1" "$WORK/said" || { cat "$WORK/said" >&2; fail "not said: $1"; }; }

# make_corpus DIR: a small text that can be learnt, and its token files in DIR/data.
make_corpus() {
  mkdir -p "$1/text"
  local i
  for i in $(seq 1 40); do
    for j in $(seq 1 12); do echo "Line $j of document $i: the quick brown fox jumps over $((i * j)) lazy dogs."; done \
      > "$1/text/document-$i.txt"
  done
  "$TSUGI" prepare --text "$1/text" --out "$1/data" --vocabulary characters --json > "$1/prepared.json"
}

# make_task DIR: a labelled task that a model can learn of that corpus: DIR/task-train.jsonl and -validation.jsonl.
make_task() {
  local i
  for i in $(seq 1 90); do
    case $((i % 3)) in
      0) echo "{\"text\": \"the lazy dogs $i of document $((i * 7))\", \"label\": \"dogs\"}" ;;
      1) echo "{\"text\": \"the quick brown fox $i jumps over\", \"label\": \"fox\"}" ;;
      2) echo "{\"text\": \"Line $i of document $((i * 3)):\", \"label\": \"line\"}" ;;
    esac
  done > "$1/task.jsonl"
  head -n 60 "$1/task.jsonl" > "$1/task-train.jsonl"
  tail -n 30 "$1/task.jsonl" > "$1/task-validation.jsonl"
}

# make_base FILE DATA: what the runs of a small sweep share.
make_base() {
  cat > "$1" <<CONFIG
steps: 1
model { layers: 1 heads: 1 width: 8 context: 32 }
data { train: "$2" }
batch { micro_batch: 2 micro_batches: 2 }
optimizer { learning_rate: 1e-3 }
evaluation { every_steps: 0 sequences: 50 }
checkpoint { every_steps: 40 keep: 1 }
CONFIG
}

# make_config FILE DATA STEPS: a model that trains in a second.
make_config() {
  cat > "$1" <<CONFIG
name: "tiny"
steps: $3
model { layers: 2 heads: 2 width: 32 context: 32 dropout: 0.1 }
data { train: "$2" }
batch { micro_batch: 1 micro_batches: 12 }
optimizer { learning_rate: 3e-3 }
schedule { warmup_steps: 2 }
evaluation { every_steps: 5 sequences: 20 }
checkpoint { every_steps: 5 }
dist { threads: 1 timeout_seconds: 60 }
CONFIG
}

# losses RUN: what was computed at every step, without what depends on time.
losses() {
  grep -hE '"loss"|"validation_loss"' "$1/metrics.jsonl" |
    sed -E 's/"(seconds|tokens_per_second|mfu|exposed_seconds|wall_time|time)":[^,}]*,?//g; s/,\}/}/'
}

# tensors PATTERN FILE…: names and bytes of the tensors whose name matches (a Perl expression) in these safetensors files
# of ours, by name. Pieces of one tensor (exp_avg/NAME@OFFSET, of several ranks) are put together.
tensors() {
  perl -e '
    use strict; use warnings;
    my ($pattern, %pieces) = (shift @ARGV);
    for my $path (@ARGV) {
      open my $file, "<:raw", $path or die "$path: $!\n";
      read $file, my $length, 8; read $file, my $header, unpack("Q<", $length);
      while ($header =~ /"([^"@]+)(?:@(\d+))?":\{"data_offsets":\[(\d+),(\d+)\]/g) {
        my ($name, $offset, $begin, $end) = ($1, $2 // 0, $3, $4);
        next unless $name =~ /$pattern/;
        seek $file, 8 + length($header) + $begin, 0; read $file, my $bytes, $end - $begin;
        die "$path: $name is cut short\n" unless length $bytes == $end - $begin;
        die "$path: $name is there twice\n" if exists $pieces{$name}{$offset};
        $pieces{$name}{$offset} = $bytes;
      }
    }
    die "no tensor matches $pattern\n" unless %pieces;
    for my $name (sort keys %pieces) {
      print "\n$name\n", map { $pieces{$name}{$_} } sort { $a <=> $b } keys %{$pieces{$name}};
    }' "$@" || fail "cannot read $2"
}

# same_run A B: equal losses, and equal weights and moments at the last step.
same_run() {
  diff <(losses "$1") <(losses "$2") > "$WORK/difference" || { head -4 "$WORK/difference" >&2; fail "losses of $1 and $2 differ"; }
  local last_a last_b
  last_a=$(last_checkpoint "$1"); last_b=$(last_checkpoint "$2")
  cmp "$last_a/model.safetensors" "$last_b/model.safetensors" || fail "weights of $1 and $2 differ"
  tensors '^exp_avg' "$last_a"/state/shard-* > "$WORK/moments-a"
  tensors '^exp_avg' "$last_b"/state/shard-* > "$WORK/moments-b"
  cmp "$WORK/moments-a" "$WORK/moments-b" || fail "moments of $1 and $2 differ"
}
last_checkpoint() { find "$1/checkpoints" -maxdepth 1 -name 'step-????????' | sort | tail -n 1; }
