"""Adds up an archive with DuckDB.

usage: totals.py ARCHIVE; prints a JSON object.
"""

import ipaddress
import json
import sys

import duckdb

connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(
    f"CREATE VIEW rows AS SELECT * FROM read_parquet('{sys.argv[1]}/*/*.parquet', hive_partitioning = true)"
)


def all_of(query):
    return [list(row) for row in connection.execute(query).fetchall()]


print(
    json.dumps(
        {
            "types": dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE rows)").fetchall()),
            "rows": all_of("SELECT count(*) FROM rows")[0][0],
            "packets": all_of("SELECT coalesce(sum(packets), 0)::BIGINT FROM rows")[0][0],
            "days": all_of("SELECT date::VARCHAR, sum(packets)::BIGINT FROM rows GROUP BY date ORDER BY date"),
            "misplaced": all_of("SELECT count(*) FROM rows WHERE date <> window_start::DATE OR hour <> hour(window_start)")[0][0],
            "services": all_of(
                """SELECT class, ip_version, protocol, port, kind, sum(packets)::BIGINT, sum(bytes)::BIGINT, count(DISTINCT source)
                   FROM rows GROUP BY ALL ORDER BY ALL"""
            ),
            "sources": all_of("SELECT class, count(DISTINCT source) FROM rows GROUP BY class ORDER BY class"),
            # Each address is written as its standard form.
            "misspelt": sum(
                str(ipaddress.ip_address(text)) != text
                for (text,) in connection.execute("SELECT DISTINCT source FROM rows WHERE source_prefix IN (32, 128)").fetchall()
            ),
        }
    )
)
