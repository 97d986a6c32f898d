#!/usr/bin/env bash
# Shows Martlet at work: builds it, starts a collector, and feeds it.
#
#   scripts/demo.sh               a synthetic day of background radiation with an outbreak (a drill)
#   scripts/demo.sh --live IFACE  what reaches the addresses of IFACE now, captured for real (needs root)
#
# On a fresh Debian machine it installs what is missing through apt. Everything it writes goes to ./demo-data.
# Ctrl-C stops it.
set -euo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)
data=$PWD/demo-data
live=
case "${1:-}" in
    "") ;;
    --live) live=${2:-} ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "demo.sh: unknown argument $1; see --help" >&2; exit 2 ;;
esac
cd "$home"
. scripts/lib.sh
[ "${1:-}" != --live ] || [ -n "$live" ] || die "--live wants an interface, such as: scripts/demo.sh --live eth0"
[ -z "$live" ] || [ "$(id -u)" = 0 ] || die "capturing needs root: run it with sudo"

need_build_tools
need_packages curl
say "building (a few minutes the first time)"
cargo build --release -p martlet-collector -p martlet-sensor -p martlet-drill
bin=${CARGO_TARGET_DIR:-$home/target}/release
mkdir -p "$data"

pids=()
stop() {
    trap - EXIT INT TERM
    # Last started, first stopped.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null && wait "${pids[i]}" 2>/dev/null || true
    done
    echo
    echo "stopped; $data holds what the demo wrote and can be deleted"
}
trap stop EXIT
trap 'exit 0' INT TERM

url=http://127.0.0.1:7461
! curl -s "$url/healthz" >/dev/null || die "something listens on 127.0.0.1:7461 already: stop it first"
# The collector remembers; a second drill would lie over the first. What a live capture saw stays.
[ -n "$live" ] || rm -rf "$data/collector"
say "starting the collector"
# In sessions of their own, so that Ctrl-C reaches this script only, which stops them in order.
setsid "$bin/martlet-collector" serve --data-dir "$data/collector" &
pids+=($!)
ready=
for _ in $(seq 100); do
    kill -0 "${pids[0]}" 2>/dev/null || die "the collector did not start: see its message above"
    curl -sf "$url/readyz" >/dev/null && ready=yes && break
    sleep 0.1
done
[ -n "$ready" ] || die "the collector did not get ready within ten seconds"

if [ -n "$live" ]; then
    sed -e "s|^name = .*|name = \"demo\"|" -e "s|^state_dir = .*|state_dir = \"$data/sensor\"|" \
        -e "s|^posture = .*|posture = \"rst\"|" -e "s|^interfaces = .*|interfaces = [\"$live\"]|" \
        -e "s|^networks = .*|networks = \"interface\"|" systemd/sensor.toml >"$data/sensor.toml"
    say "capturing on $live"
    setsid "$bin/martlet-sensor" run --config "$data/sensor.toml" &
    pids+=($!)
    sleep 1
    kill -0 "${pids[1]}" 2>/dev/null || die "the sensor did not start: see its message above"
    what="what reaches the addresses of $live, ten seconds after it did"
    more="Traffic that this machine asked for does not count. On a quiet line it may take minutes until something comes."
else
    say "making a drill: a synthetic day of background radiation with an outbreak on 37215/tcp"
    # A day that ends with the last full hour, so that the page's default span shows it.
    start=$(date -u -d "@$(($(date +%s) / 3600 * 3600 - 86400))" +%Y-%m-%dT%H:%M:%SZ)
    "$bin/martlet-drill" --out "$data/drill.pcap" --truth "$data/drill.truth.json" --start "$start" --force \
        --outbreak tcp/37215 --outbreak-start 19h --vulnerable 20000
    say "replaying it through a sensor"
    "$bin/martlet-sensor" replay --class drill --sensor drill-1 --observe 198.18.0.0/24 "$data/drill.pcap"
    what="a synthetic day, marked as a drill"
    more="Look at 37215/tcp: in the last five hours of the day its sources grow as those of a worm do, and it stands out.
What was really in it: $data/drill.truth.json"
fi
cat <<TXT

  $url/          the live page: $what
  $url/metrics   the same for Prometheus
  $url/api/v1/   the same as JSON: status, summary, ports, sources, sensors (docs/api.md)

$more
Ctrl-C stops the demo.
TXT
wait
