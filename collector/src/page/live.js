// The live view: what the collector has in memory, up to now; and what of it everybody is told, late and by the hour.

import { ask, csvOf } from "./ask.js";
import { chart, shareBar, spark } from "./chart.js";
import { coverageCards, ended, hasData, sensorsCard, sensorState, clockText, silentFor } from "./coverage.js";
import { card, counted, countedCells, distinct, download, h, h2, mono, para, pick, pre, small, soft, strong, sub, swatch, table, tag, when, li } from "./dom.js";
import { extent, outlook, portKey, RISE } from "./outlook.js";
import { link, portLink, SPANS } from "./state.js";
import { bytes, clamp, clean, clock, DAY, duration, error, figure, HOUR, instant, isNumber, listed, minute, NONE, num, percent, regionName, rough, serviceName, stamp, t, THIN, times, w } from "./text.js";

// Summary, ports and sources are asked for again only if new batches came, and so seldom that the collector is busy with them for a
// tenth of the time at most.
const HEAVY = { least: 2, most: 30, share: 10 };
const SENSORS_SECONDS = 5;
const WATCH_SECONDS = 30;          // the comparison with the last 24 h
const COVER_SECONDS = 30;          // the last 24 hours of each sensor
export const SHORT_LIST = 20;
const LONG_LIST = 100, WATCH_LIST = 300;
export const KINDS = ["scan", "backscatter", "other"];
const KIND_WORDS = { scan: w("scan"), backscatter: w("backscatter"), other: w("other") };
export const kindText = (kind) => t(KIND_WORDS[kind] || kind);
const MARKS = {
	mirai: w("TCP SYN, sequence number = address aimed at"), zmap: w("TCP SYN, IP ID 54321, window 65535"), zmap_ipid: w("TCP SYN, IP ID 54321"),
	zmap_4: w("TCP SYN like ZMap 4.1 and later; a candidate"), masscan: w("masscan's IP ID and packet shape"), masscan_ipid: w("masscan's IP ID"),
	nmap_shape: w("TCP SYN, window 1024, only MSS 1460"), slammer: w("UDP 1434, 404 bytes, begins with 4"), stealth: w("TCP: FIN, nothing, or FIN+PSH+URG"),
	syn_data: w("TCP SYN with data"), tcp_data: w("TCP PSH+ACK with data"), tunnel: w("IP in IP, IPv6 in IP, GRE"),
	spoofed_looking: w("odd source or bits; a hint only"), weak_backscatter: w("backscatter by source port alone"),
	nmap: w("nmap's packet shape and a pair of its sequence numbers"), unicornscan: w("two sequence numbers with unicornscan's key"),
};
export const markText = (mark) => Object.hasOwn(MARKS, mark) ? t(MARKS[mark]) : null;
const spanText = (span) => span === "all" ? t("all") : span.replace(/[hd]/, (unit) => THIN + t(unit));
export const spanChoices = (spans) => spans.map((span) => [span, spanText(span)]);

