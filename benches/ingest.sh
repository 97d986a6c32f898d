#!/usr/bin/env bash
# What the real collector takes, and what it costs it: three shapes of load from 1, 16 and 128 sensors in closed loop, each
# on a fresh collector, then each shape in open loop at half of what it reached. Prints a Markdown table and the figures as
# lines of JSON. Takes about five minutes.
#
# usage: benches/ingest.sh [--config FILE] [--dir DIR]
#   --config FILE  configuration of the collector (default: its defaults)
#   --dir DIR      where the data directories are made (default: the current directory's file system)
# Environment, with defaults:
#   SHAPES="background storm single-giant"   SENSORS="1 16 128"   (single-giant is one sensor)
#   ROWS=2000 GIANT_ROWS=20000               rows of a batch
#   TOTAL=6000000                            rows of a closed loop
#   KEYS=100000                              distinct sources of the background
#   IN_FLIGHT=4                              unanswered batches of a sensor
#   OPEN_SENSORS=16 OPEN_SECONDS=60          open loop; 0 seconds for none
#   HISTORY=                                 1: the CPU time of the archive is in the figures of closed loops
#   TLS_CA= SERVER_NAME=                     for a configuration with TLS
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. benches/lib.sh
need_packages curl jq
# An archive that is measured does not wait for the hour.
[ -z "${HISTORY:-}" ] || export MARTLET_ARCHIVE__PENDING_BYTES=65536
config=() directory=.
while [ $# -gt 0 ]; do
    case $1 in
        --config) config=(--config "$(realpath "$2")"); shift 2 ;;
        --dir) directory=$2; shift 2 ;;
        *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
    esac
done
shapes=${SHAPES:-background storm single-giant} sensors=${SENSORS:-1 16 128}
rows=${ROWS:-2000} giant_rows=${GIANT_ROWS:-20000} total=${TOTAL:-6000000} keys=${KEYS:-100000}
in_flight=${IN_FLIGHT:-4} open_sensors=${OPEN_SENSORS:-16} open_seconds=${OPEN_SECONDS:-60}
tls=()
[ -z "${TLS_CA:-}" ] || tls+=(--tls-ca "$TLS_CA")
[ -z "${SERVER_NAME:-}" ] || tls+=(--server-name "$SERVER_NAME")

work=$(mktemp -d -p "$directory" .martlet-bench.XXXXXX)
trap 'stop_collector; rm -rf "$work"' EXIT
cargo build --release --quiet -p martlet-collector -p martlet-benches

# load SHAPE SENSORS FLAGS...: one line of JSON, from a collector of its own.
load() {
    local shape=$1 count=$2 flags=()
    shift 2
    [ -z "${HISTORY:-}" ] || flags+=(--history $http)
    case $shape in
        single-giant) flags+=(--rows "$giant_rows" --keys "$keys") ;;
        storm) flags+=(--rows "$rows") ;;
        *) flags+=(--rows "$rows" --keys "$keys") ;;
    esac
    echo "$shape, $count sensors, $*" >&2
    start_collector "$work/data" "${config[@]}"
    timeout 180 "$bin/martlet-load" --json --collector $ingest --pid "$collector_pid" --shape "$shape" --sensors "$count" \
        "${flags[@]}" "${tls[@]}" "$@" >>"$work/lines" || echo "this load failed; what is known of it is in the table" >&2
    stop_collector
    rm -rf "$work/data"
}

# half SHAPE SENSORS: half of the rate of that shape's closed loop, of as many sensors if there was one.
half() {
    jq -s --arg shape "$1" --argjson sensors "$2" \
        'map(select(.shape == $shape and (.open_loop | not))) | (map(select(.sensors == $sensors)) + .)[0].rows_per_s // empty | . / 2 | floor' \
        "$work/lines"
}

touch "$work/lines"
for shape in $shapes; do
    for count in $sensors; do
        size=$rows
        if [ "$shape" = single-giant ]; then
            [ "$count" = 1 ] || continue
            size=$giant_rows
        fi
        batches=$((total / size / count))
        load "$shape" "$count" --in-flight "$in_flight" --batches $((batches > 0 ? batches : 1))
    done
done
if [ "$open_seconds" != 0 ]; then
    for shape in $shapes; do
        count=$open_sensors
        [ "$shape" != single-giant ] || count=1
        # Few frames are prepared and sent again: preparing a minute of load would take longer than the load.
        rate=$(half "$shape" "$count")
        [ -n "$rate" ] || { echo "$shape: no closed loop to take half of" >&2; continue; }
        load "$shape" "$count" --rate "$rate" --seconds "$open_seconds" --memory-mb 96
    done
fi

echo "| shape | sensors | loop | rows/batch | rows/s | rows per CPU-s | ack p50 ms | p99 | p99.9 | max | p99 near commits | p99 elsewhere | bytes/row | peak MiB | load CPU-s |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
jq -r 'def ms: if . == null then "-" else . * 100 | round / 100 end; def whole: if . == null then "-" else round end;
    "| " + ([.shape + (if .tls then ", TLS" else "" end) + (if (.errors | length) > 0 or .interrupted then " (incomplete)" else "" end),
        .sensors, (if .open_loop then "open" else "\(.in_flight) in flight" end), .rows_per_batch,
        (.rows_per_s | whole), (.rows_per_cpu_s | whole), (.ack_ms.p50 | ms), (.ack_ms.p99 | ms), (.ack_ms.p999 | ms),
        (.ack_ms.max | ms), (.ack_ms_at_boundary.p99 | ms), (.ack_ms_elsewhere.p99 | ms), (.wire_bytes_per_row | ms),
        (.rss_mb | whole), (.load_cpu_s | ms)] | map(tostring) | join(" | ")) + " |"' "$work/lines"
echo
cat "$work/lines"
