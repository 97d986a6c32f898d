"""Works the numbers of an observation report out again, from the archive with DuckDB, and says which differ.

usage: report.py STORE LABELS ARCHIVE REPORT.json...; STORE is the collector's store, in which exposure is kept by sensor and hour, and LABELS what
`martlet-collector sensor list --json` printed. Prints a JSON object: how many numbers were compared, and what differs.
Distinct sources are compared within five standard errors of what the report says of them; everything else has to be equal.
"""

import datetime
import json
import sqlite3
import statistics
import sys

import duckdb

ICMP, ICMPV6, TCP, UDP = 1, 58, 6, 17
PROTOCOLS = {"icmp": ICMP, "icmpv6": ICMPV6, "tcp": TCP, "udp": UDP}
MULTI_PORT = 10

DAY_MS = 86_400_000

store, labels_file, archive, *reports = sys.argv[1:]
with open(labels_file, encoding="utf-8") as file:
    sensors = json.load(file)
labels = {name: sensor["labels"] for name, sensor in sensors.items()}
filters = {name: (sensor["filtered"] or "").split(",") for name, sensor in sensors.items()}
numbers = {name: sensor["number"] for name, sensor in sensors.items()}
hours = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"CREATE VIEW all_rows AS SELECT * FROM read_parquet('{archive}/*/*.parquet', hive_partitioning = true)")


class Comparison:
    def __init__(self):
        self.compared = 0
        self.differences = []

    def equal(self, place, said, found):
        self.compared += 1
        if said != found:
            self.differences.append([place, said, found])

    def close(self, place, said, found):
        self.compared += 1
        is_close = (said is None) == (found is None) and (said is None or abs(said - found) <= 1e-9 * max(1.0, abs(found)))
        if not is_close:
            self.differences.append([place, said, found])

    def sources(self, place, said, found):
        self.compared += 1
        if said is None or abs(said["count"] - found) > 5 * said["error"] * found:
            self.differences.append([place, said, found])


def ask(sql):
    return connection.execute(sql).fetchall()


def share(part, whole):
    return 100.0 * part / whole if whole else None


def change(before, now):
    return 100.0 * (now - before) / before if before else None


def members(group):
    """The sensors of `tokyo` or `position:overseas`."""
    label, value = group.split(":") if ":" in group else ("group", group)
    return sorted(name for name, said in labels.items() if said.get(label) == value)


