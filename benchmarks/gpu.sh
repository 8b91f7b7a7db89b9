#!/usr/bin/env bash
# Everything that is to be known of a device, in the short time that one can be had.
# shellcheck disable=SC2317  # stages are called by their names
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: benchmarks/gpu.sh --bundle DIR --out DIR [STAGE …]
       benchmarks/gpu.sh --dry [--build DIR] --out DIR [STAGE …]
       benchmarks/gpu.sh --list

Runs the stages one after the other (all, in the order of --list; or those named, in the order given); each has its own
time limit, and none stops the others. At most eight files in --out, each of some MiB, are written row by row. What an
earlier call has left in --out is kept: rows that are there are not measured again, so that a call that was cut, or lost
its device, goes on where it was. report.md says what came out beside what was asked for.
  --bundle DIR   what launch/bundle.sh made, unpacked
  --list         names of the stages, their limits in seconds, and what they answer
  --dry          without a device: the kernels on the emulator of --build (build/release), PyTorch and tsugi on the CPU at
                 tiny shapes. Figures mean nothing
PyTorch is used where python3 has it (PYTHON=… names another).
TEXT
}

# name, limit in seconds, file it writes, what it answers
stages() {
  cat <<'LIST'
machine 60 summary.json what the machine is: device, driver, versions
kernels 240 kernels.jsonl every kernel alone, beside the ceilings; bits of 100 runs
peer 300 peers.jsonl every kernel beside PyTorch
correct 300 tests.jsonl the kernels' and the trainer's tests on the device, bits of 100 runs
curves 180 training.jsonl 200 steps of a small model on the device and on the CPU
train 420 training.jsonl tokens/s and MFU beside PyTorch: GPT-2 124M, Llama 1B
train_large 480 training.jsonl the same: GPT-2 355M and 1558M
sanitize 420 tests.jsonl compute-sanitizer on a selection of the tests
profile 300 profile.csv what Nsight Compute counts in every kernel
LIST
}

bundle="" out="" build=build/release dry=0 chosen=()
while (($#)); do
  case "$1" in
    --bundle) bundle=${2:?--bundle needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --list) stages; exit 0 ;;
    --dry) dry=1; shift ;;
    --help | -h) usage; exit 0 ;;
    -*) echo "gpu.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
    *) chosen+=("$1"); shift ;;
  esac
