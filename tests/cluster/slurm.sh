#!/usr/bin/env bash
# A real Slurm cluster of two hosts. Pretraining jobs that are stopped, killed and cancelled; and beside them a sweep as
# job arrays: submitted twice, a run killed, a task requeued, the controller restarted. All ends as if nobody had.
# Usage: TSUGI=build/release/tsugi tests/cluster/slurm.sh
. "$(dirname "$0")/private_slurm.sh"
. "$(dirname "$0")/lib.sh"
trap 'stop_cluster; cleanup' EXIT
scripts=$(realpath "$(dirname "$0")/../../launch/slurm")
export TSUGI
start_cluster 2
cd "$WORK" || exit
make_corpus .
make_config config data 120
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
budgets { flops: 2e10 sizes: "wide" seeds: 2 }
budgets { flops: 2.5e10 sizes: "wide" held_out: true }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
resources { time: "10" }
resources { from_flops: 2.4e10 ranks: 2 nodes: 2 time: "10" }
CONFIG
sweep() { "$TSUGI" sweep "$1" --config sweep.textproto "${@:2}"; }
in_slurm() { sweep run --out swept --executor slurm --gflops 1 --pack-minutes 0.05 "$@"; }

"$TSUGI" pretrain --config config --out whole > /dev/null 2>&1 || fail "the undisturbed run"
sweep run --out local > said || { cat said >&2; fail "the undisturbed sweep"; }

at_step() { grep -qE "\"step\":($2),\"tokens" "$1/metrics.jsonl"; }

# --- pretraining jobs, and what goes wrong with them ---
pretrain() {
  sbatch --parsable --time=10 --job-name="$1" --nodes=2 --ntasks-per-node=1 \
    "$scripts/pretrain.sbatch" --config config --out "$1" "${@:2}"
}
stopped=$(TSUGI_LAUNCHER=mpirun pretrain stopped)
killed=$(TSUGI_LAUNCHER="srun --mpi=pmix" pretrain killed)
wait_until 90 "step 10 of the run to stop" at_step stopped '[1-9].'
scancel --batch --signal=USR1 "$stopped"  # as Slurm does when its time is nearly up
wait_until 90 "step 10 of the run to kill" at_step killed '[1-9].'
kill -9 "$(processes_of '^killed$' | head -n 1)"
wrong=$(pretrain wrong --set stepps=1)
cancelled=$(pretrain cancelled)
wait_until 90 "a step of the run to cancel" at_step cancelled '[1-9].?'
scancel "$cancelled"

# --- meanwhile a sweep, as two arrays that overlap ---
in_slurm --dry-run --most-running 6 > said
[ -z "$(squeue --noheader --name=tsugi-sweep)" ] || fail "a dry run submitted"
[ "$(sort swept/slurm/0001/*.tasks | tr ',' '\n' | sort -u | wc -l)" = 9 ] || fail "the scripts have not all 9 runs"
[ "$(cat swept/slurm/0001/class-*.tasks | wc -l)" -lt 9 ] || fail "no two runs were packed"
in_slurm --json > submitted
grep -q '"collect":"[0-9]' submitted || { cat submitted >&2; fail "no job collects"; }
for script in swept/slurm/0001/class-*.sbatch; do sbatch "$script" > /dev/null; done
# run_of SEED: the process that trains this long run.
run_of() { processes_of "/c2e+10-wide-s$1-.*/train"; }
trains() { [ -n "$(run_of "$1")" ] && at_step swept/runs/c2e+10-wide-s"$1"-*/train '[0-9]+'; }
wait_until 120 "the run to kill" trains 1337
kill -9 "$(run_of 1337)"
wait_until 120 "the run to requeue" trains 1338
# environment PROCESS NAME
environment() { tr '\0' '\n' < "/proc/$1/environ" | sed -n "s/^$2=//p"; }
requeued=$(run_of 1338)
scontrol requeue "$(environment "$requeued" SLURM_ARRAY_JOB_ID)_$(environment "$requeued" SLURM_ARRAY_TASK_ID)"
in_slurm > said; grep -q 'nothing to submit' said || { cat said >&2; fail "queued runs were submitted again"; }
sweep status --out swept --json > status
grep -q '"state":"queued","step":[0-9]*,[^}]*"slurm":"' status || { cat status >&2; fail "nothing is queued"; }
restart_controller

