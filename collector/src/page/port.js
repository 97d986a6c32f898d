// What one port does: in the live view, or in a period of history.

import { csvOf } from "./ask.js";
import { chart } from "./chart.js";
import { card, h, h2, mono, para, pick, soft, strong, sub, table, tag } from "./dom.js";
import { change, changeCell, compared, historyChart, historyNotices, marksTable, periodLine, regionsCard, STEPS } from "./history.js";
import { kindCell, kindText, regionCell } from "./live.js";
import { doubling, extent, growth, outlook, portKey } from "./outlook.js";
import { link, RANGE_WORDS } from "./state.js";
import { bytes, duration, error, figure, instant, isNumber, minute, NONE, num, per, percent, rough, serviceName, stepText, t, times, w } from "./text.js";

export const nameOf = (port) => serviceName({ ...port, protocol_name: port.protocol });
const heading = (port, service) => h("p", { class: "range" }, h("a", { href: link({ port: null }) }, t("← All ports")), " ", strong(nameOf(port)), service && [" ", soft(service)]);
const tile = (name, testid, value, data, note) => h("div", { class: "card" }, h("dt", null, name), h("dd", { testid, data, class: "v" }, value), h("dd", { class: "s" }, note));
const sourcesNote = (sources) => !sources ? t("not known of part of a day") : sources.exact ? t("exact") : t("estimate, {error} standard error", { error: error(sources) });
const logButton = (log) => [" ", h("button", { type: "button", class: "hours", "data-act": "log", testid: "log", "aria-pressed": log }, t("Log scale"))];

/** How counts grew at the end of what is known, in words: a rate and a time only where the interval excludes 0. */
function growthCard(counts, step, start, what) {
	const found = growth(counts, step);
	const head = [h2(t("Growth")), " ", soft(t("{what} per {unit}, least squares of the logarithm over the newest steps that have 3 or more; 95 % interval. Arithmetic, not a detection.", { what, unit: per(step) }))];
	if (!found) return h("section", { testid: "growth", data: { state: "short" }, class: "card outlook" }, head, para(t("Too few steps at the end have enough to say.")));
	const { rate, low, high } = found, clear = low > 0 || high < 0, slow = Math.abs(doubling(rate)) > 2 * 86400, hours = slow ? 24 : 1;
	const share = (r) => num(100 * (Math.exp(r * hours) - 1), 1) + "\u202f%", from = minute(start + found.from * step), unit = slow ? t("a day") : t("an hour");
	const state = !clear ? "steady" : rate > 0 ? "rising" : "falling";
	const round = (seconds) => seconds < 120 ? seconds : 60 * Math.round(seconds / 60), [time, ...ends] = [rate, low, high].map((r) => round(Math.abs(doubling(r)))), [short, long] = ends.sort((a, b) => a - b);
	return h("section", { testid: "growth", data: { state, rate: rate.toFixed(4), low: low.toFixed(4), high: high.toFixed(4), from: start + found.from * step }, class: "card outlook" }, head,
		para(strong(t("{rate} {unit}", { rate: share(rate), unit })), t(" ({low} to {high}), since {time} UTC, {n} steps. ", { low: share(low), high: share(high), time: from, n: found.steps }),
			!clear ? t("No clear change.") : t(rate > 0 ? w("Doubles in {time} ({low} to {high}).") : w("Halves in {time} ({low} to {high})."), { time: duration(time), low: duration(short), high: duration(long) })));
}

