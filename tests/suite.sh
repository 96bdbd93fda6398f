#!/bin/bash
# Runs test programs family by family and prints one line for each, with its time; the last line is "N passed, N failed".
# A family is one test program: a crate's own tests, or one file of tests/e2e or tests/sim; or one question to cargo
# about the source: format, lints, docs, examples.
# usage: suite.sh [all | e2e | unit] [FAMILY]
#   JOBS=2   how many families run side by side. One whose file has a line "//! suite: alone" (it measures) runs by itself.
# Those of tests/e2e, and those whose file has a line "//! suite: root", run as root; the build and the rest do not.
#   LIMIT=900   seconds that one family may take
# exit: 0 when all passed; anything else when one failed, was not found or found no tests
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
which=${1:-all} only=${2:-}
jobs=${JOBS:-2} limit=${LIMIT:-900}
work=$(mktemp -d) || exit 2
began=$(date +%s%N)
running=()
finish() {
  # A family's net has a warden that cleans up after its process, however that ends.
  [ ${#running[@]} = 0 ] || kill -TERM "${running[@]}" 2>/dev/null
  wait
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
# sudo forgets the environment.
seeds=(${HF_SEEDS:+HF_SEEDS="$HF_SEEDS"} ${HF_SEED:+HF_SEED="$HF_SEED"})
# Hosts are network namespaces, and PostgreSQL runs as its own user.
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo -n)

# ---- build --------------------------------------------------------------------------------------------------------
# All in one call: building a part alone unifies features differently and compiles dozens of crates again.
cargo build --workspace --bins || exit 1
cargo test --workspace --no-run --message-format=json-render-diagnostics >"$work/built" || exit 1
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
while read -r line; do
  case $line in *'"reason":"compiler-artifact"'*'"executable":"'*) ;; *) continue ;; esac
  # Programs that were built for tests to call are listed too; only the profile tells them from tests.
  profile=${line#*\"profile\":}
  case ${profile%%\}*} in *'"test":true'*) ;; *) continue ;; esac
  target=${line#*\"target\":}
  name=$(sed 's/^{[^}]*"name":"\([^"]*\)".*/\1/' <<<"$target")
  source=$(field src_path <<<"$line")
  source=${source#"$PWD"/}
  manifest=$(field manifest_path <<<"$line")
  case $source in
    tests/e2e/* | tests/sim/*) family=$name; kind=${source#tests/}; kind=${kind%%/*} ;;
    *)
      room=${manifest#"$PWD"/}
      family=${room%/Cargo.toml} kind=unit
      # Beside a crate's library: its programs and its own tests folder.
      case $source in */src/lib.rs) ;; *) family+=:$name ;; esac ;;
  esac
  printf '%s\t%s\t%s\t%s\t%s\n' "$kind" "$family" "$(field executable <<<"$line")" "$source" "${manifest%/Cargo.toml}"
done <"$work/built" | sort -u >"$work/families"
# What cargo says of the source itself; each counts as one test, the examples in the docs for themselves.
for family in format lints docs examples; do printf 'source\t%s\tcargo\ttests/suite.sh\t%s\n' "$family" "$PWD"; done >>"$work/families"

# A family that installs Holdfast installs what is built here, and upgrades to the same under a later version.
make_packages() {
  rm -rf target/packages
  make --no-print-directory packages PROFILE=dev OUT="$PWD/target/packages/first" &&
    make --no-print-directory packages PROFILE=dev PARTS=agent VERSION=99-1 OUT="$PWD/target/packages/next"
} >"$work/packages" 2>&1

chosen() {
  case $which in
    all) cat "$work/families" ;;
    e2e) grep -P '^e2e\t' "$work/families" ;;
    unit) grep -vP '^e2e\t' "$work/families" ;;
    *) echo "suite: all, e2e or unit, not $which" >&2 ;;
  esac | if [ -n "$only" ]; then awk -F'\t' -v only="$only" '$2 == only'; else cat; fi
}
chosen >"$work/chosen"
if cut -f2 "$work/chosen" | grep -qx packages && ! make_packages; then
  echo "suite: the packages were not made:" >&2
  cat "$work/packages" >&2
  exit 1
