#!/bin/bash
# Two ranks on two emulated hosts with a slow link between them: how much of the exchange of gradients hides behind the
# backward pass? Linux, root, iproute2, Open MPI; nothing outside of its own network namespaces is touched.
#   benchmarks/shaped_link.sh TSUGI [OUT.json]       RATE=200mbit STEPS=12 ROUNDS=3 by the environment
# A host is a network namespace with a link of RATE (tc tbf) to a bridge. Two runs take turns: gradients in buckets of
# 1 MB, which leave while backward goes on, and in one bucket, which leaves when it is over: overlap on and off.
# "exposed" is what the metrics call exposed_seconds: the part of a step in which a rank waits for gradients. Both ranks
# have one thread, on CPUs of their own (0 and 1: the hosts do not know of each other). The losses must be the same.
set -euo pipefail
tsugi=$(realpath "${1:?usage: shaped_link.sh TSUGI [OUT.json]}")
out=${2:-}
rate=${RATE:-200mbit} steps=${STEPS:-12} rounds=${ROUNDS:-3}
here=$(cd "$(dirname "$0")" && pwd)
name=tsl$$
folder=$(mktemp -d)
holders=()
clean_up() {
  for pid in "${holders[@]:-}"; do [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; done
  for space in "$name-h1" "$name-h2" "$name-sw"; do ip netns del "$space" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap clean_up EXIT

ip netns add "$name-sw"
ip -n "$name-sw" link add br0 type bridge
ip -n "$name-sw" link set br0 up
printf '127.0.0.1 localhost\n10.211.9.1 %s-h1\n10.211.9.2 %s-h2\n' "$name" "$name" > "$folder/hosts"
for i in 1 2; do
  host=$name-h$i
  ip netns add "$host"
  ip -n "$name-sw" link add "v$i" type veth peer name eth0 netns "$host"
  ip -n "$name-sw" link set "v$i" master br0 up
  ip -n "$host" addr add "10.211.9.$i/24" dev eth0
  ip -n "$host" link set eth0 up
  ip -n "$host" link set lo up
  ip netns exec "$host" tc qdisc add dev eth0 root tbf rate "$rate" burst 64kb latency 400ms
  # One holder per host keeps its name, its /dev/shm and its IPC, for daemons and ranks alike.
  nsenter --net="/run/netns/$host" unshare --uts --mount --ipc sh -c \
    "hostname $host; mount --bind $folder/hosts /etc/hosts; mount -t tmpfs tmpfs /dev/shm; exec sleep infinity" \
    < /dev/null > /dev/null 2>&1 &
  holders+=($!)
  echo $! > "$folder/$host.pid"
  echo $((i - 1)) > "$folder/$host.cpu"
  echo "$host slots=1" >> "$folder/hostfile"
done
# mpirun starts its daemon on the other host as: agent HOST COMMAND...
cat > "$folder/agent" <<A
#!/bin/bash
while [[ \$1 == -* ]]; do shift; done
host=\$1; shift
exec taskset -c \$(cat $folder/\$host.cpu) nsenter -t \$(cat $folder/\$host.pid) --net --uts --mount --ipc -- \
  setsid -w sh -c "\$*"
A
chmod +x "$folder/agent"
sleep 1

head -c 400000 /dev/urandom > "$folder/random"
# Bytes as headerless uint16: a token file of a vocabulary of 256.
python3 -c "
import sys
data = open('$folder/random', 'rb').read()
open('$folder/tokens.bin', 'wb').write(b''.join(bytes((b, 0)) for b in data))"
cat > "$folder/config.textproto" <<C
steps: $steps
model { layers: 4 heads: 4 width: 256 context: 256 vocabulary: 256 }
data { train: "$folder/tokens.bin" }
batch { micro_batch: 4 micro_batches: 2 }
optimizer { learning_rate: 3e-4 }
checkpoint { every_steps: 0 }
evaluation { every_steps: 0 }
dist { threads: 1 }
C
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for round in $(seq "$rounds"); do
  for megabytes in 1 4096; do
    taskset -c 0 nsenter -t "$(cat "$folder/$name-h1.pid")" --net --uts --mount --ipc -- env -C "$PWD" mpirun -np 2 \
      --hostfile "$folder/hostfile" --map-by node --bind-to none --mca plm rsh --mca plm_rsh_agent "$folder/agent" \
      --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 --mca btl tcp,self \
      --mca pml ob1 "$tsugi" pretrain --config "$folder/config.textproto" --out "$folder/run-$megabytes-$round" \
      --set "dist.bucket_megabytes=$megabytes" --json > "$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
  done
done
python3 - "$folder" "$rounds" "$rate" "$here" "$out" <<'P'
import json, os, statistics, subprocess, sys
from datetime import date
folder, rounds, rate, here, out = sys.argv[1:]
sys.path.insert(0, here)
from train_step import processor

def of(megabytes):
    seconds, exposed, losses = [], [], []
    for round in range(1, int(rounds) + 1):
        with open(os.path.join(folder, f"run-{megabytes}-{round}", "metrics.jsonl")) as file:
            steps = [line for line in map(json.loads, file) if "seconds" in line][2:]
        seconds += [step["seconds"] for step in steps]
        exposed += [step["exposed_seconds"] for step in steps]
        losses += [step["loss"] for step in steps]
    return statistics.median(seconds), statistics.median(exposed), losses

on, off = of(1), of(4096)
if on[2] != off[2]:
    sys.exit("the losses of both runs differ")
result = dict(date=str(date.today()), machine=processor(), rate=rate,
              commit=subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
              overlap=dict(step_seconds=round(on[0], 4), exposed_seconds=round(on[1], 4)),
              no_overlap=dict(step_seconds=round(off[0], 4), exposed_seconds=round(off[1], 4)),
              hidden_part=round(1 - on[1] / off[1], 3) if off[1] > 0 else None, losses_are_equal=True)
print(json.dumps(result))
if out:
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
P
