#!/usr/bin/env bash
# Plain mpirun as the README has it, and no launcher at all: every rank gets its share of the CPUs and says so.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 2
sed -i 's/threads: 1//' "$WORK/config"
cpus=$(nproc)
for n in 0 1 2 3; do
  launcher=(mpirun -np "$n")
  [ "$n" = 0 ] && launcher=()
  [ "$n" -gt "$cpus" ] && launcher+=(--oversubscribe)
  "${launcher[@]}" "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/run-$n" --json > "$WORK/$n.json" 2> "$WORK/$n.err" ||
    { cat "$WORK/$n.err" >&2; fail "mpirun -np $n"; }
  ranks=$((n > 0 ? n : 1)) share=$((cpus / (n > 0 ? n : 1)))
  [ "$share" -ge 1 ] || share=1
  for rank in $(seq 0 $((ranks - 1))); do
    grep -qE "rank $rank of $ranks .*, $share thread" "$WORK/run-$n/logs/rank-0000$rank.log" ||
      { cat "$WORK/run-$n/logs/rank-0000$rank.log" >&2; fail "rank $rank of $ranks has another share than $share CPUs"; }
  done
  [ "$n" = 0 ] || same_run "$WORK/run-0" "$WORK/run-$n"
done
echo "0, 1, 2 and 3 ranks use the cores as they say"