const NEWEST_STEPS = 12;
/** The live page of a port. */
export function livePort(view, shown) {
	const { port: answer, ports, past } = view.heavy, row = answer.ports[0], step = answer.step_seconds, start = instant(answer.from), { from, ends } = extent(view, answer);
	const result = view.isPublic ? null : outlook(view), mover = row && result && result.seen && result.seen.get(portKey(row)), before = past && past.ports.find((port) => row && portKey(port) === portKey(row));
	const week = !view.isPublic && h("p", { class: "more" }, t("Regions, marks, networks and the time before stand in the periods: "), ["day", "week", "quarter"].map((range, i) => [i > 0 && " · ", h("a", { href: link({ range, from: null }) }, t(RANGE_WORDS[range]))]));
	if (!row) return [heading(view.port), h("section", { testid: "no-port", class: "card empty" }, h2(t("No packets in this range.")), week)];
	const complete = Math.floor((ends - start) / step), sources = row.source_series, series = row.series, counts = sources ? sources.map((count) => count && count.count) : series;
	return [heading(view.port, row.service), h("dl", { class: "tiles" },
		tile(t("Packets"), "port-packets", num(row.packets), { value: row.packets }, t("{share} of all packets", { share: percent(row.packets, ports.totals.packets) })),
		tile(t("Unique sources"), "port-sources", rough(row.sources), { value: row.sources.count }, sourcesNote(row.sources)),
		tile(t("Bytes"), "port-bytes", bytes(row.bytes), { value: row.bytes }, t("IP total lengths")),
		mover && tile(t("Against usual"), "port-usual", mover.up ? tag("up", "▲ " + (mover.usual ? times(mover.level, mover.usual) : t("new"))) : mover.usual ? times(mover.level, mover.usual) : NONE, { value: mover.level }, t("newest step against the 24 h before")),
		before && tile(t("Time before"), "port-before", times(row.packets, before.packets), { value: before.packets }, t("{n} packets", { n: num(before.packets) })),
		row.kinds && h("div", { class: "card" }, h("dt", null, t("Kinds")), h("dd", null, kindCell(row.kinds, row.packets)))),
		series ? h("div", { class: "cols" }, chart("port", t("Packets and unique sources"), t("hatched: {gap}; pale: incomplete; counts, not per address", { gap: t("no reports") }), {
			start, step, count: series.length, begins: from, ends, complete, gap: t("no report"), sources, parts: [{ key: "scan", label: t("all"), values: series }], log: shown.log,
		}, logButton(shown.log))) : null,
		series && growthCard(counts.slice(0, Math.max(0, complete)), step, start, sources ? t("Unique sources") : t("Packets")),
		h("div", { class: "cols" }, card(table(t("Step by step"), t("newest first"), [[t("Step, UTC")], [t("Packets"), "n"], [t("Unique sources"), "n"]], (series || []).slice(0, Math.max(0, complete)).map((packets, i) => ({
			testid: "step-row", data: { start: start + i * step, packets }, cells: [stepText(start + i * step, step), num(packets), sources && sources[i] ? rough(sources[i]) : NONE] })).slice(-NEWEST_STEPS).reverse()), week))];
}

