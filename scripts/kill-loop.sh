#!/usr/bin/env bash
# The long form of the test that kills: sensor and collector are killed at random moments, their line is cut and the
# collector's disk filled, for SECONDS each time, ROUNDS times. Needs root. Each round prints the seed of its choices:
# MARTLET_KILL_SEED repeats them.
#
# usage: scripts/kill-loop.sh [SECONDS [ROUNDS]]   (default 300 5)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_build_tools
need_packages iproute2 curl hping3 tcpdump mount
export MARTLET_KILL_SECONDS=${1:-300} MARTLET_REQUIRE_ROOT=1
rounds=${2:-5}
say "building"
cargo build --release --quiet -p martlet-sensor -p martlet-collector -p martlet-drill
MARTLET_PROGRAMS=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release
export MARTLET_PROGRAMS
for round in $(seq "$rounds"); do
    say "round $round of $rounds, $MARTLET_KILL_SECONDS s a test"
    cargo test --quiet -p martlet-tests --test kill -- --nocapture --test-threads 1
done
say "nothing was lost and nothing was counted twice in $rounds rounds"
