"""Reads an archive in every format that the collector exports, with readers that are not the collector's.

usage: exports.py ARCHIVE CSV NDJSON OPENMETRICS PARQUET; prints a JSON object: of each, rows and packets.
"""

import json
import sys

import duckdb
from prometheus_client.openmetrics.parser import text_string_to_metric_families

archive, csv, ndjson, openmetrics, parquet = sys.argv[1:]
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
COLUMNS = """window_start::TIMESTAMPTZ AS window_start, window_seconds, sensor, class, ip_version, protocol, port, icmp_type, icmp_code,
    quoted_protocol, quoted_port, kind, coalesce(marks, '') AS marks, source, packets, bytes, targets, region, asn::BIGINT AS asn, organisation::VARCHAR AS organisation,
    known_scanner::VARCHAR AS known_scanner"""


def view(name, reader):
    connection.execute(f"CREATE VIEW {name} AS SELECT {COLUMNS} FROM {reader}")
    return connection.execute(f"SELECT count(*), sum(packets)::BIGINT FROM {name}").fetchall()[0]


answer = {
    "archive": view("archive", f"read_parquet('{archive}/*/*.parquet')"),
    "csv": view("csv", f"read_csv('{csv}', header = true)"),
    "ndjson": view("ndjson", f"read_json('{ndjson}', format = 'newline_delimited')"),
    "parquet": view("parquet", f"read_parquet('{parquet}')"),
}
for name in ("csv", "ndjson", "parquet"):
    differing = f"SELECT count(*) FROM ((FROM archive EXCEPT ALL FROM {name}) UNION ALL (FROM {name} EXCEPT ALL FROM archive))"
    answer[f"{name}_differs"] = connection.execute(differing).fetchall()[0][0]
# What OpenMetrics has, at the full hours, against sums of the archive.
NAMES = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}
families = {family.name: family.samples for family in text_string_to_metric_families(open(openmetrics).read())}


with_series = {(sample.labels["protocol"], sample.labels.get("port", "")) for sample in families["martlet:port_packets:rate1h"]}


def label(protocol, port):
    name = NAMES.get(protocol, "other")
    if port is None or protocol not in (6, 17):
        return name, ""
    return name, str(port) if (name, str(port)) in with_series else "other"


packets, distinct = "sum(packets)::BIGINT", "count(DISTINCT (ip_version, source))"


def exported(name, step, scale, *labels):
    samples = (sample for sample in families[name] if float(sample.timestamp) % step == 0)
    return {
        (*(sample.labels.get(label, "") for label in ("class", *labels)), int(float(sample.timestamp))): round(sample.value * scale)
        for sample in samples
        if sample.value
    }


def expected(step, what, columns, where, name):
    rows = connection.execute(
        f"SELECT class, {columns}, (epoch(window_start)::BIGINT // {step} + 1) * {step}, {what} FROM archive WHERE {where} GROUP BY ALL"
    ).fetchall()
    sums = {}
    # Of what has no series of its own there are no distinct sources.
    rows = [row for row in rows if what == packets or "other" not in name(*row[1:-2])]
    for klass, *columns, time, value in rows:
        key = (klass, *name(*columns), time)
        sums[key] = sums.get(key, 0) + value
    return sums


ports = "protocol, port", "kind = 'scan' AND protocol IN (6, 17)", label
same = lambda *names: names
checks = {
    "port_packets:rate1h": (exported("martlet:port_packets:rate1h", 3600, 3600, "protocol", "port"), expected(3600, packets, "protocol, port", "true", label)),
    "kind_packets:rate1h": (exported("martlet:kind_packets:rate1h", 3600, 3600, "kind"), expected(3600, packets, "kind", "true", same)),
    "region_packets:rate1h": (exported("martlet:region_packets:rate1h", 3600, 3600, "region"), expected(3600, packets, "region", "kind = 'scan'", same)),
    "port_sources:1h": (exported("martlet:port_sources:1h", 3600, 1, "protocol", "port"), expected(3600, distinct, *ports)),
    "port_sources:1d": (exported("martlet:port_sources:1d", 86400, 1, "protocol", "port"), expected(86400, distinct, *ports)),
}
answer["openmetrics"] = {name: [len(found), found == truth] for name, (found, truth) in checks.items()}
print(json.dumps(answer))
