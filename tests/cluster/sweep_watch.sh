#!/usr/bin/env bash
# How far a sweep is, as a person sees it: on a terminal a table that is written over itself until the sweep has ended or
# Ctrl-C; a file, a dumb terminal and --once get it once.
. "$(dirname "$0")/lib.sh"
command -v script > /dev/null || fail "there is no script (package bsdutils) to make a terminal"
make_corpus "$WORK"
cd "$WORK" || exit
make_base base.textproto data
cat > sweep.textproto <<'CONFIG'
base: "base.textproto"
sizes { name: "small" layers: 1 heads: 1 width: 16 }
sizes { name: "middle" layers: 1 heads: 1 width: 24 }
sizes { name: "large" layers: 2 heads: 2 width: 32 }
budgets { flops: 1e9 seeds: 2 }
budgets { flops: 2e9 seeds: 2 }
budgets { flops: 2e10 }
learning_rate { value: 4e-3 at_width: 32 width_power: -0.5 }
CONFIG
ln -s "$TSUGI" tsugi
sweep() { local what=$1; shift; echo ./tsugi sweep "$what" --config sweep.textproto --out swept "$@"; }
# on_terminal KIND ROWS COLUMNS COMMAND: what it writes to such a terminal, in seen; its exit code in code.
on_terminal() {
  code=0
  TERM=$1 timeout -k 5 120 script -qec "stty rows $2 cols $3; exec $4" /dev/null < /dev/null > seen 2>&1 || code=$?
}
# screen ROWS: what then stands there, from what was seen: lines that scrolled out of a screen so high are gone.
screen() {
  perl -e '
    use strict; use warnings;
    local $/; my ($rows, $row, $column) = (shift @ARGV, 0, 0); my @screen = ([]);
    my $text = <STDIN>;
    while ($text =~ /\G(?:\e\[(\d*)([AKJ])|(\r)|(\n)|([^\e\r\n]+)|(.))/gs) {
      if (defined $2 && $2 eq "A") { $row -= $1 || 1; $row = 0 if $row < 0 }
      elsif (defined $2 && $2 eq "K") { $#{$screen[$row]} = $column - 1 }
      elsif (defined $2) { $#screen = $row; $#{$screen[$row]} = $column - 1 }
      elsif (defined $3) { $column = 0 }
      elsif (defined $4) { if (++$row >= $rows) { shift @screen; $row = $rows - 1 } $screen[$row] //= [] }
      elsif (defined $5) { $screen[$row][$column++] = $_ for split //, $5 }
      else { die "an unknown control character\n" }
    }
    print join("", map { $_ // " " } @$_), "\n" for @screen;' "$1" < seen
}
rows=20 columns=100
eval "$(sweep run)" > running 2>&1 & run=$!
on_terminal xterm $rows $columns "$(sweep status --every 0.2)"
wait "$run" || { cat running >&2; fail "the sweep"; }
[ "$code" = 0 ] || { cat -v seen >&2; fail "the table ended with code $code"; }
looks=$(grep -ao $'\e\[[0-9]*A' seen | wc -l)
[ "$looks" -ge 3 ] || { cat -v seen >&2; fail "the table was written over $looks times"; }
# While it ran: somebody is at a run, whose loss and bar are seen, and others wait.
tr -d '\r' < seen | sed 's/\x1b\[K//' > lines
grep -qE '^c[^ ]+ +running +\[=* *\] +[0-9]+/[0-9]+ +loss [0-9.]+$' lines || { cat -v seen >&2; fail "no running run has a bar and a loss"; }
grep -qE '^2 running, [0-9]+ waiting|^1 running, [0-9]+ waiting' lines || { cat -v seen >&2; fail "nobody counts"; }
grep -qE '% of [0-9.e+]+ FLOPs, about [0-9hms]+ left$' lines || { cat -v seen >&2; fail "no time left is said"; }
# What remains: each run once, all done.
screen $rows > now
[ "$(grep -cE '^c[^ ]+ +done +\[={20}\]' now)" = 15 ] || { cat now >&2; fail "not every run is seen once"; }
grep -qx '15 done' now && grep -qE '^100.0 % of ' now || { cat now >&2; fail "the end is not seen"; }
[ "$(grep -c 'of .* FLOPs' now)" = 1 ] || { cat now >&2; fail "tables pile up"; }

# A low and narrow terminal: no line wraps, none is lost above the screen, what ended is left out first.
on_terminal xterm 6 40 "$(sweep status --every 0.2)"
screen 6 > now
if grep -qE '.{40}' now; then cat now >&2; fail "a line is as wide as the terminal"; fi
[ "$(wc -l < now)" -le 6 ] && grep -qx '15 done; 12 not shown' now || { cat now >&2; fail "a low terminal"; }

# Ctrl-C ends it.
mv swept/runs swept/runs-done
on_terminal xterm $rows $columns "timeout -s INT 2 $(sweep status --every 0.2)"
grep -q '15 waiting' seen || { cat -v seen >&2; fail "nothing waits"; }
[ "$code" != 0 ] || fail "a sweep that nobody trains was watched to its end"
mv swept/runs-done swept/runs
# Once, without control characters.
once() {  # FILE WHAT
  if grep -q $'\e' "$1"; then cat -v "$1" >&2; fail "control characters: $2"; fi
  [ "$(grep -c ' done ' "$1")" = 15 ] && grep -q '^100.0 % of' "$1" || { cat "$1" >&2; fail "no table: $2"; }
}
on_terminal xterm $rows $columns "$(sweep status --once)"; once seen "--once"
on_terminal dumb $rows $columns "$(sweep status)"; once seen "a dumb terminal"
on_terminal xterm $rows $columns "$(sweep status) > file"; once file "standard output is a file"
echo "a live table on a terminal, one table elsewhere"
