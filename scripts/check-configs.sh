#!/usr/bin/env bash
# Every shipped configuration passes the daemon's own check.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MARTLET_PROGRAMS:-}
if [ -z "$bin" ]; then
    cargo build --quiet -p martlet-sensor -p martlet-collector
    bin=${CARGO_TARGET_DIR:-target}/debug
fi
"$bin/martlet-sensor" check --config systemd/sensor.toml >/dev/null
"$bin/martlet-collector" check --config systemd/collector.toml >/dev/null
echo "systemd/sensor.toml and systemd/collector.toml are valid"
