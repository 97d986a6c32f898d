// A day, a week or a quarter out of history, beside the one before: made of days that the collector keeps for years.

import { ask, csvOf, Refused } from "./ask.js";
import { chart, spark } from "./chart.js";
import { bad, card, distinct, download, h, h2, mono, para, pick, soft, strong, sub, table, tag } from "./dom.js";
import { KINDS, kindCell, kindText, markText, noticeList, portCell, regionCell, SHORT_LIST } from "./live.js";
import { portKey } from "./outlook.js";
import { dateOf, link, periodOf, portLink } from "./state.js";
import { bytes, date, DAY, error, figure, HOUR, instant, isNumber, minute, NONE, num, percent, rough, serviceName, t, THIN, times, w } from "./text.js";

const QUARTER_HOUR = 900, HEAVY_SECONDS = 60, LONG_LIST = 100, EARLIER_LIST = 300;
const STEPS = { day: QUARTER_HOUR, week: HOUR, quarter: DAY };
/** A port moved if it came to this many times as much, or as little, and has so many packets in either time. */
const MOVED = { factor: 2, packets: 50 }, MOST_MOVED = 10;

/** Up to when the newest day is known: an hour is in history when it is over and archived. */
async function knownUntil(name, newest, signal) {
	const from = Math.floor((newest - 1) / DAY) * DAY;
	const { series, starts } = await ask("history/series", { class: name, from, to: from + DAY, step: QUARTER_HOUR }, signal);
	const last = series.length ? series[0].packets.findLastIndex((packets) => packets > 0) : -1;
	return last < 0 ? from : instant(starts[last]) + QUARTER_HOUR;
}
/** Fills in what a period shows. */
export async function loadHistory(next, before, signal) {
	const { info, status } = next, name = next.class;
	next.noHistory = !status.days;
	if (!info || next.noHistory) return;
	next.key = [name, next.range, next.from, next.port && portKey(next.port)].join("\n");
	if (before && before.heavy && before.key === next.key && next.asked - before.heavyAt < HEAVY_SECONDS * 1000) {
		return void Object.assign(next, pick(before, "heavy heavyAt period"));
	}
	// Windows of the future, of wrong clocks, are not the newest that there is to show.
	const newest = name === "real" ? next.now : Math.min(instant(info.last_window_end), next.now);
	next.period = periodOf(next, await knownUntil(name, newest, signal));
	const load = next.port ? loadPort : loadOverview;
	next.heavy = await load(next, signal);
	next.heavyAt = performance.now();
}
const timeOf = (period) => pick(period, "from to");
async function loadOverview({ class: name, range, period }, signal) {
	const now = { class: name, ...timeOf(period) }, earlier = { class: name, ...timeOf(period.previous) }, step = STEPS[range];
	// One after the other: the collector computes only a few at a time, and others look too.
	return {
		kinds: await ask("history/series", { ...now, group_by: "kind", step }, signal),
		distinct: range === "quarter" ? await ask("history/series", { ...now, step, sources: "yes" }, signal) : null,
		before: await ask("history/series", { ...earlier, step }, signal),
		ports: await ask("history/ports", { ...now, limit: LONG_LIST }, signal),
		portsBefore: await ask("history/ports", { ...earlier, limit: EARLIER_LIST }, signal),
		portSeries: await ask("history/series", { ...now, group_by: "port", limit: SHORT_LIST, step }, signal),
		regions: await ask("history/regions", { ...now, limit: SHORT_LIST }, signal),
		regionsBefore: await ask("history/regions", { ...earlier, limit: EARLIER_LIST }, signal),
		marks: await ask("history/marks", { ...now, limit: SHORT_LIST }, signal),
		scanners: await ask("history/scanners", { ...now, limit: SHORT_LIST }, signal),
		networks: await ask("history/networks", { ...now, limit: SHORT_LIST }, signal),
		fresh: await ask("history/first-seen", { ...now, kind: "scan", limit: SHORT_LIST }, signal),
		sensors: await ask("history/sensors", { ...now, limit: 1000 }, signal),
		exposure: await ask("history/exposure", { ...now, limit: 1000 }, signal),
	};
}
async function loadPort({ class: name, range, period, port }, signal) {
	const one = { protocol: port.protocol, port: port.port, ip: port.ip }, step = STEPS[range];
	const now = { class: name, ...timeOf(period), ...one }, earlier = { class: name, ...timeOf(period.previous), ...one };
	return {
		port: await ask("history/port", { ...now, step, sources: range === "quarter" ? "yes" : null, limit: SHORT_LIST }, signal),
		before: await ask("history/port", { ...earlier, step, limit: EARLIER_LIST }, signal),
		regionSeries: await ask("history/series", { ...now, group_by: "region", step, limit: SHORT_LIST }, signal),
		sources: await ask("history/port-sources", { ...now, limit: SHORT_LIST }, signal).catch(refusal),
	};
}
/** Of much-scanned ports a long time is too much for one answer: the rest of the page is shown all the same, and why this is not. */
function refusal(error) {
	if (error instanceof Refused && error.status === 400) return { refused: error.message };
	throw error;
}

