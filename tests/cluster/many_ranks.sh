#!/usr/bin/env bash
# 64 oversubscribed ranks of a tiny model train, agree, and give the bits of one rank.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 2
for n in 1 64; do
  ranks $n "$TSUGI" pretrain --config "$WORK/config" --set batch.micro_batches=64 --out "$WORK/run-$n" --json \
    > "$WORK/$n.json" 2> "$WORK/$n.err" || { cat "$WORK/$n.err" >&2; fail "$n ranks"; }
done
grep -q '"ranks":64' "$WORK/64.json" || fail "not 64 ranks: $(cat "$WORK/64.json")"
same_run "$WORK/run-1" "$WORK/run-64"
echo "64 ranks give the bits of one"
