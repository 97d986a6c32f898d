#!/usr/bin/env bash
# Writes what each program is made of (CycloneDX 1.5, JSON) into target/packaging/sbom, or into the directory that is given.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_packages python3
into=${1:-target/packaging/sbom}
mkdir -p "$into"
for program in martlet-sensor martlet-collector martlet-drill; do
    /usr/bin/env python3 scripts/dependencies.py sbom "$program" "$into/$program.cdx.json"
done