def view(name, period, traffic, group):
    """Rows of a period and of a group of sensors, with the day of the report's zone."""
    of_group = f"AND sensor IN {tuple(members(group) + ['', ''])}" if group else ""
    begin, end = period["from"].rstrip("Z"), period["to"].rstrip("Z")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {name} AS SELECT *,
                strftime(timezone('{period["zone"]}', window_start), '%Y-%m-%d') AS day,
                CASE WHEN port IS NOT NULL THEN protocol * 100000 + port
                     WHEN icmp_type IS NOT NULL THEN protocol * 100000 + icmp_type ELSE -1 END AS service
            FROM all_rows WHERE class = '{traffic}' {of_group} AND window_start >= TIMESTAMPTZ '{begin}Z' AND window_start < TIMESTAMPTZ '{end}Z'"""
    )


def number(service):
    return PROTOCOLS[service["protocol"]] * 100000 + service["number"]


def days_of(period):
    first, last = datetime.date.fromisoformat(period["first"]), datetime.date.fromisoformat(period["last"])
    return [(first + datetime.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def entries(table, column, kind, rules):
    """What may be told, in descending order: key, packets, sources."""
    rows = ask(
        f"""WITH seen AS (SELECT {column} AS key, date, count(DISTINCT sensor) AS sensors FROM {table}
                WHERE ip_version = 4 AND kind = '{kind}' GROUP BY ALL)
            SELECT {column} AS key, sum(packets)::BIGINT AS n, count(DISTINCT source),
                   (SELECT max(sensors) FROM seen WHERE seen.key = {column})
            FROM {table} WHERE ip_version = 4 AND kind = '{kind}' AND {column} != '-1' GROUP BY ALL ORDER BY n DESC, key"""
        if column == "region"
        else f"""WITH seen AS (SELECT service AS key, date, count(DISTINCT sensor) AS sensors FROM {table}
                WHERE ip_version = 4 AND kind = '{kind}' GROUP BY ALL), most AS (SELECT key, max(sensors) AS sensors FROM seen GROUP BY key)
            SELECT service, sum(packets)::BIGINT AS n, count(DISTINCT source), any_value(most.sensors)
            FROM {table} JOIN most ON most.key = service WHERE ip_version = 4 AND kind = '{kind}' AND service >= 0
            GROUP BY service ORDER BY n DESC, service"""
    )
    told = []
    for key, packets, sources, sensors in rows:
        # How many sensors saw a region or an ICMP type is not kept.
        has_sensors = column == "service" and key // 100000 != ICMP
        if packets >= rules["min_packets"] and sources >= rules["min_sources"]:
            if not has_sensors or sensors >= rules["min_sensors"]:
                told.append((key, packets, sources))
    return told


def rank_of(told, packets):
    return 1 + sum(1 for entry in told if entry[1] > packets)


def ranking(found, place, said, table, before, column, kind, rules, period):
    told = entries(table, column, kind, rules)
    key_of = (lambda row: row["key"]) if column == "region" else (lambda row: number(row["key"]))
    found.equal(f"{place}/rows", sorted(key_of(row) for row in said["rows"]), sorted(entry[0] for entry in told[: rules["top"]]))
    where = f"ip_version = 4 AND kind = '{kind}'"
    total = ask(f"SELECT coalesce(sum(packets), 0)::BIGINT FROM {table} WHERE {where}")[0][0]
    found.equal(f"{place}/total/packets", said["total"]["packets"], total)
    shown = sum(entry[1] for entry in told[: rules["top"]])
    found.equal(f"{place}/others/packets", said["others"]["packets"], total - shown)
    by_key = {entry[0]: entry for entry in told}
    daily = {
        (key, day): packets
        for key, day, packets in ask(f"SELECT {column}, day, sum(packets)::BIGINT FROM {table} WHERE {where} GROUP BY ALL")
    }
    before_told = entries(before, column, kind, rules) if before else None
    for at, row in enumerate(said["rows"]):
        key, here = key_of(row), f"{place}/rows/{at}"
        _, packets, sources = by_key.get(key, (key, 0, 0))
        found.equal(f"{here}/packets", row["cell"]["packets"], packets)
        found.close(f"{here}/share", row["cell"]["share_percent"], share(packets, total))
        found.equal(f"{here}/rank", row["rank"], rank_of(told, packets))
        found.sources(f"{here}/sources", row["sources"], sources)
        counts = [daily.get((key, day), 0) for day in days_of(period)]
        if any(0 < packets < rules["min_packets"] for packets in counts):
            # Days are finer than the row: none is told.
            counts = [None] * len(counts)
        for day, cell, count in zip(days_of(period), row["cell"]["daily"], counts):
            if cell is not None or count is None:
                found.equal(f"{here}/{day}", cell and cell["packets"], count)
        if before_told is not None:
            value = f"'{key}'" if column == "region" else key
            previous = ask(f"SELECT coalesce(sum(packets), 0)::BIGINT FROM {before} WHERE {where} AND {column} = {value}")[0][0]
            entry = next((entry for entry in before_told if entry[0] == key), None)
            # What may not be told of a row now may not be told of it before, save that there was nothing.
            previous = previous if entry or previous == 0 else None
            found.equal(f"{here}/previous_packets", row["previous_packets"], previous)
            found.close(f"{here}/change", row["change_percent"], change(previous, packets) if previous else None)
            place_before = rank_of(before_told, entry[1]) if entry else None
            is_told = place_before is not None and place_before <= rules["previous_places"]
            expected = {"what": "place", "rank": place_before} if is_told else {"what": "outside"}
            found.equal(f"{here}/previous_rank", row["previous_rank"], expected)


def overview(found, said, report, table, before):
    for name, version, kinds in [("packets", 4, said["packets"]), ("ipv6", 6, (said["ipv6"] or {}).get("packets"))]:
        rows = dict(ask(f"SELECT kind, sum(packets)::BIGINT FROM {table} WHERE ip_version = {version} GROUP BY kind"))
        if kinds is None:
            found.equal(f"/overview/{name}", {}, rows)
            continue
        for kind, packets in kinds.items():
            found.equal(f"/overview/{name}/{kind}", packets, rows.get(kind, 0))
    daily = {
        (day, kind): (packets, sources)
        for day, kind, packets, sources in ask(
            f"SELECT day, kind, sum(packets)::BIGINT, count(DISTINCT source) FROM {table} WHERE ip_version = 4 GROUP BY ALL"
        )
    }
    found.equal("/overview/days", [day["date"] for day in said["days"]], days_of(report["period"]))
    for day in said["days"]:
        if day["packets"] is None:
            continue
        for kind, packets in day["packets"].items():
            found.equal(f"/overview/days/{day['date']}/{kind}", packets, daily.get((day["date"], kind), (0, 0))[0])
        found.sources(f"/overview/days/{day['date']}/sources", day["sources"], daily.get((day["date"], "scan"), (0, 0))[1])
    if before:
        rows = dict(ask(f"SELECT kind, sum(packets)::BIGINT FROM {before} WHERE ip_version = 4 GROUP BY kind"))
        for kind, packets in said["previous_packets"].items():
            found.equal(f"/overview/previous_packets/{kind}", packets, rows.get(kind, 0))
        found.close("/overview/change", said["change_percent"], change(sum(rows.values()), sum(said["packets"].values())))


def is_filtered(sensor, service):
    """Whether a port is filtered before a sensor: `25,135-139,tcp/445`."""
    for part in filter(None, filters.get(sensor, [])):
        protocol, _, ports = part.rpartition("/")
        first, _, last = ports.partition("-")
        if protocol in ("", service["protocol"]) and int(first) <= service["number"] <= int(last or first):
            return service["protocol"] in ("tcp", "udp")
    return False


def watched(period, traffic, group):
    """By sensor and day of the report's zone: milliseconds watched, times addresses, times prefixes; and who does not know."""
    zone = datetime.timezone.utc if period["zone"] == "UTC" else datetime.timezone(datetime.timedelta(hours={"Asia/Tokyo": 9}[period["zone"]]))
    begin, end = (int(datetime.datetime.fromisoformat(period[name].replace("Z", "+00:00")).timestamp()) for name in ("from", "to"))
    names = set(members(group)) if group else None
    by_day, unknown = {}, set()
    rows = hours.execute(
        """SELECT name, hour, watched_ms, ipv4_address_ms, ipv6_prefix_ms, exposure_unknown FROM sensor_hours JOIN sensors USING (sensor)
           WHERE class = ? AND hour >= ? AND hour < ?""",
        (["real", "drill", "import"].index(traffic), begin, end),
    )
    for name, hour, *sums, is_unknown in rows:
        if names is not None and name not in names:
            continue
        day = datetime.datetime.fromtimestamp(hour, zone).date().isoformat()
        before = by_day.setdefault(name, {}).setdefault(day, [0, 0, 0])
        by_day[name][day] = [before[n] + sums[n] for n in range(3)]
        if is_unknown:
            unknown.add(name)
    return by_day, unknown


