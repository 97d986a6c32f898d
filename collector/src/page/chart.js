// Charts over time: drawn as SVG, read by pointer, by keyboard (a slider over the steps) and as text.

import { clamp, clock, DAY, duration, flat, minute, num, per, scaled, stepText, t, w } from "./text.js";
import { element, fill, h, h2, li, small, soft, strong, swatch } from "./dom.js";

const LEFT = 46, RIGHT = 6;
const plots = new Map();           // id -> {model, cursor: time of the step under the pointer or null}
const TIME_TICKS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY, 1826 * DAY];
const rule = (x1, x2, y1, y2, cls) => h("line", { x1, x2, y1, y2, class: cls });

/** The top of an axis from 0 on, and the distance of its lines. */
function ceiling(max) {
	if (max <= 4) return [Math.max(1, Math.ceil(max)), 1];
	const power = 10 ** Math.floor(Math.log10(max / 2));
	const tick = [1, 2, 5, 10].map((n) => n * power).find((step) => max / step <= 4) || 10 * power;
	return [Math.ceil(max / tick) * tick, tick];
}
/** Values of an axis where lines are, and the share of its height at which a value is. */
function axis(max, isLog) {
	if (!isLog) {
		const [top, tick] = ceiling(max);
		return { ticks: Array.from({ length: Math.round(top / tick) + 1 }, (_, i) => i * tick), share: (value) => value / top };
	}
	// Below 1 there is nothing to count: it is the foot.
	const decades = Math.max(1, Math.ceil(Math.log10(Math.max(2, max))));
	return { ticks: Array.from({ length: decades + 1 }, (_, i) => 10 ** i), share: (value) => Math.log10(Math.max(1, value)) / decades };
}

/**
 * A figure. model: start, step (seconds), count; parts: [{key, label, values}] that are stacked; sources: distinct counts or null by
 * step, or none; previous: values of the time before, by step, or none; begins, ends: where the data does; complete: steps that
 * are; gaps: steps of which nothing is known, and `gap` what to say of them; log: axes are logarithmic; unit and read: what is
 * counted a step, and how a count is read, if not packets.
 */
export function chart(id, title, note, model, extra) {
	const state = plots.get(id) || { cursor: null };
	plots.set(id, Object.assign(state, { model }));
	const legend = [...(model.parts.length > 1 ? model.parts.map(({ key, label }) => li(swatch(key), label)) : []),
		model.previous && li(h("svg", { class: "swatch line", viewBox: "0 0 16 8", "aria-hidden": "true" }, rule(0, 16, 4, 4, "before")), model.previousLabel)].filter(Boolean);
	return h("figure", { testid: "chart-" + id, data: { steps: model.count, stepSeconds: model.step }, class: "card" },
		h("figcaption", null, h2(title), " ", small(note), extra),
		legend.length > 0 && h("ul", { class: "legend" }, legend),
		h("div", { class: "plot", id: "plot-" + id, tabindex: 0, role: "slider", "aria-label": t("{title}: step to read", { title }), "aria-orientation": "horizontal" }),
		h("p", { class: "readout", testid: "chart-readout", id: "readout-" + id }));
}
const stepTotal = (model, i) => model.parts.reduce((sum, part) => sum + part.values[i], 0);
const known = (model, i) => { const at = model.start + i * model.step; return at + model.step > model.begins && at < model.ends && !(model.gaps && model.gaps[i]); };

