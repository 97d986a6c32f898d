#!/usr/bin/env bash
# Checks the dashboards against Grafana's own types (npm package @grafana/schema), in a folder that goes away. Needs npm.
set -euo pipefail
cd "$(dirname "$0")"
command -v npm >/dev/null || { echo "check-types.sh: npm is needed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" @grafana/schema@11.2.0 typescript@5.6.3
python3 - "$work/check.ts" dashboards/*.json <<'PY'
import json
import sys

target, *files = sys.argv[1:]
# The types let keys pass that nobody knows.
KNOWN = set("annotations description editable graphTooltip links panels refresh schemaVersion tags templating time timezone title uid version".split())
with open(target, "w") as out:
    out.write('import { Dashboard } from "@grafana/schema";\n')
    for number, file in enumerate(files):
        dashboard = json.load(open(file))
        assert set(dashboard) <= KNOWN, f"{file}: {set(dashboard) - KNOWN}"
        # What belongs to a kind of data source is not in the types.
        for annotation in dashboard["annotations"]["list"]:
            for key in ("expr", "titleFormat", "textFormat", "tagKeys", "step"):
                annotation.pop(key, None)
        for variable in dashboard["templating"]["list"]:
            variable.pop("definition", None)
        # Enumerations of the types are written as their values.
        out.write(f"export const dashboard{number}: Loose<Dashboard> = {json.dumps(dashboard, indent=1)};\n")
    out.write("""type Loose<T> = T extends string | number | boolean | undefined | null ? (T extends string ? `${T}` : T extends number ? number : T)
  : T extends (infer U)[] ? Loose<U>[] : T extends Record<string, unknown> ? (string extends keyof T ? T : { [K in keyof T]: Loose<T[K]> }) : T extends object ? { [K in keyof T]: Loose<T[K]> } : T;
""")
PY
(cd "$work" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler check.ts)
echo "$(ls dashboards/*.json | wc -l) dashboards agree with @grafana/schema 11.2.0"
