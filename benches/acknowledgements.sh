#!/usr/bin/env bash
# Acknowledgement latency and batches a second of the real collector, fsync included, with its data directory under DIR.
#
# usage: benches/acknowledgements.sh [DIR]   (default: the current directory's file system)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. benches/lib.sh
need_packages curl
work=$(mktemp -d -p "${1:-.}" .martlet-bench.XXXXXX)
trap 'stop_collector; rm -rf "$work"' EXIT
cargo build --release --quiet -p martlet-collector -p martlet-benches
start_collector "$work/data"
send() { "$bin/martlet-load" --collector $ingest --pid "$collector_pid" "$@"; }
# A quiet sensor, a hundred sensors that each wait for every answer, one that drains a backlog, and large batches.
send --sensors 1 --in-flight 1 --batches 1000 --rows 100
send --sensors 100 --in-flight 1 --batches 100 --rows 100
send --sensors 1 --in-flight 64 --batches 20000 --rows 100
send --sensors 8 --in-flight 16 --batches 2000 --rows 100
send --sensors 4 --in-flight 4 --batches 50 --rows 20000
