# shellcheck shell=bash
# Sourced first by tests that need a Slurm cluster: a real one, of two hosts and a controller, that nobody outside sees.
#
# The test starts again inside namespaces of its own (processes, network, mounts, host name): the controller's. Each
# host is a network, host name, /dev/shm and set of daemons of its own, tied to the controller by a bridge. When the
# test ends, however it ends, the process namespace takes every daemon and job along.
# Exits with 77, saying why, where Slurm is not installed (launch/setup.sh --tests) or namespaces are not allowed.
skip() { echo "skipped: $*"; exit 77; }

if [ "${TSUGI_PRIVATE_CLUSTER:-}" != "$0" ]; then
  PATH=$PATH:/usr/sbin:/sbin
  for tool in slurmctld slurmd munged sbatch ip unshare nsenter mpirun; do
    command -v "$tool" > /dev/null || skip "there is no $tool (launch/setup.sh --tests installs it)"
  done
  [ "$(id -u)" = 0 ] || skip "slurmd for several hosts needs root"
  namespaces=(unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc)
  "${namespaces[@]}" ip link add name probe type bridge 2> /dev/null ||
    skip "namespaces with a network bridge are not allowed here"
  TSUGI_PRIVATE_CLUSTER=$0 exec "${namespaces[@]}" bash "$0" "$@"
fi
trap 'exit 130' HUP INT TERM  # the first process of a namespace ignores them otherwise

# in_host I COMMAND…: runs it on that host; 0 is the controller, where the test itself runs.
in_host() {
  if [ "$1" = 0 ]; then "${@:2}"; else nsenter --target "$(cat "$CLUSTER/h$1.pid")" --net --uts --mount --ipc -- "${@:2}"; fi
}

# start_controller [-c]: -c forgets all jobs; without it they go on.
start_controller() { slurmctld -f "$SLURM_CONF" "$@"; }

