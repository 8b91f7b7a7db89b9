#!/usr/bin/env bash
# Installs what tsugi needs from the distribution's packages. Safe to run again: with everything there it returns at once.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/setup.sh [--tests] [--lint] [--check] [--help]

Installs the packages that tsugi is built from (Debian 12 or Ubuntu 24.04 names), through apt-get,
with sudo when you are not root. Packages that are already there are left as they are; the package
lists are refreshed only when something is missing.

  --tests   also what the tests use beyond the build (strace, jq, clang-19 for fuzzing, Slurm)
  --lint    also what tests/lint.sh uses (clang-format-19, clang-tidy-19, shellcheck)
  --check   install nothing; list what is missing and exit 1 if there is anything
  --help    this text

The CUDA toolkit and NCCL are optional; the script says whether it finds them and how to get them.
TEXT
}

# One line per package: its name, and what tsugi does with it.
build_packages() {
  cat <<'LIST'
g++                  the compiler (C++20, OpenMP)
cmake                the build system
ninja-build          runs the build
openmpi-bin          mpirun
libopenmpi-dev       ranks on CPUs
protobuf-compiler    the schema of configurations
libprotobuf-dev      the same, at run time
libgoogle-glog-dev   logs and checks of invariants
libgtest-dev         unit tests
libgmock-dev         matchers of the unit tests
libdnnl-dev          oneDNN: matrix products on CPUs
libhwy-dev           Highway: vector instructions chosen at run time
libisal-dev          ISA-L: CRC32C of checkpoints
zlib1g-dev           text files compressed by gzip
libzstd-dev          text files compressed by zstd
libnlopt-dev         NLopt: the optimizer of scaling-law fits
libpcre2-dev         PCRE2: the regular expressions of tokenizers
libutf8proc-dev      utf8proc: Unicode normalization (NFC)
libpng-dev           PNG pictures
libturbojpeg0-dev    libjpeg-turbo: JPEG pictures
libcli11-dev         the command line
nlohmann-json3-dev   JSON
libbenchmark-dev     benchmarks
LIST
}

test_packages() {
  cat <<'LIST'
strace               faults injected into system calls
jq                   a parser of JSON that is not ours, for what --json prints
time                 the peak memory of a process, against what was planned
clang-19             fuzzing what reads files: libFuzzer …
libclang-rt-19-dev   … and its sanitizers
chromium             a sweep's report in a real browser
fonts-dejavu-core    … with letters
slurmctld            a private Slurm cluster for tests/cluster/slurm.sh (4 MB in all): its controller …
slurmd               … its hosts' daemon …
slurm-client         … sbatch, squeue, srun …
munge                … and who is who in it
iproute2             ip: the network between its hosts
LIST
}

lint_packages() {
  cat <<'LIST'
clang-format-19      the format of the sources
clang-tidy-19        static analysis
shellcheck           static analysis of the scripts
LIST
}

tests=0 lint=0 check=0
for argument in "$@"; do
  case "$argument" in
    --tests) tests=1 ;;
    --lint) lint=1 ;;
    --check) check=1 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "setup.sh: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

list=$(build_packages)
if ((tests)); then list+=$'\n'$(test_packages); fi
if ((lint)); then list+=$'\n'$(lint_packages); fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup.sh: this system has no apt. Install these with its own package manager (Debian names):" >&2
  printf '%s\n' "$list" >&2
  exit 1
fi

# Packages of $list that dpkg does not have, one name per line.
missing_packages() {
  local wanted present
  wanted=$(awk '{print $1}' <<<"$list" | sort)
  # dpkg-query fails when it does not know one of the names: that package is then missing from its output.
  # shellcheck disable=SC2016,SC2086  # ${...} are dpkg's own fields; the names are split on purpose
  present=$(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    awk '$2 == "installed" {print $1}' | sort -u || true)
  comm -23 <(printf '%s\n' "$wanted") <(printf '%s\n' "$present")
}

report_gpu() {
  local nvcc="" header
  if command -v nvcc >/dev/null; then
    nvcc=$(command -v nvcc)
  elif [[ -x /usr/local/cuda/bin/nvcc ]]; then
    nvcc=/usr/local/cuda/bin/nvcc
  fi
  if [[ -n $nvcc ]]; then
    echo "CUDA toolkit (optional): $nvcc, release $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
  else
    cat <<'TEXT'
CUDA toolkit (optional): not found. For GPUs, from NVIDIA's repository for Debian 12 (as root):
  curl -fLO https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/cuda-keyring_1.1-1_all.deb
  dpkg -i cuda-keyring_1.1-1_all.deb && apt-get update && apt-get install -y cuda-toolkit-13-0
TEXT
  fi
  header=$(find /usr/include /usr/local/cuda/include -maxdepth 1 -name nccl.h 2>/dev/null | head -n 1 || true)
  if [[ -n $header ]]; then
    echo "NCCL (optional): $header"
  else
    echo "NCCL (optional): not found. For several GPUs, from the same repository: apt-get install -y libnccl2 libnccl-dev"
  fi
}

missing=$(missing_packages)
if [[ -z $missing ]]; then
  echo "setup: all $(wc -l <<<"$list") packages are installed"
else
  echo "setup: missing packages and their use"
  awk 'NR == FNR {missing[$1]; next} $1 in missing {print "  " $0}' <(printf '%s\n' "$missing") <(printf '%s\n' "$list")
  if ((check)); then exit 1; fi
  as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "setup.sh: installing needs root, and there is no sudo. As root: apt-get install -y" "${missing//$'\n'/ }" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  mapfile -t names <<<"$missing"
  # One repository out of reach among many need not matter: the installation itself decides.
  "${as_root[@]}" apt-get update -qq || echo "setup: apt-get update failed; trying with the package lists at hand" >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${names[@]}"
  left=$(missing_packages)
  if [[ -n $left ]]; then
    echo "setup.sh: still missing after apt-get install: ${left//$'\n'/ }" >&2
    exit 1
  fi
fi
report_gpu
