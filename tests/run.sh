#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. The last line but ctest's times is its count of what passed.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/run.sh [--full] [--help]

Installs missing packages (launch/setup.sh --tests), builds everything in build/release and runs all tests but those
labelled "full" through ctest. The format of the sources is checked when clang-format-19 is there.

  --full   also the tests labelled "full", and tests/lint.sh with its tools installed; at the end the tables of what
           was measured

Exits non-zero when anything fails. TSUGI_BUILD_JOBS limits the parallel build (default: all cores).
TEXT
}

full=0
for argument in "$@"; do
  case "$argument" in
    --full) full=1 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "run.sh: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

cd "$(dirname "$0")/.."
jobs=${TSUGI_BUILD_JOBS:-$(nproc)}

packages=(--tests)
if ((full)); then packages+=(--lint); fi
launch/setup.sh "${packages[@]}"

if ((full)); then
  cmake --preset release
  ninja -C build/release -j "$jobs"
  tests/lint.sh
else
  if command -v clang-format-19 >/dev/null; then
    tests/lint.sh --format-only
  else
    echo "lint: no clang-format-19 here, the format is not checked (launch/setup.sh --lint installs it)"
  fi
  cmake --preset release
  ninja -C build/release -j "$jobs"
fi

# mpirun refuses to start as root unless told twice; the tests that start ranks need it in containers.
if ((EUID == 0)); then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

selection=()
if ((!full)); then selection=(--label-exclude '^full$'); fi
# Two at a time, where tests/CMakeLists.txt does not say that they run alone.
status=0
ctest --test-dir build/release --parallel 2 --output-on-failure --no-tests=error "${selection[@]}" || status=$?
if ((full)); then
  # Tests say what they measured in lines that begin with a bar.
  awk '/^[0-9]+\/[0-9]+ Testing: / { name = $3 } /^\|/ { if (name != "") print "\n" name; name = ""; print }' \
    build/release/Testing/Temporary/LastTest.log
fi
exit "$status"
