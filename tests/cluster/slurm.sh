#!/usr/bin/env bash
# A real Slurm cluster of two hosts: pretraining jobs that are stopped, killed and cancelled.
. "$(dirname "$0")/private_slurm.sh"
. "$(dirname "$0")/lib.sh"
trap 'stop_cluster; cleanup' EXIT
scripts=$(realpath "$(dirname "$0")/../../launch/slurm")
export TSUGI
start_cluster 2
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 150
cd "$WORK" || exit

# wait_until SECONDS WHAT COMMAND…: until the command succeeds.
wait_until() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { squeue; tail -n 20 "$WORK"/*.log >&2; fail "waited too long for $what"; }
    sleep 0.2
  done
}
at_step() { grep -qE "\"step\":($2),\"tokens" "$1/metrics.jsonl"; }
# ended JOB STATE
ended() { scontrol show job "$1" | grep -q "JobState=$2"; }
submit() { sbatch --parsable --time=10 --job-name="$1" "${@:2}"; }
pretrain() { submit "$1" --nodes=2 --ntasks-per-node=1 "$scripts/pretrain.sbatch" --config config --out "$1"; }

"$TSUGI" pretrain --config config --out whole > /dev/null 2>&1 || fail "the undisturbed run"

# Told that its time is nearly up, as Slurm does it: saved, requeued, and on the second try killed as well.
TSUGI_LAUNCHER=mpirun pretrain mpirun > ids
TSUGI_LAUNCHER="srun --mpi=pmix" pretrain srun >> ids
mapfile -t ids < ids
for i in 0 1; do
  launcher=$([ $i = 0 ] && echo mpirun || echo srun)
  wait_until 60 "step 20 under $launcher" at_step "$launcher" '2.|[3-9].'
  scancel --batch --signal=USR1 "${ids[$i]}"
done
wait_until 60 "the second try of srun" grep -q 'restart 1' "srun-${ids[1]}.log"
wait_until 60 "step 100 under srun" at_step srun '1[0-9].'
pkill -9 -o -f "tsugi pretrain .*--out srun" || fail "nothing to kill"
# The user's word is the last: no way back into the queue.
pretrain cancelled > id
wait_until 60 "the job to cancel" at_step cancelled '[5-9]'
scancel "$(cat id)"
TSUGI_LAUNCHER=mpirun submit wrong "$scripts/pretrain.sbatch" --config config --set stepps=1 --out wrong > wrong-id
for i in 0 1; do wait_until 120 "job ${ids[$i]}" ended "${ids[$i]}" COMPLETED; done
for launcher in mpirun srun; do
  [ "$(grep -c 'stopped; requeued' "$launcher"-*.log)" = 1 ] || { cat "$launcher"-*.log >&2; fail "$launcher was not requeued once"; }
  same_run whole "$launcher"
done
grep -q 'failed with code .*; again' srun-*.log || { cat srun-*.log >&2; fail "the killed rank was not noticed"; }
wait_until 60 "the end of the cancelled job" ended "$(cat id)" CANCELLED
grep -q requeued cancelled-*.log && { cat cancelled-*.log >&2; fail "a cancelled job came back"; }
wait_until 60 "the refused job" ended "$(cat wrong-id)" FAILED
grep -q 'no field "stepps"\|stepps' wrong-*.log || { cat wrong-*.log >&2; fail "the mistake is not in the log"; }
scontrol show job "$(cat wrong-id)" | grep -q 'ExitCode=2:0' || fail "the refused job's code is not 2"
echo "jobs under mpirun and srun, stopped, requeued and killed, end bitwise equal to the undisturbed run"
