#!/usr/bin/env bash
# What stands at the top level, the format of the sources (.clang-format), their static analysis (.clang-tidy), and that
# of the scripts.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/lint.sh [--format-only] [--fix] [FILE…]

Checks with clang-format-19, shellcheck and clang-tidy-19 (launch/setup.sh --lint installs them). What clang-tidy
found clean is remembered in build/lint until a file, a header that it includes or .clang-tidy changes.

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

rooms='core|dist|ops|launch|tests|benchmarks|CMakeLists.txt|CMakePresets.json|README.md|LICENSE|\..*'
if others=$(git ls-files | cut -d/ -f1 | sort -u | grep -vxE "$rooms"); then
  echo "lint.sh: at the top of the project: $others" >&2
  exit 1
fi

need clang-format-19
mapfile -t formatted < <(sources '*.h' '*.cpp' '*.cu' '*.cuh')
if ((fix)); then clang-format-19 -i "${formatted[@]}"; fi
clang-format-19 --dry-run -Werror "${formatted[@]}"
echo "lint: the format of ${#formatted[@]} files is right"
if ((format_only)); then exit 0; fi

need shellcheck
mapfile -t scripts < <(sources '*.sh' '*.sbatch'; echo .ci/run)
shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning "${scripts[@]}"
echo "lint: ${#scripts[@]} scripts are clean"

need clang-tidy-19
build=build/lint  # where each source has a command of its own
database=$build/compile_commands.json
cmake --preset release -B $build -DTSUGI_UNITY=OFF >/dev/null
ninja -C $build tsugi_proto >/dev/null  # headers that others include

# One line per file: the arguments of its compiler but for what only gcc can read, a tab, the file.
commands() {
  sed -n 's/^ *"command": "\(.*\)",\{0,1\}$/C \1/p; s/^ *"file": "\(.*\)",\{0,1\}$/F \1/p' "$database" |
    sed 's/\\\(["\\]\)/\1/g' |
    awk '/^C / { sub(/^C [^ ]+ /, ""); sub(/ -o [^ ]+ -c .*$/, ""); gsub(/ -(O[0-3]|g1|Winvalid-pch|fno-thread-jumps|include [^ ]*cmake_pch[^ ]*)/, ""); arguments = $0 }
         /^F / { print arguments "\t" substr($0, 3) }' |
    grep -v "	.*/build/" | sort -u
}

# Most of the time goes into the headers of others, so that many files are looked at as one. Files of one group have
# the same arguments; which group is a matter of the file's name alone, until their number doubles. A group whose names
# do not go together is halved.
lint=$build/groups
mkdir -p $lint
rm -f $lint/group-*
while IFS=$'\t' read -r arguments file; do
  printf '%s\t%s\t%s\n' "$arguments" "$(cksum <<<"${file#"$PWD"/}" | cut -d' ' -f1)" "$file"
done < <(commands) |
  { if ((${#files[@]})); then grep -F -f <(printf '\t%s\n' "${files[@]}"); else cat; fi; } |
  awk -F '\t' -v folder=$lint -v most=16 '
    { if ($1 != last) { ++kinds; last = $1 } kind[NR] = kinds; arguments[NR] = $1; sum[NR] = $2; file[NR] = $3; ++size[kinds] }
    END { for (i = 1; i <= NR; ++i) {
            for (parts = 1; size[kind[i]] > most * parts; parts *= 2) { }
            group = sprintf("%s/group-%02d-%02d", folder, kind[i], sum[i] % parts)
            print arguments[i] > (group ".arguments")
            printf "#include \"%s\"\n", file[i] > (group ".cpp") } }'
for group in "$lint"/group-*.arguments; do sort -u -o "$group" "$group"; done
mapfile -t rules < <(sources '*.proto' .clang-tidy)
TSUGI_LINT_RULES=$(cat "${rules[@]}" | sha256sum)
export TSUGI_LINT_RULES

# A group that was clean is clean as long as neither its files, nor the headers that they include, nor the rules change.
lint_group() {
  local group=$1 stamp half status=0 read_files
  mapfile -t files < <(sed 's/^#include "\(.*\)"$/\1/' "$group.cpp")
  local count=${#files[@]}
  eval "set -- $(cat "$group.arguments")"
  read_files=$(g++ "$@" -MM "$group.cpp" | tr -d '\\' | tr -s ' \n' '\n\n' | sed 1d | grep -v '/build/')
  # shellcheck disable=SC2086  # words
  stamp=${group%/*}/$(printf '%s\n' "$TSUGI_LINT_RULES" | cat - "$group.arguments" "$group.cpp" $read_files | sha256sum | cut -d' ' -f1)
  [[ -e $stamp ]] && return
  local source=$group.cpp
  if ((count == 1)); then source=${files[0]}; fi
  if clang-tidy-19 --quiet --warnings-as-errors='*' --checks=-bugprone-suspicious-include "$source" -- "$@" >"$group.log" 2>/dev/null; then
    touch "$stamp"
  elif ((count > 1)) && grep -q 'clang-diagnostic-error' "$group.log"; then
    for half in a b; do cp "$group.arguments" "$group$half.arguments"; done
    head -n $((count / 2)) "$group.cpp" >"$group"a.cpp
    tail -n +$((count / 2 + 1)) "$group.cpp" >"$group"b.cpp
    lint_group "$group"a || status=1
    lint_group "$group"b || status=1
    if ((status == 0)); then touch "$stamp"; fi
  else
    cat "$group.log"
    status=1
  fi
  return "$status"
}
export -f lint_group
printf '%s\0' $lint/group-*.cpp | xargs -0 -P "$(nproc)" -n 1 bash -c 'lint_group "${1%.cpp}"' bash
echo "lint: clang-tidy finds nothing in $(cat $lint/group-[0-9][0-9]-[0-9][0-9].cpp | wc -l) files"