def exposure(found, report, table):
    """What was watched; what is per sensor, also of ports that are filtered before some; and rates over sensors."""
    period, rules, overview = report["period"], report["rules"], report["overview"]
    by_day, unknown = watched(period, report["class"], report["group"])
    days_of_sensor = lambda name, at: sum(day[at] for day in by_day[name].values()) / DAY_MS

    def sums(names, day=None):
        of = [day_sums for name in names for at, day_sums in by_day[name].items() if day in (None, at)]
        return None if unknown.intersection(names) else [sum(day_sums[n] for day_sums in of) / DAY_MS for n in range(3)]

    def same(place, said, names, day=None):
        counted = sums(names, day)
        for n, name in enumerate(["sensor_days", "address_days", "prefix_days"]):
            found.close(f"{place}/{name}", said[name], counted and counted[n])

    found.equal("/overview/exposure/sensors", overview["exposure"]["sensors"], len(by_day))
    same("/overview/exposure", overview["exposure"], by_day)
    for at, day in enumerate(overview["days"]):
        on_day = [name for name, days in by_day.items() if day["date"] in days]
        same(f"/overview/days/{at}/exposure", day["exposure"], on_day, day["date"])
        found.equal(f"/overview/days/{at}/exposure/sensors", day["exposure"]["sensors"], len(on_day))
    per = lambda packets, days: packets / days if days else None
    for at, row in enumerate(report["ports"]["rows"]):
        without = [name for name in by_day if is_filtered(name, row["key"])]
        least = rules["min_sensors"]
        names = [name for name in by_day if name not in without]
        if len(without) < max(least, 1) or len(names) < least:
            found.equal(f"/ports/{at}/watching", row.get("watching"), None)
            names = list(by_day)
        else:
            found.equal(f"/ports/{at}/watching/sensors", row["watching"]["sensors"], len(names))
        counted = sums(names)
        found.close(f"/ports/{at}/per_sensor_day", row["cell"]["per_sensor_day"], counted and per(row["cell"]["packets"], counted[0]))
        for day, cell in zip(overview["days"], row["cell"]["daily"]):
            counted = sums([name for name in names if day["date"] in by_day[name]], day["date"])
            if cell is not None:
                found.close(f"/ports/{at}/{day['date']}", cell["per_sensor"], counted and per(cell["packets"], counted[0]))
    packets = dict(ask(f"SELECT sensor, sum(packets)::BIGINT FROM {table} WHERE ip_version = 4 AND kind = 'scan' GROUP BY sensor"))
    rates = {name: packets.get(name, 0) / days_of_sensor(name, 1) for name in by_day if name not in unknown and days_of_sensor(name, 1)}
    sizes = {name: round(days_of_sensor(name, 1) / days_of_sensor(name, 0)) for name in rates}
    for at, rate in enumerate(overview["rates"]):
        of = rate["of"]
        if of["what"] == "group":
            values = [rates[name] for name in members(of["name"]) if name in rates]
        elif of["what"] == "size":
            values = [rate for name, rate in rates.items() if of["least"] <= sizes[name] <= (of["most"] or sizes[name])]
        else:
            values = list(rates.values())
        found.equal(f"/overview/rates/{at}/sensors", rate["sensors"], len(values))
        found.close(f"/overview/rates/{at}/mean", rate["mean"], statistics.fmean(values))
        quartiles = statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3
        for name, value in zip(["lower_quartile", "median", "upper_quartile"], quartiles):
            found.close(f"/overview/rates/{at}/{name}", rate[name], value)
    if not rates:
        found.equal("/overview/rates", overview["rates"], [])


