#!/usr/bin/env bash
# Gathers the demo's corpus: the Debian Administrator's Handbook as text. launch/corpus/README.md says how it is split.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/corpus.sh [LANGUAGE…] OUT

Fetches Debian's package debian-handbook (35 MB, kept in ${XDG_CACHE_HOME:-~/.cache}/tsugi) and writes
OUT/train, OUT/validation, OUT/task and OUT/ORIGIN.txt. OUT must not exist. No root is needed.

  LANGUAGE   folders of the handbook, default: en-US ja-JP. The labelled task is made from the first.

The tsugi program is taken from build/release, or from the environment variable TSUGI.
TEXT
}

fail() {
  echo "corpus.sh: $1" >&2
  exit "${2:-2}"
}

case "${1:-}" in
  --help | -h) usage; exit 0 ;;
  "") usage >&2; exit 2 ;;
esac
for argument in "$@"; do
  [[ $argument != -* ]] || fail "unknown option $argument (see --help)"
done

root=$(cd "$(dirname "$0")/.." && pwd)
tsugi=${TSUGI:-$root/build/release/tsugi}
[[ -x $tsugi ]] || fail "no program at $tsugi. Build it: cmake --preset release && ninja -C build/release tsugi"

out=${!#}
languages=("${@:1:$#-1}")
((${#languages[@]})) || languages=(en-US ja-JP)
[[ ! -e $out ]] || fail "$out exists already: remove it or give another folder"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tsugi
mkdir -p "$cache"

newest_package() {
  find "$cache" -maxdepth 1 -name 'debian-handbook_*_all.deb' | sort -V | tail -n 1
}

package=$(newest_package)
if [[ -z $package ]]; then
  command -v apt-get >/dev/null || fail "no apt-get here to fetch the package debian-handbook: put its .deb into $cache" 5
  echo "corpus: fetching debian-handbook into $cache"
  # Downloaded beside and moved, so that an interrupted download is never taken for the package. Root downloads as root:
  # apt's own user may not write here.
  fetched=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$fetched"' EXIT
  (cd "$fetched" && apt-get -qq -o APT::Sandbox::User=root download debian-handbook) ||
    fail "cannot download debian-handbook. Are the package lists there (apt-get update), and the network?" 5
  mv "$fetched"/debian-handbook_*_all.deb "$cache/"
  package=$(newest_package)
fi

# Unpacked rather than installed: containers often leave /usr/share/doc out when they install a package.
pages=$cache/$(basename "$package" .deb)
if [[ ! -d $pages ]]; then
  rm -rf "$pages.partial"
  dpkg-deb -x "$package" "$pages.partial" || fail "cannot unpack $package: remove it and run again" 5
  mv "$pages.partial" "$pages"
fi

html=$pages/usr/share/doc/debian-handbook/html
folders=()
for language in "${languages[@]}"; do
  [[ -d $html/$language ]] || fail "the handbook has no $language. It has: $(find "$html" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
  folders+=("$html/$language")
done

mkdir -p "$(dirname "$out")"
"$tsugi" corpus handbook --html "${folders[@]}" --out "$out" --train-per-class 50
cat >"$out/ORIGIN.txt" <<TEXT
Made from the Debian Administrator's Handbook by Raphaël Hertzog and Roland Mas, https://debian-handbook.info,
as in the Debian package $(basename "$package"), languages: ${languages[*]}.
Licence: GPL-2+ or CC-BY-SA-3.0, also for the files of this folder.
TEXT
