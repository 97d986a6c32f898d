#!/usr/bin/env bash
# Passes all checks and tests. On a fresh Debian machine it installs what they need through apt and pip.
#
# What needs root, network namespaces or the shared captures is skipped with a stated reason where they are missing;
# with CI=true nothing may skip. MARTLET_SHARED=DIR says where the shared captures lie (default ../shared).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_build_tools
# The scanners and the browser are what the tests are made against: they are no part of Martlet.
need_packages iproute2 iputils-ping procps curl nmap masscan zmap hping3 tcpdump nftables ethtool chromium valgrind faketime
# For what it says of units; nothing of it is started.
need_packages systemd util-linux
need_python_tools
need_prometheus
if [ "${CI:-}" = true ]; then
    export MARTLET_REQUIRE_SHARED=1 MARTLET_REQUIRE_ROOT=1
fi

say "formatting"
cargo fmt --all --check
say "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
say "what everything is made of"
scripts/licences.sh
scripts/sbom.sh "${CARGO_TARGET_DIR:-target}/sbom"
say "interleavings of hand-overs"
scripts/loom.sh
say "building tests"
# They run the programs that are built with them: those built alone would have other features of their dependencies, for minutes.
cargo test --workspace --no-run --quiet
MARTLET_PROGRAMS=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug
export MARTLET_PROGRAMS
say "the shipped configurations"
scripts/check-configs.sh
say "alerts and dashboards"
"$MARTLET_PROMETHEUS/promtool" test rules dashboards/prometheus/tests/*.yml
python3 dashboards/grafana/generate.py --check
if [ "${CI:-}" = true ]; then
    # Some minutes: packing twice, and a Debian of their own.
    say "packages"
    scripts/test-packages.sh --no-build
fi
say "tests"
cargo test --workspace --no-fail-fast -- "$@"
say "instructions for each row"
benches/instructions.sh