// ---- parts
export const periodText = ({ range, period }) => range === "day" ? date(period.from) : date(period.from) + " – " + date(period.end - 1);
/** Whose figures may be compared: of one IP version for each address and day watched, if that is known of both times. */
function compare(now, before) {
	const rate = (row) => row.packets_per_address_day ?? row.packets_per_prefix_day, both = isNumber(rate(now)) && isNumber(rate(before));
	return both ? [rate(now), rate(before)] : [now.packets, before.packets];
}
/** What became of something: the words, and the factor if there is one. */
export function change(now, before, isListedWhole, fewest) {
	if (!before) return isListedWhole || !fewest ? { text: t("new"), factor: Infinity } : { text: "≥" + THIN + times(now.packets, fewest), factor: now.packets / fewest };
	const [a, b] = compare(now, before);
	return b > 0 ? { text: times(a, b), factor: a / b } : a > 0 ? { text: t("new"), factor: Infinity } : { text: NONE, factor: 1 };
}
const arrow = ({ factor }) => factor >= MOVED.factor ? "▲ " : factor <= 1 / MOVED.factor ? "▼ " : "";
export const changeCell = (found) => arrow(found) ? tag(found.factor > 1 ? "up" : "", arrow(found) + found.text) : soft(found.text);
export function historyNotices(view, basis) {
	const list = [], add = (kind, text) => list.push(h("li", { testid: "notice", data: { kind } }, text));
	// The day that runs is made when its first hour is archived; days to come are nothing to miss.
	const missing = basis.missing_days.filter((range) => instant(range.from) < view.period.until - HOUR);
	const before = view.heavy.before.basis.missing_days.reduce((sum, range) => sum + (instant(range.to) - instant(range.from)) / DAY, 0);
	if (before > 0) add("before", t("Of the time before, nothing is known of {n} days: compare packets per address and day.", { n: num(before) }));
	if (missing.length) add("missing", t("Days of which nothing is known: {days}.", { days: missing.map((range) => range.to === dateOf(instant(range.from) + DAY) ? range.from : range.from + " – " + dateOf(instant(range.to) - DAY)).join(", ") }));
	if (basis.excluded_packets > 0) add("excluded", t("{n} packets were excluded.", { n: num(basis.excluded_packets) }));
	if (basis.coarse_packets > 0) add("coarse", t("Of {n} packets only the network of the source is left: unique sources count each network once.", { n: num(basis.coarse_packets) }));
	if (basis.lost_windows > 0 || basis.kernel_drops + basis.interface_drops > 0) add("lost", t("Lost: {n} packets in {m} windows; dropped: {k} frames.", { n: num(basis.lost_packets), m: num(basis.lost_windows), k: num(basis.kernel_drops + basis.interface_drops) }));
	return noticeList(list);
}
export function periodLine(view, basis) {
	const { period } = view, { week } = basis;
	return h("p", { class: "range small" }, strong(periodText(view) + " UTC"), period.running && t(", known up to {time}", { time: minute(period.until) }),
		t("; compared with {from} – {to}", { from: minute(period.previous.from), to: minute(period.previous.to) }),
		isNumber(basis.watched_share) && basis.sensor_days > 0 && t("; sensors: {n}, which watched {share} of the time", { n: num(basis.sensors), share: percent(basis.watched_share, 1) }),
		week && week.state === "closed" && t("; week closed, revision {n}", { n: week.revision }), week && week.state === "open" && t("; week open until {time} UTC", { time: minute(instant(week.closes)) }), ".");
}
const tile = (name, testid, data, value, note) => h("div", { class: "card" }, h("dt", null, name), h("dd", { testid, data, class: "v" }, value), h("dd", { class: "s" }, note));
/** Totals of both times, and for each address and day where that is known. Of both IP versions together there is no rate. */
function tiles(view) {
	const { ports, portsBefore, regions, marks } = view.heavy, { totals, basis } = ports, past = portsBefore.totals, days = basis.ipv4_address_days;
	const versus = (now, before) => isNumber(now) && before > 0 ? t("{times} the time before, {n}", { times: times(now, before), n: num(before) }) : t("nothing to compare with");
	return h("dl", { class: "tiles" },
		tile(t("Packets"), "total-packets", { value: totals.packets }, num(totals.packets), versus(totals.packets, past.packets)),
		tile(t("Unique sources"), "total-sources", { value: totals.sources ? totals.sources.count : "" }, rough(totals.sources), totals.sources ? totals.sources.exact ? t("exact") : t("estimate, {error} standard error", { error: error(totals.sources) }) : t("not known of part of a day")),
		tile(t("Bytes"), "total-bytes", { value: totals.bytes ?? "" }, bytes(totals.bytes), t("IP total lengths")),
		tile(t("Exposure"), "address-days", { value: days ?? "" }, isNumber(days) ? figure(days) : NONE, isNumber(days) ? t("address-days of IPv4, of {n} sensors", { n: num(basis.sensors) }) : t("exposure not known")),
		tile(t("Regions"), "regions", { value: regions.groups.length + regions.groups_left_out }, num(regions.groups.length + regions.groups_left_out), t("where sources are registered")),
		tile(t("Marks"), "marks", { value: marks.groups.length }, num(marks.groups.length), t("of tools, seen at all")));
}
/** Steps of history as a chart has them, in the step of the range. */
export function historyChart(view, id, title, parts, { previous, sources, note, csv, log, extra }) {
	const { period, range } = view, step = STEPS[range];
	return chart(id, title, note, {
		start: period.from, step, count: Math.round((period.end - period.from) / step), begins: period.from, ends: period.until, complete: Math.floor((period.until - period.from) / step), gap: t("not known yet"), log,
		parts: parts.map((part) => ({ ...part, values: filled(part.values, (period.end - period.from) / step) })), previous, previousLabel: t("time before"), sources: sources && filled(sources, (period.end - period.from) / step, null),
	}, [extra, csv && [" ", download(csv, title)]]);
}
const filled = (values, count, rest = 0) => [...values, ...Array(Math.max(0, Math.round(count) - values.length)).fill(rest)];
function overviewChart(view) {
	const { kinds, before, distinct: sources } = view.heavy, none = kinds.starts.map(() => 0), { class: name, period, range } = view;
	return historyChart(view, "period", t("Packets by kind"), KINDS.map((key) => ({ key, label: kindText(key), values: (kinds.series.find((series) => series.name === key) || { packets: none }).packets })), {
		previous: before.series.length ? before.series[0].packets : null, sources: sources && sources.series.length ? sources.series[0].sources : null, note: t("counts, not per address; dashed: the time before"),
		csv: csvOf("history/series", { class: name, ...timeOf(period), group_by: "kind", step: STEPS[range] }),
	});
}
/** Whether anything is known of the time before: else everything would be new. */
const hasPast = (view) => view.heavy.portsBefore.totals.packets > 0;
/** Ports of both times, joined. */
function portChanges(view) {
	const { ports, portsBefore } = view.heavy;
	if (!hasPast(view)) return ports.ports.map((port) => ({ port, before: undefined, text: NONE, factor: 1 }));
	const past = new Map(portsBefore.ports.map((port) => [portKey(port), port])), whole = !portsBefore.next_cursor;
	const fewest = portsBefore.ports.length ? portsBefore.ports[portsBefore.ports.length - 1].packets : 0;
	return ports.ports.map((port) => ({ port, before: past.get(portKey(port)), ...change(port, past.get(portKey(port)), whole, fewest) }));
}
/** What moved, so that it is seen in ten seconds; the same words as in the table below. */
function movedCard(view, changes) {
	const { ports, portsBefore } = view.heavy, listed = new Map(ports.ports.map((port) => [portKey(port), port])), least = ports.next_cursor ? ports.ports[ports.ports.length - 1].packets : 0;
	const enough = (packets) => packets >= MOVED.packets, up = changes.filter((found) => enough(found.port.packets) && found.factor >= MOVED.factor);
	up.sort((a, b) => b.port.packets - (b.before ? b.before.packets : 0) - a.port.packets + (a.before ? a.before.packets : 0));
	// Of what is not listed any more only so much is known that it has less than the last one that is.
	const down = portsBefore.ports.filter((before) => enough(before.packets)).map((before) => ({ port: before, now: listed.get(portKey(before)), before })).filter(({ now, before }) => now ? compare(now, before)[0] * MOVED.factor <= compare(now, before)[1] : least * MOVED.factor <= before.packets);
	const name = (port) => [h("a", { href: portLink(port) }, strong(serviceName(port))), " ", port.service];
	const words = (now, before) => soft(" — " + t("{n} packets, {m} before", { n: now, m: before }));
	const state = up.length ? "rising" : "ok";
	if (!hasPast(view)) return h("section", { testid: "outlook", data: { state: "short" }, class: "card outlook" }, h2(t("Nothing to compare with")), " ", soft(t("Of the time before no packets are known.")));
	return h("section", { testid: "outlook", data: { state }, class: "card outlook" }, h2(t(up.length ? w("More than before") : w("Nothing rose")), " "),
		soft(t("at least {n} times as many packets as in the time before; per address and day where that is known. ", { n: MOVED.factor })),
		up.length > 0 && h("ul", null, up.slice(0, MOST_MOVED).map((found) => h("li", { testid: "moved-row", data: { ...pick(found.port, "ip protocol port"), direction: "up" } }, tag("up", "▲ " + found.text), " ", name(found.port), words(num(found.port.packets), found.before ? num(found.before.packets) : NONE)))),
		down.length > 0 && [h("p", { class: "more" }, strong(t("Less than before"))), h("ul", null, down.slice(0, MOST_MOVED / 2).map(({ port, now, before }) => h("li", { testid: "moved-row", data: { ...pick(port, "ip protocol port"), direction: "down" } },
			tag("", "▼ " + (now ? change(now, before).text : t("gone"))), " ", name(port), words(now ? num(now.packets) : t("not listed"), num(before.packets)))))]);
}
function portsCard(view, changes, long) {
	const { ports, portSeries } = view.heavy, total = ports.totals.packets, series = new Map(portSeries.series.map((one) => [portKey(one), one.packets])), { period, range } = view, step = STEPS[range];
	const list = changes.slice(0, long ? LONG_LIST : SHORT_LIST), end = Math.floor((period.until - period.from) / step);
	const rows = list.map((found) => {
		const { port, before } = found, values = series.get(portKey(port));
		return {
			testid: "port-row", data: { ...pick(port, "ip protocol port packets"), sources: port.sources ? port.sources.count : "", before: before ? before.packets : "" },
			cells: [portCell(port), num(port.packets), percent(port.packets, total), distinct(port.sources), num(port.daily_sources), figure(port.packets_per_address_day ?? port.packets_per_prefix_day), kindCell(port.kinds, port.packets), changeCell(found), values ? spark({ values, start: period.from, step, begin: 0, end: Math.min(end, values.length) }) : NONE],
		};
	});
	return card(table(t("Ports"), t("daily sources: sum of each day's; per address (IPv6: /64) and day watched"), [[t("Port")], [t("Packets"), "n"], [t("Share"), "n"], [t("Unique sources"), "n"], [t("Daily sources"), "n"], [t("Packets a day"), "n"], [t("Kind"), "keep"], [t("Time before"), "n"], [t("Over time")]], rows, csvOf("history/ports", { class: view.class, ...timeOf(period), limit: 1000 })),
		ports.ports.length > SHORT_LIST && h("button", { type: "button", class: "more", "data-act": "ports", "aria-expanded": long }, t("Show {n}", { n: long ? SHORT_LIST : ports.ports.length })));
}
const groupColumns = (name) => [[name], [t("Packets"), "n"], [t("Share"), "n"], [t("Unique sources"), "n"]];
const groupCells = (row, total) => [num(row.packets), percent(row.packets, total), distinct(row.sources)];
export function regionsCard(regions, before, total, totalBefore, csv) {
	const past = new Map((before || []).map((group) => [group.name, group.packets]));
	return card(table(t("Source regions"), t("where addresses are registered or said to be used"), [...groupColumns(t("Region")), [t("Share before"), "n"]], regions.map((row) => ({
		testid: "region-row", data: { region: row.name, packets: row.packets }, cells: [row.name === "ZZ" ? soft(t("unknown")) : [regionCell(row.name)], ...groupCells(row, total), totalBefore > 0 ? percent(past.get(row.name) || 0, totalBefore) : NONE] })), csv));
}
export const marksTable = (marks, total, csv) => card(table(t("Marks"), t("tools and oddities; a packet may carry several"), groupColumns(t("Mark")), marks.map((row) => ({
	testid: "mark-row", data: { mark: row.name, packets: row.packets }, cells: [[row.name.replaceAll("_", " "), markText(row.name) && sub(markText(row.name))], ...groupCells(row, total)] })), csv), !marks.length && para(t("None.")));
