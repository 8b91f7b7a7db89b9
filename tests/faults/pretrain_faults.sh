#!/usr/bin/env bash
# Ranks of a training job that stop, die or disagree: the job ends soon, with the designed exit code, and says which rank.
. "$(dirname "$0")/../cluster/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 100000
# Each rank leaves its process id where the test finds it.
cat > "$WORK/noted" <<'SCRIPT'
#!/usr/bin/env bash
echo $$ > "$1-$OMPI_COMM_WORLD_RANK"
exec "${@:2}"
SCRIPT
chmod +x "$WORK/noted"

# begin RUN [--set …]: two ranks in the background, until there is a checkpoint. The launcher's process id is in $launcher.
begin() {
  timeout -k 5 60 mpirun --oversubscribe -np 2 "$WORK/noted" "$WORK/$1.pid" "$TSUGI" pretrain --config "$WORK/config" \
    --out "$WORK/$1" "${@:2}" > "$WORK/said" 2>&1 & launcher=$!
  for _ in $(seq 1 1200); do compgen -G "$WORK/$1/checkpoints/step-????????" > /dev/null && return; sleep 0.05; done
  cat "$WORK/said" >&2; fail "$1 does not begin"
}
# ended RUN CODE SECONDS: the job ends within that time with that code, and leaves no rank.
ended() {
  local got=0 start=$SECONDS
  wait "$launcher" || got=$?
  [ "$got" = "$2" ] || { cat "$WORK/said" >&2; fail "exit code $got instead of $2: $1"; }
  [ $((SECONDS - start)) -le "$3" ] || fail "$1 took $((SECONDS - start)) s to end"
  for _ in $(seq 1 100); do
    lives=$(grep -l '^State:.[^ZX]' "/proc/$(cat "$WORK/$1.pid-0")/status" "/proc/$(cat "$WORK/$1.pid-1")/status" 2> /dev/null) || return 0
    sleep 0.05
  done
  fail "a rank of $1 lives on: $lives"
}

echo "- a rank that stops"
begin stopped --set dist.timeout_seconds=2
kill -STOP "$(cat "$WORK/stopped.pid-1")"
ended stopped 6 20
expect_said '^tsugi: error: rank 0: .* did not finish within 2 s: it waits for .*rank 1'

echo "- a rank that is killed"
begin killed
kill -9 "$(cat "$WORK/killed.pid-1")"
ended killed 137 20
expect_said 'process rank 1 .*signal 9'
expect_code 0 "$TSUGI" inspect "$WORK/killed" --json
expect_said '"verified":true'

# Rank 1 of 2 starts otherwise than rank 0: as $WORK/other says.
differing() {
  printf '#!/usr/bin/env bash\n[ "$OMPI_COMM_WORLD_RANK" = 1 ] || exec "$@"\n%s\n' "$1" > "$WORK/other"
  chmod +x "$WORK/other"
  expect_code 2 timeout -k 5 60 mpirun --oversubscribe -np 2 "$WORK/other" "$TSUGI" pretrain --config "$WORK/config" --out "$WORK/differing"
  [ ! -e "$WORK/differing/checkpoints" ] || fail "ranks that differ began"
}
echo "- another program"
cp "$TSUGI" "$WORK/tsugi"
printf 'x' >> "$WORK/tsugi"
differing "exec '$WORK/tsugi' \"\${@:2}\""
expect_said 'rank 1 has another binary than rank 0'

echo "- other training data"
cp -r "$WORK/data" "$WORK/data-1"
byte=$(od -An -tu1 -j 2000 -N 1 "$WORK/data-1/train.bin")
printf '%b' "\\x0$((byte % 2 + 1))" | dd of="$WORK/data-1/train.bin" bs=1 seek=2000 conv=notrunc 2> /dev/null
sed -i "s|$WORK/data|data|" "$WORK/config"
mkdir "$WORK/host-0" "$WORK/host-1"
ln -s "$WORK/data" "$WORK/host-0/data"
ln -s "$WORK/data-1" "$WORK/host-1/data"
cd "$WORK/host-0"
differing "cd '$WORK/host-1' && exec \"\$@\""
expect_said 'rank 1 has another training data than rank 0'
echo "a lost rank ends the job, and ranks that differ begin none"
