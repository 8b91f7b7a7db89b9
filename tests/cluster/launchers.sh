#!/usr/bin/env bash
# Plain mpirun as the README has it, and no launcher at all: every rank gets its share of the CPUs, says so, and by the
# word of the kernel may use these and no others.
. "$(dirname "$0")/lib.sh"
# As users have it.
unset OMPI_MCA_mpi_yield_when_idle OMPI_MCA_pml OMPI_MCA_btl
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

# An mpirun that is held to one CPU itself keeps its rank there.
last=$(sed -n 's/^Cpus_allowed_list:\t.*[^0-9]\{0,1\}\([0-9][0-9]*\)$/\1/p' /proc/self/status)
taskset -c "$last" mpirun -np 1 "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/held" > "$WORK/said" 2>&1 ||
  { cat "$WORK/said" >&2; fail "mpirun under taskset"; }
grep -qE "rank 0 of 1 .*, 1 thread" "$WORK/held/logs/rank-00000.log" || fail "taskset -c $last mpirun took other CPUs"

# numbers LIST: "0-2,8" as lines.
numbers() { tr ',' '\n' <<< "$1" | while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done; }
# may_use PID NAME: the CPUs of the process' threads of that name, a line per thread.
may_use() {
  for task in "/proc/$1"/task/*/status; do
    sed -n "/^Name:\t$2\$/!{1q}; s/^Cpus_allowed_list:\t//p" "$task"
  done
}
numbers "$(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)" > "$WORK/all"
cat > "$WORK/noted" <<'SCRIPT'
#!/usr/bin/env bash
echo $$ > "$1-$OMPI_COMM_WORLD_RANK"
exec "${@:2}"
SCRIPT
chmod +x "$WORK/noted"
for n in 1 2 3; do
  launcher=(mpirun -np "$n")
  [ "$n" -gt "$cpus" ] && launcher+=(--oversubscribe)
  timeout -k 5 60 "${launcher[@]}" "$WORK/noted" "$WORK/pid" "$TSUGI" pretrain --config "$WORK/config" --set steps=1000000 \
    checkpoint.every_steps=0 evaluation.every_steps=0 --out "$WORK/long-$n" > "$WORK/said" 2>&1 & job=$!
  for _ in $(seq 1 600); do grep -qs '"step":1,' "$WORK/long-$n/metrics.jsonl" && break; sleep 0.05; done
  : > "$WORK/shares"
  for rank in $(seq 0 $((n - 1))); do
    # Those that compute, and among what the library starts the one that talks to other ranks.
    pid=$(cat "$WORK/pid-$rank")
    may_use "$pid" "$(cat "/proc/$pid/comm")" | while read -r list; do numbers "$list"; done | sort -nu > "$WORK/share"
    may_use "$pid" tsugi-mpi | while read -r list; do numbers "$list" | tr '\n' ' '; echo; done > "$WORK/talking"
    grep -qxF "$(tr '\n' ' ' < "$WORK/share")" "$WORK/talking" ||
      { cat "$WORK/share" "$WORK/talking" >&2; fail "rank $rank of $n talks to others elsewhere than it computes"; }
    count=$(wc -l < "$WORK/share")
    if [ "$n" -gt "$cpus" ]; then
      cmp "$WORK/share" "$WORK/all" || fail "rank $rank of $n is kept from CPUs"
    elif [ "$count" -lt $((cpus / n)) ] || [ "$count" -gt $(((cpus + n - 1) / n)) ]; then
      cat "$WORK/share" >&2; fail "rank $rank of $n may use these CPUs of $cpus"
    fi
    cat "$WORK/share" >> "$WORK/shares"
  done
  kill -TERM "$(cat "$WORK/pid-0")"
  code=0; wait "$job" || code=$?
  [ "$code" = 75 ] || { cat "$WORK/said" >&2; fail "exit code $code instead of 75 of $n ranks"; }
  # Nobody's CPU is another's, and none is left over.
  [ "$n" -gt "$cpus" ] || diff <(sort -n "$WORK/shares") "$WORK/all" >&2 || fail "the shares of $n ranks"
done
echo "0, 1, 2 and 3 ranks use the cores as they say"