def movers(found, said, table, before, rules):
    """Who changed most, by packets; sources of a day are sketches where there are many, so those are not ranked again."""
    both = ask(
        f"""WITH seen AS (SELECT 0 AS side, service, packets, source, sensor, date FROM {table} WHERE ip_version = 4 AND kind = 'scan' AND port IS NOT NULL
                UNION ALL SELECT 1, service, packets, source, sensor, date FROM {before} WHERE ip_version = 4 AND kind = 'scan' AND port IS NOT NULL),
            days AS (SELECT side, service, date, count(DISTINCT sensor) AS sensors FROM seen GROUP BY ALL),
            most AS (SELECT side, service, max(sensors) AS sensors FROM days GROUP BY ALL)
            SELECT service, side, sum(packets)::BIGINT, count(DISTINCT source), any_value(most.sensors)
            FROM seen JOIN most USING (side, service) GROUP BY ALL"""
    )
    sides = {}
    for service, side, packets, sources, sensors in both:
        sides.setdefault(service, {})[side] = (packets, sources, sensors)
    told = []
    for service, found_sides in sides.items():
        ok = all(
            packets >= rules["min_packets"] and sources >= rules["min_sources"] and sensors >= rules["min_sensors"]
            for packets, sources, sensors in found_sides.values()
        )
        if ok:
            told.append((service, found_sides.get(0, (0,))[0], found_sides.get(1, (0,))[0]))
    for name, sign in [("packets_up", 1), ("packets_down", -1)]:
        wanted = sorted(((sign * (now - old), service) for service, now, old in told if sign * (now - old) > 0), reverse=True)
        found.equal(f"/movers/{name}/differences", [sign * (row["packets"] - row["previous_packets"]) for row in said[name]],
                    [difference for difference, _ in wanted[: rules["top"]]])
        values = {service: (now, old) for service, now, old in told}
        for at, row in enumerate(said[name]):
            now, old = values.get(number(row["service"]), (None, None))
            found.equal(f"/movers/{name}/{at}/packets", [row["packets"], row["previous_packets"]], [now, old])
            found.close(f"/movers/{name}/{at}/change", row["change_percent"], change(old, now))


    daily = {}
    for side, view_of_side in enumerate([table, before]):
        rows = ask(
            f"""SELECT service, sum(n)::BIGINT FROM (SELECT service, day, count(DISTINCT source) AS n FROM {view_of_side}
                WHERE ip_version = 4 AND kind = 'scan' AND port IS NOT NULL GROUP BY ALL) GROUP BY ALL"""
        )
        daily.update({(side, service): sources for service, sources in rows})
    for name, sign in [("sources_up", 1), ("sources_down", -1)]:
        for at, row in enumerate(said[name]):
            counts = [row["daily_sources"], row["previous_daily_sources"]]
            for side, count in enumerate(counts):
                # Of many sources a day is a sketch whose error the row does not say: 5 % are more than any has.
                exact = daily.get((side, number(row["service"])), 0)
                found.equal(f"/movers/{name}/{at}/{side}", abs(count - exact) <= 0.05 * exact, True)
            found.equal(f"/movers/{name}/{at}/sign", sign * (counts[0] - counts[1]) > 0, True)


