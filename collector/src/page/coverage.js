// How well sensors watched: the last 24 hours of each, hour by hour, and what each sensor says of itself.

import { clamp, clock, DAY, duration, figure, HOUR, instant, isNumber, NONE, num, stepText, t, THIN, w } from "./text.js";
import { bad, card, h, li, para, soft, sub, table, tag, when } from "./dom.js";
import { csvOf } from "./ask.js";
import { link } from "./state.js";

const COVERAGE = { watched: w("watched"), quiet: w("watched, no packets"), partly: w("partly watched"), lost: w("lost by the sensor"), unheard: w("nothing heard"), unknown: w("exposure unknown") };
const NAMES_OF_PARTS = ["watched", "quiet", "lost", "drops", "unheard"], PART_TEXT = { ...COVERAGE, drops: w("frames dropped") };
const POSTURES = { silent: w("answers nothing"), rst: w("answers RST and ICMP errors"), reactive: w("answers as a service") };
const CELL = 11, TALL = 24, SHORT_LIST = 20;
const DRILL_ENDS_SECONDS = 120;    // without a report

// ---- states
export const hasData = (sensor) => sensor.classes.length > 0;
/** An exercise may be replayed at any time and comes to an end: only its arrival says whether it goes on. */
export const ended = (view, sensor) => view.class === "drill" && sensor.last_report_age_seconds > DRILL_ENDS_SECONDS;
/** Its name, the words for it, and how it looks. */
export function sensorState(view, sensor) {
	if (!hasData(sensor)) return ["waiting", t("connected, nothing sent yet"), "warn"];
	if (view.class === "import") return ["import", t("from a file"), ""];
	if (ended(view, sensor)) return ["ended", t("ended {time} ago", { time: duration(sensor.last_report_age_seconds) }), ""];
	if (!sensor.silent) return sensor.packets === 0 && sensor.windows > 0 ? ["quiet", t("0 packets, watching"), "good"] : ["watching", t("watching"), "good"];
	const time = silentFor(view, sensor);
	return ["silent", sensor.last_report_age_seconds < 60 ? t("silent for {time}, catching up", { time }) : t("silent for {time}", { time }), "bad"];
}
export const silentFor = (view, sensor) => duration(view.now - instant(sensor.last_window_end));
/** How far a sensor's clock is off, as words. */
export function clockText(offset) {
	const size = Math.abs(offset), time = size < 10 ? num(size, 1) + THIN + t("s") : duration(size);
	return offset < 0 ? t("{time} ahead", { time }) : t("{time} behind", { time });
}

