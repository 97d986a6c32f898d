#!/usr/bin/env bash
# Tries all interleavings of the steps in which the collector's workers hand over (crates/handover), within bounds that take
# a few seconds. It has a target directory of its own: its flags would make cargo build everything else again.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom \
    cargo test --quiet --release -p martlet-handover "$@"
