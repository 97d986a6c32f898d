#!/usr/bin/env bash
# Reading a capture into counted windows: CPU seconds of `martlet-sensor replay --dry-run`, the whole process,
# decompression included; medians of five runs. Beside it `tcpdump -w /dev/null`, which reads and writes only.
#
# usage: benches/replay.sh    (MARTLET_SHARED=DIR for the shared darknet capture, default ../shared)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --quiet -p martlet-sensor -p martlet-drill

# measure NAME PACKETS COMMAND...
measure() {
    local name=$1 packets=$2 i
    shift 2
    for i in 1 2 3 4 5; do
        /usr/bin/time -f '%U %S %M' -o "$work/time" "$@" >/dev/null 2>&1
        awk '{print $1 + $2, $3}' "$work/time"
    done | sort -n | awk -v name="$name" -v packets="$packets" '
        {cpu[NR] = $1; kb[NR] = $2}
        END {printf "%-34s %9d packets  %.2f CPU-s (%.2f to %.2f)  %.3f CPU-s per million  %d KB\n",
             name, packets, cpu[3], cpu[1], cpu[5], cpu[3] / packets * 1e6, kb[3]}'
}

"$bin/martlet-drill" --out "$work/drill.pcap" --packets 10000000 --quiet
measure "drill, sensor" 10000000 "$bin/martlet-sensor" replay --dry-run --observe 198.18.0.0/24 "$work/drill.pcap"
measure "drill, tcpdump -w /dev/null" 10000000 tcpdump -r "$work/drill.pcap" -w /dev/null
darknet=${MARTLET_SHARED:-../shared}/data/captures/darknet/cloud-address_2020-04_2021-10.pcap.zst
if [ -f "$darknet" ]; then
    measure "darknet capture (zstd), sensor" 1021281 "$bin/martlet-sensor" replay --dry-run \
        --observe 167.99.227.94/32 "$darknet"
else
    echo "skipped: no darknet capture at $darknet"
fi
