#!/usr/bin/env bash
# Every shipped configuration passes the daemon's own check, and every unit keeps its daemon confined.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MARTLET_PROGRAMS:-}
if [ -z "$bin" ]; then
    cargo build --quiet -p martlet-sensor -p martlet-collector
    bin=${CARGO_TARGET_DIR:-target}/debug
fi
"$bin/martlet-sensor" check --offline --config systemd/sensor.toml >/dev/null
"$bin/martlet-collector" check --config systemd/collector.toml >/dev/null
# What a service could do if it were taken over, by systemd's own measure: 0 (nothing) to 10 (everything), in tenths here.
command -v systemd-analyze >/dev/null || { echo "check-configs.sh: systemd-analyze is missing; install Debian's package systemd" >&2; exit 1; }
for bar in sensor:18 collector:14; do
    unit=systemd/martlet-${bar%:*}.service
    if ! said=$(systemd-analyze security --no-pager --offline=true --threshold="${bar#*:}" "$unit"); then
        printf '%s\n' "$said" | grep -v '✓' >&2 || true
        echo "check-configs.sh: the exposure of $unit is above its bar of ${bar#*:} tenths; what it leaves open is listed above" >&2
        exit 1
    fi
    printf '%s\n' "$said" | tail -n 1
done
echo "systemd/sensor.toml and systemd/collector.toml are valid"
