#!/usr/bin/env bash
# The format of the sources (.clang-format), their static analysis (.clang-tidy), and that of the scripts.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/lint.sh [--format-only] [--fix] [FILE…]

Checks with clang-format-19, shellcheck and clang-tidy-19 (launch/setup.sh --lint installs them). clang-tidy
reads build/release/compile_commands.json; what it found clean is remembered in build/release/lint until the
file, a header of the project or .clang-tidy changes.

  --format-only   only clang-format
  --fix           rewrite what clang-format would format otherwise
  FILE…           only these files to clang-tidy
TEXT
}

format_only=0 fix=0 files=()
for argument in "$@"; do
  case "$argument" in
    --format-only) format_only=1 ;;
    --fix) fix=1 ;;
    --help | -h) usage; exit 0 ;;
    -*) echo "lint.sh: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
    *) files+=("$(realpath "$argument")") ;;
  esac
done

cd "$(dirname "$0")/.."
need() {
  command -v "$1" >/dev/null || { echo "lint.sh: no $1: run launch/setup.sh --lint" >&2; exit 1; }
}

# Files of the project with these names, built ones left out.
sources() {
  local name names=()
  for name in "$@"; do names+=(-o -name "$name"); done
  find . \( -path './build*' -o -path ./runs -o -path ./.git -o -path ./.cache \) -prune -o \
    -type f \( "${names[@]:1}" \) -print | sort
}

need clang-format-19
mapfile -t formatted < <(sources '*.h' '*.cpp' '*.cu' '*.cuh')
if ((fix)); then clang-format-19 -i "${formatted[@]}"; fi
clang-format-19 --dry-run -Werror "${formatted[@]}"
echo "lint: the format of ${#formatted[@]} files is right"
if ((format_only)); then exit 0; fi

need shellcheck
mapfile -t scripts < <(sources '*.sh'; echo .ci/run)
shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning "${scripts[@]}"
echo "lint: ${#scripts[@]} scripts are clean"

need clang-tidy-19
database=build/release/compile_commands.json
[[ -f $database ]] || { echo "lint.sh: no $database: configure first (cmake --preset release)" >&2; exit 1; }
if ((${#files[@]} == 0)); then
  mapfile -t files < <(sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$database" | grep -v '/build/' | sort -u)
fi
# A file is clean as long as neither it, nor a header, nor the rules change.
mkdir -p build/release/lint
mapfile -t headers < <(sources '*.h' '*.proto' .clang-tidy)
export TSUGI_HEADERS_HASH TSUGI_LINT_DATABASE=build/release
TSUGI_HEADERS_HASH=$(cat "${headers[@]}" | sha256sum)
# shellcheck disable=SC2016  # the inner shell expands these
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
  stamp=build/release/lint/$(printf "%s" "$1$TSUGI_HEADERS_HASH" | cat - "$1" | sha256sum | cut -d" " -f1)
  [[ -e $stamp ]] && exit 0
  clang-tidy-19 -p "$TSUGI_LINT_DATABASE" --quiet --warnings-as-errors="*" "$1" 2>/dev/null && touch "$stamp" ||
    { echo "lint.sh: clang-tidy-19 -p $TSUGI_LINT_DATABASE $1: see above" >&2; exit 1; }
' bash
echo "lint: clang-tidy finds nothing in ${#files[@]} files"