fi
if ! [ -s "$work/chosen" ]; then
  echo "suite: no family ${only:-at all} among:" $(cut -f2 "$work/families") >&2
  echo "0 passed, 1 failed"
  exit 1
fi

# ---- run ----------------------------------------------------------------------------------------------------------
count() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'; }
seconds() { local span=$(($(date +%s%N) - $1)); printf '%d.%d' $((span / 1000000000)) $((span / 100000000 % 10)); }
# One family; its verdict goes into a file as "passed failed".
run() {
  local kind=$1 family=$2 program=$3 folder=$4 source=$5 log=$work/${2//\//_}.log
  local begun status passed failed child as=() words=("$program" --color never)
  case $kind:$family in
    e2e:*) as=("${sudo[@]}") ;;
    source:format) words=(cargo fmt --all --check) ;;
    source:lints) words=(cargo clippy --quiet --workspace --all-targets --locked -- -D warnings) ;;
    source:docs) words=(env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items --locked) ;;
    source:examples) words=(cargo test --quiet --workspace --doc --locked) ;;
  esac
  grep -q '^//! suite: root' "$source" && as=("${sudo[@]}")
  begun=$(date +%s%N)
  # Backtraces of the library that carries errors only hide the message; a changed snapshot fails and writes no file.
  (cd "$folder" && exec "${as[@]}" env RUST_LIB_BACKTRACE=0 INSTA_UPDATE=no CARGO_MANIFEST_DIR="$folder" ${seeds[@]+"${seeds[@]}"} \
    timeout --kill-after=20 "$limit" "${words[@]}") >"$log" 2>&1 &
  child=$!
  # An interrupted suite passes it on: bash by itself would end and leave the program running.
  trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM
  wait "$child"
  status=$?
  passed=$(count passed "$log") failed=$(count failed "$log")
  case $kind:$family:$status in source:examples:*) ;; source:*:0) passed=1 ;; esac
  # A program that was killed or crashed has not counted itself.
  if [ $status != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
  echo "$passed $failed" >"$log.verdict"
  if [ "$failed" = 0 ]; then
    [ "$passed" = 0 ] || printf 'ok      %-32s %4d passed  %6s s\n' "$family" "$passed" "$(seconds "$begun")"
  else
    local why=''
    [ $status = 124 ] && why=" (did not end within $limit s)"
    printf 'FAILED  %-32s %4d passed, %d failed  %6s s%s\n%s\n' \
      "$family" "$passed" "$failed" "$(seconds "$begun")" "$why" "$(grep -vE '^(test .* \.\.\. ok|)$' "$log" | tail -n 60 | sed 's/^/    /')"
  fi
}
start() { run "$@" & running+=($!); }
settle() {
  # Down to so many that run.
  while [ ${#running[@]} -gt "$1" ]; do
    local pid still=()
    wait -n "${running[@]}"
    for pid in "${running[@]}"; do kill -0 "$pid" 2>/dev/null && still+=("$pid"); done
    running=("${still[@]}")
  done
}
alone=()
while IFS=$'\t' read -r kind family program source folder; do
  if grep -q '^//! suite: alone' "$source"; then alone+=("$kind"$'\t'"$family"$'\t'"$program"$'\t'"$folder"$'\t'"$source"); continue; fi
  settle $((jobs - 1))
  start "$kind" "$family" "$program" "$folder" "$source"
done <"$work/chosen"
settle 0
for line in ${alone[@]+"${alone[@]}"}; do
  IFS=$'\t' read -r kind family program folder source <<<"$line"
  start "$kind" "$family" "$program" "$folder" "$source"
  settle 0
done

read -r passed failed <<<"$(cat "$work"/*.verdict | awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')"
if [ -d target/e2e-logs ]; then
  # Written as root where sudo was needed; of no use when all is well.
  if [ "$failed" = 0 ]; then "${sudo[@]}" rm -rf target/e2e-logs
  else "${sudo[@]}" chown -R "$(id -u):$(id -g)" target/e2e-logs; echo "logs of the hosts: target/e2e-logs"
  fi
fi
if [ "$passed" = 0 ] && [ "$failed" = 0 ]; then echo "suite: no test ran" >&2; failed=1; fi
echo "in $(seconds "$began") s, build included"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