function groupsCards(view) {
	const { regions, regionsBefore, marks, scanners, networks, fresh, ports } = view.heavy, total = ports.totals.packets, question = { class: view.class, ...timeOf(view.period), limit: 1000 };
	return [h("div", { class: "cols two" },
		regionsCard(regions.groups, regionsBefore.groups, total, regionsBefore.totals.packets, csvOf("history/regions", question)),
		h("div", { class: "stack" }, marksTable(marks.groups, total, csvOf("history/marks", question)),
			card(table(t("Known scanners"), t("by the list that their sources are on"), groupColumns(t("List")), scanners.groups.map((row) => ({ testid: "scanner-row", data: { scanner: row.name, packets: row.packets }, cells: [row.name, ...groupCells(row, total)] })), csvOf("history/scanners", question)), !scanners.groups.length && para(t("None.")))),
	), h("div", { class: "cols two" },
		card(table(t("Networks"), t("autonomous systems of sources"), groupColumns(t("Network")), networks.networks.map((row) => ({
			testid: "as-row", data: { asn: row.asn, packets: row.packets }, cells: [[row.asn === null ? soft(row.organisation ? t("all others") : t("unknown")) : mono("AS" + row.asn), row.asn !== null && row.organisation && sub(row.organisation)], ...groupCells(row, total)] })), csvOf("history/networks", question))),
		card(table(t("Seen for the first time"), t("scans, the newest day first; {n} in all", { n: num(fresh.services.length + fresh.services_left_out) }), [[t("Service")], [t("Day, UTC")]], fresh.services.map((row) => ({
			testid: "fresh-row", data: pick(row, "ip protocol port date"), cells: [row.port === null ? [mono(row.protocol_name), row.icmp_type !== null && " " + t("type {type} code {code}", { type: row.icmp_type, code: row.icmp_code })] : portCell(row), row.date] })), csvOf("history/first-seen", { ...question, kind: "scan" }))))];
}
function sensorsTable(view) {
	const { sensors, exposure } = view.heavy, seen = new Map(sensors.groups.map((group) => [group.name, group])), length = (view.period.until - view.period.from) / DAY;
	return card(table(t("Sensors"), t("what each watched and saw in this time"), [[t("Sensor")], [t("Watched"), "n"], [t("Address-days"), "n"], [t("Packets"), "n"], [t("Unique sources"), "n"], [t("Packets a day"), "n"], [t("Dropped"), "n"], [t("Lost"), "n"]], exposure.exposures.map((row) => {
		const own = seen.get(row.sensor), drops = row.kernel_drops + row.interface_drops, days = row.ipv4_address_days;
		return {
			testid: "sensor-row", data: { sensor: row.sensor, packets: own ? own.packets : 0 },
			cells: [row.sensor, row.sensor_days > 0 ? [t("{n} days", { n: figure(row.sensor_days) }), sub(percent(row.sensor_days, length))] : t("unknown"), isNumber(days) ? figure(days) : NONE, num(own ? own.packets : 0), own ? distinct(own.sources) : NONE,
				days > 0 && own ? [figure(own.packets / days), sub(t("/ address"))] : NONE, bad(drops, t("kernel {k}, interface {i}", { k: num(row.kernel_drops), i: num(row.interface_drops) })), bad(row.lost_windows, t("{n} packets", { n: num(row.lost_packets) }), row.lost_packets)],
		};
	}), csvOf("history/exposure", { class: view.class, ...timeOf(view.period), limit: 1000 })));
}
/** What a page without history says. */
export const withoutHistory = () => h("section", { testid: "no-history", class: "card empty" }, h2(t("No history")), para(t("This collector keeps no archive ({setting}), so there are no days, weeks or quarters to show. ", { setting: "archive.enabled" }), h("a", { href: link({ range: "live" }) }, t("Show live"))));
/** The overview of a period. */
export function historyView(view, shown) {
	const { ports } = view.heavy, changes = portChanges(view);
	return [historyNotices(view, ports.basis), periodLine(view, ports.basis), movedCard(view, changes), tiles(view), h("div", { class: "cols" }, overviewChart(view)),
		h("div", { class: "cols" }, portsCard(view, changes, shown.ports)), groupsCards(view), h("div", { class: "cols" }, sensorsTable(view))];
}
