#!/usr/bin/env bash
# benchmarks/gpu.sh where there is no device: stages fail, are skipped and run out of time alone, and every file is JSON.
# shellcheck source=tests/cluster/lib.sh
. "$(dirname "$0")/lib.sh"
script=$(dirname "$0")/../../benchmarks/gpu.sh
build=$(dirname "$TSUGI")
if [ ! -x "$build/tests/device_tests" ] || [ ! -x "$build/benchmarks/benchmark_kernels" ]; then echo "skipped: built without CUDA"; exit 77; fi
# state STAGE STATE: what the summary says.
state() { grep -q "\"stage\": \"$1\", \"state\": \"$2\"" "$WORK/out/summary.json" || { cat "$WORK/out/summary.json" >&2; fail "$1 is not '$2'"; }; }

expect_code 0 "$script" --list
expect_said '^kernels '
expect_code 2 "$script" --dry --out "$WORK/out" --stage nothing
expect_said 'there is no stage nothing'

# No Python: what needs PyTorch is skipped by name.
expect_code 0 env PYTHON=false "$script" --dry --build "$build" --out "$WORK/out" --stage machine --stage kernels --stage train
state machine ended
state kernels ended
state train skipped
expect_said 'has no torch'
grep -q '"kernel": "attention_backward".*"same_bits": true' "$WORK/out/kernels.jsonl" || fail "no row of attention"

# A stage that takes too long is cut, keeps its rows, and the next one runs.
expect_code 1 env PYTHON=false TSUGI_GPU_LIMIT=0.3 "$script" --dry --build "$build" --out "$WORK/out" --stage kernels --stage peers
state kernels 'out of time'
grep -q skipped "$WORK/out/summary.json" || state peers 'out of time'

# Without the emulator and without a device the kernels' stage fails by name.
mkdir -p "$WORK/bundle/bin"
ln -s "$build/benchmarks/benchmark_kernels" "$build/tests/device_tests" "$(realpath "$TSUGI")" "$WORK/bundle/bin/"
if "$build/benchmarks/benchmark_kernels" --tiny 2>&1 | grep -q 'needs a device'; then
  expect_code 1 env PYTHON=false "$script" --bundle "$WORK/bundle" --out "$WORK/out" --stage kernels
  state kernels failed
  expect_said 'needs a device'
fi
echo "stages end, are skipped, fail and run out of time alone"
