#!/usr/bin/env bash
# Martlet's collector beside others in one run on one machine, over loopback, with the flows of one drill capture:
#   nfcapd (nfdump) and nfacctd (pmacct) take them as NetFlow v9 from nfreplay, at its default pace and as fast as it goes;
#   clickhouse-server takes them as rows over HTTP (RowBinary) into a MergeTree;
#   martlet-collector takes the same capture from `martlet-sensor replay`, then as many rows from martlet-load.
# Prints a dated Markdown table: CPU seconds of the taking program, records per CPU second, and what was lost.
# Installs Debian's nfdump, pmacct, clickhouse-server, curl and python3 where they are missing; one that is not to be had is
# left out. Services of these packages are neither used nor touched. Takes about four minutes.
#
# usage: benches/others.sh [DIR]   (where files are made; default: the current directory's file system)
# Environment: RECORDS=3000000
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. benches/lib.sh
records=${RECORDS:-3000000}
work=$(mktemp -d -p "$(realpath "${1:-.}")" .martlet-bench.XXXXXX)
# What this script has started, by process number.
started=()
clean() {
    local pid
    stop_collector
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    sleep 1
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

# have PACKAGE PROGRAM: whether the program is there, after trying to install it.
have() {
    command -v "$2" >/dev/null || (need_packages "$1") >&2 || true
    command -v "$2" >/dev/null || { echo "left out: Debian's package $1 is not to be had here" | tee -a "$work/missing" >&2; return 1; }
}
version() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo "?"; }
hertz=$(getconf CLK_TCK)
# cpu PID: user and system seconds of a live process and its children.
cpu() {
    local pid
    for pid in "$1" $(pgrep -P "$1"); do cat "/proc/$pid/stat" 2>/dev/null || true; done |
        sed 's/.*) //' | awk -v hz="$hertz" '{s += $12 + $13 + $14 + $15} END {printf "%.2f", s / hz}'
}
# settled PID: its CPU seconds as soon as it has rested for a second; at most 30 s from now.
settled() {
    local before now _
    before=$(cpu "$1")
    for _ in $(seq 30); do
        sleep 1
        now=$(cpu "$1")
        awk -v a="$before" -v b="$now" 'BEGIN {exit !(b - a <= 0.02)}' && break
        before=$now
    done
    echo "$now"
}
# row NAME SENT STORED SECONDS CPU_BEFORE CPU_AFTER NOTE [RECORDS]: RECORDS where those are not what was sent and stored.
row() {
    awk -v name="$1" -v sent="$2" -v stored="$3" -v s="$4" -v a="$5" -v b="$6" -v note="$7" -v records="${8:-$3}" 'BEGIN {
        cpu = b - a
        lost = sent > 0 ? (sent - stored) * 100 / sent : 0
        each = cpu > 0 ? sprintf("%.0f", records / cpu) : "-"
        printf("| %s | %d | %d | %d (%.1f %%) | %.1f | %.2f | %s | %s |\n", name, sent, stored, sent - stored, lost, s, cpu, each, note)
    }' | tee -a "$work/rows" >&2
}
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.2f", b - a}'; }

say "flows" >&2
have curl curl && have procps pgrep && have python3 python3 || exit 2
cargo build --release --quiet -p martlet-collector -p martlet-sensor -p martlet-drill -p martlet-benches
"$bin/martlet-drill" --out "$work/drill.pcap" --packets "$records" --prefix 198.18.0.0/24 --quiet
flows=0
if have nfdump nfcapd; then
    mkdir "$work/flows"
    timeout 300 nfpcapd -r "$work/drill.pcap" -w "$work/flows" -y >"$work/nfpcapd.log" 2>&1
    nfdump -R "$work/flows" -w "$work/flows.nf" -y >/dev/null 2>&1
    flows=$(nfdump -r "$work/flows.nf" -I 2>/dev/null | awk '/^Flows:/ {print $2}')
fi

# replay PORT MICROSECONDS: sends all flows.
replay() { timeout 180 nfreplay -H 127.0.0.1 -p "$1" -v 9 -d "$2" -b 2097152 -r "$work/flows.nf" >/dev/null 2>&1 || die "nfreplay failed"; }

