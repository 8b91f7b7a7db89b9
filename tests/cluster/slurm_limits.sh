#!/usr/bin/env bash
# Slurm itself stops jobs, which takes it half a minute: one whose time is up, one that gives way to a job of higher
# priority. Both go on and end as if nobody had.
# Usage: TSUGI=build/release/tsugi tests/cluster/slurm_limits.sh
. "$(dirname "$0")/private_slurm.sh"
. "$(dirname "$0")/lib.sh"
trap 'stop_cluster; cleanup' EXIT
script=$(realpath "$(dirname "$0")/../../launch/slurm/pretrain.sbatch")
export TSUGI
start_cluster 2
cd "$WORK" || exit
make_corpus .
make_config config data 120
sed -i 's/timeout_seconds: 60/timeout_seconds: 600/' config
"$TSUGI" pretrain --config config --out whole > /dev/null 2>&1 || fail "the undisturbed run"

pretrain() { sbatch --parsable --nodes=1 --ntasks=2 --job-name="$1" "${@:2}" "$script" --config config --out "$1"; }
# freeze NAME: from step 20 on its ranks stand still, so that they are there when the signal comes.
freeze() {
  wait_until 90 "step 20 of $1" grep -q '"step":20,"tokens' "$1/metrics.jsonl"
  processes_of "^$1\$" | xargs kill -STOP
}
# thaw NAME JOB: after Slurm's signal.
thaw() {
  wait_until 120 "the signal to $1" grep -q 'asked to stop' "$1-$2.log"
  processes_of "^$1\$" | xargs kill -CONT
  wait_until 60 "$1 to stop" grep -q 'restart 0: stopped; requeued' "$1-$2.log"
}
limited=$(TSUGI_LAUNCHER="srun --mpi=pmix" pretrain limited --nodelist=h1 --time=1 --signal=B:USR1@30)
preempted=$(TSUGI_LAUNCHER=mpirun pretrain preempted --nodelist=h2 --time=30)
freeze limited
freeze preempted
urgent=$(sbatch --parsable --partition=high --nodelist=h2 --exclusive --job-name=urgent --output=urgent.log --wrap="sleep 1")
thaw preempted "$preempted"
wait_until 60 "the urgent job" job_is "$urgent" COMPLETED
thaw limited "$limited"
wait_until 120 "the preempted job" job_is "$preempted" COMPLETED
wait_until 120 "the limited job" job_is "$limited" COMPLETED
same_run whole preempted
same_run whole limited
echo "a job at its time limit and one that gave way to another end bitwise equal to the undisturbed run"