// ---- asking
/** Which time to show. Real traffic is shown up to now, so that a collector that hears nothing shows it. */
function timeOf(info, span, now, bucket) {
	const last = info ? instant(info.last_window_end) : null;
	if (last === null) return { from: null, to: null, live: false, step: null };
	const length = SPANS[span].seconds, live = info.class === "real" && now - last < (length || 7 * DAY);
	// Whole steps, so that those of seven days are hours.
	const step = length ? Math.ceil(length / SPANS[span].points / bucket) * bucket : bucket;
	const to = Math.ceil(Math.max(last, live ? now : last) / step) * step;
	const from = length ? to - length : Math.min(instant(info.history.from) ?? to - DAY, to - bucket);
	return { from, to, live, step: Math.ceil((to - from) / SPANS[span].points / bucket) * bucket };
}
const kept = ({ heavy, heavyAt, heavyPause, data, watch, watchAt, time, port }) => ({ heavy, heavyAt, heavyPause, data, watch, watchAt, time, port });
/** The last 24 hours by the clock, whatever is shown: a sensor that is dead must show, and time goes on without batches. */
async function loadCoverage(next, before, signal) {
	if (before && before.coverage) Object.assign(next, { coverage: before.coverage, coverageAt: before.coverageAt });
	if (next.coverage && next.asked - next.coverageAt < COVER_SECONDS * 1000) return;
	const to = Math.ceil(next.now / HOUR) * HOUR;
	try {
		next.coverage = await ask("coverage", { class: "real", from: to - DAY, to, limit: 1000, step: HOUR }, signal);
		next.coverageAt = next.asked;
	} catch (error) {
		if (signal.aborted) throw error;
		next.partly = error;
	}
}
/** Fills in what the live view shows. Throws before anything is shown, or leaves everything of one choice. */
export async function loadLive(next, before, signal) {
	const { info, status } = next, name = next.class;
	const time = next.time = timeOf(info, next.span, next.now, status.bucket_seconds);
	// Begin and end are sent with every question: all parts of the page speak of one time.
	const common = { class: name, from: time.from, to: time.to };
	next.key = [name, next.span, next.sensor, next.port && portKey(next.port)].join("\n");
	const same = before && before.heavy && before.key === next.key;
	if (same && next.asked - before.sensorsAt < SENSORS_SECONDS * 1000) {
		Object.assign(next, { sensors: before.sensors, sensorsAt: before.sensorsAt });
	} else {
		next.sensors = (await ask("sensors", { ...common, limit: 1000 }, signal)).sensors;
		next.sensorsAt = next.asked;
	}
	if (!info) return;
	if (name === "real") await loadCoverage(next, before, signal);
	next.data = [next.key, time.from, time.to, info.batches, info.packets].join("\n");
	const rested = same ? (next.asked - before.heavyAt) / 1000 : Infinity;
	if (same && (before.data === next.data || rested < before.heavyPause)) {
		// What is known to be old by now is asked for when its time comes, whether or not anything else happens.
		next.dueSeconds = before.data === next.data ? null : before.heavyPause - rested;
		return void Object.assign(next, kept(before));
	}
	const begun = performance.now();
	try {
		// One after the other: the collector computes only a few at a time, and others look too.
		const { step } = time, filter = { ...common, sensor: next.sensor }, day = next.span === "24h";
		// A port's page shows nothing of the first and the last of these.
		const summary = next.port ? null : await ask("summary", { ...filter, limit: 50, step }, signal);
		const ports = await ask("ports", { ...filter, limit: day ? WATCH_LIST : LONG_LIST, step }, signal);
		const sources = next.port || next.sensor ? null : await ask("sources", { ...common, limit: SHORT_LIST }, signal);
		next.heavy = { summary, ports, sources };
		if (next.port) next.heavy.port = await ask("ports", { ...filter, ...pick(next.port, "ip protocol port"), step, limit: 1 }, signal);
		next.heavyAt = performance.now();
		if (same && next.heavyAt - before.watchAt < WATCH_SECONDS * 1000) {
			Object.assign(next, { watch: before.watch, watchAt: before.watchAt });
		} else {
			const past = { ...filter, from: time.to && time.to - DAY, limit: WATCH_LIST };
			next.watch = day ? ports : await ask("ports", past, signal);
			next.watchAt = performance.now();
		}
		next.heavyPause = clamp(HEAVY.share * (performance.now() - begun) / 1000, HEAVY.least, HEAVY.most);
	} catch (error) {
		// Sensors and status are shown fresh with the older counts of the same choice, and the failure is told.
		if (!same || signal.aborted) throw error;
		Object.assign(next, kept(before), { partly: error });
	}
}
/** The same of what is told to everybody: whole hours, over all sensors, and the time of equal length before. */
export async function loadPublic(next, before, signal) {
	const to = instant(next.status.published_until), length = SPANS[next.span].seconds, from = to - length;
	next.key = [next.span, to, next.port && portKey(next.port)].join("\n");
	if (before && before.key === next.key) return void Object.assign(next, kept(before));
	next.time = { from, to, live: false, step: Math.max(HOUR, next.status.bucket_seconds) };
	const common = { from, to }, step = next.time.step;
	const summary = next.port ? null : await ask("summary", { ...common, limit: 50, step }, signal);
	const ports = await ask("ports", { ...common, limit: LONG_LIST, step }, signal);
	const sources = next.port ? null : await ask("sources", { ...common, limit: SHORT_LIST }, signal);
	const past = await ask("ports", { from: from - length, to: from, limit: WATCH_LIST, step: length }, signal);
	next.heavy = { summary, ports, sources, past };
	if (next.port) next.heavy.port = await ask("ports", { ...common, ...pick(next.port, "ip protocol port"), step, limit: 1 }, signal);
	next.heavyAt = performance.now();
}

