#!/usr/bin/env bash
# Makes a folder, or a .tar.gz, of built programs that runs on machines where nothing is installed but glibc 2.36 or
# later and, for devices, CUDA's driver and libraries.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/bundle.sh --out PATH [--build DIR] [--programs "NAME …"]

Copies programs and every shared library that they need, but glibc, CUDA and NCCL, and Open MPI with its mpirun.
  --out PATH        a folder that does not exist yet, or FILE.tar.gz
  --build DIR       where they were built (build/release)
  --programs NAMES  default: tsugi, and what there is of device_tests, benchmark_kernels and benchmark_communicator;
                    as .tar.gz less than 40 MB

In the bundle, bin/NAME starts a program; it may lie anywhere, and bin/mpirun starts ranks of it:
  tar xzf tsugi.tar.gz && tsugi/bin/mpirun -np 2 tsugi/bin/tsugi pretrain …
TSUGI_LIBRARY_PATH may name folders with cuBLASLt and NCCL that the loader does not know.
TEXT
}

out="" build=build/release programs=""
while (($#)); do
  case "$1" in
    --out) out=${2:?--out needs a path}; shift 2 ;;
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --programs) programs=${2:?--programs needs names}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "bundle.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
done
if [[ -z $out ]]; then usage >&2; exit 2; fi
if [[ -e $out && ! -f $out ]]; then echo "bundle.sh: $out is there already" >&2; exit 2; fi

find_program() {
  local place
  for place in "$build/$1" "$build/tests/$1" "$build/benchmarks/$1"; do
    if [[ -x $place && ! -d $place ]]; then echo "$place"; return; fi
  done
  return 1
}

if [[ -z $programs ]]; then
  programs=tsugi
  for name in device_tests benchmark_kernels benchmark_communicator; do
    if find_program "$name" >/dev/null; then programs+=" $name"; fi
  done
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/tsugi
mkdir -p "$root"/{bin,libexec,lib/openmpi,lib/c++,share,etc}

for name in $programs; do
  if ! file=$(find_program "$name"); then
    echo "bundle.sh: there is no program $name in $build; build it first" >&2
    exit 2
  fi
  cp "$file" "$root/libexec/$name"
done

# Open MPI: its launcher, and the plugins that ranks on Ethernet and shared memory use. Those of other networks pull in
# drivers that belong to a cluster's own MPI.
for name in mpirun orted; do cp -L "$(command -v "$name")" "$root/libexec/$name"; done
mpi_path() { ompi_info --path "$1" --parsable 2>/dev/null | sed -n 's/^path:[a-z]*://p'; }
for plugin in "$(mpi_path pkglibdir)"/mca_*.so; do
  case "${plugin##*/mca_}" in
    *ucx* | *ofi* | *openib* | *psm* | *monitoring* | atomic_* | memheap_* | scoll_* | spml_* | sshmem_*) ;;
    fbtl_* | fcoll_* | fs_* | io_* | sharedfp_*) ;;  # files by MPI: not used
    *) cp -L "$plugin" "$root/lib/openmpi/" ;;
  esac
done
cp -rL "$(mpi_path pkgdatadir)" "$root/share/openmpi"
echo "btl_base_warn_component_unused = 0" > "$root/etc/openmpi-mca-params.conf"

# All libraries that these name, directly or not. libstdc++ and libgcc are used only where the machine has none as new.
missing=$(ldd "$root"/libexec/* "$root"/lib/openmpi/*.so | grep "not found" | sort -u || true)
if [[ -n $missing ]]; then echo "bundle.sh: libraries are missing here:"$'\n'"$missing" >&2; exit 1; fi
ldd "$root"/libexec/* "$root"/lib/openmpi/*.so | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' | sort -u |
  while read -r name path; do
    case "$name" in
      libc.so.* | libm.so.* | libdl.so.* | librt.so.* | libpthread.so.* | libutil.so.* | libresolv.so.* | libmvec.so.*) ;;
      libcuda.so.* | libcudart.so.* | libcublas* | libnccl.so.*) ;;
      libstdc++.so.* | libgcc_s.so.*) cp -L "$path" "$root/lib/c++/$name" ;;
      *) cp -L "$path" "$root/lib/$name" ;;
    esac
  done
find "$root/libexec" "$root/lib" -type f -exec strip --strip-unneeded {} +

cat > "$root/bin/start" <<'SH'
#!/bin/sh
# Starts the program of libexec/ that this file is named after, with the bundle's own libraries and Open MPI.
case $0 in
  */*) here=${0%/*} ;;
  *) here=. ;;
esac
root=$(cd "$here/.." && pwd -P) || exit 1
libraries=$root/lib
read -r newest < "$root/lib/c++/version"
found=
for file in /usr/lib/x86_64-linux-gnu/libstdc++.so.6 /lib/x86_64-linux-gnu/libstdc++.so.6 /usr/lib64/libstdc++.so.6; do
  if [ -z "$found" ] && [ -f "$file" ] && grep -q "$newest" "$file"; then found=$file; fi
done
[ -n "$found" ] || libraries=$libraries:$root/lib/c++
export LD_LIBRARY_PATH="$libraries${TSUGI_LIBRARY_PATH:+:$TSUGI_LIBRARY_PATH}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export OPAL_PREFIX="$root" OPAL_BINDIR="$root/bin" OPAL_LIBDIR="$root/lib" OPAL_PKGLIBDIR="$root/lib/openmpi"
export OPAL_DATADIR="$root/share" OPAL_PKGDATADIR="$root/share/openmpi" OPAL_SYSCONFDIR="$root/etc"
export OMPI_MCA_mca_base_component_path="$root/lib/openmpi"
# Without ssh, mpirun starts ranks on this host alone.
command -v ssh > /dev/null || export OMPI_MCA_plm=isolated
exec "$root/libexec/${0##*/}" "$@"
SH
chmod +x "$root/bin/start"
for file in "$root"/libexec/*; do cp "$root/bin/start" "$root/bin/${file##*/}"; done
rm "$root/bin/start"
needed_version() { objdump -T "$root"/libexec/* "$root"/lib/*.so* | grep -o "$1_[0-9.]*" | sort -uV | tail -n 1; }
needed_version GLIBCXX > "$root/lib/c++/version"
{
  echo "tsugi $(git -C "$(dirname "$0")" describe --always --dirty 2>/dev/null || echo "of unknown commit"), bundled $(date -u +%F)"
  echo "needs $(needed_version GLIBC | tr _ ' ') or later, x86-64-v3"
  echo "programs: $(cd "$root/libexec" && echo *)"
} | tee "$root/manifest"

if [[ $out == *.tar.gz ]]; then
  tar -C "$work" -cf - tsugi | gzip -9 > "$out.partial"
  mv "$out.partial" "$out"
else
  mv "$root" "$out"
fi
du -h --summarize "$out"
