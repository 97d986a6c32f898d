#!/usr/bin/env python3
"""Writes the dashboards beside it. They are what is shipped and imported; this keeps six of them alike.

usage: generate.py [--check]   with --check nothing is written, and the exit code says whether the files are up to date
"""

import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CLASS = 'class="$class"'
PORT = 'class="$class",protocol="$protocol",port="$port"'
PER_ADDRESS_DAY = "86400 * {} / on (class) group_left () (martlet:ipv4_addresses:rate1h > 0)"
NOT_PER_ADDRESS = " All sensors together, not per address."
# Packets are by the hour everywhere: by the second those of a port are thousandths.
AN_HOUR = "packets an hour"
# Colours of kinds and states that a colour-blind reader tells apart (Okabe and Ito, 2008); the blue is lighter than theirs, which is hard to see on dark.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#3794D4", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#999999"
DASHES, DOTS = {"fill": "dash", "dash": [10, 10]}, {"fill": "dot", "dash": [0, 6]}

DASHBOARDS = [
    ("martlet-observatory", "Martlet / 1 Observatory"),
    ("martlet-worm", "Martlet / 2 Worm propagation"),
    ("martlet-port", "Martlet / 3 Port detail"),
    ("martlet-populations", "Martlet / 4 Source populations"),
    ("martlet-sensors", "Martlet / 5 Sensors"),
    ("martlet-collector", "Martlet / 6 Collector"),
]
# What carries over from one dashboard to the next.
STATE = "${datasource:queryparam}&${class:queryparam}&${__url_time_range}"


def query(expr, legend="__auto", **more):
    return {"expr": expr, "legendFormat": legend, "range": True, **more}


def instant(expr, **more):
    return {"expr": expr, "legendFormat": "__auto", "instant": True, "format": "table", **more}


def panel(kind, title, description, queries, unit="short", *, width=12, height=8, custom=None, options=None, defaults=None, overrides=(), links=(), transformations=()):
    targets = [{"refId": chr(ord("A") + number), "datasource": SOURCE, **one} for number, one in enumerate(queries)]
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "custom": custom or {}, **(defaults or {})}, "overrides": list(overrides)},
        "options": options or {},
    }
    if links:
        made["links"] = list(links)
    if transformations:
        made["transformations"] = list(transformations)
    return made