// ---- hours
/** The hours of one sensor: what is known of each, and what it comes to. */
function hoursOf(coverage, sensor) {
	const { series } = sensor, from = instant(coverage.from);
	return series.state.map((state, i) => {
		const at = Object.fromEntries(Object.entries(series).map(([name, values]) => [name, values[i]]));
		const drops = at.kernel_drops === null ? null : at.kernel_drops + at.interface_drops;
		return { ...at, drops, start: from + i * coverage.step_seconds, look: state === "watched" && at.packets === 0 ? "quiet" : state };
	});
}
const lookText = (hour) => hour.look ? t(COVERAGE[hour.look] || hour.look) : t("not expected");
function hourText(hour) {
	if (!hour.look) return lookText(hour);
	const more = [t("{n} of {all} windows", { n: num(hour.windows_received), all: num(hour.windows_expected) }), hour.windows_late && t("{n} late", { n: num(hour.windows_late) }), hour.windows_lost && t("{n} lost", { n: num(hour.windows_lost) }),
		hour.packets !== null && t("{n} packets", { n: num(hour.packets) }), hour.drops && t("{n} frames dropped", { n: num(hour.drops) })];
	return lookText(hour) + "; " + more.filter(Boolean).join(", ");
}
const rule = (x1, x2, y1, y2, cls) => h("line", { x1, x2, y1, y2, class: cls });
const dropMark = (x) => h("path", { d: "M" + x + " 0h6l-3 5z", class: "c-drops" });
/** What a part of an hour looks like: never told by colour alone. */
function part(look, x, y, height, hatch) {
	const frame = { x: x + 0.5, y: y + 0.5, width: CELL - 2, height: Math.max(1, height - 1) };
	return [h("rect", { ...frame, class: "c-" + look }), look === "unheard" && height > 3 && h("rect", { ...frame, fill: "url(#" + hatch + ")" })];
}
const hatching = (id) => h("defs", null, h("pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, rule(0, 0, 0, 5, "c-hatch")));
/** One hour: from the bottom what was watched, what was lost, and what nobody knows of. */
function hourCell(hour, i, hatch, sensor) {
	const x = i * CELL, whole = hour.expected_seconds, cell = (...shapes) => h("g", { testid: "coverage-hour", data: { sensor, hour: hour.start, state: hour.look } },
		h("title", null, stepText(hour.start, HOUR) + " UTC: " + hourText(hour)), shapes);
	if (!hour.look) return cell(rule(x + 1, x + CELL - 1, TALL - 0.5, TALL - 0.5, "c-none"));
	if (hour.look === "unknown" || !whole) return cell(part("unknown", x, 0, TALL));
	const height = (share) => share > 0 ? clamp(Math.round(TALL * share), 3, TALL) : 0;
	const lost = height(Math.max(hour.lost_seconds / whole, hour.windows_lost / hour.windows_expected));
	// The mark of drops stands in a notch.
	const room = TALL - (hour.drops > 0 ? 7 : 0), full = hour.look === "watched" || hour.look === "quiet";
	const watched = full ? room : Math.min(height((hour.watched_seconds || 0) / whole), room - lost), rest = room - lost - watched;
	return cell(rest > 2 && part("unheard", x, TALL - room, rest, hatch), lost > 0 && part("lost", x, TALL - watched - lost, lost), watched > 0 && part(hour.packets === 0 ? "quiet" : "watched", x, TALL - watched, watched), hour.drops > 0 && dropMark(x + 2));
}
/** Runs of equal hours as words. */
function stripText(hours) {
	const runs = [];
	for (const hour of hours) {
		const last = runs[runs.length - 1], text = lookText(hour);
		if (last && last.text === text) last.end = hour.start + HOUR; else runs.push({ text, start: hour.start, end: hour.start + HOUR });
	}
	return t("Last 24 hours, UTC: ") + runs.map((run) => run.text + " " + clock(run.start).slice(0, 5) + "–" + clock(run.end).slice(0, 5)).join("; ");
}
function strip(hours, sensor, index) {
	const hatch = "unheard-" + index, width = hours.length * CELL;
	return h("svg", { testid: "coverage-strip", data: { sensor, states: hours.map((hour) => hour.look || "").join(",") }, class: "strip", role: "img", "aria-label": stripText(hours), width, height: TALL + 13, viewBox: "0 0 " + width + " " + (TALL + 13) },
		hatching(hatch), hours.map((hour, i) => hourCell(hour, i, hatch, sensor)),
		hours.map((hour, i) => hour.start % (6 * HOUR) === 0 && i < hours.length - 2 && h("text", { x: i * CELL, y: TALL + 11 }, clock(hour.start).slice(0, 5))));
}
const partSwatch = (look) => h("svg", { class: "swatch", viewBox: "0 0 " + CELL + " " + CELL, "aria-hidden": "true" }, look === "unheard" && hatching("unheard-key"), look === "drops" ? dropMark(2) : part(look, 0, 0, CELL, "unheard-key"));
const dropsText = (s) => t("kernel {k}, interface {i}", { k: num(s.kernel_drops), i: num(s.interface_drops) });
/** open: the sensor whose hours stand in a table; all: whether all sensors are listed. */
export function coverageCards(view, { open, all }) {
	const { coverage } = view, clocks = new Map(view.sensors.map((s) => [s.name, s]));
	if (!coverage) return null;
	const sensors = coverage.sensors.filter((s) => s.totals.state && (!view.sensor || s.name === view.sensor));
	const trouble = (s) => s.totals.windows_missing + s.totals.windows_lost;
	const shown = all ? sensors : [...sensors].sort((a, b) => trouble(b) - trouble(a)).slice(0, SHORT_LIST);
	const rows = shown.map((s, i) => {
		const sums = s.totals, hours = hoursOf(coverage, s), drops = sums.kernel_drops + sums.interface_drops, own = clocks.get(s.name), isOpen = open === s.name;
		return {
			testid: "coverage-row", data: { sensor: s.name, expected: sums.windows_expected, received: sums.windows_received, missing: sums.windows_missing, lost: sums.windows_lost, drops: sums.kernel_drops === null ? "" : drops },
			cells: [s.name, [strip(hours, s.name, i), h("button", { type: "button", class: "hours", "data-act": "hours", testid: "coverage-hours", "data-sensor": s.name, "aria-expanded": isOpen, "aria-label": t("Hours of {sensor}", { sensor: s.name }) }, isOpen ? t("Hide hours") : t("Hours"))],
				[num(sums.windows_received), sub(t("of {n} expected", { n: num(sums.windows_expected) }))], bad(sums.windows_missing, t("may still come")), num(sums.windows_late),
				sums.kernel_drops === null ? NONE : bad(drops, dropsText(sums)),
				bad(sums.windows_lost, t("{n} packets, {time}", { n: num(sums.lost_packets), time: duration(sums.lost_seconds) }), sums.lost_packets),
				!own || !isNumber(own.clock_offset_seconds) ? NONE : own.clock_wrong ? tag("bad", clockText(own.clock_offset_seconds)) : clockText(own.clock_offset_seconds)],
		};
	});
	const chosen = sensors.find((s) => s.name === open);
	return [card(
		table(t("How well sensors watched"), t("last 24 hours of capture, UTC; windows, frames and packets are counts"), [[t("Sensor")], [t("Last 24 h"), "whole"], [t("Windows"), "n"], [t("Missing"), "n"], [t("Late"), "n"], [t("Dropped"), "n"], [t("Lost windows"), "n"], [t("Clock"), "n"]], rows,
			csvOf("coverage", { class: "real", from: instant(coverage.from), to: instant(coverage.to), limit: 1000, step: HOUR })),
		h("ul", { class: "legend more" }, NAMES_OF_PARTS.map((look) => li(partSwatch(look), t(PART_TEXT[look])))),
		sensors.length > SHORT_LIST && h("button", { type: "button", class: "more", "data-act": "strips", "aria-expanded": all }, all ? t("Show those with most gaps") : t("Show all {n}", { n: num(sensors.length) }))),
		chosen && hoursTable(chosen.name, hoursOf(coverage, chosen))];
}
function hoursTable(sensor, hours) {
	return card(table(t("Hours of {sensor}", { sensor }), t("newest first; of packets, and of time, what is not known is left out"), [[t("Hour, UTC")], [t("State"), "whole"], [t("Windows"), "n"], [t("Missing"), "n"], [t("Late"), "n"], [t("Lost"), "n"], [t("Watched"), "n"], [t("Packets"), "n"], [t("Dropped"), "n"]],
		[...hours].reverse().map((hour) => ({
			testid: "coverage-hour-row", data: { sensor, hour: hour.start, state: hour.look }, class: hour.look ? null : "zero",
			cells: [stepText(hour.start, HOUR), lookText(hour), isNumber(hour.windows_expected) ? t("{n} of {all}", { n: num(hour.windows_received), all: num(hour.windows_expected) }) : num(hour.windows_received), num(hour.windows_missing), num(hour.windows_late),
				bad(hour.windows_lost, t("{n} packets", { n: num(hour.lost_packets) }), hour.lost_packets), duration(hour.watched_seconds), num(hour.packets), hour.drops === null ? NONE : bad(hour.drops, dropsText(hour))],
		}))));
}

// ---- sensors
export function sensorsCard(view) {
	const days = (seconds, words) => seconds > 0 && h("div", null, t(words, { n: figure(seconds / DAY) })), rates = (rate, words) => isNumber(rate) && h("div", null, t(words, { n: figure(rate) }));
	const rows = view.sensors.map((s) => {
		const [state, text, look] = sensorState(view, s), e = s.exposure, rate = s.rate || {}, last = instant(s.last_window_end), lost = s.lost, missing = s.unavailable_marks;
		const rejected = Object.entries(s.rejected || {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]), drops = s.kernel_drops + s.interface_drops;
		const mine = view.sensor === s.name;
		return {
			testid: "sensor-row", data: { sensor: s.name, state, silent: Boolean(s.silent), packets: s.packets },
			cells: [
				h("a", { href: link({ sensor: mine ? null : s.name }), title: mine ? t("show all sensors") : t("show only this sensor") }, s.name),
				[tag(look, text), s.clock_wrong && [" ", tag("bad", t("clock {offset}", { offset: clockText(s.clock_offset_seconds) }))], missing.length > 0 && sub(t("cannot test for {marks}", { marks: missing.join(", ") }))],
				s.posture ? h("span", { "data-posture": s.posture }, Object.hasOwn(POSTURES, s.posture) ? t(POSTURES[s.posture]) : s.posture) : NONE,
				last === null ? NONE : [isNumber(s.last_report_age_seconds) && t("{time} ago", { time: duration(s.last_report_age_seconds) }), sub(t("window to {time}", { time: when(last, view.now - last < DAY / 2) }))],
				s.windows > 0 ? num(s.packets) : NONE,
				s.windows === 0 ? NONE : e ? [days(e.ipv4_address_seconds, w("{n} address-days")), days(e.ipv6_prefix_seconds, w("{n} /64-days")), sub(t("watched {time}", { time: duration(e.watched_seconds) }))] : soft(last === null ? NONE : t("unknown")),
				[rates(rate.ipv4_packets_per_address_day, w("{n} / address")), rates(rate.ipv6_packets_per_prefix_day, w("{n} / /64")), !isNumber(rate.ipv4_packets_per_address_day) && !isNumber(rate.ipv6_packets_per_prefix_day) && NONE],
				s.windows > 0 ? bad(drops, dropsText(s)) : NONE,
				bad(lost.packets, t("{n} windows, {time}", { n: num(lost.windows), time: duration(lost.watched_seconds) }), lost.batches),
				rejected.length ? h("details", null, h("summary", null, num(rejected.reduce((sum, [, n]) => sum + n, 0))), h("ul", { class: "small" }, rejected.map(([reason, n]) =>
					h("li", { testid: "rejected-row", data: { sensor: s.name, reason, packets: n } }, reason.replaceAll("_", " ") + " " + num(n))))) : "0",
			],
		};
	});
	return card(table(t("Sensors"), t("numbers of the range; losses since the collector began"), [[t("Sensor")], [t("State"), "whole"], [t("Posture")], [t("Last report")], [t("Packets"), "n"], [t("Exposure"), "keep"], [t("Packets a day"), "n"], [t("Dropped"), "n"], [t("Lost"), "n"], [t("Rejected")]], rows,
		rows.length > 0 && csvOf("sensors", { class: view.class, from: view.time.from, to: view.time.to, limit: 1000 })),
		!rows.length && para(t("No sensor has reported traffic of this class.")));
}