# nfcapd with the largest socket buffer that the kernel gives, LZ4 as it is used most.
take_nfcapd() {
    local pid before begin seconds after stored
    rm -rf "$work/nfcapd" && mkdir "$work/nfcapd"
    nfcapd -b 127.0.0.1 -p 17495 -w "$work/nfcapd" -y -B 33554432 -t 3600 >"$work/nfcapd.log" 2>&1 &
    pid=$!
    started+=("$pid")
    sleep 1
    before=$(cpu $pid) begin=$(now)
    replay 17495 "$2"
    seconds=$(since "$begin")
    after=$(settled $pid)
    kill $pid && wait $pid || true
    stored=$(nfdump -R "$work/nfcapd" -I 2>/dev/null | awk '/^Flows:/ {print $2}')
    row "nfcapd, $1" "$flows" "${stored:-0}" "$seconds" "$before" "$after" "LZ4 file, no fsync"
}

# nfacctd adding up by source, port, protocol and TCP flags, into a file of text every ten seconds.
take_nfacctd() {
    local pid before begin seconds after stored
    rm -f "$work/nfacctd.csv"
    cat >"$work/nfacctd.conf" <<CONF
daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: 17496
nfacctd_pipe_size: 33554432
plugins: print[rows]
aggregate[rows]: src_host, dst_port, proto, tcpflags, flows
print_output[rows]: csv
print_output_file[rows]: $work/nfacctd.csv
print_output_file_append[rows]: true
print_refresh_time[rows]: 10
print_cache_entries[rows]: 100003
plugin_pipe_size[rows]: 268435456
plugin_buffer_size[rows]: 262144
CONF
    nfacctd -f "$work/nfacctd.conf" >"$work/nfacctd.log" 2>&1 &
    pid=$!
    started+=("$pid")
    sleep 2
    # Its plugin is a process too.
    mapfile -t -O ${#started[@]} started < <(pgrep -P "$pid")
    before=$(cpu $pid) begin=$(now)
    replay 17496 "$2"
    seconds=$(since "$begin")
    # The last flows are written at the next round of ten seconds.
    sleep 11
    after=$(settled $pid)
    kill -INT $pid && wait $pid || true
    sleep 2
    stored=$(awk -F, '$1 != "SRC_IP" {flows += $(NF - 1)} END {print flows + 0}' "$work/nfacctd.csv" 2>/dev/null || true)
    row "nfacctd, $1" "$flows" "${stored:-0}" "$seconds" "$before" "$after" \
        "added up to text every 10 s, no fsync; CPU without the writers that it forks"
}

clickhouse_config() {
    mkdir -p "$1"
    cat >"$1/users.xml" <<'XML'
<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default><password/>
<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users></yandex>
XML
    cat >"$1/config.xml" <<XML
<yandex><logger><level>error</level><log>$1/log</log><errorlog>$1/errors</errorlog></logger>
<http_port>17497</http_port><tcp_port>17498</tcp_port><interserver_http_port>17499</interserver_http_port>
<listen_host>127.0.0.1</listen_host><path>$1/data/</path><tmp_path>$1/tmp/</tmp_path>
<user_files_path>$1/files/</user_files_path><format_schema_path>$1/schemas/</format_schema_path>
<users_config>$1/users.xml</users_config><mark_cache_size>1073741824</mark_cache_size>
<default_profile>default</default_profile><default_database>default</default_database></yandex>
XML
}

# A million rows an insert; merges that follow count too.
take_clickhouse() {
    local pid before begin seconds after stored block query="http://127.0.0.1:17497/" _
    clickhouse_config "$work/clickhouse"
    nfdump -r "$work/flows.nf" -q -N -o 'fmt:%ts,%sa,%dp,%pr,%pkt,%byt' 2>/dev/null | tr -d ' ' | sed 's/^\(.\{10\}\)/\1 /' |
        python3 benches/flows-to-rowbinary.py >"$work/rows.bin"
    split -b 27000000 "$work/rows.bin" "$work/block."
    clickhouse-server --config-file="$work/clickhouse/config.xml" >"$work/clickhouse/out" 2>&1 &
    pid=$!
    started+=("$pid")
    for _ in $(seq 60); do
        curl -sf "${query}ping" >/dev/null && break
        sleep 0.5
    done
    curl -sf "$query" --data 'CREATE TABLE flows (window DateTime, source UInt32, port UInt16, protocol UInt8,
        packets UInt32, bytes UInt64, targets UInt32) ENGINE = MergeTree PARTITION BY toYYYYMM(window)
        ORDER BY (protocol, port, window, source)'
    before=$(settled $pid) begin=$(now)
    for block in "$work"/block.*; do
        curl -sf --max-time 120 "$query?query=INSERT%20INTO%20flows%20FORMAT%20RowBinary" -H 'Expect:' --data-binary "@$block"
    done
    seconds=$(since "$begin")
    after=$(settled $pid)
    stored=$(curl -sf "$query" --data 'SELECT count() FROM flows')
    kill $pid && wait $pid || true
    row "clickhouse-server" "$flows" "$stored" "$seconds" "$before" "$after" "MergeTree, inserts of a million rows, no fsync"
}

