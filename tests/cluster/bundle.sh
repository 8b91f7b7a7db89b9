#!/usr/bin/env bash
# launch/bundle.sh: the program plans, trains and starts ranks where there is nothing but the bundle, glibc and a shell.
# shellcheck source=tests/cluster/lib.sh
. "$(dirname "$0")/lib.sh"
unset OMPI_MCA_pml OMPI_MCA_btl  # as users have it
launch=$(realpath "$(dirname "$0")/../../launch")
unshare --map-root-user --mount --pid --fork true 2> /dev/null || { echo "skipped: no namespaces here"; exit 77; }

"$launch/bundle.sh" --build "$(dirname "$TSUGI")" --out "$WORK/bundle.tar.gz" > "$WORK/said" ||
  { cat "$WORK/said" >&2; fail "bundle.sh"; }
[ "$(stat -c %s "$WORK/bundle.tar.gz")" -lt 40000000 ] || fail "the bundle has $(stat -c %s "$WORK/bundle.tar.gz") bytes, 40 MB or more"
make_corpus "$WORK"
make_config "$WORK/config" /job/data 5

# Another root: programs find what is here, and nothing else.
root="$WORK/root"
mkdir -p "$root"/{bin,lib64,lib,proc,sys,dev,tmp,etc,job}
tar -C "$root" -xzf "$WORK/bundle.tar.gz"
mv "$root/tsugi" "$root/moved"  # it may lie anywhere
cp -L /bin/dash "$root/bin/sh"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
libraries=$(dirname "$(ldd /bin/dash | awk '$1 == "libc.so.6" {print $3}')")
for name in c m dl rt pthread util resolv; do cp -L "$libraries/lib$name".so.? "$root/lib/"; done
echo "root:x:0:0:root:/tmp:/bin/sh" > "$root/etc/passwd"
echo "127.0.0.1 localhost" > "$root/etc/hosts"
cp -r "$WORK/data" "$WORK/config" "$root/job/"
cp "$launch/recipes/gpt2_124m.textproto" "$root/job/"

# inside COMMAND…: runs it there.
inside() {
  # shellcheck disable=SC2016  # $1 and $@ are the inner shell's
  unshare --map-root-user --mount --pid --fork sh -c 'root=$1; shift
    mount -t proc proc "$root/proc" 2> /dev/null || mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    exec chroot "$root" "$@"' sh "$root" "$@"
}
export TMPDIR=/tmp
for name in lib/x86_64-linux-gnu usr; do [ ! -e "$root/$name" ] || fail "the root has a $name of its own"; done
expect_code 0 inside /moved/bin/tsugi plan --config /job/gpt2_124m.textproto --set model.vocabulary=50257 --json
expect_said '"parameters":124439808'
expect_code 0 inside /moved/bin/tsugi pretrain --config /job/config --out /job/one --json
expect_code 0 inside /moved/bin/mpirun --oversubscribe -np 2 /moved/bin/tsugi pretrain --config /job/config --out /job/two --json
expect_said '"ranks":2'
same_run "$root/job/one" "$root/job/two"
# Without the wrapper its libraries are not found: the root really is bare.
expect_code 127 inside /moved/libexec/tsugi --help
expect_said 'error while loading shared libraries'
echo "plans, trains, and trains on two ranks from the bundle alone, with the same bits"
