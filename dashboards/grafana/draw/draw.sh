#!/usr/bin/env bash
# Draws dashboards without Grafana, to be looked at: pictures in both themes, and how many series and points each panel got. Run by hand;
# fails if a panel has no data or its component throws. Those that are not named are 1 (Observatory), 2 (Worm propagation), 3 (Port
# detail) and 4 (Source populations). The made-up data below is less than 5 (Sensors) and 6 (Collector) ask for: nobody scrapes a sensor,
# none has reported for an hour, and what the collector says of itself is of a replay that is far too fast.
#
#   dashboards/grafana/draw/draw.sh [--out FOLDER] [--prometheus URL] [--set NAME=VALUE]... [--end SECONDS] [DASHBOARD.json...]
#
#   --out FOLDER       where pictures go (default: target/dashboards)
#   --prometheus URL   draw what this Prometheus has, up to now. Without it a collector and a Prometheus are started on free ports of
#                      loopback, and get nine weeks of made-up background, and six hours of a drill within three minutes (five to fifteen minutes in all)
#   --set NAME=VALUE   another choice than the one a dashboard begins with, such as port=2323
#   --end SECONDS      draw up to this Unix time
#
# What draws are the components that Grafana itself is made of (npm packages @grafana/ui and @grafana/data, of the version of
# check-types.sh); axes, legends, units, colours, overrides and transformations are theirs. What the package does not have (heat map,
# map, XY chart, state timeline) is drawn as something else, and the panel says so; alerts are not drawn on graphs. It is no proof that Grafana draws the same.
#
# Needs npm, Node 20.11 or newer, Chromium, Python and curl. MARTLET_PROGRAMS names a folder with Martlet's programs (else cargo builds them),
# MARTLET_PROMETHEUS one with prometheus and promtool (else Debian's package is unpacked), CHROMIUM the browser.
set -euo pipefail
draw=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$draw/../../.." && pwd)
. "$home/scripts/lib.sh"

out='' prometheus='' pass=() dashboards=()
while [ $# -gt 0 ]; do
    case "$1" in
        --out | --prometheus | --set | --end) [ $# -gt 1 ] || die "$1 wants a value" ;;
    esac
    case "$1" in
        --out) out=$(realpath -m "$2"); shift 2 ;;
        --prometheus) prometheus=${2%/}; shift 2 ;;
        --set | --end) pass+=("$1" "$2"); shift 2 ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        -*) die "unknown argument $1; see --help" ;;
        *) dashboards+=("$1"); shift ;;
    esac