def populations(found, said, table, rules):
    where = "ip_version = 4 AND kind = 'scan'"
    packets, sources = ask(f"SELECT coalesce(sum(packets), 0)::BIGINT, count(DISTINCT source) FROM {table} WHERE {where}")[0]
    found.equal("/populations/all/packets", said["all"]["packets"], packets)
    found.sources("/populations/all/sources", said["all"]["sources"], sources)
    marks = ask(
        f"""SELECT mark, sum(packets)::BIGINT, count(DISTINCT source)
            FROM (SELECT unnest(string_split(marks, ',')) AS mark, packets, source FROM {table} WHERE {where} AND marks != '') GROUP BY mark"""
    )
    scanners = ask(f"SELECT known_scanner, sum(packets)::BIGINT, count(DISTINCT source) FROM {table} WHERE {where} AND known_scanner IS NOT NULL GROUP BY 1")
    for name, rows in [("marks", marks), ("known_scanners", scanners)]:
        told = {row[0]: row for row in rows if row[1] >= rules["min_packets"] and row[2] >= rules["min_sources"]}
        found.equal(f"/populations/{name}", sorted(row["name"] for row in said[name]), sorted(told))
        for row in said[name]:
            _, count, distinct = told.get(row["name"], (None, 0, 0))
            found.equal(f"/populations/{name}/{row['name']}/packets", row["packets"], count)
            found.close(f"/populations/{name}/{row['name']}/share", row["packets_percent"], share(count, packets))
            found.sources(f"/populations/{name}/{row['name']}/sources", row["sources"], distinct)
    if said["multi_port"]:
        count, distinct = ask(
            f"""WITH wide AS (SELECT date, source FROM {table} WHERE {where} AND known_scanner IS NULL AND port IS NOT NULL
                    GROUP BY ALL HAVING count(DISTINCT (protocol, port)) >= {MULTI_PORT})
                SELECT coalesce(sum(packets), 0)::BIGINT, count(DISTINCT source) FROM {table} JOIN wide USING (date, source) WHERE {where}"""
        )[0]
        found.equal("/populations/multi_port/packets", said["multi_port"]["packets"], count)
        found.sources("/populations/multi_port/sources", said["multi_port"]["sources"], distinct)
    confirmed(found, said, table, rules, packets)
    mirai = {
        service: (count, distinct, everything)
        for service, count, distinct, everything in ask(
            f"""SELECT service, sum(packets) FILTER (is_mirai)::BIGINT AS n, count(DISTINCT source) FILTER (is_mirai), sum(packets)::BIGINT
                FROM (SELECT *, list_contains(string_split(marks, ','), 'mirai') AS is_mirai FROM {table} WHERE {where} AND port IS NOT NULL)
                GROUP BY service HAVING n > 0"""
        )
    }
    for at, row in enumerate(said["mirai_ports"]):
        marked, distinct, everything = mirai.get(number(row["service"]), (0, 0, 0))
        found.equal(f"/populations/mirai_ports/{at}", [row["marked_packets"], row["packets"]], [marked, everything])
        found.close(f"/populations/mirai_ports/{at}/percent", row["percent"], share(marked, everything))
        found.sources(f"/populations/mirai_ports/{at}/sources", row["sources"], distinct)