# start_cluster [HOSTS]: partitions "low" (default; its jobs may be preempted) and "high"; hosts of 4 CPUs, or so Slurm
# believes.
start_cluster() {
  unset OMPI_MCA_pml OMPI_MCA_btl  # hosts need a network
  local hosts=${1:-2} i
  CLUSTER=$(mktemp -d "${TMPDIR:-/tmp}/tsugi-slurm.XXXXXX")  # without a space: slurm.conf knows no quotes
  export SLURM_CONF=$CLUSTER/slurm.conf
  mkdir -p "$CLUSTER"/{state,log,spool,munge,tmp}
  chmod 755 "$CLUSTER" "$CLUSTER/munge"
  hostname ctl
  { echo "127.0.0.1 localhost"; echo "10.211.7.254 ctl"
    for i in $(seq 1 "$hosts"); do echo "10.211.7.$i h$i"; done; } > "$CLUSTER/hosts"
  mount --bind "$CLUSTER/hosts" /etc/hosts
  # The same on machines with either version of cgroups or none: Slurm sees an empty folder.
  [ ! -d /sys/fs/cgroup ] || mount -t tmpfs tmpfs /sys/fs/cgroup
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' > "$CLUSTER/cgroup.conf"
  ip link set lo up
  ip link add br0 type bridge
  ip addr add 10.211.7.254/24 dev br0
  ip link set br0 up
  for i in $(seq 1 "$hosts"); do
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --net --uts --mount --ipc sh -c 'hostname "$1"; mount -t tmpfs tmpfs /dev/shm; exec sleep infinity' sh "h$i" &
    echo $! > "$CLUSTER/h$i.pid"
    ip link add "v$i" type veth peer name eth0
    until [ "$(nsenter --target $! --uts hostname)" = "h$i" ]; do sleep 0.01; done
    ip link set eth0 netns $!
    ip link set "v$i" master br0 up
    in_host "$i" sh -c "ip link set lo up; ip addr add 10.211.7.$i/24 dev eth0; ip link set eth0 up"
  done
  (umask 077; head -c 1024 /dev/urandom > "$CLUSTER/munge/key")
  munged --key-file="$CLUSTER/munge/key" --socket="$CLUSTER/munge/sock" --pid-file="$CLUSTER/munge/pid" \
    --log-file="$CLUSTER/munge/log" --seed-file="$CLUSTER/munge/seed" --num-threads=2 --force 2> /dev/null
  { cat <<CONF
ClusterName=private
SlurmctldHost=ctl(10.211.7.254)
SlurmctldPort=28000
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for this many seconds (120 if nothing is said).
AuthInfo=socket=$CLUSTER/munge/sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$CLUSTER/state
SlurmdSpoolDir=$CLUSTER/spool/%n
TmpFS=$CLUSTER/tmp/%n
SlurmctldPidFile=$CLUSTER/slurmctld.pid
SlurmdPidFile=$CLUSTER/slurmd.%n.pid
SlurmctldLogFile=$CLUSTER/log/slurmctld.log
SlurmdLogFile=$CLUSTER/log/slurmd.%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
MailProg=/bin/true
JobRequeue=1
KillWait=10
ReturnToService=2
SlurmdTimeout=30
SlurmctldTimeout=5
SlurmdParameters=config_overrides
CONF
    for i in $(seq 1 "$hosts"); do
      echo "NodeName=h$i NodeAddr=10.211.7.$i Port=28001 CPUs=4 Sockets=1 CoresPerSocket=4 RealMemory=2000 State=UNKNOWN"
    done
    echo "PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20"
    echo "PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF"
  } > "$SLURM_CONF"
  start_controller -c
  for i in $(seq 1 "$hosts"); do
    mkdir -p "$CLUSTER/spool/h$i" "$CLUSTER/tmp/h$i"
    in_host "$i" slurmd -f "$SLURM_CONF" -N "h$i"
  done
  for _ in $(seq 1 100); do
    [ "$(timeout 5 sinfo -h -N -p low -t idle -o %N 2> /dev/null | wc -l)" = "$hosts" ] && return
    sleep 0.1
  done
  tail "$CLUSTER"/log/* >&2
  echo "FAILED: the private cluster did not start" >&2
  exit 1
}

# restart_controller: it is gone for a second, and remembers.
restart_controller() {
  local process
  process=$(cat "$CLUSTER/slurmctld.pid")
  kill "$process"
  while kill -0 "$process" 2> /dev/null; do sleep 0.05; done
  sleep 1
  start_controller
}

# job_is JOB STATE
job_is() { scontrol show job "$1" | grep -q "JobState=$2"; }

# processes_of WORD: those of tsugi itself, not of what started it, that have this word in their command line.
processes_of() {
  local process
  for process in $(pgrep -x tsugi); do
    if grep -qz -- "$1" "/proc/$process/cmdline" 2> /dev/null; then echo "$process"; fi
  done
}

# wait_until SECONDS WHAT COMMAND…: until the command succeeds; fails with the queue and the newest logs.
wait_until() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" > /dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      squeue >&2 || true
      find . -name '*.log' -path '*[-_]*' -print0 | xargs -0 -r tail -n 15 >&2
      fail "waited too long for $what"
    fi
    sleep 0.2
  done
}

# stop_cluster: the daemons by their pid files, then its folder. Whatever else is left goes with the process namespace.
stop_cluster() {
  local file process
  [ -n "${CLUSTER:-}" ] || return 0
  for file in "$CLUSTER"/slurmd.*.pid "$CLUSTER/slurmctld.pid" "$CLUSTER/munge/pid" "$CLUSTER"/h*.pid; do
    [ -f "$file" ] || continue
    process=$(cat "$file")
    kill "$process" 2> /dev/null || continue
    for _ in $(seq 1 50); do kill -0 "$process" 2> /dev/null || break; sleep 0.1; done
  done
  rm -rf "$CLUSTER" || true
}
