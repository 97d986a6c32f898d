// A day, a week or a quarter out of history, beside the one before: made of days that the collector keeps for years.

import { ask, csvOf, Refused } from "./ask.js";
import { chart, spark } from "./chart.js";
import { bad, card, counted, countedCells, distinct, download, h, h2, mono, para, pick, soft, strong, sub, table, tag } from "./dom.js";
import { KINDS, kindCell, kindText, markText, noticeList, portCell, regionCell, SHORT_LIST } from "./live.js";
import { portKey } from "./outlook.js";
import { link, periodOf, portLink } from "./state.js";
import { bytes, date, DAY, error, figure, HOUR, instant, isNumber, listed, minute, NONE, num, percent, rough, serviceName, t, THIN, times, w } from "./text.js";

const QUARTER_HOUR = 900, ARCHIVED_SECONDS = 180, HEAVY_SECONDS = 60, LONG_LIST = 100, EARLIER_LIST = 300;
export const STEPS = { day: QUARTER_HOUR, week: HOUR, quarter: DAY };
/** A port moved if it came to this many times as much, or as little, and has so many packets in either time. */
const MOVED = { factor: 2, packets: 50 }, MOST_MOVED = 10;

/**
 * Up to when history is known. Of real traffic: whole hours, which are archived two minutes after their end; while the day is made again with
 * the newest one, only up to the one before. Exposure is known up to now, so that packets must not be divided by more of it. What was
 * imported or exercised ends with its last packet.
 */