done
[ ${#dashboards[@]} -gt 0 ] || dashboards=(martlet-{observatory,worm,port,populations}.json)
cd "$home"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
: "${out:=$target/dashboards}" "${CHROMIUM:=$(command -v chromium || true)}"
export CHROMIUM
command -v npm >/dev/null || die "npm is needed"
[ -x "$CHROMIUM" ] || die "Chromium is needed: install Debian's package chromium, or say in CHROMIUM where it is"

pids=() work=
stop() {
    trap - EXIT INT TERM
    # Last started, first stopped.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null && wait "${pids[i]}" 2>/dev/null || true
    done
    [ -z "$work" ] || rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
ready() { # ready URL PID
    for _ in $(seq 300); do
        curl -sf "$1" >/dev/null && return 0
        kill -0 "$2" 2>/dev/null || die "what should answer at $1 has ended"
        sleep 0.2
    done
    die "nothing answers at $1"
}

# What the drill is made for: six hours of it, on so many addresses, so many times as fast.
readonly HOURS=6 PREFIX=198.18.0.0/20 OTHER_PREFIX=198.18.16.0/20 ADDRESSES=4096 SPEED=120

start_prometheus() { # start_prometheus CONFIG
    "$MARTLET_PROMETHEUS/prometheus" --config.file="$1" --storage.tsdb.path="$work/prometheus" --storage.tsdb.retention.time=1y \
        --web.listen-address="${prometheus#http://}" --log.level=error >"$work/prometheus.log" 2>&1 &
    pids+=($!)
    ready "$prometheus/-/ready" $!
}

blocks() { # blocks FROM: samples in OpenMetrics become blocks. Those of two hours, which are the default, take minutes for weeks.
    "$MARTLET_PROMETHEUS/promtool" tsdb create-blocks-from openmetrics --max-block-duration=1440h "$1" "$work/prometheus" >"$work/promtool.log" 2>&1 \
        || { cat "$work/promtool.log" >&2; die "promtool could not make blocks"; }
}

with_data() {
    [ -n "${MARTLET_PROMETHEUS:-}" ] || need_prometheus
    local programs=${MARTLET_PROGRAMS:-}
    if [ -z "$programs" ]; then
        cargo build -p martlet-collector -p martlet-sensor -p martlet-drill
        programs=$target/debug
    fi
    mkdir -p "$target"
    work=$(mktemp -d "$target/dashboards-data.XXXXXX")
    local now began ingest http ports
    now=$(date +%s) ingest=127.0.0.1:$(free_port) http=127.0.0.1:$(free_port) prometheus=http://127.0.0.1:$(free_port)

    say "making nine weeks of background, and importing them (a minute)"
    at() { date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ; }
    "$programs/martlet-drill" --quiet --out "$work/past.pcap" --start "$(at $((now - 63 * 86400 - HOURS * 3600)))" --duration 1512h --packets 2000000 \
        --outbreak none --seed 3 --prefix "$PREFIX"
    "$programs/martlet-collector" import --sensor kyoto --observe "$PREFIX" --data-dir "$work/collector" "$work/past.pcap"
    rm "$work/past.pcap"
    # Views come as often as is needed at this speed, and the new port has a series at once: what is busy gets one within a minute, which is two hours here.
    ports=$("$programs/martlet-collector" check 2>/dev/null | sed -n 's/^ports = \[\(.*\)\]/[\1, "tcp\/61999"]/p')
    MARTLET_METRICS__PORTS=$ports MARTLET_AGGREGATE__MERGE_INTERVAL_MS=100 MARTLET_LOG__FILTER=warn "$programs/martlet-collector" serve --listen "$ingest" --http "$http" --data-dir "$work/collector" &
    pids+=($!)
    ready "http://$http/readyz" $!

    say "replaying $HOURS hours of a drill, $SPEED times as fast: a worm on tcp/23, and a port that was never scanned before"
    # It ends when the replay ends. As many packets an address as in the past, and a second sensor with few.
    began=$(($(date +%s) + 5 - HOURS * 3600 + HOURS * 3600 / SPEED))
    "$programs/martlet-drill" --quiet --out "$work/kyoto.pcap" --start "$(at $began)" --duration ${HOURS}h --rate 7.75 --seed 4 --prefix "$PREFIX" \
        --outbreak tcp/23 --outbreak-start 2h --scan-rate 660 --infected 10 --vulnerable 5000
    "$programs/martlet-drill" --quiet --out "$work/osaka.pcap" --start "$(at $began)" --duration ${HOURS}h --rate 1 --seed 5 --prefix "$OTHER_PREFIX" \
        --outbreak tcp/61999 --outbreak-start 255m --outbreak-mark none --scan-rate 300 --infected 500 --vulnerable 501
    local replay=("$programs/martlet-sensor" replay --collector "$ingest" --class import --speed "$SPEED")
    "${replay[@]}" --sensor osaka --observe "$OTHER_PREFIX" "$work/osaka.pcap" &
    pids+=($!)
    "${replay[@]}" --sensor kyoto --observe "$PREFIX" "$work/kyoto.pcap" &
    pids+=($!)
    "$draw/stretch.py" "http://$http/metrics" "$work/scraped.txt" --begin "$began" --speed "$SPEED" --every 30 --addresses "$ADDRESSES" --while $!

    say "giving Prometheus a past"
    mkdir "$work/prometheus"
    "$programs/martlet-collector" export --from "$(date -u -d "@$((now - 70 * 86400))" +%F)" --to "$(date -u -d "@$((now + 86400))" +%F)" --class import \
        --format openmetrics --output "$work/past.txt" --data-dir "$work/collector"
    # Dashboards begin with this class; stretch.py says why.
    sed -i 's/class="import"/class="real"/' "$work/past.txt"
    blocks "$work/past.txt"
    blocks "$work/scraped.txt"
    # What the rules would have recorded in these hours.
    echo 'scrape_configs: []' >"$work/none.yml"
    start_prometheus "$work/none.yml"
    "$MARTLET_PROMETHEUS/promtool" tsdb create-blocks-from rules --url "$prometheus" --start "$began" --end "$(date +%s)" --output-dir "$work/recorded" \
        --eval-interval 1m dashboards/prometheus/rules/martlet-recording.yml >"$work/promtool.log" 2>&1 || { cat "$work/promtool.log" >&2; die "promtool could not evaluate the rules"; }
    kill "${pids[-1]}" && wait "${pids[-1]}" || true
    unset 'pids[-1]'
    mv "$work"/recorded/*/ "$work/prometheus/"

    say "starting Prometheus on the shipped rules"
    mkdir "$work/rules"
    # Minutes of rules are seconds, so that it need not be waited for.
    for rules in dashboards/prometheus/rules/*.yml; do sed 's/interval: 1m/interval: 2s/' "$rules" >"$work/rules/$(basename "$rules")"; done
    cat >"$work/prometheus.yml" <<YML
global: { scrape_interval: 2s, evaluation_interval: 2s }
rule_files: [rules/*.yml]
scrape_configs:
  - job_name: martlet-collector
    static_configs: [{ targets: ["$http"] }]
    metric_relabel_configs:
      - { source_labels: [class], regex: import, target_label: class, replacement: real }
      - { source_labels: [__name__], regex: martlet_observed_sensor_ipv4_address_seconds_total, action: drop }
YML
    start_prometheus "$work/prometheus.yml"
    sleep 10
}

[ -n "$prometheus" ] || with_data

say "building the page"
npm_folder=$target/dashboards-draw
mkdir -p "$npm_folder"
cp "$draw"/{package.json,index.html,*.js,*.jsx} "$npm_folder/"
cd "$npm_folder"
if ! cmp -s package.json installed; then
    npm install --silent --no-audit --no-fund --no-package-lock --legacy-peer-deps
    cp package.json installed
fi
# Monaco, an editor that comes along, wants a font.
mkdir -p bundle
node_modules/.bin/esbuild draw.jsx --bundle --minify --jsx=automatic --loader:.ttf=dataurl --define:process.env.NODE_ENV='"production"' --define:global=window \
    --outfile=bundle/draw.js --log-level=error

say "drawing"
node photograph.js --prometheus "$prometheus" --out "$out" --dashboards "$home/dashboards/grafana/dashboards" "${pass[@]}" "${dashboards[@]}"
