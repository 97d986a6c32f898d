// What stands out, and how something grows: reading aids by plain arithmetic, not detections.

import { HOUR, instant, isNumber } from "./text.js";

// A service stands out when its newest step reaches all of these against the steps of the 24 h before.
export const RISE = { packets: 20, median: 3, sigmas: 5, steps: 6 };
export const portKey = (port) => [port.ip, port.protocol, port.port].join("/");

/** Where the data of an answer really begins and ends: outside nobody reported, which is not the same as no packets. */
export function extent(view, answer) {
	const { info } = view, from = instant(answer.from), to = instant(answer.to);
	if (view.isPublic) return { from, to, ends: to, step: answer.step_seconds };
	const one = view.sensor ? view.sensors.find((s) => s.name === view.sensor) : null;
	const first = Math.max(instant((one || info).first_window) ?? from, instant(info.history.from) ?? from);
	const last = instant((one || info).last_window_end) ?? to;
	return { from: Math.max(from, Math.min(first, to)), to, ends: last, step: answer.step_seconds };
}

/**
 * Compares each service's newest step with the steps of the 24 h before it. The newest complete step or the running one counts,
 * whichever has more: a running step is a lower bound.
 */
export function outlook(view) {
	const all = view.watch, { from, to, ends, step } = extent(view, all);
	const begins = Math.max(0, Math.ceil((from - instant(all.from)) / step));
	const complete = Math.floor((Math.min(ends, to) - instant(all.from)) / step) - 1;
	const steps = complete - begins, late = view.now - ends > 2 * step;
	if (steps < RISE.steps) return { state: "short", steps: Math.max(0, steps), step, late };
	const rising = [], seen = new Map();
	for (const port of all.ports) {
		const before = port.series.slice(begins, complete).sort((a, b) => a - b);
		const at = (port.series[complete + 1] || 0) > port.series[complete] ? complete + 1 : complete;
		const level = port.series[at], usual = before[steps >> 1];
		const up = level >= RISE.packets && level >= RISE.median * usual && level - usual >= RISE.sigmas * Math.sqrt(usual + 1);
		let since = at;
		while (since > begins && port.series[since - 1] > RISE.median * usual) since--;
		const row = { port, level, usual, up, running: at > complete, start: instant(all.from) + at * step, lasts: (at - since) * step };
		seen.set(portKey(port), row);
		if (up) rising.push(row);
	}
	rising.sort((a, b) => b.level - b.usual - a.level + a.usual);
	return { state: rising.length ? "rising" : "ok", rising, seen, steps, step, late, listed: all.ports.length };
}

const FEWEST_STEPS = 6, MOST_STEPS = 12, FEWEST_COUNT = 3;
// 97.5 % quantiles of Student's t by degrees of freedom from 4 to 10.
const STUDENT = [2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
/**
 * How fast counts grew over the newest steps: least squares of the logarithm against time, with the 95 % interval of the slope. The
 * newest steps are those at the end that reach a few, 12 at most, so that the foot of an outbreak counts and not the noise before.
 * Returns null where too few steps have enough, else rate, low and high (natural logarithm an hour) and from which step on.
 */
export function growth(counts, step) {
	let from = counts.length;
	while (from > 0 && counts.length - from < MOST_STEPS && isNumber(counts[from - 1]) && counts[from - 1] >= FEWEST_COUNT) from--;
	const n = counts.length - from;
	if (n < FEWEST_STEPS) return null;
	const xs = Array.from({ length: n }, (_, i) => i * step / HOUR), ys = counts.slice(from).map(Math.log);
	const mean = (list) => list.reduce((a, b) => a + b, 0) / n, mx = mean(xs), my = mean(ys);
	const sxx = xs.reduce((sum, x) => sum + (x - mx) ** 2, 0), sxy = xs.reduce((sum, x, i) => sum + (x - mx) * (ys[i] - my), 0);
	const rate = sxy / sxx, rest = ys.reduce((sum, y, i) => sum + (y - my - rate * (xs[i] - mx)) ** 2, 0);
	const margin = STUDENT[n - FEWEST_STEPS] * Math.sqrt(rest / (n - 2) / sxx);
	return { rate, low: rate - margin, high: rate + margin, from, steps: n };
}
/** Time in which counts double, in seconds; negative: in which they halve. */
export const doubling = (rate) => HOUR * Math.LN2 / rate;
