#!/usr/bin/env bash
# The data of cpu_languages.textproto: the handbook in twelve languages as bytes, and a labelled task: pieces of 48
# characters of its prose, and their language. 150 of each language to train on, from chapters that are in the
# pretraining text; 25 to validate on, from those that are in none.
# Usage: [TSUGI=build/release/tsugi] launch/recipes/sweeps/languages.sh OUT     (OUT must not exist)
set -euo pipefail
[ $# = 1 ] && [[ $1 != -* ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../../.." && pwd)
export TSUGI=${TSUGI:-$root/build/release/tsugi}
languages=(ca-ES da-DK de-DE en-US es-ES fr-FR it-IT nb-NO nl-NL pl-PL pt-BR sv-SE)
mkdir "$1"
"$root/launch/corpus.sh" "${languages[@]}" "$1/corpus"
"$TSUGI" prepare --text "$1/corpus/train" --validation-text "$1/corpus/validation" --form-feed --tokenizer bytes --out "$1/tokens"

# pieces PER_LANGUAGE FILE…: as JSON lines, evenly spread over the prose of each language's files.
pieces() {
  perl -e '
    use strict; use warnings; use utf8;
    my ($per_language, %files) = shift @ARGV;
    m{([a-z]{2})-[A-Z]{2}\.[^/]*$} and push @{$files{$1}}, $_ for @ARGV;
    local $/ = "\n\n";
    for my $language (sort keys %files) {
      my @pieces;
      for my $path (sort @{$files{$language}}) {
        open my $file, "<:encoding(UTF-8)", $path or die "$path: $!\n";
        while (my $paragraph = <$file>) {
          $paragraph =~ s/\s+/ /g;
          next if length $paragraph < 150 || $paragraph =~ m{[\$#<>=|]|--};  # prose, no commands
          for (my $at = 40; $at + 68 < length $paragraph; $at += 80) {
            push @pieces, substr($paragraph, index($paragraph, " ", $at) + 1, 48);
          }
        }
      }
      die "$language: only " . @pieces . " pieces\n" if @pieces < $per_language;
      for my $i (0 .. $per_language - 1) {
        my $text = $pieces[int($i * @pieces / $per_language)];
        $text =~ s/(["\\])/\\$1/g;
        utf8::encode($text);
        print qq({"text": "$text", "label": "$language"}\n);
      }
    }' "$@"
}
pieces 150 "$1"/corpus/train/*.txt > "$1/train.jsonl"
pieces 25 "$1"/corpus/validation/*.txt > "$1/validation.jsonl"
wc -l "$1"/*.jsonl
