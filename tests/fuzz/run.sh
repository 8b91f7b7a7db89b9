#!/usr/bin/env bash
# Fuzzes what reads files, from the stored corpora. Exit code 77: no clang-19 here.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/fuzz/run.sh [--build DIR] [--seconds N] [TARGET…]

Builds the fuzz targets (tests/fuzz/*_fuzz.cpp) with clang-19's libFuzzer, AddressSanitizer and
UndefinedBehaviorSanitizer, and runs every target, one per core at a time, beginning with the inputs in
tests/fuzz/corpus/TARGET. What breaks a target is left in DIR/findings and printed; copy it to
tests/fuzz/corpus/TARGET/regression-NAME when the mistake is mended.

  --build DIR    where to build (default build/fuzz)
  --seconds N    for each target (default 10)
  --build-only   do not run
TEXT
}

build=build/fuzz seconds=10 build_only=0 targets=()
while (($#)); do
  case "$1" in
    --build) build=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --build-only) build_only=1 ;;
    --help | -h) usage; exit 0 ;;
    -*) echo "run.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done

cd "$(dirname "$0")/../.."
compiler=$(command -v clang++-19) || { echo "run.sh: no clang++-19: launch/setup.sh --tests installs it" >&2; exit 77; }
jobs=${TSUGI_BUILD_JOBS:-$(nproc)}
cmake -S tests/fuzz -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" >/dev/null
if ! output=$(ninja -C "$build" -j "$jobs" 2>&1); then printf "%s\n" "$output" >&2; exit 1; fi
if ((build_only)); then exit 0; fi

if ((${#targets[@]} == 0)); then
  mapfile -t targets < <(sed -n 's/^TSUGI_FUZZ_TARGET(\(.*\)) {$/\1/p' tests/fuzz/*_fuzz.cpp)
fi
mkdir -p "$build/findings"
export build seconds
# shellcheck disable=SC2016  # the inner shell expands these
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I TARGET bash -c '
  target=TARGET
  work=$(mktemp -d)
  trap "rm -rf \"$work\"" EXIT
  if "$build/fuzz" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
      -max_len=8192 -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
      "$work" "tests/fuzz/corpus/$target" >"$work.log" 2>&1; then
    echo "fuzz: $target: $(sed -n "s/^stat::number_of_executed_units: *//p" "$work.log") inputs, nothing found"
    rm "$work.log"
  else
    tail -n 60 "$work.log" >&2
    echo "fuzz: $target broke: see $work.log" >&2
    exit 1
  fi
'
