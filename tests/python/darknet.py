"""An imported capture three times: its archive, read by DuckDB; the capture itself, read by capture.py; and its ground truth.

usage: darknet.py CAPTURE ADDRESS ARCHIVE TRUTH HISTORY; prints a JSON object of what was compared, and what differs. HISTORY is
what `martlet-collector query` answers: rows of days, and of longer times, with estimated numbers of sources.
"""

import collections
import datetime
import json
import sys

import capture
import duckdb

path, address, archive, truth, history = sys.argv[1:]
truth = json.load(open(truth))["inbound"]
history = json.load(open(history))
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{archive}/*/*.parquet', hive_partitioning = true)")
SERVICE = list(capture.Row._fields)
SUMS = "sum(packets)::BIGINT, sum(bytes)::BIGINT, count(DISTINCT source)"


def ask(query):
    return connection.execute(query).fetchall()


def grouped(*columns):
    """Sums of the archive by some columns."""
    rows = ask(f"SELECT {', '.join(columns)}, {SUMS} FROM rows GROUP BY ALL")
    return {row[: len(columns)]: row[len(columns) :] for row in rows}


def regrouped(sums, key):
    """Sums of the capture by something else."""
    groups = collections.defaultdict(capture.Sum)
    for name, one in sums.items():
        group = groups[key(*name)]
        group.packets += one.packets
        group.bytes += one.bytes
        group.sources |= one.sources
    return {name: (group.packets, group.bytes, len(group.sources)) for name, group in groups.items()}


answer = {}


def compare(name, ours, theirs):
    differing = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
    examples = [[str(key), str(ours.get(key)), str(theirs.get(key))] for key in differing[:5]]
    answer[name] = {"groups": len(theirs), "differing": len(differing), "examples": examples}


def date(day):
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)


# The archive beside the capture.
rows, destinations = capture.totals(path, address)
compare("days", grouped("date"), regrouped(rows, lambda day, row: (date(day),)))
compare("days_and_protocols", grouped("date", "protocol"), regrouped(rows, lambda day, row: (date(day), row.protocol)))
compare("ports", grouped(*SERVICE), regrouped(rows, lambda day, row: tuple(row)))
compare("days_and_ports", grouped("date", *SERVICE), regrouped(rows, lambda day, row: (date(day), *row)))

# The archive beside the truth.
by_protocol = {(int(name.split("/")[1]),): (sums["packets"], sums["bytes"]) for name, sums in truth["by_proto"].items()}
compare("truth_of_protocols", {key: sums[:2] for key, sums in grouped("protocol").items()}, by_protocol)
icmp = {tuple(map(int, name.split("/"))): (packets,) for name, packets in truth["icmp_type_code"].items()}
archived = grouped("icmp_type", "icmp_code")
compare("truth_of_icmp", {key: sums[:1] for key, sums in archived.items() if key[0] is not None}, icmp)
totals = {(): (truth["ip_packets"], truth["ip_bytes"], truth["ipv4"]["unique_src"])}
compare("truth_of_all", {(): ask(f"SELECT {SUMS} FROM rows")[0]}, totals)


def named(protocol, port):
    return f"ipv4/{protocol}/{'*' if protocol not in capture.PORTS else '-' if port is None else port}"


# The truth has the ports that packets were sent to, as the capture's recount has them.
by_port = {name: (sums["packets"], sums["bytes"], sums["unique_src"]) for name, sums in truth["by_proto_dstport"].items()}
compare("truth_of_ports", regrouped(destinations, named), by_port)
# An answer's port is its victim's. So what the archive has of scans of a port is what was sent there, less the answers.
answers = regrouped(
    {key: sums for key, sums in rows.items() if key[1].kind == "backscatter" and key[1].port is not None},
    lambda day, row: (),
)
scanned = sum(
    sums[0]
    for (_, port, kind), sums in grouped("protocol", "port", "kind").items()
    if port is not None and kind != "backscatter"
)
sent = sum(sums[0] for name, sums in by_port.items() if name.split("/")[2].isdigit())
answer["sent_to_ports"] = {"truth": sent, "archive": scanned + answers[()][0]}

# History beside exact distinct counts.
DAY, MONTH = "date::VARCHAR", "strftime(date, '%Y-%m')"
LEVELS = {
    "days": [DAY],
    "days_and_protocols": [DAY, "protocol", "kind"],
    "days_and_ports": [DAY, *SERVICE],
    "months": [MONTH],
    "months_and_protocols": [MONTH, "protocol", "kind"],
    "all": ["'all'"],
    "all_protocols": ["protocol", "kind"],
    "all_ports": SERVICE,
}
answer["history"] = {}
for level, columns in LEVELS.items():
    counted = grouped(*columns)
    said = {tuple(row[f"k{place}"] for place in range(len(columns))): row for row in history[level]}
    exact = [key for key, row in said.items() if row["error"] == 0]
    # By how many standard errors an estimate is off.
    estimated = {
        key: abs(row["sources"] / counted[key][2] - 1) / row["error"]
        for key, row in said.items()
        if row["error"] != 0 and key in counted
    }
    answer["history"][level] = {
        "groups": len(counted),
        "missing": len(counted.keys() ^ said.keys()),
        "wrong_sums": sum((row["packets"], row["bytes"]) != counted.get(key, ())[:2] for key, row in said.items()),
        "exact": len(exact),
        "wrong_exact": sum(said[key]["sources"] != counted.get(key, (0, 0, 0))[2] for key in exact),
        "largest": max(sums[2] for sums in counted.values()),
        # Up to 1,024 nothing may be estimated.
        "needlessly_estimated": sum(counted[key][2] <= 1024 for key in estimated),
        "estimated": len(estimated),
        "most_standard_errors": max(estimated.values(), default=0),
    }
print(json.dumps(answer))
