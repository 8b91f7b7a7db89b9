#!/usr/bin/env bash
# A sweep's report in a real browser: every plot is drawn, whatever the colours and the width, and no script fails.
# Usage: TSUGI=build/release/tsugi tests/cluster/report.sh     (77: there is no Chromium here)
. "$(dirname "$0")/lib.sh"
browser=""
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" > /dev/null; then browser=$name; break; fi
done
[ -n "$browser" ] || { echo "no Chromium on this machine"; exit 77; }
root=$(cd "$(dirname "$0")/../.." && pwd)
table=$(find "$root/benchmarks/results" -name '*_sweep_cpu_10min_*.csv' | sort | tail -n 1)

# probe PAGE WIDTH SCHEME: loads a copy of the page that reports on itself, into $WORK/probe: an id per plot, with how
# many marks a reader sees, how many of them speak on hovering, and what is wrong with it.
probe() {
  cat > "$WORK/script.html" <<'SCRIPT'
<script>
const errors = [];
addEventListener('error', event => errors.push(event.message));
addEventListener('load', () => {
  const said = [];
  const meets = (a, b) => a.left <= b.right && b.left <= a.right && a.top <= b.bottom && b.top <= a.bottom;
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect(), wrong = [];
    const paper = getComputedStyle(svg.closest('figure')).backgroundColor;
    let marks = 0;
    for (const mark of svg.querySelectorAll('.point, .line, .bar, .cloud, .cell rect')) {
      const box = mark.getBoundingClientRect(), style = getComputedStyle(mark);
      const colours = [style.fill, style.stroke].filter(colour => colour !== 'none' && colour !== paper);
      if (box.width + box.height > 0 && meets(box, frame) && colours.length > 0) ++marks;
    }
    for (const text of svg.querySelectorAll('text')) {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) wrong.push('outside:' + text.textContent);
      if (getComputedStyle(text).fill === paper) wrong.push('unreadable:' + text.textContent);
    }
    if (/nan|inf/i.test([...svg.querySelectorAll('[d]')].map(path => path.getAttribute('d')).join(''))) wrong.push('not a number');
    said.push(`plot ${svg.id} marks=${marks} titles=${svg.querySelectorAll('title').length} wrong=${wrong.length} ${wrong.slice(0, 3).join(' ')}`);
  }
  const root = document.documentElement;
  said.push(`page scrolls=${root.scrollWidth > root.clientWidth + 1} errors=${errors.length} ${errors.join(' ')} tables=${document.querySelectorAll('table').length} paper=${getComputedStyle(document.body).backgroundColor}`);
  document.body.textContent = said.join('\n');
});
</script>
SCRIPT
  sed "/<meta charset/r $WORK/script.html" "$1" > "$WORK/probed.html"
  grep -q '<script>' "$WORK/probed.html" || fail "the probe is not in the page"
  timeout 120 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$WORK/browser" --window-size="$2,1000" \
    --blink-settings=preferredColorScheme="$3" --virtual-time-budget=20000 --dump-dom "file://$WORK/probed.html" \
    > "$WORK/probe" 2> "$WORK/browser.log" || { tail -n 5 "$WORK/browser.log" >&2; fail "the browser"; }
  grep -q 'page scrolls=false errors=0 ' "$WORK/probe" || { grep 'page ' "$WORK/probe" >&2; fail "$1 at $2: a script error, or it must be scrolled sideways"; }
  if grep -E '^plot|>plot' "$WORK/probe" | grep -vq 'wrong=0 '; then
    grep -E 'wrong=[1-9]' "$WORK/probe" >&2; fail "$1 at $2: texts that cannot be read or numbers that are none"
  fi
}
# drawn ID AT_LEAST: so many marks are seen in that plot, and they say what they are.
drawn() {
  local line marks titles
  line=$(grep -oE "plot $1 marks=[0-9]+ titles=[0-9]+" "$WORK/probe") || fail "there is no plot $1"
  marks=${line#*marks=}; marks=${marks%% *}; titles=${line##*titles=}
  [ "$marks" -ge "$2" ] || fail "plot $1 shows $marks marks"
  [ "$titles" -ge 1 ] || fail "nothing in plot $1 says what it is"
}

"$TSUGI" sweep report --csv "$table" --where 'status == "done"' --hold-out 'held_out == 1' --budget 1e13 --bootstraps 100 \
  --out "$WORK/report.html" > "$WORK/said" || { cat "$WORK/said" >&2; fail "the report"; }
runs=$(grep -c ',done,' "$table")
for look in "1280 0" "1280 1" "420 0"; do
  read -r width scheme <<< "$look"
  probe "$WORK/report.html" "$width" "$scheme"
  for plot in isoflop loss-compute loss-tokens surface predicted-measured; do drawn "$plot" "$runs"; done
  for plot in optimal-n optimal-d tokens-per-parameter exponents; do drawn "$plot" 4; done
  for plot in residual-n residual-d residual-c residual-ratio residual-quantiles; do drawn "$plot" 10; done
  for plot in misallocation-loss backtest pair-0-1; do drawn "$plot" 2; done
  drawn misallocation-compute 1
  papers="${papers:-}$(grep -oE 'paper=rgb\([^)]*\)' "$WORK/probe") "
done
[ "$(tr ' ' '\n' <<< "${papers//, /,}" | sort -u | grep -c paper)" = 2 ] || fail "light and dark look alike: $papers"
# Every number is beside the page.
for file in isoflop optimum runs loss_over_tokens bootstrap backtest forms residual_quantiles exponents surface misallocation \
  fit advice run_table provenance; do
  [ "$(wc -l < "$WORK/report_data/$file.csv")" -ge 2 ] || fail "$file.csv is empty"
done

# Learning rates and batches as a map; and budgets without a minimum, whose plot says why there is none.
# Accuracies on a task stand beside the losses.
awk 'function row(name, n, d, lr, batch, loss) { print name "," n "," d "," lr "," batch "," loss "," 0.9 - loss/8 ",0.125,0.55" }
  BEGIN { print "name,n,d,lr,batch,loss,accuracy,accuracy_majority,accuracy_ngrams"
  for (n = 1e6; n < 3e7; n *= 2) for (d = 1e7; d < 4e8; d *= 3) row("r" n "-" d, n, d, 0.001, 1024, 1.7 + 400/n^0.34 + 410/d^0.28)
  for (i = -2; i <= 2; ++i) for (j = -2; j <= 2; ++j) {
    n = 5e6; d = 9e7; row("t" i "-" j, n, d, 0.0011*2^i, 1000*2^j, (1.7 + 400/n^0.34 + 410/d^0.28)*(1 + 0.002*(i*i + j*j))) } }' \
  > "$WORK/tuned.csv"
"$TSUGI" sweep report --csv "$WORK/tuned.csv" --form chinchilla --bootstraps 50 --out "$WORK/tuned.html" > "$WORK/said" ||
  { cat "$WORK/said" >&2; fail "the report of a grid"; }
probe "$WORK/tuned.html" 1280 0
drawn tuning-0 25
for plot in downstream-loss downstream-n downstream-d downstream-c; do drawn "$plot" 25; done
[ "$(grep -o 'cell best' "$WORK/tuned.html" | wc -l)" = 5 ] || fail "not the five cells within 0.25 % are outlined"
grep -q 'No line through the minima' "$WORK/tuned.html" || fail "the page does not say why there are no isoFLOP minima"

# Runs that determine no law: a page all the same, that says so and what to add, with the runs and the budgets' minima.
awk 'BEGIN { print "name,n,d,c,loss"
  for (c = 1e18; c < 2e19; c *= 4) for (n = 5e7; n < 3e9; n *= 2) print "r" n "-" c "," n "," c/6/n "," c "," 3 + 0.02*(log(n/(0.1*sqrt(c))))^2 }' > "$WORK/flat.csv"
"$TSUGI" sweep report --csv "$WORK/flat.csv" --form chinchilla --bootstraps 50 --out "$WORK/flat.html" > "$WORK/said" ||
  { cat "$WORK/said" >&2; fail "the report without a law"; }
expect_line() { grep -qE "$1" "$WORK/said" || { cat "$WORK/said" >&2; fail "not said: $1"; }; }
expect_line '^no law could be fitted: form chinchilla: '; expect_line '^what to add: .'
grep -q 'No law could be fitted to these runs' "$WORK/flat.html" && grep -q 'What to add:' "$WORK/flat.html" ||
  fail "the page does not say that there is no law"
probe "$WORK/flat.html" 1280 0
for plot in isoflop loss-compute loss-tokens; do drawn "$plot" 18; done
[ "$(wc -l < "$WORK/flat_data/run_table.csv")" = 19 ] || fail "a run is missing"
[ ! -e "$WORK/flat_data/fit.csv" ] || fail "there is a law, after all"
# One size, and one run.
awk 'BEGIN { print "n,d,loss"; for (d = 1e9; d < 1e11; d *= 2) print "1e8," d "," 2 + 300/d^0.3 }' > "$WORK/one-size.csv"
for table in one-size one-run; do
  head -n 2 "$WORK/one-size.csv" > "$WORK/one-run.csv"
  "$TSUGI" sweep report --csv "$WORK/$table.csv" --bootstraps 50 --out "$WORK/$table.html" > "$WORK/said" 2>&1 ||
    { cat "$WORK/said" >&2; fail "the report of $table"; }
  expect_line '^no law could be fitted: '; expect_line '^what to add: .'
  probe "$WORK/$table.html" 1280 0
  drawn loss-tokens 1
done
echo "report: ok"
