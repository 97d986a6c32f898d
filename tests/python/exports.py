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
samples = [
    sample
    for family in text_string_to_metric_families(open(openmetrics).read())
    for sample in family.samples
    if sample.name == "martlet_history_packets"
]
answer["openmetrics"] = [len(samples), int(sum(sample.value for sample in samples))]
hours = "SELECT count(*) FROM (SELECT DISTINCT class, ip_version, protocol, port, icmp_type, icmp_code, quoted_protocol, quoted_port, kind, date_trunc('hour', window_start) FROM archive)"
answer["hours"] = connection.execute(hours).fetchall()[0][0]
print(json.dumps(answer))
