#!/bin/bash
# The ten-minute sweep as a result: how long it takes on this machine, and what its law says of the held-out runs.
#   benchmarks/sweep.sh TSUGI TOKENS OUT [SEED]      SWEEP=launch/recipes/sweeps/cpu_10min.textproto by the environment
# TOKENS: bytes of the demo's corpus, as the sweep file's first lines make them. OUT is the sweep's folder: what it has is
# not trained again, and then there is no wall time ("seconds": null). Writes OUT/result.json; runs.csv is beside it:
#   cp OUT/result.json benchmarks/results/DATE_sweep_cpu_10min_seedSEED_MACHINE.json      and runs.csv with it
# `load` is the machine's load average before the sweep: above about 0.2 the times are not the sweep's own.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,8s/^# \?//p' "$0" >&2; exit 2; }
tsugi=$(realpath "$1") tokens=$2 out=$3 seed=${4:-1337}
here=$(cd "$(dirname "$0")" && pwd)
sweep=${SWEEP:-$here/../launch/recipes/sweeps/cpu_10min.textproto}
options=(--config "$sweep" --set "data.train=$tokens" "seed=$seed")
fresh=true
[ ! -e "$out/runs" ] || fresh=false
load=$(cut -d' ' -f1 /proc/loadavg)
plan=$("$tsugi" sweep plan "${options[@]}" --json)
begin=$(date +%s.%N)
"$tsugi" sweep run "${options[@]}" --out "$out"
finish=$(date +%s.%N)
fit() {
  "$tsugi" sweep fit --csv "$out/runs.csv" --where 'status == "done"' --hold-out 'held_out == 1' --json "$@"
}
law=$(fit --form chinchilla --filter 'ratio > 3')
minima=$(fit --form isoflop)
processor=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
jq -n --arg date "$(date -u +%F)" --arg recipe "$(basename "$sweep")" --argjson seed "$seed" --argjson fresh "$fresh" \
  --arg processor "$processor" --argjson cpus "$(nproc)" --argjson load "$load" --argjson begin "$begin" --argjson finish "$finish" \
  --argjson plan "$plan" --argjson law "$law" --argjson minima "$minima" '
  {date: $date, recipe: $recipe, seed: $seed, processor: $processor, cpus: $cpus, load: $load,
   seconds: (if $fresh then $finish - $begin else null end), predicted_seconds: $plan.predicted.seconds,
   runs: ($plan.runs | length), flops: $plan.flops,
   held_out: [$law.held_out[] | {run, loss, predicted, error, inside,
     half_width: ((.interval[1] - .interval[0]) / 2 / .predicted)}],
   budgets: ($minima.budgets | length), interior_minima: ([$minima.budgets[] | select(.used)] | length),
   exponent: {a: $minima.parameters.a, interval: $minima.intervals.a}}' > "$out/result.json"
cat "$out/result.json"
