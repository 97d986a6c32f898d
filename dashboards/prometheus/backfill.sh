#!/usr/bin/env bash
# Gives Prometheus a past: exports history as the recording rules would have recorded it, and makes blocks of it.
#
#   backfill.sh --from 2026-09-24 --to 2026-11-26 --prometheus-data /var/lib/prometheus/metrics2 [--class real] [-- EXPORT OPTIONS...]
#
# Runs beside a collector that runs. Blocks appear in Prometheus' data directory, where a running Prometheus finds them within
# some minutes (its storage.tsdb.retention.time must reach back as far); they belong to whoever owns that directory. Running it
# twice for the same time makes the same samples again, which Prometheus merges.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit "${1:-0}"; }
die() { printf 'backfill.sh: %s\n' "$*" >&2; exit 1; }

from='' to='' data='' class=()
while [ $# -gt 0 ]; do
    case "$1" in
        --from) from=${2:-}; shift 2 || usage 2 ;;
        --to) to=${2:-}; shift 2 || usage 2 ;;
        --prometheus-data) data=${2:-}; shift 2 || usage 2 ;;
        --class) class=(--class "${2:-}"); shift 2 || usage 2 ;;
        --) shift; break ;;
        -h | --help) usage ;;
        *) printf 'backfill.sh: unknown option %s\n' "$1" >&2; usage 2 >&2 ;;
    esac
done
[ -n "$from" ] && [ -n "$to" ] && [ -n "$data" ] || usage 2 >&2
[ -d "$data" ] || die "$data is no directory"
collector=${MARTLET_COLLECTOR:-martlet-collector} promtool=${PROMTOOL:-promtool}
command -v "$collector" >/dev/null || die "$collector is not there; MARTLET_COLLECTOR says where it is"
command -v "$promtool" >/dev/null || die "$promtool is not there; it comes with Prometheus, and PROMTOOL says where it is"

# Beside the blocks, where there is room for them: some 70 bytes a sample.
work=$(mktemp -d "$data/.martlet-backfill.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$collector" export --from "$from" --to "$to" --format openmetrics "${class[@]}" --output "$work/past.txt" "$@"
[ "$(wc -l <"$work/past.txt")" -gt 20 ] || die "there is no history from $from to $to"
# Blocks of two hours, which are the default, take minutes for weeks.
"$promtool" tsdb create-blocks-from openmetrics --max-block-duration=1440h "$work/past.txt" "$work/blocks" >"$work/log" 2>&1 \
    || { cat "$work/log" >&2; die "promtool could not make blocks"; }
made=0
for block in "$work"/blocks/*/; do
    chown -R --reference="$data" "$block"
    mv "$block" "$data/"
    made=$((made + 1))
done
printf 'backfill.sh: %d blocks in %s\n' "$made" "$data"
