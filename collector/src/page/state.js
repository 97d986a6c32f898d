// What is asked for stands in the address behind "#", so that every view can be linked to. What is the default is left out.

import { DAY, w } from "./text.js";

// Points are chosen so that steps are round: 1 h, 10 min and so on for the usual buckets.
export const SPANS = {
	"1h": { seconds: 3600, points: 60 }, "6h": { seconds: 6 * 3600, points: 72 }, "24h": { seconds: DAY, points: 144 },
	"7d": { seconds: 7 * DAY, points: 168 }, "all": { seconds: null, points: 168 },
};
export const CLASSES = ["real", "drill", "import"];
export const RANGE_WORDS = { live: w("Live"), day: w("Day"), week: w("Week"), quarter: w("Quarter") };
export const RANGES = Object.keys(RANGE_WORDS);
// What is told to everybody is served below /public/; behind a proxy it may lie elsewhere, and then the collector's first answer says it.
let told = /\/public\/$/.test(location.pathname);
export const isPublic = () => told;
export const setPublic = (isIt) => { told = isIt; };
export const PUBLIC_SPANS = ["24h", "7d"];

const MOST_PORT = 65535;
/** "tcp/23" with its IP version, or null. */
function portOf(text, ip) {
	const match = /^([a-z0-9-]{1,12})\/(\d{1,5})$/.exec(text || "");
	return match && Number(match[2]) <= MOST_PORT ? { protocol: match[1], port: Number(match[2]), ip: ip === "6" ? 6 : 4 } : null;
}
export function wanted() {
	const hash = new URLSearchParams(location.hash.slice(1)), from = hash.get("from"), range = RANGES.includes(hash.get("range")) && !isPublic() ? hash.get("range") : "live";
	const spans = isPublic() ? PUBLIC_SPANS : Object.keys(SPANS);
	return {
		class: CLASSES.includes(hash.get("class")) ? hash.get("class") : null,
		range,
		// The years that the API knows.
		from: /^(1[7-9]|2[01])\d\d-\d\d-\d\d$/.test(from) && Number.isFinite(Date.parse(from)) ? from : null,
		span: spans.includes(hash.get("span")) ? hash.get("span") : "24h",
		// History is over all sensors.
		sensor: isPublic() || range !== "live" ? null : hash.get("sensor") || null,
		port: portOf(hash.get("port"), hash.get("ip")),
		event: /^[0-2][0-9a-f]{16}$/.test(hash.get("event")) ? hash.get("event") : null,
		view: hash.get("view") === "reports" && !isPublic() ? "reports" : null,
		lang: hash.get("lang"),
	};
}
/** The hash of the present choice with `change` made; it leads away from an event, and from reports, unless it names them. */
export function link(change) {
	const next = { ...wanted(), event: null, view: null, ...change }, hash = new URLSearchParams(), history = next.range !== "live";
	if (next.class) hash.set("class", next.class);
	if (history) hash.set("range", next.range);
	if (history && next.from) hash.set("from", next.from);
	if (!history && next.span !== "24h") hash.set("span", next.span);
	if (!history && next.sensor) hash.set("sensor", next.sensor);
	if (next.port) hash.set("port", next.port.protocol + "/" + next.port.port);
	if (next.port && next.port.ip === 6) hash.set("ip", "6");
	if (next.event) hash.set("event", next.event);
	if (next.view) hash.set("view", next.view);
	if (next.lang) hash.set("lang", next.lang);
	// A slash may stand there as it is, and reads better.
	return "#" + String(hash).replaceAll("%2F", "/");
}
export const portLink = (port) => link({ port: { protocol: port.protocol_name, port: port.port, ip: port.ip } });

/** Begin and end of the day, week (from Monday) or quarter of a year that a time lies in; all of UTC. */
function around(range, time) {
	const day = Math.floor(time / DAY) * DAY;
	if (range === "day") return [day, day + DAY];
	// 1970-01-01 was a Thursday.
	if (range === "week") { const from = day - ((day / DAY + 3) % 7 + 7) % 7 * DAY; return [from, from + 7 * DAY]; }
	const at = new Date(day * 1000), year = at.getUTCFullYear(), month = at.getUTCMonth() - at.getUTCMonth() % 3;
	return [Date.UTC(year, month) / 1000, Date.UTC(year, month + 3) / 1000];
}
/**
 * The period of a choice, and the one before it. Of one that runs, what is known ends at `until`, the begin where nothing is known yet;
 * the one before is cut at the same point, so that like is compared with like. `whole` is the end of the day that `until` lies in, since
 * distinct sources are known of whole days only.
 */
export function periodOf(choice, known) {
	const chosen = choice.from ? Date.parse(choice.from) / 1000 : known - 1;
	const [from, end] = around(choice.range, chosen), [before] = around(choice.range, from - 1);
	const running = known < end, until = running ? Math.max(from, known) : end, whole = running ? Math.max(Math.ceil(until / DAY) * DAY, from + DAY) : end;
	return { from, end, running, until, whole, previous: { from: before, to: running ? Math.min(before + until - from, from) : from } };
}
