#!/bin/bash
# Runs fuzz targets under libFuzzer, one after the other, and prints a line for each; the last line is
# "N targets, N findings". A finding is kept in fuzz/artifacts/TARGET/; once mended it belongs into fuzz/seeds/TARGET/.
# What is learnt stays in fuzz/corpus/TARGET/, so that the next run goes on from there.
# usage: fuzz.sh [TARGET|all] [SECONDS]
# exit: 0 nothing found · 1 something found · 2 it could not be built or there is no such target
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
target=${1:-all} seconds=${2:-60}
# Longer inputs find nothing that these do not, and take all the time.
MAX_BYTES=16384
# An input that takes longer, in seconds, or more memory is a finding: everything here is small.
HANGS_AFTER=10 MEMORY_MB=1024
mapfile -t targets < <(basename -s .rs -a fuzz/fuzz_targets/*.rs)
if [ "$target" != all ]; then
  [[ " ${targets[*]} " == *" $target "* ]] || { echo "fuzz: no target $target among: ${targets[*]}" >&2; exit 2; }
  targets=("$target")
fi
command -v c++ >/dev/null || { echo "fuzz: libFuzzer takes a C++ compiler: apt-get install g++" >&2; exit 2; }
# Our code has no unsafe, so there is no memory to be watched over by a sanitizer: without one every input is cheaper.
# What instruments the code is behind a switch that the stable compiler has too.
export RUSTC_BOOTSTRAP=1
built=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release
cargo fuzz build --sanitizer none --target-dir target/fuzz || exit 2

findings=0
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  log=target/fuzz/$target.log
  # The clock that ends it is its own; this one ends one that does not.
  timeout --kill-after=5 $((seconds + 60)) "$built/$target" -max_total_time="$seconds" -max_len=$MAX_BYTES \
    -timeout=$HANGS_AFTER -rss_limit_mb=$MEMORY_MB -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
    "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1
  status=$?
  tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
  if [ $status = 0 ]; then
    printf 'ok       %-14s %12s inputs in %4s s, %6s edges reached\n' "$target" "${tried:-0}" "$seconds" "${covered:-0}"
  else
    findings=$((findings + 1))
    printf 'FINDING  %-14s %12s inputs; its log is %s\n%s\n' "$target" "${tried:-?}" "$log" "$(tail -n 25 "$log" | sed 's/^/    /')"
  fi
done
echo "${#targets[@]} targets, $findings findings"
[ $findings = 0 ]
