#!/usr/bin/env bash
# Everything that is to be known of a device, in the short time that one can be had.
# shellcheck disable=SC2317  # stages are called by their names
set -uo pipefail

usage() {
  cat <<'TEXT'
usage: benchmarks/gpu.sh --bundle DIR --out DIR [--stage NAME …] [--list] [--dry [--build DIR]]

Runs the stages one after the other; each has its own time limit, and none stops the others. Files in --out (each at most
some MiB, eight in all) are written as results come, so that a run that is cut keeps what it had.
  --bundle DIR   what launch/bundle.sh made, unpacked
  --stage NAME   only this one; may be repeated
  --list         names of the stages and their limits in seconds
  --dry          without a device: the kernels on the emulator of --build (build/release), PyTorch and tsugi on the CPU at
                 tiny shapes. Figures mean nothing
PyTorch is used where python3 has it (PYTHON=… names another).
TEXT
}

# name, limit in seconds, file it writes, what it answers
stages() {
  cat <<'LIST'
machine 60 summary.json what the machine is: device, driver, versions
tests 240 tests.json the kernels' and the trainer's tests on the device, bits of 100 runs
kernels 240 kernels.jsonl every kernel alone, beside the ceilings
curves 180 curves.jsonl 200 steps of a small model on the device and on the CPU
train 420 train.jsonl tokens/s and MFU beside PyTorch
peers 480 peers.jsonl every kernel beside PyTorch
profile 300 profile.csv what Nsight Compute counts in every kernel
sanitize 420 summary.json compute-sanitizer on a selection of the tests
LIST
}

bundle="" out="" build=build/release dry=0 chosen=()
while (($#)); do
  case "$1" in
    --bundle) bundle=${2:?--bundle needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --stage) chosen+=("${2:?--stage needs a name}"); shift 2 ;;
    --list) stages | awk '{print $1, $2}'; exit 0 ;;
    --dry) dry=1; shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "gpu.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
done
if [[ -z $out || (-z $bundle && $dry == 0) ]]; then usage >&2; exit 2; fi
for name in ${chosen[@]+"${chosen[@]}"}; do
  if ! stages | awk '{print $1}' | grep -qx "$name"; then echo "gpu.sh: there is no stage $name; --list names them" >&2; exit 2; fi
done
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
if ((dry)); then
  build=$(cd "$build" && pwd)
  tsugi=$build/tsugi tests=$build/tests/device_tests kernels="$build/benchmarks/benchmark_kernels_emulated --tiny --repeats 1"
  place=cpu tiny=--tiny
else
  bundle=$(cd "$bundle" && pwd)
  tsugi=$bundle/bin/tsugi tests=$bundle/bin/device_tests kernels=$bundle/bin/benchmark_kernels
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

