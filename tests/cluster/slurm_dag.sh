#!/usr/bin/env bash
# A sweep of trunks, branches and fine-tunings on a real Slurm cluster: three arrays, each after the one before, one
# piece of a trunk killed on the way. The table is that of the local sweep and nothing is done twice.
# Usage: TSUGI=build/release/tsugi tests/cluster/slurm_dag.sh
. "$(dirname "$0")/private_slurm.sh"
. "$(dirname "$0")/lib.sh"
trap 'stop_cluster; cleanup' EXIT
export TSUGI
start_cluster 2
cd "$WORK" || exit
make_corpus .
make_task .
make_base base.textproto data
cat > sweep.textproto <<'CONFIG'
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
budgets { flops: 1e9 }
budgets { flops: 2e9 }
budgets { flops: 2e10 sizes: "large" }
decay_fraction: 0.25
downstream { train: "task-train.jsonl" validation: "task-validation.jsonl" epochs: 4 learning_rate: 3e-3 }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
resources { time: "10" }
CONFIG
sweep() { "$TSUGI" sweep "$1" --config sweep.textproto "${@:2}"; }
in_slurm() { sweep run --out swept --executor slurm --gflops 1 --pack-minutes 0.05 "$@"; }
sweep run --out local > said || { cat said >&2; fail "the local sweep"; }

in_slurm --dry-run > said
grep -q '2 trunks in ' said && grep -q '5 runs in ' said && grep -q '5 fine-tunings in ' said || { cat said >&2; fail "not three stages"; }
# A trunk's pieces are done by one task, in their order.
awk -F, '{ if (NF > most) most = NF } END { exit most != 3 }' swept/slurm/0001/class-0.tasks || fail "the pieces of a trunk are apart"

in_slurm --json > submitted
job_of() { grep -o "\"script\":\"[^\"]*/class-$1.sbatch\",\"job\":\"[0-9]*" submitted | grep -o '[0-9]*$'; }
for stage in 1 2; do
  scontrol show job "$(job_of $stage)" | grep -q "Dependency=afterany:$(job_of $((stage - 1)))" ||
    { scontrol show job "$(job_of $stage)" >&2; fail "array $stage does not wait for the one before it"; }
done
long_piece() { processes_of "/trunks/trunk-large-s1337-[0-9]*-.*/train" | head -n 1; }
for _ in $(seq 1 300); do [ -n "$(long_piece)" ] && break; sleep 0.1; done
kill -9 "$(long_piece)" || fail "there was no piece of a trunk to kill"
in_slurm > said; grep -q 'nothing to submit' said || { cat said >&2; fail "queued tasks were submitted again"; }
sweep status --out swept --json > status
grep -q '"name":"c1e+09-large-s1337","id":"[0-9a-f]*","state":"queued"' status || { cat status >&2; fail "no branch waits in the queue"; }

queue_is_empty() { [ -z "$(squeue --noheader)" ]; }
wait_until 240 "the end of all jobs" queue_is_empty
outcome() { cut -d, -f1-18,28-31 "$1/runs.csv"; }
diff <(outcome local) <(outcome swept) >&2 || { tail -n 20 swept/slurm/*/logs/*.log >&2; fail "the tables differ"; }
sweep collect --out swept > /dev/null || fail "something is missing"
twice=0
for result in swept/trunks/* swept/runs/* swept/runs/*/downstream-*; do
  starts=$(find "$result/train" -name 'generation-*' | wc -l)
  [ "$starts" -le 2 ] || fail "$result was begun $starts times"
  [ "$starts" = 1 ] || twice=$((twice + 1))
done
[ "$twice" = 1 ] || fail "$twice tasks were begun twice, not the killed one alone"
echo "slurm_dag: trunks, runs and fine-tunings one after another; a killed piece went on"