done
if [[ -z $out || (-z $bundle && $dry == 0) ]]; then usage >&2; exit 2; fi
((${#chosen[@]})) || mapfile -t chosen < <(stages | cut -d' ' -f1)
for name in "${chosen[@]}"; do
  if ! stages | cut -d' ' -f1 | grep -qx -e "$name"; then echo "gpu.sh: there is no stage $name; --list names them" >&2; exit 2; fi
done
needed=$bundle/bin/tsugi
((dry)) && needed=$build/tsugi
if [[ ! -x $needed ]]; then echo "gpu.sh: there is no program $needed" >&2; exit 2; fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
if ((dry)); then
  build=$(cd "$build" && pwd)
  tsugi=$build/tsugi tests=("$build/tests/device_tests_emulated" --orders 2 '--gtest_filter=CudaNorm*:CudaReduce*')
  kernels=("$build/benchmarks/benchmark_kernels_emulated" --tiny --repeats 1 --compared 3)
  place=cpu tiny=--tiny
else
  bundle=$(cd "$bundle" && pwd)
  tsugi=$bundle/bin/tsugi tests=("$bundle/bin/device_tests") kernels=("$bundle/bin/benchmark_kernels")
  place=cuda tiny=""
  # cuBLASLt and NCCL: those of PyTorch, so that both sides multiply alike, or the toolkit's. For our programs alone.
  TSUGI_LIBRARY_PATH=$("$python" -c 'import os, nvidia
for root in nvidia.__path__:
    for folder, _, files in os.walk(root):
        if any(f.startswith(("libcublasLt.so", "libnccl.so")) for f in files): print(folder, end=":")' 2> /dev/null)/usr/local/cuda/lib64
  export TSUGI_LIBRARY_PATH
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONUNBUFFERED=1
log=$out/log.txt

has_python() { "$python" -c 'import json' 2> /dev/null || { echo "$python is no Python"; return 77; }; }
has_torch() { "$python" -c 'import torch' 2> /dev/null || { echo "$python has no torch"; return 77; }; }
# A text as the inside of a string of JSON.
quoted() { tr '\000-\037' ' ' | cut -c1-400 | iconv -c -t ascii | sed 's/\\/\\\\/g; s/"/\\"/g'; }
# again FILE COMMAND…: a program that goes on where FILE ends, begun again while it dies, but leaves more rows every time.
again() {
  local file=$1 rows=-1 now code
  shift
  while :; do
    "$@"
    code=$?
    ((code < 2)) && return "$code"
    now=$(grep -c '}$' "$file" 2> /dev/null)
    ((${now:-0} > rows)) || return "$code"
    rows=$now
    echo "$file: ended with $code; what is left is tried again"
  done
}
# The largest rate of products, in TFLOP/s, that the stage kernels measured.
ceiling() { sed -n 's/.*"product: square".*"tflops": \([0-9.]*\).*/\1/p' "$out/kernels.jsonl" 2> /dev/null | head -n 1; }

stage_machine() {
  local value
  field() { value=$("${@:2}" 2> /dev/null | quoted) && printf ', "%s": "%s"' "$1" "$value"; }
  {
    printf '{"date": "%s"' "$(date -u +%FT%TZ)"
    field gpu nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv,noheader
    field processor sh -c "grep -m 1 'model name' /proc/cpuinfo; nproc"
    # shellcheck disable=SC2016
    field system sh -c '. /etc/os-release; echo "$PRETTY_NAME"; uname -r; ldd --version | head -n 1'
    field nvcc sh -c 'nvcc --version | tail -n 1'
    field torch "$python" -c 'import torch; print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), torch.cuda.nccl.version() if torch.cuda.is_available() else "")'
    ((dry)) || field tsugi head -n 1 "$bundle/manifest"
    field version "$tsugi" --version
    echo "}"
  } > "$TSUGI_GPU_MACHINE"
  cat "$TSUGI_GPU_MACHINE"
  ((dry)) || nvidia-smi
}
stage_correct() { again "$out/tests.jsonl" "${tests[@]}" --rows "$out/tests.jsonl" --gtest_brief=1; }
stage_kernels() { again "$out/kernels.jsonl" "${kernels[@]}" --out "$out/kernels.jsonl"; }
# shellcheck disable=SC2086
train_device() {
  has_python && "$python" "$here/train_device.py" "$@" --tsugi "$tsugi" --out "$out/training.jsonl" --device $place $tiny \
    --ceiling "$(ceiling | grep . || echo 0)" --seconds "$((limit - 15))"
}
stage_curves() { train_device curves; }
stage_train() { train_device speed; }
stage_train_large() { train_device speed --shapes gpt2_355m,gpt2_1558m; }
stage_peer() {
  [[ -s $out/kernels.jsonl ]] || { echo "the stage kernels wrote nothing to compare with"; return 77; }
  has_torch && "$python" "$here/kernel_peers.py" --cases "$out/kernels.jsonl" --out "$out/peers.jsonl" --device "$place" \
    --seconds "$((limit - 30))" --repeats "$((dry ? 1 : 25))"
}
stage_profile() {
  local metrics kernel failed=0
  command -v ncu > /dev/null || { echo "there is no ncu"; return 77; }
  rm -f "$out/profile.csv"
  metrics=gpu__time_duration.sum,launch__registers_per_thread,launch__occupancy_limit_registers,launch__occupancy_limit_shared_mem
  metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,sm__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,dram__bytes_read.sum,dram__bytes_write.sum
  metrics+=,gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed,l1tex__data_bank_conflicts_pipe_lsu.sum
  metrics+=,smsp__issue_active.avg.pct_of_peak_sustained_active
  for kernel in attention norm_ cross_entropy adamw embedding lu_ rotary column; do
    ncu --clock-control none --target-processes all --csv --page raw --metrics "$metrics" "${kernels[@]}" --once --kernel "$kernel" \
      2>&1 | grep -E '^"|rror' > "$work/profile"
    if (($(grep -c '^"' "$work/profile") < 3)); then echo "ncu measured nothing of $kernel:"; cat "$work/profile"; failed=1; fi
    if [[ -s $out/profile.csv ]]; then tail -n +3 "$work/profile"; else cat "$work/profile"; fi >> "$out/profile.csv"
  done
  cut -d, -f 5,13- "$out/profile.csv" | head -n 40
  return "$failed"
}
stage_sanitize() {
  local tool selection code ran failed=0
  command -v compute-sanitizer > /dev/null || { echo "there is no compute-sanitizer"; return 77; }
  for tool in memcheck racecheck initcheck synccheck; do
    grep -q "\"tool\": \"$tool\", \"code\": 0," "$out/tests.jsonl" 2> /dev/null && continue
    selection='CudaNorm*:CudaReduce*:CudaGelu*:CudaAdamW*:CudaEmbedding*:CudaCrossEntropy*:*CudaAttention*EqualsTheReference*:*CudaHopperAttention*'
    [[ $tool == memcheck ]] && selection+=':CudaFamilies*'
    timeout -k 5 100 compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 --print-limit 20 \
      "${tests[@]}" --orders 1 --gtest_filter="$selection" > "$work/sanitizer" 2>&1
    code=$?
    ran=$(grep -c '^\[       OK' "$work/sanitizer")
    grep -E '=========|FAILED' "$work/sanitizer" | head -n 60
    echo "{\"tool\": \"$tool\", \"code\": $code, \"tests\": $ran, \"said\": \"$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|Error:|Invalid' "$work/sanitizer" | tail -n 3 | tr '\n' ' ' | quoted)\"}" |
      tee -a "$out/tests.jsonl"
    ((code == 0 && ran > 0)) || failed=1
  done
  return "$failed"
}

if [[ -n ${TSUGI_GPU_STAGE:-} ]]; then  # this script's own child: one stage
  limit=$TSUGI_GPU_LIMIT work=$TSUGI_GPU_WORK
  "stage_$TSUGI_GPU_STAGE"
  exit
fi

# One line per stage that ran, of earlier calls too.
summarize() {
  printf '{"machine": %s,\n"stages": [\n%s\n]}\n' "$(grep . "$work/machine" || echo null)" "$(sed '$!s/$/,/' "$work/stages")" > "$out/summary.json"
}
# A row that was begun and not ended belongs to what was cut: it is measured again.
drop_unfinished() { [[ ! -s $1 || -z $(tail -c 1 "$1") ]] || sed -i '$d' "$1"; }

worst=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TSUGI_GPU_WORK=$work TSUGI_GPU_MACHINE=$work/machine
touch "$work/stages" "$work/machine"
if [[ -s $out/summary.json ]]; then
  sed -n 's/^{"machine": \({.*}\),$/\1/p' "$out/summary.json" > "$work/machine"
  sed -n 's/^\({"stage": .*}\),*$/\1/p' "$out/summary.json" > "$work/stages"
fi
for name in "${chosen[@]}"; do
  read -r _ limit file _ < <(stages | grep "^$name ")
  limit=${TSUGI_GPU_LIMIT:-$limit}
  echo "== $name (at most $limit s)" | tee -a "$log"
  start=$SECONDS
  arguments=(--out "$out" --build "$build")
  if ((dry)); then arguments+=(--dry); else arguments+=(--bundle "$bundle"); fi
  TSUGI_GPU_STAGE=$name TSUGI_GPU_LIMIT=$limit timeout --kill-after 10 "$limit" bash "$0" "${arguments[@]}" 2>&1 | tee -a "$log" | tail -n 45
  code=${PIPESTATUS[0]}
  case $code in
    0) state=ended ;;
    77) state=skipped ;;
    124 | 137) state="out of time" ;;
    *) state=failed ;;
  esac
  [[ $state == ended || $state == skipped ]] || worst=1
  case $file in *.jsonl) drop_unfinished "$out/$file" ;; esac
  why=$(tail -n 1 "$log" | quoted)
  sed -i "/^{\"stage\": \"$name\"/d" "$work/stages"
  echo "{\"stage\": \"$name\", \"state\": \"$state\", \"code\": $code, \"seconds\": $((SECONDS - start)), \"said\": \"$why\"}" >> "$work/stages"
  summarize
done
"$python" "$here/gpu_report.py" "$out" 2>&1 | tee -a "$log"
echo "== summary"
cat "$out/summary.json"
exit $worst