/** Draws into the figures' empty boxes, whose width is only known once they are in the document. */
export function drawAll() {
	for (const id of plots.keys()) draw(id);
}
function draw(id) {
	const box = element("plot-" + id), state = plots.get(id);
	if (!box || !state) return;
	const { model } = state, { count, step, start } = model;
	const width = Math.max(240, Math.floor(box.clientWidth)), inner = width - LEFT - RIGHT;
	const stop = start + count * step, x = (at) => LEFT + inner * (at - start) / (stop - start), at = (i) => x(start + i * step);
	const svg = h("svg", { "aria-hidden": "true" });
	let y0 = 24;
	const panel = (height, label, max, body) => {
		const { ticks, share } = axis(max, model.log), y = (value) => y0 + height * (1 - share(value));
		svg.append(h("text", { x: 0, y: y0 - 11, class: "unit" }, label));
		ticks.forEach((value, i) => svg.append(rule(LEFT, width - RIGHT, y(value), y(value), i ? "gridline" : "axis"), h("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, scaled(value, ""))));
		// Where nobody reported there is no zero: such steps are hatched instead.
		for (let i = 0; i < count; i++) if (!known(model, i)) svg.append(h("rect", { x: at(i), y: y0, width: at(i + 1) - at(i), height, fill: "url(#hatch-" + id + ")" }));
		body(y);
		y0 += height + 34;
	};
	/** A line of steps; it is broken where a value is not known. */
	const steps = (value, y, cls) => {
		let line = "", pen = "M";
		for (let i = 0; i < count; i++) {
			const level = value(i);
			if (level == null) { pen = "M"; continue; }
			line += pen + at(i).toFixed(1) + " " + y(level).toFixed(1) + "H" + at(i + 1).toFixed(1);
			pen = "L";
		}
		svg.append(h("path", { d: line || "M0 0", class: cls }));
	};
	svg.append(h("defs", null, h("pattern", { id: "hatch-" + id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, rule(0, 0, 0, 6, "hatch"))));
	let peak = 0;
	for (let i = 0; i < count; i++) if (stepTotal(model, i) > stepTotal(model, peak)) peak = i;
	const gap = inner / count > 4 ? 1 : 0, before = (i) => model.previous && model.previous[i];
	panel(150, t(model.unit || w("packets per {unit}"), { unit: per(step) }), Math.max(stepTotal(model, peak), ...(model.previous || []).map((value) => value || 0)), (y) => {
		for (let i = 0; i < count; i++) {
			let base = 0;
			for (const part of model.parts) {
				const value = part.values[i];
				if (value > 0) {
					svg.append(h("rect", { x: at(i), y: y(base + value), width: inner / count - gap, height: Math.max(0, y(base) - y(base + value)), class: "f-" + part.key + (i >= model.complete ? " weak" : "") }));
				}
				base += value;
			}
		}
		if (model.previous) steps(before, y, "before");
	});
	if (model.sources) {
		panel(80, t("unique sources per {unit}", { unit: per(step) }), Math.max(...model.sources.map((s) => (s && s.count) || 0)), (y) =>
			steps((i) => known(model, i) && model.sources[i] && i < model.complete ? model.sources[i].count : null, y, "trace"));
	}
	const bottom = y0 - 20, seconds = stop - start;
	const tick = TIME_TICKS.find((length) => seconds / length <= inner / 62) || TIME_TICKS[TIME_TICKS.length - 1];
	for (let mark = Math.ceil(start / tick) * tick; mark <= stop; mark += tick) {
		const text = seconds > 300 * DAY ? minute(mark).slice(0, 10) : mark % DAY === 0 ? minute(mark).slice(5, 10) : clock(mark).slice(0, 5);
		svg.append(rule(x(mark), x(mark), y0 - 34, y0 - 30, "axis"), h("text", { x: clamp(x(mark), LEFT, width - 18), y: bottom, "text-anchor": "middle" }, text));
	}
	svg.append(h("text", { x: width - RIGHT, y: bottom + 15, "text-anchor": "end" }, t("time of capture, UTC")));
	const i = state.cursor === null ? -1 : Math.floor((state.cursor - start) / step), chosen = i >= 0 && i < count;
	if (chosen) svg.append(rule(at(i + 0.5), at(i + 0.5), 24, y0 - 34, "cursor"));
	svg.setAttribute("viewBox", "0 0 " + width + " " + (bottom + 19)); svg.setAttribute("height", bottom + 19);
	fill(box, [svg]);
	readOut(id, box, model, chosen ? i : peak, chosen, before);
}
/** What is under the cursor, or else the highest step, in words. */
function readOut(id, box, model, i, chosen, before) {
	const { start, step, count } = model;
	const read = (i) => !known(model, i) ? model.gap || t("no report") : [
		strong(t(model.read || w("{n} packets"), { n: num(stepTotal(model, i)) })), i >= model.complete && t(" so far"),
		model.parts.length > 1 && " (" + model.parts.map((part) => part.label + " " + num(part.values[i])).join(", ") + ")",
		before(i) != null && ["; ", model.previousLabel, " ", num(before(i))],
		model.sources && model.sources[i] && [", ", strong(flat(model.sources[i])), t(" unique sources")]];
	const said = [stepText(start + i * step, step) + " UTC: ", read(i)], any = stepTotal(model, i) > 0;
	const readout = h("p", null, chosen ? said : any ? [t("Highest, "), said, ". ", soft(t("Point at a step or use ← →."))] : t("No packets in this range."));
	for (const [name, value] of Object.entries({ min: 0, max: count - 1, now: i, text: readout.textContent })) box.setAttribute("aria-value" + name, value);
	fill(element("readout-" + id), [...readout.childNodes]);
}
function moveCursor(box, cursor) {
	const id = box.id.slice(5), state = plots.get(id);
	if (state && state.cursor !== cursor) { state.cursor = cursor; draw(id); }
}
const plotOf = ({ target }) => target instanceof Element ? target.closest(".plot") : null;
/** Lets people point at steps. */
export function watchPointers() {
	document.addEventListener("pointermove", (event) => {
		const over = plotOf(event);
		for (const box of document.querySelectorAll(".plot")) {
			if (box !== over) { if (document.activeElement !== box) moveCursor(box, null); continue; }
			const { start, step, count } = plots.get(box.id.slice(5)).model, frame = box.getBoundingClientRect();
			moveCursor(box, start + clamp(Math.floor((event.clientX - frame.left - LEFT) / (frame.width - LEFT - RIGHT) * count), 0, count - 1) * step);
		}
	});
	document.addEventListener("keydown", (event) => {
		const box = plotOf(event);
		if (!box) return;
		const { model, cursor } = plots.get(box.id.slice(5)), last = model.count - 1;
		const i = cursor === null ? clamp(model.complete, 0, last) : Math.round((cursor - model.start) / model.step);
		const to = { ArrowLeft: i - 1, ArrowDown: i - 1, ArrowRight: i + 1, ArrowUp: i + 1, Home: 0, End: last }[event.key];
		if (event.key === "Escape") moveCursor(box, null);
		if (to === undefined) return;
		event.preventDefault();
		moveCursor(box, model.start + clamp(to, 0, last) * model.step);
	});
	document.addEventListener("focusout", (event) => { if (plotOf(event)) moveCursor(plotOf(event), null); });
	window.addEventListener("resize", () => requestAnimationFrame(drawAll));
}

/** A small line with a text alternative. begin, end: which values are known and complete. */
export function spark({ values, start, step, begin, end, marked }) {
	const n = values.length, max = Math.max(1, ...values), peak = values.indexOf(Math.max(...values));
	if (n < 2) return num(values[0]);
	const x = (i) => (1 + 118 * i / (n - 1)).toFixed(1), y = (value) => (22 - 20 * value / max).toFixed(1);
	let line = "";
	for (let i = begin; i < end; i++) line += (line ? "L" : "M") + x(i) + " " + y(values[i]);
	const text = t("packets per {unit}: highest {n} from {time} UTC, newest {last}", { unit: duration(step), n: num(values[peak]), time: minute(start + peak * step), last: num(values[end - 1]) });
	return h("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": text, preserveAspectRatio: "none" },
		end > begin && h("path", { d: line + "L" + x(end - 1) + " 23L" + x(begin) + " 23Z", class: "area" }), line && h("path", { d: line, class: "trace" }),
		marked && end > begin && h("circle", { cx: x(end - 1), cy: y(values[end - 1]), r: 2.5, class: "f-scan" }));
}
/** How a sum is made up. */
export function shareBar(parts) {
	const total = parts.reduce((sum, { value }) => sum + value, 0);
	let x = 0;
	return h("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, parts.map(({ key, value }) => {
		const width = total ? 100 * value / total : 0;
		return h("rect", { x: (x += width) - width, width, height: 10, class: "f-" + key });
	}));
}