async function knownUntil({ class: name, now, info }, signal) {
	const newest = name === "real" ? Math.floor((now - ARCHIVED_SECONDS) / HOUR) * HOUR : Math.min(instant(info.last_window_end), now), from = Math.floor((newest - 1) / DAY) * DAY;
	const { series, starts, basis } = await ask("history/series", { class: name, from, to: from + DAY, step: QUARTER_HOUR }, signal);
	if (name === "real") return basis.pending_days.includes(date(from)) ? newest - HOUR : newest;
	const last = series.length ? series[0].packets.findLastIndex((packets) => packets > 0) : -1;
	return last < 0 ? from : Math.min(instant(starts[last]) + QUARTER_HOUR, Math.ceil(newest / QUARTER_HOUR) * QUARTER_HOUR);
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
	next.period = periodOf(next, await knownUntil(next, signal));
	next.nothingYet = next.period.until <= next.period.from;
	if (next.nothingYet) return void (next.heavy = null);
	const load = next.port ? loadPort : loadOverview;
	next.heavy = await load(next, signal);
	next.heavyAt = performance.now();
}
/** What is known of a period, as a question. */
const timeOf = ({ from, until }) => ({ from, to: until });
/** Fills in the distinct sources of a list, which are known of whole days only: of a period that runs they are of a little more. */
function withSources(answer, whole, listOf, keyOf) {
	const known = new Map(listOf(whole).map((row) => [keyOf(row), row]));
	for (const row of listOf(answer)) {
		const { sources = null, daily_sources: daily = null } = known.get(keyOf(row)) || {};
		Object.assign(row, { sources, daily_sources: daily });
	}
	Object.assign(answer.totals, { sources: whole.totals.sources, bytes: whole.totals.bytes });
	return answer;
}
async function loadOverview({ class: name, range, period }, signal) {
	const now = { class: name, ...timeOf(period) }, whole = { ...now, to: period.whole }, earlier = { class: name, ...period.previous }, step = STEPS[range], runs = period.until < period.whole;
	const listed = async (path, limit, listOf, keyOf) => {
		const answer = await ask("history/" + path, { ...now, limit }, signal);
		return runs ? withSources(answer, await ask("history/" + path, { ...whole, limit: 2 * limit }, signal), listOf, keyOf) : answer;
	};
	const groups = (path) => listed(path, SHORT_LIST, (answer) => answer.groups, (group) => group.name);
	// One after the other: the collector computes only a few at a time, and others look too.
	return {
		kinds: await ask("history/series", { ...now, group_by: "kind", step }, signal),
		distinct: range === "quarter" ? await ask("history/series", { ...whole, step, sources: "yes" }, signal) : null,
		before: await ask("history/series", { ...earlier, step }, signal),
		ports: await listed("ports", LONG_LIST, (answer) => answer.ports, portKey),
		portsBefore: await ask("history/ports", { ...earlier, limit: EARLIER_LIST }, signal),
		portSeries: await ask("history/series", { ...now, group_by: "port", limit: SHORT_LIST, step }, signal),
		regions: await groups("regions"),
		regionsBefore: await ask("history/regions", { ...earlier, limit: EARLIER_LIST }, signal),
		marks: await groups("marks"),
		scanners: await groups("scanners"),
		// These are of whole days.
		networks: await ask("history/networks", { ...whole, limit: SHORT_LIST }, signal),
		fresh: await ask("history/first-seen", { ...whole, kind: "scan", limit: SHORT_LIST }, signal),
		// Of one IP version, so that it can be divided by what was watched of it.
		sensors: await ask("history/sensors", { ...now, ip: 4, limit: 1000 }, signal),
		exposure: await ask("history/exposure", { ...now, limit: 1000 }, signal),
	};
}
async function loadPort({ class: name, range, period, port }, signal) {
	const one = { protocol: port.protocol, port: port.port, ip: port.ip }, step = STEPS[range], runs = period.until < period.whole;
	const now = { class: name, ...timeOf(period), ...one }, whole = { ...now, to: period.whole }, earlier = { class: name, ...period.previous, ...one };
	const answer = await ask("history/port", { ...now, step, limit: SHORT_LIST }, signal);
	const byDay = range === "quarter", days = runs || byDay ? await ask("history/port", { ...whole, step, sources: byDay ? "yes" : null, limit: 1000 }, signal) : answer;
	if (runs) {
		withSources(answer, days, ({ regions }) => regions, (region) => region.name);
		withSources(answer, days, ({ marks }) => marks, (mark) => mark.name);
		answer.totals.daily_sources = days.totals.daily_sources;
	}
	return {
		port: { ...answer, series: byDay ? days.series : answer.series },
		before: await ask("history/port", { ...earlier, step, limit: EARLIER_LIST }, signal),
		regionSeries: await ask("history/series", { ...now, group_by: "region", step, limit: SHORT_LIST }, signal),
		sources: await ask("history/port-sources", { ...now, kind: "scan", limit: SHORT_LIST }, signal).catch(refusal),
	};
}
/** Of much-scanned ports a long time is too much for one answer: the rest of the page is shown all the same, and why this is not. */
function refusal(error) {
	if (error instanceof Refused && error.status === 400) return { refused: error.message };
	throw error;
}

