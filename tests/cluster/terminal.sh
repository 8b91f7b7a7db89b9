#!/usr/bin/env bash
# What a person sees: on a terminal one line is written over and over, alone and under mpirun; a file and a terminal that
# cannot do that get plain lines.
. "$(dirname "$0")/lib.sh"
command -v script > /dev/null || fail "there is no script (package bsdutils) to make a terminal"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 80
sed -i 's/every_steps: 5 sequences/every_steps: 40 sequences/; s/every_steps: 5 }/every_steps: 0 }/' "$WORK/config"
cd "$WORK"
ln -s "$TSUGI" tsugi
# on_terminal KIND COMMAND: what the command writes to a terminal of that kind, in $WORK/seen.
on_terminal() {
  rm -rf run
  TERM=$1 timeout -k 5 60 script -qec "$2" /dev/null < /dev/null > seen 2>&1 || { cat -v seen >&2; fail "$2"; }
}
command="./tsugi pretrain --config config --out run"
erase=$'\r\e\\[K'  # to the line's begin, and what is right of there is gone
live='^step [0-9]+/80 \[=* *\]  loss [0-9.]+  .*left'
for launcher in "" "mpirun --oversubscribe -np 2"; do
  on_terminal xterm "$launcher $command"
  # The line stands there more than once, and each time but the last something is written over it.
  [ "$(grep -ao "$erase" seen | wc -l)" -ge 3 ] || { cat -v seen >&2; fail "no line is written over: $launcher"; }
  sed "s/$erase/\n/g" seen | tr -d '\r' > states
  [ "$(grep -cE "$live" states)" -ge 3 ] || { cat -v seen >&2; fail "there is no live line: $launcher"; }
  # What remains on the screen: of each line what was written last.
  sed "s/\r*$//; s/.*$erase//" seen > screen
  [ "$(grep -cE "$live" screen)" -le 4 ] || { cat screen >&2; fail "live lines pile up: $launcher"; }
  grep -qE '^step 80/80  validation loss [0-9.]+$' screen || { cat -v screen >&2; fail "the validation loss is not seen: $launcher"; }
  grep -qE '^done: run/checkpoints/step-00000080$' screen || { cat -v screen >&2; fail "the end is not seen: $launcher"; }
done
plain() {  # FILE WHAT: no control characters, a line of progress per time
  if grep -q $'[\r\e]' "$1"; then cat -v "$1" >&2; fail "control characters: $2"; fi
  grep -qE '^step 80/80  loss [0-9.]+  lr ' "$1" || { cat "$1" >&2; fail "no plain lines: $2"; }
}
on_terminal dumb "$command"
tr -d '\r' < seen > lines  # a terminal ends its lines so
plain lines "a dumb terminal"
for launcher in "" "mpirun --oversubscribe -np 2"; do
  on_terminal xterm "$launcher $command > lines"
  plain lines "standard output is a file: $launcher"
done
echo "live on a terminal, plain lines elsewhere"