/** The page of a port in a period of history. */
export function historyPort(view, shown) {
	const { port: now, before, regionSeries } = view.heavy, { totals, basis } = now, past = before.totals, { period, range } = view;
	const step = STEPS[range], found = past.packets > 0 || before.basis.missing_days.length === 0 ? change(totals, past) : { text: NONE, factor: 1 }, seen = now.first_seen.map(({ kind, date: day }) => kindText(kind) + " " + day);
	const one = { class: view.class, from: period.from, to: period.until, ...pick(view.port, "ip protocol port") }, counts = now.series.map((step) => step.packets), days = now.series.map((step) => step.sources);
	const complete = Math.max(0, Math.floor((period.until - period.from) / step)), hasDays = days.some(Boolean);
	const total = totals.packets, rate = totals.packets_per_address_day ?? totals.packets_per_prefix_day;
	return [heading(view.port, totals.service), historyNotices(view, basis), periodLine(view, basis), h("dl", { class: "tiles" },
		tile(t("Packets"), "port-packets", num(total), { value: total }, t("{n} before", { n: num(past.packets) })),
		tile(t("Time before"), "port-change", changeCell(found), { value: Number.isFinite(found.factor) ? found.factor.toFixed(3) : "" }, compared(totals, past, view.port.ip)),
		tile(t("Unique sources"), "port-sources", rough(totals.sources), { value: totals.sources ? totals.sources.count : "" }, sourcesNote(totals.sources)),
		tile(t("Daily sources"), "port-daily", num(totals.daily_sources), { value: totals.daily_sources ?? "" }, t("sum of each day's")),
		tile(view.port.ip === 6 ? t("Packets per /64 and day") : t("Packets per address and day"), "port-rate", figure(rate), { value: rate ?? "" }, t("of time watched")),
		tile(t("Sensors"), "port-sensors", num(totals.sensors), { value: totals.sensors }, t("that saw it on one day, at most")),
		h("div", { class: "card" }, h("dt", null, t("Kinds")), h("dd", null, kindCell(totals.kinds, total)), h("dd", { class: "s", testid: "first-seen" }, seen.length ? t("first seen: {list}", { list: seen.join(", ") }) : null))),
		h("div", { class: "cols" }, historyChart(view, "port", t("Packets"), [{ key: "scan", label: t("all"), values: counts }], {
			basis, before: before.basis, previous: before.series.map((step) => step.packets), sources: hasDays ? days : null, note: t("counts, not per address; dashed: the time before"), csv: csvOf("history/port", { ...one, step }), log: shown.log, extra: logButton(shown.log) })),
		growthCard((hasDays ? days.map((count) => count && count.count) : counts).slice(0, complete), step, period.from, hasDays ? t("Unique sources") : t("Packets")),
		h("div", { class: "cols two" },
			now.regions.length > 0 ? h("div", { class: "stack" }, regionsCard(now.regions, before.regions, total, past.packets, csvOf("history/regions", { ...one, limit: 1000 })), regionChart(view, regionSeries, basis)) : card(h2(t("Source regions")), para(t("Regions are kept of the ports of {setting} only.", { setting: "metrics.ports" }))),
			marksTable(now.marks, total, csvOf("history/marks", { ...one, limit: 1000 }))),
		sourcesCards(view, { ...one, kind: "scan", limit: 1000 })];
}
/** Who looked for the port: networks, and the heaviest sources. */
function sourcesCards({ heavy: { sources } }, question) {
	if (sources.refused) return card(h2(t("Sources")), h("p", { class: "soft", testid: "sources-refused" }, t("Too much for one answer: choose a day. "), sources.refused));
	const total = sources.packets + sources.network_packets, owner = (row) => [row.known_scanner && sub(t("known scanner: {name}", { name: row.known_scanner })), row.organisation && sub("AS" + row.asn + " " + row.organisation)];
	const cells = (row) => [row.region === "ZZ" ? soft(t("unknown")) : regionCell(row.region), num(row.packets), percent(row.packets, total)], columns = [[t("Region")], [t("Packets"), "n"], [t("Share"), "n"]];
	return h("div", { class: "cols two" },
		card(table(t("Networks of its sources"), t("/24 and /48; of scans, all sources counted"), [[t("Network")], ...columns, [t("Sources"), "n"]], sources.networks.map((row) => ({
			testid: "network-row", data: pick(row, "network packets"), cells: [[mono(row.network), owner(row)], ...cells(row), num(row.sources)] }))),
			sources.networks_left_out > 0 && para(t("{n} more networks.", { n: num(sources.networks_left_out) }))),
		card(table(t("Top sources"), t("of scans, {n} sources in all", { n: num(sources.distinct.count) }), [[t("Source")], ...columns], sources.sources.map((row) => ({
			testid: "source-row", data: pick(row, "address packets region"), cells: [[mono(row.address), owner(row), sub(minute(instant(row.first_window)) + " – " + minute(instant(row.last_window)))], ...cells(row)] })), csvOf("history/port-sources", question)),
			sources.network_packets > 0 && para(t("Of {n} packets only the network of the source is left.", { n: num(sources.network_packets) }))));
}
const MOST_REGIONS = 3;
/** How the largest regions went, and all others together: stacked. */
function regionChart(view, { series }, basis) {
	if (!series.length) return null;
	const rest = series.slice(MOST_REGIONS), length = series[0].packets.length;
	const parts = series.slice(0, MOST_REGIONS).map((one, i) => ({ key: "p" + i, label: one.name === "ZZ" ? t("unknown") : one.name, values: one.packets }));
	if (rest.length) parts.push({ key: "p3", label: t("all others"), values: Array.from({ length }, (_, i) => rest.reduce((sum, one) => sum + one.packets[i], 0)) });
	return historyChart(view, "regions", t("Regions over time"), parts, { basis, note: t("counts, not per address") });
}
