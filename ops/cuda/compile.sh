#!/usr/bin/env bash
# Compiles one .cu file for sm_80, PTX and sm_90a, compressed to a quarter of the size, and fails where the machine code
# would be silently slow: spilled registers, stack frames, serialised wgmma.
# usage: compile.sh OUTPUT SOURCE COMPILER [FLAG]...      (COMPILER may be "launcher;nvcc")
set -euo pipefail
output=$1 source=$2
IFS=';' read -r -a compiler <<<"$3"
shift 3

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# compute_90 alone would refuse wgmma: -arch=sm_90a also makes an image for it.
if ! "${compiler[@]}" -std=c++20 -O3 --expt-relaxed-constexpr -Werror all-warnings -Xptxas -v --compress-mode=size \
  -gencode 'arch=compute_80,code=[sm_80,compute_80]' -gencode arch=compute_90a,code=sm_90a \
  "$@" -c "$source" -o "$output" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi

# ptxas names the function, then says what it costs.
bad=$(awk '
  /Compiling entry function|Function properties for/ { name = $0; sub(/^.*(entry function|properties for) /, "", name) }
  /C75[0-9][0-9]/ { print "serialised: " $0 }
  /bytes stack frame/ {
    if ($1 + 0 > 0 || $5 + 0 > 0 || $9 + 0 > 0) print name ": " $0
  }' "$log")
if [[ -n $bad ]]; then
  rm -f "$output"
  echo "$source: stack frames, spills or serialised wgmma:" >&2
  echo "$bad" >&2
  exit 1
fi
if [[ -n ${TSUGI_CUDA_REGISTERS:-} ]]; then grep -E 'Compiling entry|Used' "$log" >&2; fi