# --- pretraining jobs end as the undisturbed run ---
wait_until 120 "the stopped job" job_is "$stopped" COMPLETED
wait_until 120 "the killed job" job_is "$killed" COMPLETED
same_run whole stopped
same_run whole killed
[ "$(grep -c 'stopped; requeued' stopped-*.log)" = 1 ] || { cat stopped-*.log >&2; fail "the stopped job was not requeued once"; }
grep -q 'failed with code .*; again' killed-*.log || { cat killed-*.log >&2; fail "the killed rank was not noticed"; }
# Nobody wants these back.
job_is "$cancelled" CANCELLED || fail "the cancelled job is not"
if grep -q requeued cancelled-*.log; then cat cancelled-*.log >&2; fail "the cancelled job requeued itself"; fi
wait_until 60 "the refused job" job_is "$wrong" FAILED
scontrol show job "$wrong" | grep -q 'ExitCode=2:0' || fail "the refused job's code is not 2"
grep -q stepps wrong-*.log || { cat wrong-*.log >&2; fail "the mistake is not in the log"; }

# --- and the sweep as the local one: nothing twice, nothing missing, the same fit ---
wait_until 200 "the collecting job" test -e swept/fit.json
queue_is_empty() { [ -z "$(squeue --noheader)" ]; }
wait_until 60 "the end of all jobs" queue_is_empty
diff <(cut -d, -f1-18 local/runs.csv) <(cut -d, -f1-18 swept/runs.csv) >&2 || fail "the tables differ"
"$TSUGI" sweep fit --csv local/runs.csv --where 'status == "done"' --hold-out 'held_out == 1' --form chinchilla \
  --out local/fit.json > /dev/null || fail "the fit of the local runs"
diff local/fit.json swept/fit.json >&2 || fail "the fits differ"
for run in swept/runs/*; do
  starts=$(find "$run" -name 'generation-*' | wc -l)
  want=1
  case $run in *c2e+10-wide-*) want=2 ;; esac
  [ "$starts" = $want ] || { find "$run" >&2; fail "$run was started $starts times instead of $want"; }
done
sweep status --out swept --json | grep -q '"share":1.0,' || fail "status of a finished sweep"
in_slurm > said; grep -q 'nothing to submit' said || { cat said >&2; fail "a finished sweep was submitted"; }
grep -q 'srun --mpi=pmix.*-n 2\|mpirun -n 2' swept/slurm/*/logs/*.log || fail "no run had two ranks"

# --- what is refused ---
refused() { expect_code 2 sweep run --executor slurm --out refused "$@"; }
refused --partition nosuch; expect_said 'sbatch refused .*invalid partition specified: nosuch'; expect_said 'nothing was submitted'
refused --time 1:2:3:4; expect_said 'time "1:2:3:4" is none of Slurm'
refused --time 2; expect_said 'time "2" is under 5 minutes'
refused --sbatch 'rm -rf'; expect_said 'not one option of sbatch'
PATH=/nowhere refused; expect_said 'no sbatch on the PATH'
expect_code 2 sweep run --out refused --partition low; expect_said '--partition is for --executor slurm'
expect_code 2 sweep run --out refused --only 0123456789abcdef; expect_said 'no run of id 0123456789abcdef'
# The second class has nowhere to go: what was submitted before it is named, and stays.
sed 's/ranks: 2 nodes: 2/ranks: 2 nodes: 2 partition: "nosuch"/' sweep.textproto > partly.textproto
scontrol update PartitionName=low State=DOWN
expect_code 2 "$TSUGI" sweep run --config partly.textproto --out refused --executor slurm
expect_said 'class-1.sbatch .*nosuch'; expect_said "submitted before it: $(squeue --noheader --format=%F)\b.* what is missing"
scancel --name=tsugi-sweep
[ ! -e refused/runs ] || fail "something refused was trained"
echo "a Slurm cluster's jobs and arrays, stopped, killed, requeued and submitted twice, end as undisturbed ones"