// ---- parts
/** What to mind, told to screen readers as it changes. */
export const noticeList = (list) => h("div", { class: "notices", role: "status", "aria-label": t("Warnings") }, list.length > 0 && h("ul", null, list));
function notices(view) {
	const list = [], add = (kind, ...text) => list.push(h("li", { testid: "notice", data: { kind } }, text));
	const chosen = view.sensors.filter((s) => !view.sensor || s.name === view.sensor);
	const silent = chosen.filter((s) => sensorState(view, s)[0] === "silent"), lost = chosen.filter((s) => s.lost.packets || s.lost.windows);
	const drops = chosen.reduce((total, s) => total + s.kernel_drops + s.interface_drops, 0);
	const few = (list, text) => listed(list.slice(0, 5).map(text)) + (list.length > 5 ? t(" and more") : "");
	if (silent.length) add("silent", t("Silent: {n} of {all} sensors: {names}. Nobody watched there: no packets does not mean that nothing came.", { n: silent.length, all: chosen.length, names: few(silent, (s) => s.name + " (" + silentFor(view, s) + ")") }));
	if (view.sensor && !chosen.length) add("range", t("No sensor “{name}” has reported traffic of this class.", { name: clean(view.sensor) }));
	if (view.class === "real" && !view.time.live && view.time.to) add("old", t("The newest real data is {time} old. The range ends there, not now.", { time: duration(view.now - instant(view.info.last_window_end)) }));
	if (drops) add("drops", t("{n} packets were dropped on the way into a sensor: counts are too low by about as many.", { n: num(drops) }));
	const wrong = chosen.filter((s) => s.clock_wrong);
	if (wrong.length) add("clock", t("Wrong clocks: {names}. Packets count at the times that the sensor gave them.", { names: few(wrong, (s) => s.name + " " + clockText(s.clock_offset_seconds)) }));
	if (lost.length) add("lost", t("Lost before they reached the collector: {list}.", { list: few(lost, (s) => s.name + " " + t("{n} packets in {m} windows", { n: num(s.lost.packets), m: num(s.lost.windows) })) }));
	return noticeList(list);
}
const riseText = ({ level, usual }) => usual ? times(level, usual) : t("new");
function outlookCard(result) {
	const step = duration(result.step);
	const rule = t(result.late ? w("Last {step} against the {n} steps before, 24 h at most; counts, not per address") : w("Newest {step} against the {n} steps before, 24 h at most; counts, not per address"), { step, n: num(result.steps) });
	const item = ({ port, level, usual, running, start, lasts }) => h("li", { testid: "outlook-row", data: { ...pick(port, "ip protocol port"), level, usual } },
		tag("up", riseText({ level, usual })), " ", h("a", { href: portLink(port) }, strong(serviceName(port))), " ", port.service,
		soft(" — " + t(running ? w("{n} packets so far from {time} UTC, usually {usual}") : w("{n} packets from {time} UTC, usually {usual}"), { n: num(level), time: minute(start), usual: num(usual) }) + (lasts ? t("; raised for {time}", { time: duration(lasts) }) : "")));
	const heading = { rising: w("Standing out"), ok: w("Nothing stands out"), short: w("Too early to compare") }[result.state];
	return h("section", { testid: "outlook", data: { state: result.state }, class: "card outlook" },
		h2(t(heading) + (result.late ? t(" at the end of the data") : "")), " ",
		result.state === "short" && soft(t("A comparison needs {n} complete steps of {step} before the newest; there are {have}.", { n: RISE.steps, step, have: result.steps })),
		result.state === "ok" && soft(result.listed === 0 ? t("No packets at all in 24 h.") : t("{rule}: none of the {n} busiest services is far above its usual level.", { rule, n: num(result.listed) })),
		result.state === "rising" && [small(rule + t(". A comparison, not a detection: one busy sender is enough.")),
			h("ul", null, result.rising.slice(0, 5).map(item)), result.rising.length > 5 && small(t("and {n} more, flagged among the ports", { n: result.rising.length - 5 }))]);
}
function tiles(view) {
	const { totals, series, rate: per, kinds } = view.heavy.summary, { isPublic } = view;
	const count = (c) => ({ value: c ? c.count : "", exact: c && c.exact, error: c && c.error });
	const tile = (name, testid, data, value, note) => h("div", { class: "card" }, h("dt", null, name), h("dd", { testid, data, class: "v" }, value), h("dd", { class: "s" }, note));
	const rates = [per.ipv4_packets_per_address_day, per.ipv6_packets_per_prefix_day], span = spanText(view.span), label = view.span === "all" ? t("all data") : span;
	const recent = () => {
		const { recent } = view.info, step = recent.step_seconds, newest = recent.windows.findLast((step) => step.complete), sources = newest && newest.sources, end = newest && instant(newest.start) + step;
		const active = view.sensors.filter(hasData), silent = active.filter((s) => sensorState(view, s)[0] === "silent").length, watching = active.filter((s) => !s.silent && !ended(view, s)).length;
		const mute = silent > 0 && silent === active.length, rate = recent.packets_per_second;
		const at = () => end ? [t("to {time}", { time: when(end, view.now - end < 300) }), view.sensor && t(", all sensors")] : t("no complete step yet");
		return {
			rate: tile(t("Packets per second"), "packets-per-second", { value: isNumber(rate) ? rate : "", stale: mute }, mute ? NONE : figure(rate), [mute ? t("nobody watches; was {n} ", { n: figure(rate) }) : t("mean of {time} ", { time: duration(recent.averaged_seconds) }), at(), t(". All sensors together, not per address")]),
			sources: tile(t("Unique sources in {time}", { time: duration(step) }), "recent-sources", count(sources), mute ? NONE : rough(sources), at()),
			sensors: view.class !== "import" && tile(t("Sensors watching"), "sensors-watching", { value: watching, total: active.length }, [num(watching), h("small", null, t(" of {n}", { n: num(active.length) }))],
				silent ? tag("bad", t("{n} silent", { n: silent })) : watching ? t("none silent") : t("the drill is over")),
		};
	};
	const now = isPublic ? {} : recent(), isWithheld = Boolean(view.heavy.summary.withheld && view.heavy.summary.withheld.rows);
	// Of what is not told nothing is known, which is not the same as none.
	const ofKind = (kind) => {
		if (!isPublic) return series[kind + "_packets"].reduce((a, b) => a + b, 0);
		const told = kinds.filter((row) => row.kind === kind);
		return told.length || !isWithheld ? told.reduce((sum, row) => sum + row.packets, 0) : null;
	};
	return h("dl", { class: "tiles" },
		now.rate,
		tile(t("Packets per address and day"), "address-rate", { value: rates[0] ?? "" }, figure(rates[0]), rates.every((rate) => !isNumber(rate)) ? t("exposure not known") : [t("of time watched, {span}", { span: label }), isNumber(rates[1]) && t("; IPv6: {n} per /64", { n: figure(rates[1]) })]),
		now.sources,
		tile(t("Packets, {span}", { span: label }), "total-packets", { value: totals.packets }, num(totals.packets), h("span", { testid: "total-bytes", data: { value: totals.bytes } }, bytes(totals.bytes))),
		tile(t("Unique sources, {span}", { span: label }), "total-sources", count(totals.sources), rough(totals.sources), totals.sources.exact ? t("exact") : t("estimate, {error} standard error", { error: error(totals.sources) })),
		h("div", { class: "card" }, h("dt", null, t("Kinds")), KINDS.map((kind) => {
			const packets = ofKind(kind);
			return h("dd", { testid: "kind-share", data: { kind, packets } }, swatch(kind), kindText(kind) + " ", strong(packets === null ? t("not told") : percent(packets, totals.packets)));
		})),
		now.sensors);
}
function spanChart(view) {
	const { series, ...summary } = view.heavy.summary, { from, ends, step } = extent(view, summary), start = instant(summary.from);
	// Of files it is rarely known when anybody watched.
	const unwatched = view.class === "real" && series.watched_seconds.map((seconds, i) => seconds === 0 && series.packets[i] === 0);
	const byKind = KINDS.every((key) => series[key + "_packets"]);
	const question = { class: view.isPublic ? null : view.class, from: view.time.from, to: view.time.to, sensor: view.sensor, step };
	return chart("span", t("Packets and unique sources"), t("hatched: {gap}; pale: incomplete; counts, not per address", { gap: unwatched ? t("nobody watched") : t("no reports") }), {
		gaps: unwatched, gap: unwatched ? t("nobody watched") : t("no report"),
		start, step, count: series.packets.length, begins: from, ends, complete: Math.floor((ends - start) / step), sources: series.sources,
		parts: byKind ? KINDS.map((key) => ({ key, label: kindText(key), values: series[key + "_packets"] })) : [{ key: "scan", label: t("all"), values: series.packets }],
	}, [" ", download(csvOf("summary", question), t("Packets and unique sources"))]);
}
function recentChart(view) {
	const { step_seconds: step, windows } = view.info.recent, steps = new Map(windows.map((step) => [instant(step.start), step])), count = 60;
	const newest = Math.max(...steps.keys()), live = view.class !== "import" && view.now - newest < count * step;
	const stop = Math.max(newest + step, live ? Math.floor(view.now / step) * step : 0), start = stop - count * step;
	const list = Array.from({ length: count }, (_, i) => steps.get(start + i * step) || null);
	return chart("recent", t(live ? w("Last {time}") : w("Newest {time}"), { time: duration(count * step) }), t("to {time} UTC{sensors}; counts, not per address", { time: live ? clock(stop) : stamp(stop), sensors: view.sensor ? t(", all sensors") : "" }), {
		start, step, count, begins: Math.min(...steps.keys()), ends: newest + step, complete: list.findLastIndex((step) => step && step.complete) + 1, gaps: list.map((step) => !step),
		parts: [{ key: "scan", label: t("all"), values: list.map((step) => step ? step.packets : 0) }], sources: list.map((step) => step && step.sources),
	});
}
/** The cell that names a port and leads to its page. */
export const portCell = (port) => [h("a", { href: portLink(port) }, mono(port.port + "/" + port.protocol_name)), " ", port.ip === 6 && [tag("", "IPv6"), " "], soft(port.service || "")];
export function kindCell(kinds, packets) {
	if (!kinds) return NONE;
	const main = KINDS.reduce((a, b) => kinds[b] > kinds[a] ? b : a), text = KINDS.map((kind) => kindText(kind) + " " + num(kinds[kind])).join(", ");
	return h("span", { title: text }, shareBar(KINDS.map((key) => ({ key, value: kinds[key] }))), kindText(main) + " " + percent(kinds[main], packets), h("span", { class: "sr" }, " (" + text + ")"));
}
function portsCard(view, result, long) {
	const { ports, past } = view.heavy, list = ports.ports.slice(0, long ? LONG_LIST : SHORT_LIST), total = ports.totals.packets, { from, step, ends } = extent(view, ports);
	const earlier = past && new Map(past.ports.map((port) => [portKey(port), port.packets])), start = instant(ports.from);
	const against = (port, mover) => {
		if (past) { const before = earlier.get(portKey(port)); return before ? times(port.packets, before) : NONE; }
		return !mover ? NONE : mover.up ? tag("up", "▲ " + riseText(mover)) : soft(mover.usual ? riseText(mover) : NONE);
	};
	const rows = list.map((port) => {
		const mover = result && result.seen && result.seen.get(portKey(port)), rising = Boolean(mover && mover.up);
		const shown = port.series && { values: port.series, start, step, begin: Math.max(0, Math.floor((from - start) / step)), end: Math.min(port.series.length, Math.floor((ends - start) / step)), marked: rising };
		return {
			testid: "port-row", data: { ...pick(port, "ip protocol port packets"), sources: port.sources.count, rising },
			cells: [portCell(port), ...countedCells(port, total), kindCell(port.kinds, port.packets), against(port, mover), shown ? spark(shown) : NONE],
		};
	});
	const beyond = ports.ports.length - list.length + ports.ports_left_out, other = ports.other.packets;
	const question = { class: view.isPublic ? null : view.class, from: view.time.from, to: view.time.to, sensor: view.sensor, limit: 1000, step };
	return card(table(t("Ports"), t("service looked for; of backscatter, the port that answered; counts, not per address"), [[t("Port")], ...counted(), [t("Kind"), "keep"], [past ? t("Time before") : t("Against usual"), "n"], [t("Over time")]], rows, csvOf("ports", question)),
		h("p", { testid: "ports-left-out", data: { value: beyond }, class: "soft small more" }, total > 0 ? t("Shown: {share} of all packets. ", { share: percent(list.reduce((sum, port) => sum + port.packets, 0), total) }) : t("No packets in this range. "), beyond > 0 && t("{n} more ports. ", { n: num(beyond) }),
			other > 0 && t("{n} packets beyond the collector's limit of ports are not told apart. ", { n: num(other) }),
			ports.withheld && ports.withheld.rows > 0 && t("{n} rows about few, of {m} packets, are not told. ", { n: num(ports.withheld.rows), m: num(ports.withheld.packets) })),
		ports.ports.length > SHORT_LIST && h("button", { type: "button", class: "more", "data-act": "ports", "aria-expanded": long }, t("Show {n}", { n: long ? SHORT_LIST : Math.min(LONG_LIST, ports.ports.length) })));
}
function marksCard(view) {
	if (view.sensor) return card(h2(t("Marks")), para(t("Kept over all sensors; not known for one sensor.")));
	const value = (mark) => mark && isNumber(mark.packets) ? mark.packets : -1;
	const entries = Object.entries(view.heavy.summary.marks).filter(([, mark]) => mark !== "withheld").sort((a, b) => value(b[1]) - value(a[1]) || (a[0] < b[0] ? -1 : 1));
	return card(table(t("Marks"), t("tools and oddities; a packet may carry several"), [[t("Mark")], [t("Packets"), "n"], [t("Unique sources"), "n"]], entries.map(([name, mark]) => {
		const packets = value(mark), what = markText(name);
		return {
			testid: "mark-row", data: { mark: name, available: packets >= 0, packets: packets >= 0 ? packets : "" }, class: packets > 0 ? null : "zero", title: what,
			cells: [[name.replaceAll("_", " "), mark.partial && [" ", tag("warn", t("some sensors only"))], packets > 0 && what && sub(what)], packets >= 0 ? num(packets) : t("unavailable"), packets >= 0 ? distinct(mark.sources) : NONE],
		};
	})));
}
function kindsCard(view) {
	const { summary, ports } = view.heavy, total = summary.totals.packets;
	const rows = (list, testid, names, head) => list.slice(0, 12).map((k) => ({ testid, data: pick(k, "ip packets " + names), cells: [head(k), ...countedCells(k, total)] }));
	const rest = [...rows(ports.icmp, "icmp-row", "type code", (k) => t("{protocol} type {type} code {code}", { protocol: k.ip === 6 ? "ICMPv6" : "ICMP", type: k.type, code: k.code })),
		...rows(ports.without_port, "without-port-row", "protocol", (k) => ["IPv" + k.ip + " ", mono(k.protocol_name)])];
	return [card(table(t("Protocols and kinds"), null, [[t("Protocol")], ...counted()], rows(summary.kinds, "kind-row", "protocol kind", (k) => ["IPv" + k.ip + " ", mono(k.protocol_name), " " + kindText(k.kind)]))),
		rest.length > 0 && card(table(t("Without ports"), t("ICMP, other protocols, later fragments"), [[t("Message")], ...counted()], rest))];
}
/** A source region: where an address is registered or said to be used. */
export const regionCell = (code) => code === "ZZ" ? soft(t("unknown")) : h("span", { title: regionName(code) }, code);
function sourcesCards(view) {
	const { sources } = view.heavy, { isPublic } = view;
	if (!sources) return h("div", { class: "cols" }, card(h2(t("Sources")), h("p", { class: "soft", testid: "sources-unfiltered" }, t("Top sources and networks are kept over all sensors; not known for one sensor. "), h("a", { href: link({ sensor: null }) }, t("Show all sensors")))));
	const cells = (row) => [[num(row.packets), row.packets_error > 0 && sub(t("up to {n}", { n: num(row.packets + row.packets_error) }))], percent(row.packets, sources.totals.packets)];
	const note = sources.packets_unlisted_bound > 0 ? t("a source not kept sent at most {n} packets", { n: num(sources.packets_unlisted_bound) }) : t("all sources are kept");
	const masked = ["0.0.0.0", "::"], columns = counted().slice(0, 2), question = csvOf("sources", { class: isPublic ? null : view.class, from: view.time.from, to: view.time.to, limit: 1000 });
	return h("div", { class: isPublic ? "cols" : "cols two" },
		card(table(t("Networks of top sources"), t("/24 and /48; of the sources kept"), [[t("Network")], ...columns, [t("Sources kept"), "n"]], sources.networks.map((row) => ({
			testid: "network-row", data: pick(row, "network packets"), cells: [mono(row.network), ...cells(row), num(row.sources)] })), isPublic && question)),
		!isPublic && card(table(t("Top sources"), note, [[t("Source")], [t("Region")], ...columns], sources.sources.map((row) => ({
			testid: "source-row", data: { ...pick(row, "address packets region"), scanner: row.known_scanner },
			cells: [[mono(row.address), row.known_scanner && sub(t("known scanner: {name}", { name: row.known_scanner })), row.organisation && sub(row.organisation),
				masked.includes(row.address) && sub(t("masked by the sensor, or claimed by the packet"))], regionCell(row.region), ...cells(row)] })), question)));
}
function rangeLine(view) {
	const { summary } = view.heavy, from = instant(summary.from), { from: begins } = extent(view, summary);
	return h("p", { class: "range small" }, strong(minute(from) + " – " + minute(instant(summary.to)) + " UTC"), view.isPublic ? "" : view.sensor ? t(", sensor {name}", { name: view.sensor }) : t(", all sensors"),
		begins > from && t(", data from {time}", { time: minute(begins) }),
		view.isPublic ? t(". Told {n} hours late, by the hour, over all sensors; rows about fewer than {packets} packets or {sources} sources are not told.", { n: view.status.publication.delay_hours, packets: view.status.publication.min_packets, sources: view.status.publication.min_sources })
			: t(". Packets count at the time of their capture (event time), not of their arrival: late reports change earlier steps."));
}
export function emptyState(view) {
	const calls = view.status.ingest.connections.accepted, waiting = view.sensors.filter((s) => !hasData(s));
	return h("section", { testid: "empty-state", class: "card empty" }, h2(t("No data yet")),
		para(t("The collector waits for its first batch. Connections to its ingest port so far: {n}.", { n: num(calls) }), waiting.length > 0 && [" ", t("Connected, nothing sent yet: {names}.", { names: listed(waiting.slice(0, 10).map((s) => s.name)) })]),
		h("ol", null,
			li(t("Name the ingest address, {address} unless configured otherwise, in the sensor's configuration, and start it:", { address: mono(location.hostname + ":7460") }),
				pre("martlet-sensor run --config /etc/martlet/sensor.toml")),
			li(t("Or practise with synthetic traffic, shown as drill and never mixed with real:"), pre("martlet-drill --out drill.pcap"), pre("martlet-sensor replay --class drill drill.pcap")),
			li(t("If nothing comes: the collector listens on loopback only until its {setting} says otherwise.", { setting: mono("ingest.listen") }))));
}
/** The overview. */
export function liveView(view, shown) {
	if (view.isPublic) return [rangeLine(view), tiles(view), h("div", { class: "cols" }, spanChart(view)), h("div", { class: "cols wide" }, portsCard(view, null, shown.ports), h("div", { class: "stack" }, marksCard(view), kindsCard(view))), sourcesCards(view)];
	const result = outlook(view), recent = view.info.recent.windows.length > 0;
	return [notices(view), rangeLine(view), outlookCard(result), tiles(view),
		h("div", { class: recent ? "cols wide" : "cols" }, spanChart(view), recent && recentChart(view)),
		view.coverage && h("div", { class: "cols" }, coverageCards(view, { open: shown.hours ?? view.sensor, all: shown.strips })),
		h("div", { class: "cols wide" }, portsCard(view, result, shown.ports), h("div", { class: "stack" }, marksCard(view), kindsCard(view))),
		sourcesCards(view), h("div", { class: "cols" }, sensorsCard(view))];
}
