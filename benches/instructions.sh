#!/usr/bin/env bash
# Counts the instructions for one row of fixed work, stage by stage, and compares them with benches/instructions.toml: a
# machine's load and clock do not change them, so a small loss shows. Fails above +10 %; five runs differ by 0.7 % at most, for
# the keys of hash tables are random.
#
#   benches/instructions.sh             the development profile, which scripts/test.sh has built anyway
#   benches/instructions.sh --update    writes the figures instead
#
# The difference between six times and two times the work is what counts: what is done once falls out. valgrind counts, and
# has a processor of its own idea, so that the machine's does not matter; the compiler's version does: another one's figures are
# told and not judged.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

stored=benches/instructions.toml
update=false
case "${1:-}" in
    "") ;;
    --update) update=true ;;
    *) die "unknown argument: $1" ;;
esac
need_packages valgrind
need_build_tools
cargo build --quiet -p martlet-benches --bin instructions
program=${CARGO_TARGET_DIR:-target}/debug/instructions

# count STAGE TIMES: instructions of the whole program.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 >/dev/null \
        | awk '$2 == "Collected" { print $4 }'
}

new=
failed=false
is_judged=true
grep -qF "$(rustc --version)" $stored 2>/dev/null || is_judged=false
for stage in encode decode add add_and_merge; do
    rows=$("$program" $stage 1)
    few=$(count $stage 2)
    many=$(count $stage 6)
    [ -n "$few" ] && [ -n "$many" ] || die "valgrind did not count $stage; does it run on this processor?"
    now=$(awk -v few="$few" -v many="$many" -v rows="$rows" 'BEGIN { printf "%.1f", (many - few) / 4 / rows }')
    new+="$stage = $now"$'\n'
    before=$(sed -n "s/^$stage = //p" $stored 2>/dev/null || true)
    change=$(awk -v now="$now" -v before="${before:-0}" 'BEGIN { if (before > 0) printf "%+.1f", (now / before - 1) * 100; else print "new" }')
    printf '%-14s %8s instructions a row, stored %8s, %s %%\n' $stage "$now" "${before:-none}" "$change"
    if $is_judged && ! $update && awk -v change="$change" 'BEGIN { exit !(change == "new" || change > 10) }'; then
        failed=true
    fi
done
if $update; then
    {
        printf '# Instructions for one row, by stage, in the development profile; benches/instructions.sh --update writes this file.\n'
        printf '# %s, valgrind %s.\n' "$(rustc --version)" "$(valgrind --version | sed 's/^valgrind-//')"
        printf '%s' "$new"
    } >$stored
elif ! $is_judged; then
    say "the stored figures are of another compiler and are not compared"
elif $failed; then
    die "more than 10 % more instructions than in $stored: find out why, or accept it with --update"
fi
