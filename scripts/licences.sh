#!/usr/bin/env bash
# Every crate that is linked in has a licence that deny.toml allows, comes from crates.io, and is not banned.
#
#   scripts/licences.sh                 without further tools, from what cargo says; part of scripts/test.sh
#   scripts/licences.sh --advisories    also `cargo deny check`, which knows of security advisories and reads licence files; needs
#                                       cargo-deny (`cargo install --locked cargo-deny`) and the network
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_packages python3
/usr/bin/env python3 scripts/dependencies.py licences
case "${1:-}" in
    "") ;;
    --advisories)
        cargo deny --version >/dev/null 2>&1 || die "cargo-deny is missing: cargo install --locked cargo-deny"
        cargo deny check
        ;;
    *) die "unknown argument $1; there is --advisories" ;;
esac
