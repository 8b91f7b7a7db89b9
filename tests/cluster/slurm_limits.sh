#!/usr/bin/env bash
# Slurm itself stops jobs, which takes it half a minute: two whose time is up, by srun and by mpirun; and one and a task of
# a sweep's array that give way to a job of higher priority. All go on and end as if nobody had.
# Usage: TSUGI=build/release/tsugi tests/cluster/slurm_limits.sh
. "$(dirname "$0")/private_slurm.sh"
. "$(dirname "$0")/lib.sh"
trap 'stop_cluster; cleanup' EXIT
script=$(realpath "$(dirname "$0")/../../launch/slurm/pretrain.sbatch")
export TSUGI
start_cluster 2
cd "$WORK" || exit
make_corpus .
make_config config data 3000
sed -i 's/timeout_seconds: 60/timeout_seconds: 600/; s/every_steps: 5 /every_steps: 250 /' config
"$TSUGI" pretrain --config config --out whole > /dev/null 2>&1 || fail "the undisturbed run"

pretrain() { sbatch --parsable --nodes=1 --ntasks=2 --job-name="$1" "${@:2}" "$script" --config config --out "$1"; }
# freeze NAME: from step 20 on its ranks stand still, so that they are there when the signal comes.
freeze() {
  wait_until 90 "step 20 of $1" grep -q '"step":20,"tokens' "$1/metrics.jsonl"
  processes_of "^$1\$" | xargs kill -STOP
}
# thaw NAME JOB: after Slurm's signal, and a while for mpirun to pass it on.
thaw() {
  wait_until 120 "the signal to $1" grep -q 'asked to stop' "$1-$2.log"
  sleep 1
  processes_of "^$1\$" | xargs kill -CONT
  wait_until 60 "$1 to stop" grep -q 'restart 0: stopped; requeued' "$1-$2.log"
}
cat > base.textproto <<'CONFIG'
steps: 1
model { layers: 1 heads: 1 width: 8 context: 32 }
data { train: "data" }
batch { micro_batch: 2 micro_batches: 2 }
optimizer { learning_rate: 1e-3 }
evaluation { every_steps: 0 sequences: 50 }
checkpoint { every_steps: 40 keep: 1 }
logging { every_steps: 10 }
CONFIG
cat > sweep.textproto <<'CONFIG'
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "middle" layers: 1 heads: 1 width: 24 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
sizes { name: "wide" layers: 2 heads: 2 width: 64 }
budgets { flops: 1e9 sizes: "small" sizes: "middle" sizes: "large" }
budgets { flops: 2e9 sizes: "small" sizes: "middle" sizes: "large" }
budgets { flops: 5e9 sizes: "small" sizes: "middle" sizes: "large" }
budgets { flops: 1e11 sizes: "wide" held_out: true }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
resources { time: "30" }
CONFIG
sweep() { "$TSUGI" sweep "$1" --config sweep.textproto "${@:2}"; }
sweep run --out local > said || { cat said >&2; fail "the undisturbed sweep"; }

# limit NAME LAUNCHER: a job of one minute on the first host.
limit() { TSUGI_LAUNCHER=$2 pretrain "$1" --nodelist=h1 --time=1 --signal=B:USR1@30; }
freezing=()
by_srun=$(limit limited-srun "srun --mpi=pmix")
freeze limited-srun & freezing+=($!)
by_mpirun=$(limit limited-mpirun mpirun)
freeze limited-mpirun & freezing+=($!)
preempted=$(TSUGI_LAUNCHER=mpirun pretrain preempted --nodelist=h2 --time=30)
freeze preempted & freezing+=($!)
sweep run --out swept --executor slurm --gflops 1 --pack-minutes 0.3 --sbatch=--nodelist=h2 > said || { cat said >&2; fail "the sweep's arrays"; }
wait "${freezing[@]}" || fail "a run was not frozen"
wide() { processes_of "/c1e+11-wide-.*/train"; }
trains() { [ -n "$(wide)" ] && grep -q '"step":.0,' swept/runs/c1e+11-wide-*/train/metrics.jsonl; }
wait_until 90 "the sweep's long run" trains
wide | xargs kill -STOP || fail "the long run is not there"
find swept/runs -maxdepth 2 -name result.json -printf '%h\n' > ended
urgent=$(sbatch --parsable --partition=high --nodelist=h2 --exclusive --job-name=urgent --output=urgent.log --wrap="sleep 1")
array_log() { grep -l -- "$1" swept/slurm/0001/logs/[0-9]*_*.log; }
wait_until 120 "the signal to the array task" array_log 'asked to stop'
sleep 1
wide | xargs kill -CONT
thaw preempted "$preempted"
wait_until 60 "the array task to stop" array_log 'restart 0: stopped; '
wait_until 60 "the urgent job" job_is "$urgent" COMPLETED
thaw limited-srun "$by_srun"
thaw limited-mpirun "$by_mpirun"
wait_until 120 "the preempted job" job_is "$preempted" COMPLETED
for job in "$by_srun" "$by_mpirun"; do wait_until 120 "a job with a time limit" job_is "$job" COMPLETED; done
for run in preempted limited-srun limited-mpirun; do same_run whole "$run"; done

# The sweep: nothing missing, nothing done twice, and the fit of the undisturbed one.
wait_until 120 "the collecting job" test -e swept/fit.json
array_log 'restart 1: ' > /dev/null || { cat swept/slurm/0001/logs/*.log >&2; fail "the array task was not requeued"; }
diff <(cut -d, -f1-18 local/runs.csv) <(cut -d, -f1-18 swept/runs.csv) >&2 || fail "the tables differ"
"$TSUGI" sweep fit --csv local/runs.csv --where 'status == "done"' --hold-out 'held_out == 1' --form chinchilla \
  --out local/fit.json > /dev/null || fail "the fit of the local runs"
diff local/fit.json swept/fit.json >&2 || fail "the fits differ"
# What had ended is not begun again; what Slurm stopped goes on once.
for run in swept/runs/*; do
  want=2
  if grep -qxF "$run" ended; then want=1; fi
  starts=$(find "$run" -name 'generation-*' | wc -l)
  [ "$starts" -le $want ] || { find "$run" >&2; fail "$run was started $starts times"; }
done
[ "$(find swept/runs/c1e+11-wide-* -name 'generation-*' | wc -l)" = 2 ] || fail "the run that gave way did not go on"
echo "jobs at their time limit, a job and a sweep's task that gave way to another, end bitwise equal to undisturbed ones"
