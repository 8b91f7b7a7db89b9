#!/usr/bin/env bash
# Whether ptxas leaves PING_PONG's softmax beside the product with values: between the wait for the scores and that for
# the product (attention_forward_hopper_cuda.cu, D = 64 and 128) there must be an exp2 for each of a thread's 64 scores.
# No disassembler is needed: instructions of sm_90 have 16 bytes, the operation in the lowest 12 bits.
# usage: overlap.sh CUBIN SOURCE COMPILER [FLAG]...      (as compile.sh)
set -euo pipefail
cubin=$1 source=$2
IFS=';' read -r -a compiler <<<"$3"
shift 3
"${compiler[@]}" -std=c++20 -O3 --expt-relaxed-constexpr -gencode arch=compute_90a,code=sm_90a "$@" -cubin "$source" \
  -o "$cubin"

od -An -v -tx4 -w16 "$cubin" | awk '
  $1 == "000079c5" && $2 == "00008000" {  # WARPGROUP.DEPBAR.LE gsb0, N
    pending = substr($3, 5, 2)
    if (pending == "01") { waiting = 1; found = 0 }
    if (pending == "00" && waiting) { waiting = 0; places = places " " found; ++count; if (found >= 64) ++right }
  }
  waiting && substr($1, 6) == "308" { ++found }  # MUFU
  END {
    print "MUFU between the waits:" places
    exit !(count == 2 && right == 2)
  }'
