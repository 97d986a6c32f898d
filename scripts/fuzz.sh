#!/usr/bin/env bash
# Feeds made-up bytes to every decoder, guided by the code that they reach (libFuzzer), for a stated time each.
#
#   scripts/fuzz.sh SECONDS [TARGET...]     all targets unless some are named: see fuzz/fuzz_targets
#                                           MARTLET_FUZZ_COLLECTOR=no leaves out those of the collector, which takes long to build
#   scripts/fuzz.sh --minimize [TARGET...]  keeps of each corpus the fewest files that reach what all of them do, up to a limit
#
# A stable compiler will do, with a C++ compiler for libFuzzer. What is found anew stays in the build directory (fuzz/corpus), and what
# makes a decoder fail in fuzz/artifacts: put the file into fuzz/corpus/TARGET, where an ordinary test runs it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Of each target; the repository stays small. The smallest files are kept, which are the simplest.
most_bytes=32768
longest=4096
what=${1:-}
[[ $what =~ ^[0-9]+$ || $what == --minimize ]] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
shift
targets=("$@")
features=()
[ "${MARTLET_FUZZ_COLLECTOR:-}" != no ] || features=(--no-default-features)
need_build_tools
need_packages g++

say "building the targets with instrumentation"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` asks of a nightly compiler, without the sanitizer of addresses, which only that has: there is next to no unsafe code
# to be watched. With --target, build scripts and macros are not instrumented.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
CARGO_TARGET_DIR=$target cargo build --release --quiet --manifest-path fuzz/Cargo.toml --target "$triple" "${features[@]}"
bin=$target/$triple/release
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        name=$(basename "$file" .rs)
        [ ${#features[@]} -gt 0 ] && grep -A 2 "name = \"$name\"" fuzz/Cargo.toml | grep -q required-features && continue
        targets+=("$name")
    done
fi

if [ "$what" = --minimize ]; then
    for name in "${targets[@]}"; do
        fewest=$(mktemp -d)
        "$bin/$name" -merge=1 "$fewest" "fuzz/corpus/$name" "$target/corpus/$name" 2>/dev/null
        rm -rf "fuzz/corpus/$name"
        mkdir -p "fuzz/corpus/$name"
        sum=0
        while read -r size file; do
            [ $((sum + size)) -le $most_bytes ] || break
            sum=$((sum + size))
            cp "$file" "fuzz/corpus/$name/"
        done < <(find "$fewest" -type f -printf '%s %p\n' | sort -n -k 1,1 -k 2,2)
        rm -rf "$fewest"
        echo "$name: $(find "fuzz/corpus/$name" -type f | wc -l) files, $sum bytes"
    done
    exit 0
fi

failed=0
mkdir -p fuzz/artifacts
for name in "${targets[@]}"; do
    mkdir -p "$target/corpus/$name" "fuzz/corpus/$name"
    log=$target/$name.log
    # The first corpus is written to, the second is only read.
    if nice -n 19 "$bin/$name" -max_total_time="$what" -max_len=$longest -rss_limit_mb=1024 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$name-" "$target/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
        verdict="nothing failed"
    else
        verdict="FAILED, see $log and fuzz/artifacts"
        failed=1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
    printf '%-24s %12s executions, %s: %s\n' "$name" "${runs:-?}" "${reached:-no coverage}" "$verdict"
done
exit $failed
