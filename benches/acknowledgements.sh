#!/usr/bin/env bash
# Acknowledgement latency and batches a second of the real collector, fsync included, with its data directory under DIR.
#
# usage: benches/acknowledgements.sh [DIR]   (default: the current directory's file system)
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d -p "${1:-.}" .martlet-bench.XXXXXX)
bin=${CARGO_TARGET_DIR:-target}/release
trap 'kill "$pid" 2>/dev/null || true; wait || true; rm -rf "$work"' EXIT
cargo build --release --quiet -p martlet-collector -p martlet-benches
MARTLET_LOG__FILTER=error MARTLET_INGEST__MAX_CONNECTIONS_PER_ADDRESS=1000 "$bin/martlet-collector" serve --listen 127.0.0.1:17460 --http 127.0.0.1:17461 --data-dir "$work/data" &
pid=$!
until curl -sf http://127.0.0.1:17461/readyz >/dev/null; do sleep 0.1; done
send() { "$bin/acknowledgements" --collector 127.0.0.1:17460 "$@"; }
# A quiet sensor, a hundred sensors that each wait for every answer, one that drains a backlog, and large batches.
send --sensors 1 --in-flight 1 --batches 1000 --rows 100
send --sensors 100 --in-flight 1 --batches 100 --rows 100
send --sensors 1 --in-flight 64 --batches 20000 --rows 100
send --sensors 8 --in-flight 16 --batches 2000 --rows 100
send --sensors 4 --in-flight 4 --batches 50 --rows 20000
awk -v hz="$(getconf CLK_TCK)" '{printf "collector CPU: %.2f s\n", ($14 + $15) / hz}' "/proc/$pid/stat"
