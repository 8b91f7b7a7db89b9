#!/usr/bin/env bash
# More than 2³² tokens in one file, 8 GiB that take no room on the disk: trained on by one rank and by two, to the same
# bits. That each token is read from its place is the unit test core.TokenFile.MoreThanFourBillionTokens.
. "$(dirname "$0")/lib.sh"
make_corpus "$WORK"
make_config "$WORK/config" "$WORK/data" 3
# nanoGPT's form: nothing but two bytes a token. Cut to 32 bits, its length would be less than one sequence.
tokens=$(((1 << 32) + 16))
truncate -s $((2 * tokens)) "$WORK/large.bin" 2> /dev/null || { echo "skipped: no file of 8 GiB here, even an empty one"; exit 77; }
[ "$(du -k "$WORK/large.bin" | cut -f1)" -lt 1000 ] || { echo "skipped: files without content take room here"; exit 77; }
for n in 1 2; do
  expect_code 0 ranks "$n" timeout -k 5 60 "$TSUGI" pretrain --config "$WORK/config" --set "data.train=$WORK/large.bin" \
    "data.validation=$WORK/large.bin" model.vocabulary=50 --out "$WORK/run-$n"
  grep -hq "$tokens tokens" "$WORK/run-$n/logs/rank-00000.log" || { cat "$WORK/run-$n"/logs/* >&2; fail "not $tokens tokens"; }
done
same_run "$WORK/run-1" "$WORK/run-2"
expect_code 0 "$TSUGI" inspect "$WORK/large.bin" --json
expect_said "\"tokens\":$tokens,"
echo "$tokens tokens: the same bits on one rank and on two"