// ---- parts
export const periodText = ({ range, period }) => range === "day" ? date(period.from) : date(period.from) + " – " + date(period.end - 1);
const rateOf = (row) => row.packets_per_address_day ?? row.packets_per_prefix_day;
/** What can be compared of two times: packets for each address (or /64) and day watched, if that is known of both, else packets. */
function compare(now, before) {
	const isRate = isNumber(rateOf(now)) && isNumber(rateOf(before));
	return isRate ? { now: rateOf(now), before: rateOf(before), isRate } : { now: now.packets, before: before.packets, isRate };
}
export const compared = (now, before, ip) => !compare(now, before).isRate ? t("counts, not per address") : ip === 6 ? t("per /64 and day") : t("per address and day");
/** What became of something: the words, and the factor if there is one. `last` is the least that is listed of the time before, if there is more. */
export function change(now, before, last) {
	if (!before && last) { const at = compare(now, last); return { text: "≥" + THIN + times(at.now, at.before), factor: at.now / at.before }; }
	const at = before ? compare(now, before) : { now: now.packets, before: 0 };
	return at.before > 0 ? { text: times(at.now, at.before), factor: at.now / at.before } : at.now > 0 ? { text: t("new"), factor: Infinity } : { text: NONE, factor: 1 };
}
const arrow = ({ factor }) => factor >= MOVED.factor ? "▲ " : factor <= 1 / MOVED.factor ? "▼ " : "";
export const changeCell = (found) => arrow(found) ? tag(found.factor > 1 ? "up" : "", arrow(found) + found.text) : soft(found.text);
export function historyNotices(view, basis) {
	const list = [], add = (kind, text) => list.push(h("li", { testid: "notice", data: { kind } }, text));
	// The day that runs is made when its first hour is archived; days to come are nothing to miss.
	const missing = basis.missing_days.filter((range) => instant(range.from) < view.period.until);
	const before = view.heavy.before.basis.missing_days.reduce((sum, range) => sum + (instant(range.to) - instant(range.from)) / DAY, 0);
	if (before > 0) add("before", t("Of the time before, nothing is known of some days ({n}): compare packets per address and day.", { n: num(before) }));
	if (missing.length) add("missing", t("Days of which nothing is known: {days}.", { days: listed(missing.map((range) => range.to === date(instant(range.from) + DAY) ? range.from : range.from + " – " + date(instant(range.to) - DAY))) }));
	if (basis.pending_days.length) add("pending", t("Days that are made again, since something came: {days}.", { days: listed(basis.pending_days) }));
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
/** Whether each step lies in a day of which nothing is known. */
const unknown = (basis, from, step, count) => Array.from({ length: count }, (_, i) => basis.missing_days.some((days) => from + i * step >= instant(days.from) && from + i * step < instant(days.to)));
/** Steps of history as a chart has them, in the step of the range. before: the same of the time before, with its basis. */
export function historyChart(view, id, title, parts, { basis, before, previous, sources, note, csv, log, extra }) {
	const { period, range } = view, step = STEPS[range], count = Math.round((period.end - period.from) / step), missing = before && unknown(before, period.previous.from, step, count);
	return chart(id, title, note, {
		start: period.from, step, count, begins: period.from, ends: period.until, complete: Math.floor((period.until - period.from) / step), gap: t("not known"), gaps: unknown(basis, period.from, step, count), log,
		parts: parts.map((part) => ({ ...part, values: filled(part.values, count) })), previous: previous && filled(previous, count, null).map((value, i) => missing[i] ? null : value), previousLabel: t("time before"), sources: sources && filled(sources, count, null),
	}, [extra, csv && [" ", download(csv, title)]]);
}
const filled = (values, count, rest = 0) => [...values.slice(0, count), ...Array(Math.max(0, count - values.length)).fill(rest)];
function overviewChart(view) {
	const { kinds, before, distinct: sources } = view.heavy, none = kinds.starts.map(() => 0), { class: name, period, range } = view;
	return historyChart(view, "period", t("Packets by kind"), KINDS.map((key) => ({ key, label: kindText(key), values: (kinds.series.find((series) => series.name === key) || { packets: none }).packets })), {
		basis: kinds.basis, before: before.basis, previous: before.series.length ? before.series[0].packets : null, sources: sources && sources.series.length ? sources.series[0].sources : null, note: t("counts, not per address; dashed: the time before"),
		csv: csvOf("history/series", { class: name, ...timeOf(period), group_by: "kind", step: STEPS[range] }),
	});
}
/** Whether anything is known of the time before: else everything would be new. */
const hasPast = (view) => view.heavy.portsBefore.totals.packets > 0;
/** Ports of both times, joined. */
function portChanges(view) {
	const { ports, portsBefore } = view.heavy;
	if (!hasPast(view)) return ports.ports.map((port) => ({ port, before: undefined, text: NONE, factor: 1 }));
	const past = new Map(portsBefore.ports.map((port) => [portKey(port), port])), last = portsBefore.next_cursor && portsBefore.ports[portsBefore.ports.length - 1];
	return ports.ports.map((port) => ({ port, before: past.get(portKey(port)), ...change(port, past.get(portKey(port)), last) }));
}
/** What moved, so that it is seen in ten seconds; the same words as in the table below. */
function movedCard(view, changes) {
	const { ports, portsBefore } = view.heavy, listed = new Map(ports.ports.map((port) => [portKey(port), port])), last = ports.next_cursor && ports.ports[ports.ports.length - 1];
	const enough = (packets) => packets >= MOVED.packets, up = changes.filter((found) => enough(found.port.packets) && found.factor >= MOVED.factor);
	up.sort((a, b) => b.port.packets - (b.before ? b.before.packets : 0) - a.port.packets + (a.before ? a.before.packets : 0));
	// Of what is not listed now no more is known than that it has less than the last one that is.
	const fall = (before) => {
		const now = listed.get(portKey(before)), at = now || last ? compare(now || last, before) : { now: 0, before: 1 };
		return { port: before, factor: at.now / at.before, text: now ? times(at.now, at.before) : last ? "≤" + THIN + times(at.now, at.before) : t("gone"), packets: now ? num(now.packets) : last ? "≤" + THIN + num(last.packets) : "0" };
	};
	const down = portsBefore.ports.filter((before) => enough(before.packets)).map(fall).filter(({ factor }) => factor * MOVED.factor <= 1);
	const name = (port) => [h("a", { href: portLink(port) }, strong(serviceName(port))), " ", port.service];
	const words = (now, before) => soft(" — " + t("{n} packets, {m} before", { n: now, m: before }));
	const state = up.length ? "rising" : "ok";
	if (!hasPast(view)) return h("section", { testid: "outlook", data: { state: "short" }, class: "card outlook" }, h2(t("Nothing to compare with")), " ", soft(t("Of the time before no packets are known.")));
	return h("section", { testid: "outlook", data: { state }, class: "card outlook" }, h2(t(up.length ? w("More than before") : w("Nothing rose")), " "),
		soft(t("at least {n} times as many packets as in the time before; per address and day where that is known. ", { n: MOVED.factor })),
		up.length > 0 && h("ul", null, up.slice(0, MOST_MOVED).map((found) => h("li", { testid: "moved-row", data: { ...pick(found.port, "ip protocol port"), direction: "up" } }, tag("up", "▲ " + found.text), " ", name(found.port), words(num(found.port.packets), found.before ? num(found.before.packets) : NONE)))),
		down.length > 0 && [h("p", { class: "more" }, strong(t("Less than before"))), h("ul", null, down.slice(0, MOST_MOVED / 2).map(({ port, text, packets }) => h("li", { testid: "moved-row", data: { ...pick(port, "ip protocol port"), direction: "down" } },
			tag("", "▼ " + text), " ", name(port), words(packets, num(port.packets)))))]);
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
const groupColumns = (name) => [[name], ...counted()];
export function regionsCard(regions, before, total, totalBefore, csv) {
	const past = new Map((before || []).map((group) => [group.name, group.packets]));
	return card(table(t("Source regions"), t("where addresses are registered or said to be used"), [...groupColumns(t("Region")), [t("Share before"), "n"]], regions.map((row) => ({
		testid: "region-row", data: { region: row.name, packets: row.packets }, cells: [row.name === "ZZ" ? soft(t("unknown")) : [regionCell(row.name)], ...countedCells(row, total), totalBefore > 0 ? percent(past.get(row.name) || 0, totalBefore) : NONE] })), csv));
}
export const marksTable = (marks, total, csv) => card(table(t("Marks"), t("tools and oddities; a packet may carry several"), groupColumns(t("Mark")), marks.map((row) => ({
	testid: "mark-row", data: { mark: row.name, packets: row.packets }, cells: [[row.name.replaceAll("_", " "), markText(row.name) && sub(markText(row.name))], ...countedCells(row, total)] })), csv), !marks.length && para(t("None.")));
function groupsCards(view) {
	const { regions, regionsBefore, marks, scanners, networks, fresh, ports } = view.heavy, total = ports.totals.packets, question = { class: view.class, ...timeOf(view.period), limit: 1000 };
	return [h("div", { class: "cols two" },
		regionsCard(regions.groups, regionsBefore.groups, total, regionsBefore.totals.packets, csvOf("history/regions", question)),
		h("div", { class: "stack" }, marksTable(marks.groups, total, csvOf("history/marks", question)),
			card(table(t("Known scanners"), t("by the list that their sources are on"), groupColumns(t("List")), scanners.groups.map((row) => ({ testid: "scanner-row", data: { scanner: row.name, packets: row.packets }, cells: [row.name, ...countedCells(row, total)] })), csvOf("history/scanners", question)), !scanners.groups.length && para(t("None.")))),
	), h("div", { class: "cols two" },
		card(table(t("Networks"), t("autonomous systems of sources"), groupColumns(t("Network")), networks.networks.map((row) => ({
			testid: "as-row", data: { asn: row.asn, packets: row.packets }, cells: [[row.asn === null ? soft(row.organisation ? t("all others") : t("unknown")) : mono("AS" + row.asn), row.asn !== null && row.organisation && sub(row.organisation)], ...countedCells(row, total)] })), csvOf("history/networks", { ...question, to: view.period.whole }))),
		card(table(t("Seen for the first time"), t("scans, the newest day first; {n} in all", { n: num(fresh.services.length + fresh.services_left_out) }), [[t("Service")], [t("Day, UTC")]], fresh.services.map((row) => ({
			testid: "fresh-row", data: pick(row, "ip protocol port date"), cells: [row.port === null ? [mono(row.protocol_name), row.icmp_type !== null && " " + t("type {type} code {code}", { type: row.icmp_type, code: row.icmp_code })] : portCell(row), row.date] })), csvOf("history/first-seen", { ...question, to: view.period.whole, kind: "scan" }))))];
}
function sensorsTable(view) {
	const { sensors, exposure } = view.heavy, seen = new Map(sensors.groups.map((group) => [group.name, group])), length = (view.period.until - view.period.from) / DAY;
	return card(table(t("Sensors"), t("what each watched and saw in this time"), [[t("Sensor")], [t("Watched"), "n"], [t("Address-days"), "n"], [t("IPv4 packets"), "n"], [t("Packets a day"), "n"], [t("Dropped"), "n"], [t("Lost"), "n"]], exposure.exposures.map((row) => {
		const own = seen.get(row.sensor), drops = row.kernel_drops + row.interface_drops, days = row.ipv4_address_days;
		return {
			testid: "sensor-row", data: { sensor: row.sensor, packets: own ? own.packets : 0 },
			cells: [row.sensor, row.sensor_days > 0 ? [t("{n} days", { n: figure(row.sensor_days) }), sub(percent(row.sensor_days, length))] : t("unknown"), isNumber(days) ? figure(days) : NONE, num(own ? own.packets : 0),
				days > 0 && own ? [figure(own.packets / days), sub(t("/ address"))] : NONE, bad(drops, t("kernel {k}, interface {i}", { k: num(row.kernel_drops), i: num(row.interface_drops) })), bad(row.lost_windows, t("{n} packets", { n: num(row.lost_packets) }), row.lost_packets)],
		};
	}), csvOf("history/exposure", { class: view.class, ...timeOf(view.period), limit: 1000 })));
}
/** What a period says of which nothing is known yet. */
export const nothingYet = (view) => h("section", { testid: "nothing-yet", class: "card empty" }, h2(t("Nothing is known of this time yet")), para(t("History is known up to {time} UTC. ", { time: minute(Math.min(view.period.until, view.now)) }), h("a", { href: link({ from: null }) }, t("The newest")), " · ", h("a", { href: link({ range: "live" }) }, t("Show live"))));
/** What a page without history says. */
export const withoutHistory = () => h("section", { testid: "no-history", class: "card empty" }, h2(t("No history")), para(t("This collector keeps no archive ({setting}), so there are no days, weeks or quarters to show. ", { setting: "archive.enabled" }), h("a", { href: link({ range: "live" }) }, t("Show live"))));
/** The overview of a period. */
export function historyView(view, shown) {
	const { ports } = view.heavy, changes = portChanges(view);
	return [historyNotices(view, ports.basis), periodLine(view, ports.basis), movedCard(view, changes), tiles(view), h("div", { class: "cols" }, overviewChart(view)),
		h("div", { class: "cols" }, portsCard(view, changes, shown.ports)), groupsCards(view), h("div", { class: "cols" }, sensorsTable(view))];
}