has_torch() { "$python" -c 'import torch, numpy' 2> /dev/null || { echo "$python has no torch and numpy"; return 77; }; }
quoted() { sed 's/\\/\\\\/g; s/"/\\"/g' | tr -d '\000-\037' | cut -c1-600; }
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
stage_tests() { "$tests" --gtest_output="json:$out/tests.json" --gtest_brief=1; }
# shellcheck disable=SC2086  # words
stage_kernels() { $kernels --out "$out/kernels.jsonl"; }
# shellcheck disable=SC2086
stage_curves() { has_torch && "$python" "$here/train_device.py" curves --tsugi "$tsugi" --out "$out/curves.jsonl" --device $place $tiny; }
# shellcheck disable=SC2086
stage_train() {
  has_torch && "$python" "$here/train_device.py" speed --tsugi "$tsugi" --out "$out/train.jsonl" --device $place $tiny \
    --ceiling "$(ceiling | grep . || echo 0)"
}
stage_peers() {
  [[ -s $out/kernels.jsonl ]] || { echo "the stage kernels wrote nothing to compare with"; return 77; }
  has_torch && "$python" "$here/kernel_peers.py" --cases "$out/kernels.jsonl" --out "$out/peers.jsonl" --device "$place" \
    --seconds 440 --repeats "$((dry ? 1 : 25))"
}
stage_profile() {
  local metrics kernel
  command -v ncu > /dev/null || { echo "there is no ncu"; return 77; }
  metrics=gpu__time_duration.sum,launch__registers_per_thread,launch__occupancy_limit_registers,launch__occupancy_limit_shared_mem
  metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,sm__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active,dram__bytes_read.sum,dram__bytes_write.sum
  metrics+=,gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed,l1tex__data_bank_conflicts_pipe_lsu.sum
  metrics+=,smsp__issue_active.avg.pct_of_peak_sustained_active
  for kernel in attention norm_ cross_entropy adamw embedding lu_ rotary column; do
    # shellcheck disable=SC2086
    ncu --clock-control none --target-processes all --csv --page raw --metrics $metrics $kernels --once --kernel $kernel \
      2>&1 | grep -E '^"|rror' | if [[ -s $out/profile.csv ]]; then tail -n +3; else cat; fi >> "$out/profile.csv"
  done
  cut -d, -f 5,13- "$out/profile.csv" | head -n 40
}
stage_sanitize() {
  local tool errors="" failed=0 selection code
  command -v compute-sanitizer > /dev/null || { echo "there is no compute-sanitizer"; return 77; }
  selection='CudaNorm*:CudaReduce*:CudaGelu*:CudaAdamW*:CudaEmbedding*:CudaCrossEntropy*:*CudaAttention*EqualsTheReference*:*CudaHopperAttention*:CudaFamilies*'
  for tool in memcheck racecheck initcheck synccheck; do
    timeout 100 compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 "$tests" --gtest_filter="$selection" --gtest_brief=1 > "$out/sanitizer" 2>&1
    code=$?
    grep -E '=========|FAILED' "$out/sanitizer" | head -n 60
    errors+="${errors:+, }{\"tool\": \"$tool\", \"code\": $code, \"said\": \"$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|Error:|Invalid' "$out/sanitizer" | tail -n 3 | tr '\n' ' ' | quoted)\"}"
    rm -f "$out/sanitizer"
    ((code == 0)) || failed=1
  done
  echo "{\"checks\": [$errors]}"
  return "$failed"
}

if [[ -n ${TSUGI_GPU_STAGE:-} ]]; then  # this script's own child: one stage
  "stage_$TSUGI_GPU_STAGE"
  exit
fi

summary="" worst=0
TSUGI_GPU_MACHINE=$(mktemp)
export TSUGI_GPU_MACHINE
trap 'rm -f "$TSUGI_GPU_MACHINE"' EXIT
while read -r name limit file _; do
  if ((${#chosen[@]})) && ! printf '%s\n' "${chosen[@]}" | grep -qx "$name"; then continue; fi
  [[ $file == summary.json ]] || rm -f "${out:?}/$file"
  echo "== $name (at most $limit s)" | tee -a "$log"
  start=$SECONDS
  arguments=(--out "$out" --build "$build")
  if ((dry)); then arguments+=(--dry); else arguments+=(--bundle "$bundle"); fi
  TSUGI_GPU_STAGE=$name timeout --kill-after 10 "${TSUGI_GPU_LIMIT:-$limit}" bash "$0" "${arguments[@]}" 2>&1 | tee -a "$log" | tail -n 45
  code=${PIPESTATUS[0]}
  case $code in
    0) state=ended ;;
    77) state=skipped ;;
    124 | 137) state="out of time" ;;
    *) state=failed ;;
  esac
  [[ $state == ended || $state == skipped ]] || worst=1
  why=$(tail -n 1 "$log" | quoted)
  summary+="${summary:+,$'\n'}{\"stage\": \"$name\", \"state\": \"$state\", \"code\": $code, \"seconds\": $((SECONDS - start)), \"said\": \"$why\"}"
  printf '{"machine": %s,\n"stages": [\n%s]}\n' "$(grep . "$TSUGI_GPU_MACHINE" || echo null)" "$summary" > "$out/summary.json"
done < <(stages)
echo "== summary"
cat "$out/summary.json"
exit $worst
