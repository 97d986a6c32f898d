"""What the API should say of history, computed from the archive with DuckDB.

usage: history.py ARCHIVE CLASS FROM TO; prints a JSON object. FROM and TO are timestamps in UTC.
"""

import json
import sys

import duckdb

archive, traffic, begin, end = sys.argv[1:]
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(
    f"""CREATE VIEW all_rows AS SELECT * FROM read_parquet('{archive}/*/*.parquet', hive_partitioning = true)
        WHERE class = '{traffic}'"""
)
connection.execute(f"CREATE VIEW rows AS SELECT * FROM all_rows WHERE window_start >= '{begin}Z' AND window_start < '{end}Z'")


def all_of(query):
    return [list(row) for row in connection.execute(query).fetchall()]


print(
    json.dumps(
        {
            "packets": all_of("SELECT coalesce(sum(packets), 0)::BIGINT FROM rows")[0][0],
            "ports": all_of(
                """SELECT ip_version, protocol, port, sum(packets)::BIGINT AS n, sum(bytes)::BIGINT, count(DISTINCT source)
                   FROM rows WHERE port IS NOT NULL GROUP BY ALL ORDER BY n DESC, ip_version, protocol, port"""
            ),
            "port_days": all_of(
                """SELECT protocol, port, date::VARCHAR, sum(packets)::BIGINT, count(DISTINCT source)
                   FROM rows WHERE port IS NOT NULL GROUP BY ALL ORDER BY ALL"""
            ),
            "regions": all_of(
                """SELECT region, sum(packets)::BIGINT, count(DISTINCT source) FROM rows GROUP BY ALL ORDER BY ALL"""
            ),
            "protocols": all_of("SELECT protocol, sum(packets)::BIGINT FROM rows GROUP BY ALL ORDER BY ALL"),
            "icmp": all_of(
                """SELECT ip_version, icmp_type, icmp_code, sum(packets)::BIGINT FROM rows WHERE icmp_type IS NOT NULL
                   GROUP BY ALL ORDER BY ALL"""
            ),
            "hours": all_of(
                "SELECT epoch(time_bucket(INTERVAL 1 HOUR, window_start))::BIGINT, sum(packets)::BIGINT FROM rows GROUP BY ALL ORDER BY ALL"
            ),
            "first_seen": all_of(
                """SELECT min(date)::VARCHAR, kind, protocol, port FROM all_rows WHERE port IS NOT NULL
                   GROUP BY kind, protocol, port ORDER BY ALL"""
            ),
            "port_sources": all_of(
                """SELECT protocol, port, source, sum(packets)::BIGINT AS n, strftime(min(window_start), '%Y-%m-%dT%H:%M:%SZ'),
                          strftime(max(window_start), '%Y-%m-%dT%H:%M:%SZ'), any_value(region)
                   FROM rows WHERE ip_version = 4 AND (protocol, port) IN ((6, 23), (6, 80), (17, 1434))
                   GROUP BY ALL ORDER BY ALL"""
            ),
            "sources": all_of(
                """SELECT source, sum(packets)::BIGINT AS n, sum(bytes)::BIGINT, count(DISTINCT date), any_value(region)
                   FROM rows WHERE kind = 'scan' GROUP BY source ORDER BY n DESC, source LIMIT 50"""
            ),
        }
    )
)
