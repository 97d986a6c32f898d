#!/usr/bin/env bash
# Live capture: CPU time of martlet-sensor beside that of `tcpdump -w /dev/null`, over a veth pair between two network
# namespaces made here, with the same packets at the same rate in the same run. Needs root, tcpreplay, tcpdump.
#
# usage: benches/live-capture.sh [PACKETS [PACKETS_PER_SECOND [ROUNDS [distinct]]]]   (default 1200000 360000 3)
# distinct: each of the drill's 100,000 packets gets a source of its own, for the figure of memory (needs python3).
set -euo pipefail
cd "$(dirname "$0")/.."
packets=${1:-1200000} rate=${2:-360000} rounds=${3:-3}
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
tx=martlet-bench-tx rx=martlet-bench-rx

clean() {
    jobs -p | xargs -r kill 2>/dev/null || true
    ip netns del $tx 2>/dev/null || true
    ip netns del $rx 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT

for tool in tcpreplay tcpdump ip; do
    command -v $tool >/dev/null || { echo "live-capture: $tool is missing (apt-get install tcpreplay tcpdump iproute2)" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "live-capture: network namespaces need root" >&2; exit 2; }
cargo build --release --quiet -p martlet-sensor -p martlet-drill

ip netns add $tx
ip netns add $rx
ip link add veth-tx netns $tx type veth peer name veth-rx netns $rx
for ns in $tx $rx; do ip netns exec $ns sysctl -qw net.ipv6.conf.all.disable_ipv6=1; done
ip -n $tx link set veth-tx up
ip -n $rx link set veth-rx up
ip -n $rx addr add 198.18.255.1/32 dev veth-rx

# 100 k packets of a drill, sent over and over from memory: what the sender costs must not matter.
"$bin/martlet-drill" --out "$work/drill.pcap" --packets 100000 --prefix 198.18.0.0/24 --quiet
if [ "${4:-}" = distinct ]; then
    python3 - "$work/drill.pcap" <<'PY'
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
at, number = 24, 0
while at < len(data):
    captured = struct.unpack_from("<I", data, at + 8)[0]
    # The source in the IPv4 header, behind the record's and the Ethernet header.
    struct.pack_into(">I", data, at + 16 + 14 + 12, (0x20000000 + number * 16069) & 0xffffffff)
    at, number = at + 16 + captured, number + 1
open(sys.argv[1], "wb").write(data)
PY
fi
cat >"$work/sensor.toml" <<TOML
[sensor]
name = "bench"
posture = "silent"
state_dir = "$work/state"
[capture]
interfaces = ["veth-rx"]
ring_mib = 64
[observe]
networks = ["198.18.0.0/24"]
[uplink]
collector = "127.0.0.1:9"
[http]
listen = "127.0.0.1:7462"
[log]
filter = "off"
TOML

send() {
    ip netns exec $tx tcpreplay --intf1=veth-tx --preload-pcap --loop=$((packets / 100000)) --pps="$rate" --stats=0 \
        "$work/drill.pcap" 2>/dev/null | awk '/^Rated/ {printf "%s ", $6} /Successful packets/ {printf "%s ", $3} END {print ""}'
}

# User and system seconds of a live process.
cpu() { awk -v hz="$(getconf CLK_TCK)" '{print ($14 + $15) / hz}' "/proc/$1/stat"; }
rss() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }

printf '%-10s %9s %10s %10s %9s %8s\n' program packets pps cpu_s drops rss_kb
for _ in $(seq "$rounds"); do
    # -n: no names; -B: the same ring; the filter is the sensor's.
    ip netns exec $rx tcpdump -n -i veth-rx -B 65536 -s 256 -w /dev/null 'dst net 198.18.0.0/24' 2>"$work/tcpdump.log" &
    sleep 1
    pid=$(pgrep -n -x tcpdump)
    sent=$(send)
    sleep 1
    used=$(cpu "$pid")
    memory=$(rss "$pid")
    kill -INT "$pid"
    wait || true
    read -r captured < <(awk '/packets captured/ {print $1}' "$work/tcpdump.log")
    drops=$(awk '/dropped by kernel/ {print $1}' "$work/tcpdump.log")
    pps=$(echo "$sent" | tr ' ' '\n' | awk '$1 > 1000' | head -1)
    printf '%-10s %9s %10s %10s %9s %8s\n' tcpdump "$captured" "$pps" "$used" "$drops" "$memory"
    echo "$used" >>"$work/tcpdump.cpu"

    ip netns exec $rx ip link set lo up
    ip netns exec $rx "$bin/martlet-sensor" run --config "$work/sensor.toml" &
    sleep 1
    pid=$(pgrep -n -x martlet-sensor)
    before=$(cpu "$pid")
    sent=$(send)
    sleep 3
    used=$(awk -v a="$before" -v b="$(cpu "$pid")" 'BEGIN {print b - a}')
    memory=$(rss "$pid")
    metrics=$(ip netns exec $rx curl -s http://127.0.0.1:7462/metrics)
    captured=$(awk '/^martlet_sensor_capture_packets_total/ {print $2}' <<<"$metrics")
    drops=$(awk '/^martlet_sensor_capture_kernel_drops_total/ {print $2}' <<<"$metrics")
    pps=$(echo "$sent" | tr ' ' '\n' | awk '$1 > 1000' | head -1)
    printf '%-10s %9s %10s %10s %9s %8s\n' sensor "$captured" "$pps" "$used" "$drops" "$memory"
    echo "$used" >>"$work/sensor.cpu"
    kill -TERM "$pid"
    wait || true
done
median() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
t=$(median "$work/tcpdump.cpu") s=$(median "$work/sensor.cpu")
awk -v t="$t" -v s="$s" 'BEGIN {printf "median CPU seconds: tcpdump %.3f, sensor %.3f, ratio %.2f\n", t, s, s / t}'
