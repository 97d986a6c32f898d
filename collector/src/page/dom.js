// Building and updating the document.

import { clean, cleanLong, error, iso, num, percent, rough, stamp, clock, t } from "./text.js";

const SVG = new Set(["svg", "g", "title", "rect", "path", "line", "text", "circle", "pattern", "defs"]);
/** An element. Children are nodes or text; text goes into text nodes only. */
export function h(tag, attributes, ...children) {
	const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
	const { testid, data, ...plain } = attributes || {};
	if (testid) node.dataset.testid = testid;
	for (const [name, value] of Object.entries(data || {})) if (value != null) node.dataset[name] = String(value);
	for (const [name, value] of Object.entries(plain)) if (value != null && value !== false) node.setAttribute(name, value);
	for (const child of children.flat(Infinity)) {
		if (child == null || child === false) continue;
		node.append(child instanceof Node ? child : document.createTextNode(clean(child)));
	}
	return node;
}
/** Makes `old` look like `fresh` with as few changes as possible, so that focus, selection and open details stay. */
function morph(old, fresh) {
	if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return void old.replaceWith(fresh);
	if (old.nodeType === Node.TEXT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return; }
	for (const { name } of [...old.attributes]) {
		if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
	}
	for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
	fill(old, [...fresh.childNodes]);
}
export function fill(parent, fresh) {
	const old = [...parent.childNodes];
	fresh.forEach((node, i) => { if (i < old.length) morph(old[i], node); else parent.append(node); });
	for (const node of old.slice(fresh.length)) node.remove();
}
export const show = (parent, ...nodes) => fill(parent, [...h("div", null, ...nodes).childNodes]);
export const element = (id) => document.getElementById(id);
const made = (tag, cls) => (...children) => h(tag, cls && { class: cls }, children);
export const soft = made("span", "soft"), small = made("span", "soft small"), sub = made("div", "soft small"), mono = made("span", "mono"), para = made("p", "soft");
export const strong = made("strong"), h2 = made("h2"), li = made("li"), pre = made("pre", "mono"), card = made("section", "card");
/** A text of several lines. */
export function long(text) {
	const node = h("div", { class: "long" });
	node.textContent = cleanLong(text);
	return node;
}
export const tag = (look, text) => h("span", { class: "tag " + look }, text);
export const pick = (row, names) => Object.fromEntries(names.split(" ").map((name) => [name, row[name]]));
export const swatch = (kind) => h("svg", { class: "swatch", viewBox: "0 0 8 8", "aria-hidden": "true" }, h("rect", { width: 8, height: 8, class: "f-" + kind }));
export const when = (seconds, short) => h("time", { datetime: iso(seconds) }, (short ? clock(seconds) : stamp(seconds)) + " UTC");
export const distinct = (count) => !count || count.exact ? rough(count) : [rough(count) + " ", h("small", { class: "soft", title: t("estimate; relative standard error") }, error(count))];
/** A number that should be 0, and if it (or `any`) is not, what it is about. */
export const bad = (n, note, any) => n > 0 || any > 0 ? [tag("warn", num(n)), sub(note)] : "0";

/**
 * A table. columns: [label, class]; rows: attributes and cells, the first of which heads its row; csv: the question whose answer has the
 * same rows. On a phone a row becomes a card: its cells repeat their labels, and roles keep it a table for screen readers.
 */
export function table(heading, note, columns, rows, csv) {
	const cell = (content, i) => h(i ? "td" : "th", { role: i ? "cell" : "rowheader", scope: i ? null : "row", class: columns[i][1], "data-label": columns[i][0] }, content);
	return [h("div", { class: "caption" }, h2(heading), note && h("span", null, note), csv && [" ", download(csv, heading)]), h("table", { class: "cards", role: "table", "aria-label": heading },
		h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(([label, cls]) => h("th", { scope: "col", role: "columnheader", class: cls }, label)))),
		h("tbody", { role: "rowgroup" }, rows.map(({ cells, ...attributes }) => h("tr", { role: "row", ...attributes }, cells.map(cell)))))];
}
/** A link to the same as CSV. */
export const download = (question, what) => h("a", { class: "csv", testid: "csv", href: question, download: "", "aria-label": t("{what} as CSV", { what }) }, "CSV");
/** The three columns that most tables share. */
export const counted = () => [[t("Packets"), "n"], [t("Share"), "n"], [t("Unique sources"), "n"]];
export const countedCells = (row, total) => [num(row.packets), percent(row.packets, total), distinct(row.sources)];