metric() { curl -sf "http://$http/metrics" | awk -v name="$1" '$1 == name {printf "%d\n", $2}'; }

# The capture itself, by windows of ten seconds. Sent and stored are packets; the records are the rows that they came as.
take_martlet() {
    local before begin seconds after counted rows
    start_collector "$work/replayed"
    before=$(cpu "$collector_pid") begin=$(now)
    timeout 180 "$bin/martlet-sensor" replay --collector $ingest --class drill --observe 198.18.0.0/24 "$work/drill.pcap" \
        >"$work/replay.log" 2>&1
    seconds=$(since "$begin")
    after=$(settled "$collector_pid")
    counted=$(curl -sf "http://$http/api/v1/status" | python3 -c '
import json, sys
print(sum(entry["packets"] for entry in json.load(sys.stdin)["classes"] if entry["class"] == "drill"))')
    rows=$(metric martlet_collector_aggregate_rows_total)
    row "martlet-collector, from martlet-sensor replay" "$records" "$counted" "$seconds" "$before" "$after" \
        "sent and stored are packets, in $rows rows; fsync before each answer, live view, SQLite" "$rows"
    stop_collector
}

# About as many rows from martlet-load, whose figures they are.
take_load() {
    local line batches=$((records / 32000 > 0 ? records / 32000 : 1)) stored seconds used
    start_collector "$work/loaded"
    line=$(timeout 180 "$bin/martlet-load" --json --collector $ingest --pid "$collector_pid" --sensors 16 --rows 2000 \
        --batches $batches || true)
    stop_collector
    read -r stored seconds used < <(python3 -c '
import json, sys
it = json.load(sys.stdin)
print(it["rows"], it["seconds"], it["collector_cpu_s"])' <<<"$line")
    row "martlet-collector, from martlet-load (16 sensors)" $((batches * 32000)) "$stored" "$seconds" 0 "$used" \
        "as above; acknowledged as committed"
}

for pace in "paced:10" "burst:0"; do
    [ "$flows" = 0 ] || { say "nfcapd, ${pace%:*}" >&2; take_nfcapd "${pace%:*}" "${pace#*:}"; }
    [ "$flows" = 0 ] || ! have pmacct nfacctd || { say "nfacctd, ${pace%:*}" >&2; take_nfacctd "${pace%:*}" "${pace#*:}"; }
done
[ "$flows" = 0 ] || ! have clickhouse-server clickhouse-server || { say "clickhouse-server" >&2; take_clickhouse; }
say "martlet-collector" >&2
take_martlet
take_load

echo "## Beside others, $(date -u +%F)"
echo
echo "\`benches/others.sh\` with $records packets of a drill; $(nproc) cores, $(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo)."
echo "nfdump $(version nfdump), pmacct $(version pmacct), clickhouse-server $(version clickhouse-server); paced: nfreplay's default of"
echo "10 us between packets; burst: none. The socket buffer is at most net.core.rmem_max ($(cat /proc/sys/net/core/rmem_max) bytes)."
[ ! -s "$work/missing" ] || sort -u "$work/missing"
echo
echo "| program | records sent | stored | lost | s | CPU-s | records per CPU-s | |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
cat "$work/rows"