def confirmed(found, said, table, rules, packets):
    """Sources of which a tool is confirmed, by the rules of docs/fingerprints.md; `None` of a group, and of days that are not UTC's."""
    if said["confirmed"] is None:
        return
    has = lambda mark: f"coalesce(sum(packets) FILTER (list_contains(string_split(marks, ','), '{mark}')), 0)"
    rules_of_tools = {
        "mirai": "mirai > 0", "zmap": "zmap > 0", "unicornscan": "unicornscan > 0",
        "masscan": "masscan >= 2 AND masscan * 2 >= syns", "nmap": "nmap >= 2 AND nmap * 8 >= nmap_shape",
    }
    told = {}
    for tool, rule in rules_of_tools.items():
        count, sources = ask(
            f"""WITH sent AS (SELECT date, source, {has("mirai")} AS mirai, {has("zmap")} AS zmap, {has("masscan_ipid")} AS masscan,
                    {has("nmap")} AS nmap, {has("nmap_shape")} AS nmap_shape, {has("unicornscan")} AS unicornscan,
                    coalesce(sum(packets) FILTER (protocol = {TCP} AND NOT list_contains(string_split(marks, ','), 'stealth')), 0) AS syns
                    FROM {table} WHERE ip_version = 4 AND kind = 'scan' GROUP BY ALL)
                SELECT coalesce(sum({tool}), 0)::BIGINT, count(DISTINCT source) FROM sent WHERE {rule}"""
        )[0]
        if count >= rules["min_packets"] and sources >= rules["min_sources"]:
            told[tool] = (count, sources)
    found.equal("/populations/confirmed", sorted(row["name"] for row in said["confirmed"]), sorted(told))
    for row in said["confirmed"]:
        count, sources = told.get(row["name"], (0, 0))
        found.equal(f"/populations/confirmed/{row['name']}/packets", row["packets"], count)
        found.close(f"/populations/confirmed/{row['name']}/share", row["packets_percent"], share(count, packets))
        found.sources(f"/populations/confirmed/{row['name']}/sources", row["sources"], sources)


def groups(found, said, table, before):
    for row in said:
        sensors = tuple(members(row["name"]) + ["", ""])
        sums = lambda table: dict(ask(f"SELECT kind, sum(packets)::BIGINT FROM {table} WHERE ip_version = 4 AND sensor IN {sensors} GROUP BY kind"))
        now = sums(table)
        for kind in ("scan", "backscatter", "other"):
            found.equal(f"/groups/{row['name']}/packets/{kind}", row["packets"][kind], now.get(kind, 0))
        if before and row["previous_per_sensor_day"] is not None:
            found.close(f"/groups/{row['name']}/change", row["change_percent"], change(row["previous_per_sensor_day"], row["per_sensor_day"]))


def sensor_ports(found, report, table):
    """The first fifty services, by kind, of a sensor and UTC day count; of as many packets as the fiftieth has, some."""
    if not report["rules"]["sensor_ports"]:
        found.equal("/sensor_ports", report["sensor_ports"], [])
        return
    ranked = ask(
        f"""WITH seen AS (SELECT sensor, date, ip_version, kind, service, sum(packets)::BIGINT AS n FROM {table} GROUP BY ALL),
            placed AS (SELECT *, count(*) OVER (PARTITION BY sensor, date ORDER BY n DESC) AS place FROM seen)
            SELECT sensor, service, coalesce(sum(n) FILTER (place <= 50), 0)::BIGINT, sum(n)::BIGINT FROM placed
            WHERE ip_version = 4 AND kind = 'scan' GROUP BY ALL"""
    )
    counts = {(numbers[sensor], service): (least, most) for sensor, service, least, most in ranked}
    found.equal("/sensor_ports", len(report["sensor_ports"]) > 0, True)
    for sensor in report["sensor_ports"]:
        for port in sensor["ports"]:
            least, most = counts.get((sensor["sensor"], number(port["service"])), (0, 0))
            # Where they are the same, it must be that.
            place = f"/sensor_ports/{sensor['sensor']}/{number(port['service'])}"
            found.equal(place, port["packets"], min(max(port["packets"], least), most))


compared, differences = 0, []
for path in reports:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    found, rules = Comparison(), report["rules"]
    view("now", report["period"], report["class"], report["group"])
    before = None
    if report["previous"]["is_known"]:
        view("before", report["previous"]["period"], report["class"], report["group"])
        before = "before"
    overview(found, report["overview"], report, "now", before)
    exposure(found, report, "now")
    ranking(found, "/ports", report["ports"], "now", before, "service", "scan", rules, report["period"])
    ranking(found, "/regions", report["regions"], "now", before, "region", "scan", rules, report["period"])
    ranking(found, "/backscatter", report["backscatter"], "now", None, "service", "backscatter", rules, report["period"])
    if before:
        movers(found, report["movers"], "now", before, rules)
    populations(found, report["populations"], "now", rules)
    groups(found, report["groups"], "now", before)
    sensor_ports(found, report, "now")
    compared += found.compared
    differences += [[report["period"]["label"], *difference] for difference in found.differences]
print(json.dumps({"compared": compared, "differences": differences}))
