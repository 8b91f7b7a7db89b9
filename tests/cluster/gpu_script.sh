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
expect_code 2 "$script" --dry --build "$build" --out "$WORK/out" nothing
expect_said 'there is no stage nothing'
expect_code 2 "$script" --bundle "$WORK/nowhere" --out "$WORK/out"
expect_said 'there is no program .*/nowhere/bin/tsugi'

# No Python: what needs it is skipped by name.
expect_code 0 env PYTHON=false "$script" --dry --build "$build" --out "$WORK/out" machine kernels train correct
state machine ended
state kernels ended
state train skipped
state correct ended
expect_said 'false is no Python'
grep -q '"kernel": "attention_backward".*"same_bits": true' "$WORK/out/kernels.jsonl" || fail "no row of attention"
grep -q '"kernel": "attention_forward_wgmma".*"difference": ' "$WORK/out/kernels.jsonl" || fail "kernels of attention are not compared"
grep -q '"test": "CudaReduce.*"result": "passed"' "$WORK/out/tests.jsonl" || fail "no row of a test"

# Begun again, it goes on where it was: behind the case at which a program died, and without what is there.
cp "$WORK/out/kernels.jsonl" "$WORK/whole"
head -n 9 "$WORK/whole" > "$WORK/out/kernels.jsonl"
sed -n 10p "$WORK/whole" | sed 's/, "microseconds".*//' | tr -d '\n' >> "$WORK/out/kernels.jsonl"
expect_code 0 env PYTHON=false "$script" --dry --build "$build" --out "$WORK/out" kernels
head -n 9 "$WORK/out/kernels.jsonl" | diff - <(head -n 9 "$WORK/whole") || fail "what was there has changed"
sed -n 10p "$WORK/out/kernels.jsonl" | grep -q 'died here' || fail "the case of the crash is not told"
[ "$(wc -l < "$WORK/out/kernels.jsonl")" = "$(wc -l < "$WORK/whole")" ] || fail "not every case has a row"
state machine ended  # of the call before

# A program that dies is begun again while it leaves more rows.
mkdir -p "$WORK/dies/tests" "$WORK/dies/benchmarks"
ln -s "$(realpath "$TSUGI")" "$WORK/dies/tsugi"
cat > "$WORK/dies/tests/device_tests_emulated" <<'SH'
#!/bin/sh
while [ "$1" != --rows ]; do shift; done
if [ "$(wc -l < "$2")" -ge 3 ]; then exit 1; fi
echo '{"test": "some"}' >> "$2"
kill -SEGV $$
SH
chmod +x "$WORK/dies/tests/device_tests_emulated"
: > "$WORK/out/tests.jsonl"
expect_code 1 env PYTHON=false "$script" --dry --build "$WORK/dies" --out "$WORK/out" correct
[ "$(wc -l < "$WORK/out/tests.jsonl")" = 3 ] || { cat "$WORK/out/tests.jsonl" "$WORK/said"; fail "it was not begun again"; }

# A stage that takes too long is cut, keeps its rows, and the next one runs.
rm "$WORK/out/kernels.jsonl"
expect_code 1 env PYTHON=false TSUGI_GPU_LIMIT=1 "$script" --dry --build "$build" --out "$WORK/out" kernels peer
state kernels 'out of time'
[ -z "$(tail -c 1 "$WORK/out/kernels.jsonl")" ] || fail "a row that was not ended was left"
grep -q '"stage": "peer", "state": "\(skipped\|out of time\)"' "$WORK/out/summary.json" || fail "the stage behind it did not run"

# Without a device stages fail by name, those that would skip every test too.
mkdir -p "$WORK/bundle/bin"
ln -s "$build/benchmarks/benchmark_kernels" "$build/tests/device_tests" "$(realpath "$TSUGI")" "$WORK/bundle/bin/"
if "$build/benchmarks/benchmark_kernels" --tiny 2>&1 | grep -q 'needs a device'; then
  expect_code 1 env PYTHON=false "$script" --bundle "$WORK/bundle" --out "$WORK/none" kernels correct
  cp "$WORK/none/summary.json" "$WORK/out/"
  state kernels failed
  state correct failed
  expect_said 'needs a device'
fi

# The report: a demand that is met, one that is not, and one of which nothing is known.
if python3 --version > /dev/null 2>&1; then
  mkdir "$WORK/report"
  shape='"shape": {"rows": 1, "width": 8}'
  { echo "{\"kernel\": \"layer_norm_forward\", $shape, \"microseconds\": 1, \"bytes\": 8, \"gigabytes_per_second\": 3600, \"fraction\": 0.9, \"same_bits\": true}"
    echo "{\"kernel\": \"adamw\", $shape, \"microseconds\": 1, \"bytes\": 8, \"gigabytes_per_second\": 3000, \"fraction\": 0.75, \"same_bits\": true}"
  } > "$WORK/report/kernels.jsonl"
  expect_code 0 python3 "$(dirname "$script")/gpu_report.py" "$WORK/report"
  expect_said '^| norms, TB/s | 3.5 | 3.6 |.*| yes |$'
  expect_said '^| adamw, of the rate of a copy | 0.8 | 0.75 |.*| NO |$'
  expect_said '^| cross_entropy, of the rate of a copy | 0.8 | not measured |'
  grep -q '^| layer_norm_forward | rows 1 width 8 | 1.0 | 3600 GB/s |' "$WORK/report/report.md" || fail "no row of a kernel"
fi
echo "stages end, are skipped, fail and run out of time alone, and go on where they were"