def lines(title, description, queries, unit="short", *, axis="", log=False, gaps=False, fill=0, stack=False, **more):
    """Lines go on over half an hour without samples, but for `gaps`: where nothing is said by a rule of the panel."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "spanNulls": False if gaps else 1_800_000, "showPoints": "never"}
    if axis:
        custom["axisLabel"] = axis
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    if stack:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, description, queries, unit, custom=custom, options=options, **more)


def stat(title, description, expr, unit="short", *, thresholds=None, **more):
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value" if thresholds else "none", "graphMode": "area", "textMode": "value"}
    defaults = {"thresholds": {"mode": "absolute", "steps": thresholds or [{"color": "text", "value": None}]}}
    return panel("stat", title, description, [query(expr)], unit, width=6, height=4, options=options, defaults=defaults, **more)


def table(title, description, queries, unit="short", *, names, key, sparkline=False, units=(), **more):
    """One row for each value of the label `key`; `names` says what each query is called, in order."""
    letters = [chr(ord("A") + number) for number in range(len(queries))]
    # Only the last is a course: a table of one row would be taken for one, too.
    steps = [{"id": "timeSeriesTable", "filter": {"id": "byRefId", "options": letters[-1]}, "options": {}}] if sparkline else []
    steps.append({"id": "joinByField", "options": {"byField": key, "mode": "outer"}})
    # A value has its query's letter where there are several.
    renamed = {key: key.capitalize(), "Value": names[0]} | {f"Value #{letter}": name for letter, name in zip(letters, names)}
    if sparkline:
        renamed[f"Trend #{letters[-1]}"] = names[-1]
    hidden = {f"Time {number}": True for number in range(1, len(queries) + 1)} | {"Time": True}
    steps.append({"id": "organize", "options": {"excludeByName": hidden, "renameByName": renamed, "indexByName": {}}})
    overrides = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]} for name, unit in units]
    if sparkline:
        overrides.append({"matcher": {"id": "byName", "options": names[-1]}, "properties": [{"id": "custom.cellOptions", "value": {"type": "sparkline", "hideValue": True}}]})
    options = {"showHeader": True, "sortBy": [{"displayName": names[0], "desc": True}], "cellHeight": "sm"}
    return panel("table", title, description, queries, unit, custom={"align": "auto", "filterable": True, "minWidth": 70}, options=options, overrides=overrides, transformations=steps, **more)


def link(title, uid, more=""):
    return {
        "title": title,
        "type": "link",
        "icon": "dashboard",
        "url": f"/d/{uid}?{STATE}{more}",
        "targetBlank": False,
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tags": [],
        "tooltip": "",
    }


def override(name, color, **custom):
    properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}] + [{"id": f"custom.{key}", "value": value} for key, value in custom.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


# Marks of one tool are of one colour, but for ZMap's newer one, which is often as frequent; dashes tell the others apart.
MARKS = [
    override("mirai", VERMILION),
    override("slammer", VERMILION, lineStyle=DASHES),
    override("zmap_ipid", BLUE),
    override("zmap", BLUE, lineStyle=DASHES),
    override("zmap_4", PURPLE),
    override("masscan", ORANGE),
    override("masscan_ipid", ORANGE, lineStyle=DASHES),
    override("nmap", GREEN),
    override("nmap_shape", GREEN, lineStyle=DOTS),
    override("unicornscan", ORANGE, lineStyle=DOTS),
    override("stealth", GREEN, lineStyle=DASHES),
    override("syn_data", PURPLE, lineStyle=DASHES),
    override("tcp_data", GREY),
    override("tunnel", GREY, lineStyle=DASHES),
    override("spoofed_looking", GREY, lineStyle=DOTS),
    override("weak_backscatter", PURPLE, lineStyle=DOTS),
]


def choice(name, label, expr, *, multi=False, current=None):
    variable = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": expr, "refId": name},
        "definition": expr,
        "refresh": 2,
        "sort": 3 if name == "port" else 1,
        "multi": multi,
        "includeAll": multi,
        "current": {"text": current, "value": current} if current else {},
    }
    # All sensors are those of the groups that are chosen.
    if multi and name != "sensor":
        variable["allValue"] = ".*"
    return variable


# What operators say of sensors, and what sensors say themselves.
LABELS = ("group", "economy", "position", "network", "addressing", "posture")
VARIABLES = {
    "class": choice("class", "Class", "label_values(martlet_observed_packets_total, class)", current="real"),
    "group": choice("group", "Sensor group", 'label_values(martlet_observed_sensor_info{class="$class"}, group)', multi=True, current="$__all"),
    "position": choice("position", "Position", 'label_values(martlet_observed_sensor_info{class="$class",group=~"$group"}, position)', multi=True, current="$__all"),
    "sensor": choice("sensor", "Sensor", 'label_values(martlet_observed_sensor_info{class="$class",group=~"$group",position=~"$position"}, sensor)', multi=True, current="$__all"),
    "label": {
        "type": "custom",
        "name": "label",
        "label": "Compare by",
        "query": ",".join(LABELS),
        "options": [{"text": text, "value": text, "selected": text == "group"} for text in LABELS],
        "current": {"text": "group", "value": "group"},
    },
    "protocol": choice("protocol", "Protocol", 'label_values(martlet_observed_sources{class="$class"}, protocol)', current="tcp"),
    "port": choice("port", "Port", 'label_values(martlet_observed_sources{class="$class", protocol="$protocol"}, port)', current="23"),
    "region": choice("region", "Region", 'label_values(martlet_observed_region_packets_total{class="$class"}, region)', multi=True, current="$__all"),
    "window": {
        "type": "custom",
        "name": "window",
        "label": "Window of sources",
        "query": "1m,1h,1d",
        "options": [{"text": text, "value": text, "selected": text == "1h"} for text in ("1m", "1h", "1d")],
        "current": {"text": "1h", "value": "1h"},
    },
}


TO_PORTS = [link("Port detail", "martlet-port"), link("Is it a worm?", "martlet-worm")]


def service(expr):
    """By protocol and port, such as tcp/23; by protocol alone where there are no ports."""
    named = f'label_join({expr}, "service", "/", "protocol", "port")'
    for protocol in ("icmp", "icmpv6", "other"):
        named = f'label_replace({named}, "service", "{protocol}", "service", "{protocol}/")'
    return f"sum by (service) ({named})"


def most(count, expr, at_end):
    """The series that are highest at the end of the time shown. `topk` alone would choose anew at every step, and draw more than so many."""
    return f"{expr} and topk({count}, {at_end})"


def week_ago(series, weeks=1):
    """The same hour of another week. The rules record it as well, but only from when Prometheus has run, and not for the past that backfill.sh gives it.
    Samples of that past stand at quarter hours, so 20 minutes always hold one."""
    return f"last_over_time({series}[20m] offset {weeks}w)"


def four_weeks_mean(series):
    """Of as many weeks as there are."""
    weeks = " or ".join(f'label_replace({week_ago(series, week)}, "week", "{week}", "", "")' for week in range(1, 5))
    return f"avg without (week) ({weeks})"


def change(series, before):
    return f"{series} / ({before} > 0) - 1"


TOP = f'martlet:port_packets:rate1h{{{CLASS},port!="other"}}'
# Of the last hour, so that what came before is still shown when nothing comes any more.
TOP_AT_END = f"last_over_time({TOP}[1h] @ end())"


def observatory():
    ports = f"martlet:port_packets:rate1h{{{CLASS}}}"
    region_packets = f"martlet:region_packets:rate1h{{{CLASS},region=~\"$region\"}}"
    regions = f"sum by (region) ({region_packets})"
    most_regions = f"topk(30, {regions})"
    return ["class", "region"], [
        stat("Packets per address and day", "Packets in the last hour, for each IPv4 address watched and as if for a day. On sites that watch IPv6 too its packets are among them.", PER_ADDRESS_DAY.format(f"sum by (class) (martlet:kind_packets:rate1h{{{CLASS}}})")),
        stat("Change on last week", "Packets in the last hour against the same hour a week ago.", change(f"sum({ports})", f"sum({week_ago(ports)})"), "percentunit"),
        stat("Sensors that report", "Sensors that have reported within three windows and the grace.", f"count(martlet_observed_sensor_silent{{{CLASS}}} == 0)", links=[link("Sensors", "martlet-sensors")]),
        stat("Regions", "Regions that have sent scans in the last hour.", f"count(martlet:region_packets:rate1h{{{CLASS}}} > 0)"),
        lines("Packets by kind", "Packets an hour of each kind, and all of them a week before." + NOT_PER_ADDRESS, [
            query(f"3600 * martlet:kind_packets:rate1h{{{CLASS}}}", "{{kind}}"),
            query(f"3600 * sum by (class) ({week_ago(ports)})", "all, a week ago"),
        ], axis=AN_HOUR, overrides=[override("scan", BLUE), override("backscatter", ORANGE), override("other", GREEN), override("all, a week ago", GREY)], links=[link("Source populations", "martlet-populations")]),
        panel("heatmap", "Ports over time", "Packets an hour of the twenty ports that are scanned most now; each row is a port." + NOT_PER_ADDRESS, [query(service(f"3600 * {most(20, TOP, TOP_AT_END)}"), "{{service}}")],
            options={"calculate": False, "color": {"mode": "scheme", "scheme": "Viridis", "scale": "exponential", "exponent": 0.5}, "yAxis": {"axisPlacement": "left"}, "cellGap": 1, "tooltip": {"mode": "single"}}, links=TO_PORTS),
        table("Most scanned ports", "Packets in the last hour, their change on the same hour a week ago, distinct sources in the last whole hour, and the course of packets. Ports without series of their own are not here." + NOT_PER_ADDRESS, [
            instant(service(f"3600 * topk(20, {TOP})")),
            instant(service(f"{change(TOP, week_ago(TOP))} and topk(20, {TOP})")),
            instant(service(f"martlet:port_sources:1h{{{CLASS}}} and topk(20, {TOP})")),
            query(service(f"3600 * {most(20, TOP, TOP_AT_END)}")),
        ], names=["Packets", "Change", "Sources", "Course"], key="service", sparkline=True, units=[("Change", "percentunit")], height=12, links=TO_PORTS),
        table("Regions", "Packets of scans in the last hour by the region in which the source's address is registered, and their change on a week ago. A region is never an attacker." + NOT_PER_ADDRESS, [
            instant(f"3600 * {most_regions}"),
            instant(f"{change(regions, f'sum by (region) ({week_ago(region_packets)})')} and {most_regions}"),
        ], names=["Packets", "Change"], key="region", units=[("Change", "percentunit")], width=6, height=12),
        panel("geomap", "Where sources are registered", "Packets of scans in the last hour, by the region in which the source's address is registered." + NOT_PER_ADDRESS, [instant(f"3600 * {regions}")], width=6, height=12, options={
            "view": {"id": "zero", "lat": 20, "lon": 10, "zoom": 1, "allLayers": True},
            "basemap": {"type": "default", "name": "Base"},
            "layers": [{
                "type": "markers",
                "name": "Regions",
                "location": {"mode": "lookup", "lookup": "region", "gazetteer": "public/gazetteer/countries.json"},
                "config": {"style": {"size": {"field": "Value", "min": 3, "max": 25, "fixed": 5}, "color": {"fixed": BLUE}, "opacity": 0.5}, "showLegend": False},
                "tooltip": True,
            }],
            "tooltip": {"mode": "details"},
            "controls": {"showZoom": True, "mouseWheelZoom": False, "showAttribution": True},
        }),
        table("Ports first seen", "Ports among those with series of which there was nothing in the four weeks before; packets in the last hour. What was seen first of all ports is in the API (/api/v1/history/first-seen)." + NOT_PER_ADDRESS, [
            instant(service(f'3600 * {TOP} > 0 unless last_over_time(martlet:port_packets:rate1h{{{CLASS}}}[28d] offset 2h)')),
        ], names=["Packets"], key="service", width=12, links=TO_PORTS),
        lines("Most scanned ports", "Packets an hour of the ten ports that are scanned most now." + NOT_PER_ADDRESS, [query(service(f"3600 * {most(10, TOP, TOP_AT_END)}"), "{{service}}")], axis=AN_HOUR, links=TO_PORTS),
    ]


def worm():
    minute = f'martlet_observed_sources{{{PORT},window="1m"}}'
    smooth = f"avg_over_time({minute}[2m])"
    # Of a few points a slope is anything: of a series that has just begun, or of a port that is hardly scanned.
    growth = f"(deriv(ln({smooth} > 0)[10m:30s]) and count_over_time(({smooth} > 0)[10m:30s]) >= 15)"
    region_packets = f"martlet_observed_region_port_packets_total{{{PORT},region=~\"$region\"}}"
    regions = f"rate({region_packets}[10m])"
    # The hour moves by ten minutes, so its sources come in steps; their mean over as long does not.
    hour = f'martlet_observed_sources{{{PORT},window="1h"}}'
    sources = 'class="$class",protocol="$protocol",port="$port",window="$window"'
    return ["class", "protocol", "port", "region", "window"], [
        lines("Distinct sources", "Distinct sources that scanned the port, in the window chosen above." + NOT_PER_ADDRESS, [query(f"martlet_observed_sources{{{sources}}}", "{{window}}")], links=[link("Port detail", "martlet-port", "&${protocol:queryparam}&${port:queryparam}")]),
        lines("Distinct sources, logarithmic", "The same in a minute on a logarithmic axis: a worm that spreads at random is a straight line until it runs out of hosts.", [query(f"{smooth} > 0", "1m, mean of two minutes")], log=True),
        lines("Growth rate", "Growth of the logarithm of distinct sources, per hour: least squares over ten minutes, if there were sources in three quarters of them. The band is from the lowest to the highest of these in the last fifteen minutes: noise goes around zero, a worm's settles above it.", [
            query(f"3600 * {growth}", "growth per hour"),
            query(f"min_over_time((3600 * {growth})[15m:30s])", "lowest"),
            query(f"max_over_time((3600 * {growth})[15m:30s])", "highest"),
        ], axis="per hour", gaps=True, overrides=[override("growth per hour", BLUE), override("lowest", GREY, lineWidth=0), override("highest", GREY, lineWidth=0, fillBelowTo="lowest", fillOpacity=20)]),
        lines("Doubling time", "How many minutes distinct sources take to double at this growth; nothing where its logarithm does not grow by a tenth per hour. Short lines are noise: a worm's goes on.", [query(f"{math.log(2) / 60:.6f} / ({growth} > 0.1 / 3600)", "doubling time")], "suffix:min", log=True, gaps=True),
        lines("New sources a minute", "How many more distinct sources there are each minute, or fewer: of those in an hour on average over half an hour, and of those in a minute over ten minutes." + NOT_PER_ADDRESS, [query(f"(avg_over_time({hour}[10m]) - avg_over_time({hour}[10m] offset 30m)) / 30", "sources in an hour"), query(f"60 * deriv({smooth}[10m:30s])", "sources in a minute")], axis="more, or fewer, a minute"),
        lines("Marks", "Share of packets of all ports that carry a mark of a tool or bot, over the last hour. A packet may carry several.", [query(f"martlet:mark_packets:rate1h{{{CLASS}}} / on (class) group_left () (sum by (class) (martlet:kind_packets:rate1h{{{CLASS}}}) > 0)", "{{mark}}")], "percentunit", overrides=MARKS),
        lines("Regions", "Regions from which the port was scanned in ten minutes; of ports in metrics.ports.", [query(f"count({regions} > 0)", "regions")], width=8),
        lines("Packets by region", "Packets an hour, over ten minutes, from the ten regions that scanned the port most in the last hour; of ports in metrics.ports." + NOT_PER_ADDRESS, [query(f"3600 * {most(10, regions, f'rate({region_packets}[1h] @ end())')}", "{{region}}")], axis=AN_HOUR, width=8),
        panel("xychart", "Packets against sources", "Each point is a moment: distinct sources in a minute, and packets in a minute. A worm moves both; one loud scanner only packets.", [
            query(minute, "sources"),
            query(f"60 * sum(rate(martlet_observed_packets_total{{{PORT}}}[2m]))", "packets"),
        ], width=8, options={"seriesMapping": "auto", "dims": {"frame": 0}, "series": [], "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False}, "tooltip": {"mode": "single"}}, custom={"show": "points", "pointSize": {"fixed": 4}},
            transformations=[{"id": "joinByField", "options": {"byField": "Time", "mode": "inner"}}, {"id": "filterFieldsByName", "options": {"include": {"names": ["sources", "packets"]}}}]),
    ]


def port():
    packets, sources = f"martlet:port_packets:rate1h{{{PORT}}}", f"martlet:port_sources:1h{{{PORT}}}"
    region_packets = f"martlet_observed_region_port_packets_total{{{PORT},region=~\"$region\"}}"
    regions = f"rate({region_packets}[1h])"
    return ["class", "group", "position", "sensor", "protocol", "port", "region"], [
        stat("Packets per address and day", "Packets to the port in the last hour, for each IPv4 address watched and as if for a day.", PER_ADDRESS_DAY.format(packets)),
        stat("Change on last week", "Packets in the last hour against the same hour a week ago.", change(packets, week_ago(packets)), "percentunit"),
        stat("Sources in an hour", "Distinct sources that scanned the port in the newest whole hour.", sources, links=[link("Is it a worm?", "martlet-worm", "&${protocol:queryparam}&${port:queryparam}")]),
        stat("Sources in a day", "Distinct sources that scanned the port in the newest whole UTC day.", f"martlet:port_sources:1d{{{PORT}}}"),
        lines("Packets", "Packets an hour to the port, a week before, and the mean of the same hour of the last four weeks." + NOT_PER_ADDRESS, [
            query(f"3600 * {packets}", "now"),
            query(f"3600 * {week_ago(packets)}", "a week ago"),
            query(f"3600 * {four_weeks_mean(packets)}", "four weeks' mean"),
        ], axis=AN_HOUR, overrides=[override("now", BLUE), override("a week ago", ORANGE), override("four weeks' mean", GREY)]),
        lines("Sources", "Distinct sources in an hour, and the mean of the same hour of the last four weeks." + NOT_PER_ADDRESS, [
            query(sources, "now"),
            query(four_weeks_mean(sources), "four weeks' mean"),
        ], overrides=[override("now", BLUE), override("four weeks' mean", GREY)]),
        lines("Packets by sensor", "Packets per address and day of each sensor, over the last hour; IPv4 addresses.", [query(f'86400 * sum by (class, sensor) (rate(martlet_observed_packets_total{{{PORT},sensor=~"$sensor"}}[1h])) / on (class, sensor) (rate(martlet_observed_sensor_ipv4_address_seconds_total{{{CLASS},sensor=~"$sensor"}}[1h]) > 0)', "{{sensor}}")], axis="per address and day", links=[link("Sensors", "martlet-sensors")]),
        lines("Packets by region", "Packets an hour from the ten regions that scan the port most now; of ports in metrics.ports." + NOT_PER_ADDRESS, [query(f"3600 * {most(10, regions, f'rate({region_packets}[1h] @ end())')}", "{{region}}")], axis=AN_HOUR),
        lines("Bytes a packet", "Mean IP length of packets to the port: a change of payload is a change of tool.", [query(f"sum(rate(martlet_observed_bytes_total{{{PORT}}}[1h])) / (sum(rate(martlet_observed_packets_total{{{PORT}}}[1h])) > 0)", "bytes a packet")], "decbytes"),
        table("Regions", "Packets to the port in the last hour by the region in which the source's address is registered; of ports in metrics.ports." + NOT_PER_ADDRESS, [instant(f"3600 * sum by (region) ({regions})")], names=["Packets"], key="region"),
    ]


def populations():
    marks = f"martlet:mark_packets:rate1h{{{CLASS}}}"
    scans = f"martlet:region_packets:rate1h{{{CLASS},region=~\"$region\"}}"
    backscatter = f'martlet_observed_region_packets_total{{{CLASS},kind="backscatter",region=~"$region"}}'
    return ["class", "region"], [
        lines("Packets by kind", "Packets an hour. Backscatter answers what somebody sent with our addresses as its source: its sources are victims." + NOT_PER_ADDRESS, [query(f"3600 * martlet:kind_packets:rate1h{{{CLASS}}}", "{{kind}}")], axis=AN_HOUR, fill=30, stack=True, overrides=[override("scan", BLUE), override("backscatter", ORANGE), override("other", GREEN)]),
        lines("Marks", "Packets an hour that look like those of a tool or bot. docs/fingerprints.md says how sure that is." + NOT_PER_ADDRESS, [query(f"3600 * {marks}", "{{mark}}")], axis=AN_HOUR, overrides=MARKS),
        lines("Known scanners", "Packets of scans an hour by the list of known scanners that their source is on; `none` are all others." + NOT_PER_ADDRESS, [query(f"3600 * martlet:scanner_packets:rate1h{{{CLASS}}}", "{{scanner}}")], axis=AN_HOUR, fill=30, stack=True),
        lines("Share of known scanners", "Share of scans whose source is on a list of known scanners, by packets.", [query(f'1 - sum(martlet:scanner_packets:rate1h{{{CLASS},scanner="none"}}) / (sum(martlet:scanner_packets:rate1h{{{CLASS}}}) > 0)', "known scanners")], "percentunit", defaults={"min": 0, "max": 1}),
        table("Marks", "Packets in the last hour, and their change on the same hour a week ago." + NOT_PER_ADDRESS, [
            instant(f"3600 * sum by (mark) ({marks})"),
            instant(change(f"sum by (mark) ({marks})", f"sum by (mark) ({week_ago(marks)})")),
        ], names=["Packets", "Change"], key="mark", units=[("Change", "percentunit")]),
        lines("Backscatter by region", "Packets an hour from the ten regions whose addresses answer most now: where those are who were attacked from spoofed addresses." + NOT_PER_ADDRESS, [query(f"3600 * {most(10, f'rate({backscatter}[1h])', f'rate({backscatter}[1h] @ end())')}", "{{region}}")], axis=AN_HOUR),
        lines("Kinds by protocol", "Packets an hour by kind and protocol, over ten minutes." + NOT_PER_ADDRESS, [query(f"3600 * sum by (kind, protocol) (rate(martlet_observed_kind_packets_total{{{CLASS}}}[10m]))", "{{kind}} {{protocol}}")], axis=AN_HOUR),
        lines("Scans by region", "Packets of scans an hour from the ten regions that scan most now." + NOT_PER_ADDRESS, [query(f"3600 * {most(10, scans, f'last_over_time({scans}[1h] @ end())')}", "{{region}}")], axis=AN_HOUR),
    ]


def sensors():
    of = f'{CLASS},sensor=~"$sensor"'
    states = [{"type": "value", "options": {"0": {"text": "reports", "color": BLUE, "index": 0}, "1": {"text": "silent", "color": VERMILION, "index": 1}}}]
    info = f"on (class, sensor) group_left ($label) martlet_observed_sensor_info{{{CLASS}}}"
    return ["class", "group", "position", "sensor", "label"], [
        panel("state-timeline", "Reporting", "Whether each sensor has reported within three windows and the grace. A sensor that is silent and a network that is quiet are two things: a quiet one reports.", [query(f"martlet_observed_sensor_silent{{{of}}}", "{{sensor}}")], "none", width=24,
            custom={"fillOpacity": 80, "lineWidth": 0}, options={"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "single"}}, defaults={"mappings": states}),
        table("The last hour", "Share of the last whole hour that was watched, frames that the kernel dropped in it, windows that are missing, and the clock's offset.", [
            instant(f"sum by (sensor) (martlet_observed_sensor_last_hour_coverage_ratio{{{of}}})"),
            instant(f"sum by (sensor) (martlet_observed_sensor_last_hour_kernel_drops{{{of}}})"),
            instant(f"sum by (sensor) (martlet_observed_sensor_last_hour_windows_missing{{{of}}})"),
            instant(f"sum by (sensor) (martlet_observed_sensor_clock_offset_seconds{{{of}}})"),
        ], names=["Coverage", "Drops", "Missing windows", "Clock"], key="sensor", units=[("Coverage", "percentunit"), ("Clock", "s")]),
        lines("Packets per address and day", "Packets of each sensor over the last hour, for each IPv4 address and as if for a day. Sensors of one network should be alike; one that differs is hit by something of its own, or is misplaced.", [query(f"86400 * sum by (class, sensor) (rate(martlet_observed_packets_total{{{of}}}[1h])) / on (class, sensor) (rate(martlet_observed_sensor_ipv4_address_seconds_total{{{of}}}[1h]) > 0)", "{{sensor}}")], axis="per address and day"),
        lines("By group", "Packets per address and day of the sensors with each value of the chosen label, over the last hour, pooled by address. What nobody has labelled has no name.", [query(f"86400 * sum by ($label) (rate(martlet_observed_packets_total{{{of}}}[1h]) * {info}) / (sum by ($label) (rate(martlet_observed_sensor_ipv4_address_seconds_total{{{of}}}[1h]) * {info}) > 0)", "{{$label}}")], axis="per address and day"),
        lines("Lag", "How many seconds ago a batch of the sensor arrived.", [query(f"martlet_observed_sensor_last_report_age_seconds{{{of}}}", "{{sensor}}")], "suffix:s", log=True),
        lines("Drops", "Frames an hour that kernels and interfaces dropped before sensors saw them.", [
            query(f"3600 * rate(martlet_observed_sensor_kernel_drops_total{{{of}}}[15m])", "{{sensor}} kernel"),
            query(f"3600 * rate(martlet_observed_sensor_interface_drops_total{{{of}}}[15m])", "{{sensor}} interface"),
        ], axis="frames an hour"),
        lines("Addresses watched", "IPv4 addresses that each sensor watched, on average over fifteen minutes.", [query(f"rate(martlet_observed_sensor_ipv4_address_seconds_total{{{of}}}[15m])", "{{sensor}}")]),
        lines("Lost", "Packets an hour in batches that sensors said they lost: by the spool's quota, or for want of disk.", [query('3600 * rate(martlet_observed_sensor_lost_packets_total{sensor=~"$sensor"}[15m])', "{{sensor}}")], axis=AN_HOUR),
        lines("Spools", "Batches that wait for the collector, by sensor that Prometheus scrapes itself.", [query("martlet_sensor_spool_batches", "{{instance}}")]),
        lines("Captured", "Frames an hour that sensors take, and those that are not counted, by sensor that Prometheus scrapes itself.", [
            query("3600 * rate(martlet_sensor_capture_frames_total[5m])", "{{instance}} frames"),
            query("3600 * sum by (instance) (rate(martlet_sensor_capture_rejected_total[5m]))", "{{instance}} not counted"),
        ], axis="frames an hour"),
    ]


def collector():
    def quantiles(name):
        buckets = f"sum by (le) (rate(martlet_collector_{name}_seconds_bucket[5m]))"
        return [query(f"histogram_quantile(0.5, {buckets})", "median"), query(f"histogram_quantile(0.99, {buckets})", "99 %")]

    return [], [
        stat("Rows a second", "Count rows that are counted, over five minutes.", "sum(rate(martlet_collector_aggregate_rows_total[5m]))"),
        stat("Sensors connected", "Connections open.", "sum(martlet_collector_ingest_connections)", links=[link("Sensors", "martlet-sensors")]),
        stat("Free disk", "Free on the disk of the data directory.", "min(martlet_collector_store_free_bytes)", "decbytes"),
        stat("Stalls", "Stages that wait for the disk; they go on by themselves.", "sum(martlet_collector_ingest_stalled) + sum(martlet_collector_store_stalled) + sum(martlet_collector_archive_stalled) + sum(martlet_collector_history_stalled)", thresholds=[{"color": GREEN, "value": None}, {"color": VERMILION, "value": 1}]),
        lines("Batches", "Batches a second by what became of them.", [query("sum by (outcome) (rate(martlet_collector_ingest_batches_total[5m]))", "{{outcome}}")], "ops"),
        lines("Bytes in", "Bytes of frames a second.", [query("sum(rate(martlet_collector_ingest_bytes_total[5m]))", "received")], "Bps"),
        lines("Acknowledgement", "From a batch's frame read whole to its Ack written.", quantiles("ingest_acknowledgement"), "s", log=True),
        lines("Freshness", "From the end of a window to the first view with its batch; of live real traffic.", quantiles("freshness"), "s", log=True),
        lines("Syncs and commits", "How long a sync of the journal and a commit to the store take, 99 %.", [
            query("histogram_quantile(0.99, sum by (le) (rate(martlet_collector_journal_sync_seconds_bucket[5m])))", "sync"),
            query("histogram_quantile(0.99, sum by (le) (rate(martlet_collector_store_commit_seconds_bucket[5m])))", "commit"),
        ], "s", log=True),
        lines("Queues", "Jobs that wait for a worker, and records that wait for a commit, or for the archive.", [
            query("sum(martlet_collector_aggregate_queue_jobs)", "jobs"),
            query("sum(martlet_collector_journal_uncommitted_records)", "not committed"),
            query("sum(martlet_collector_archive_pending_records)", "not archived"),
        ]),
        lines("Memory", "Memory of the recent past in memory, and its limit.", [query("sum(martlet_collector_live_memory_bytes)", "used"), query("sum(martlet_collector_live_memory_limit_bytes)", "limit")], "bytes"),
        lines("Disk", "The journal, the archive, and what is free.", [query("sum(martlet_collector_journal_bytes)", "journal"), query("sum(martlet_collector_archive_bytes)", "archive"), query("min(martlet_collector_store_free_bytes)", "free")], "decbytes", log=True),
        lines("History", "Days whose archive has changed since they were made, and days made an hour.", [query("sum(martlet_collector_history_pending_rollups)", "to be made"), query("3600 * sum(rate(martlet_collector_history_rollups_total[1h]))", "made an hour")]),
        lines("Refused", "Connections, frames and requests a second that broke a rule, by reason; TLS handshakes that failed.", [
            query("sum by (reason) (rate(martlet_collector_ingest_violations_total[5m]))", "{{reason}}"),
            query("sum by (reason) (rate(martlet_collector_ingest_frame_errors_total[5m]))", "frame: {{reason}}"),
            query("sum by (reason) (rate(martlet_collector_ingest_tls_failures_total[5m]))", "TLS: {{reason}}"),
            query("sum by (reason) (rate(martlet_collector_ingest_connections_refused_total[5m]))", "connection: {{reason}}"),
        ], "ops"),
    ]


def laid_out(panels):
    """Places panels from left to right, as many as fit."""
    x = y = height = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place |= {"x": x, "y": y}
        one["id"] = number
        x, height = x + place["w"], max(height, place["h"])
    return panels


def dashboard(uid, title, variables, panels):
    datasource = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "current": {"text": "default", "value": "default"}}
    others = [link(name.split(" / ")[1], other) for other, name in DASHBOARDS if other != uid]
    # Where a class is chosen, what happened in it.
    chosen = "{" + CLASS + "}" if "class" in variables else ""
    # What the collector's detector called: the value is the time, so a mark stands where the event was detected, not where it was
    # scraped.
    events = {
        "name": "Events",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": VERMILION,
        "expr": f"martlet_observed_event_detected_timestamp_seconds{chosen} * 1000",
        "useValueForTime": True,
        "titleFormat": "{{type}}",
        "textFormat": "{{protocol}}/{{port}} {{mark}} ({{class}})",
        "tagKeys": "severity",
        "step": "60s",
    }
    alerts = {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": VERMILION,
        "expr": 'ALERTS{alertstate="firing",alertname=~"MartletSources.*|MartletFirstSeenPort"' + ("," + CLASS if "class" in variables else "") + "}",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{protocol}}/{{port}} ({{class}})",
        "tagKeys": "severity",
        "step": "60s",
    }
    return {
        "uid": uid,
        "title": title,
        "description": "Part of Martlet; written by dashboards/grafana/generate.py.",
        "tags": ["martlet"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": "now-6h" if uid in ("martlet-worm", "martlet-collector", "martlet-sensors") else "now-7d", "to": "now"},
        "links": others,
        "annotations": {"list": [events, alerts]},
        "templating": {"list": [datasource] + [VARIABLES[name] for name in variables]},
        "panels": laid_out(panels),
    }


def main():
    made = [observatory, worm, port, populations, sensors, collector]
    stale = False
    for (uid, title), make in zip(DASHBOARDS, made):
        text = json.dumps(dashboard(uid, title, *make()), indent=2, ensure_ascii=False) + "\n"
        path = HERE / f"{uid}.json"
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_text() != text:
                print(f"{path} is old: run dashboards/grafana/generate.py", file=sys.stderr)
                stale = True
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
