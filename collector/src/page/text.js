// Words, numbers and times as people read them.

import ja from "./ja.js";

export const HOUR = 3600, DAY = 86400, THIN = "\u202f", NONE = "–";
/** Languages by their tag, in their own words. */
export const LANGUAGES = { en: "English", ja: "日本語" };
const WORDS = { ja };
let language = "en";

/** Which language is spoken from now on. */
export function speak(tag) {
	language = Object.hasOwn(LANGUAGES, tag) ? tag : "en";
	document.documentElement.lang = language;
}
export const spoken = () => language;
/** Marks words that are said later, so that a test finds them; they stay English until `t` says them. */
export const w = (words) => words;
/** Says English words in the language that is spoken. `{name}` stands for a value; of values that are nodes it makes a list. */
export function t(words, values) {
	const found = Object.hasOwn(WORDS[language] || {}, words) ? WORDS[language][words] : words;
	if (!values) return found;
	const parts = found.split(/\{(\w+)\}/).map((part, i) => i % 2 ? values[part] ?? "" : part);
	return parts.every((part) => typeof part !== "object") ? parts.join("") : parts;
}
/** A list of a few texts as one. */
export const listed = (texts) => texts.join(t(", "));

// Control and direction characters can disguise a name: none is shown.
const DISGUISES = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
export const cleanLong = (text) => String(text).replace(DISGUISES, "\ufffd");
export const clean = (text) => cleanLong(text).replaceAll("\n", "\ufffd").slice(0, 300);
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export function num(value, digits = 0) {
	if (!isNumber(value)) return NONE;
	const [whole, part] = Math.abs(value).toFixed(digits).split(".");
	return (value < 0 ? "−" : "") + whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (part ? "." + part : "");
}
/** Three figures or so, for rates. */
export const figure = (value) => num(value, !isNumber(value) || value === 0 || value >= 1000 ? 0 : value >= 10 ? 1 : value >= 0.01 ? 2 : 4);
export function scaled(value, unit) {
	if (!isNumber(value)) return NONE;
	const steps = ["", "k", "M", "G", "T", "P"];
	let step = 0;
	while (Math.abs(value) >= 999.5 && step < 5) { value /= 1000; step++; }
	const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 1 ? 1 : 2;
	return num(value, digits) + (steps[step] + unit ? THIN + steps[step] + unit : "");
}
export const bytes = (value) => scaled(value, "B");
export function percent(part, whole) {
	if (!isNumber(part) || !isNumber(whole) || whole <= 0) return NONE;
	const share = 100 * part / whole;
	if (share > 0 && share < 0.1) return "< 0.1" + THIN + "%";
	return num(part < whole ? Math.min(share, 99.9) : share, share === 100 ? 0 : 1) + THIN + "%";
}
/** How many times as much as before. */
export const times = (now, before) => "×" + THIN + (now / before >= 9.95 ? num(now / before) : now / before >= 0.095 ? num(now / before, 1) : num(now / before, 2));
/** Distinct counts: the number, its error, both as text. */
export const rough = (count) => !count ? NONE : (count.exact ? "" : "≈" + THIN) + num(count.count);
export const error = (count) => "±" + num(100 * count.error, 1) + THIN + "%";
export const flat = (count) => rough(count) + (count && !count.exact ? " " + error(count) : "");
export function duration(seconds) {
	if (!isNumber(seconds)) return NONE;
	const s = Math.max(0, Math.round(seconds)), pair = (a, au, b, bu) => a + THIN + t(au) + (b ? " " + b + THIN + t(bu) : "");
	if (s < 120) return s + THIN + t("s");
	if (s < 3600) return Math.floor(s / 60) + THIN + t("min");
	if (s < 2 * DAY) return pair(Math.floor(s / 3600), w("h"), Math.floor(s % 3600 / 60), w("min"));
	return pair(Math.floor(s / DAY), w("d"), Math.floor(s % DAY / 3600), w("h"));
}
/** The length of a step as a unit: "h", "10 min". */
export const per = (step) => step === DAY ? t("day") : duration(step).replace(/^1\u202f/, "");
/** Seconds since 1970 of an RFC 3339 text, or null. */
export const instant = (text) => { const at = Date.parse(text) / 1000; return Number.isFinite(at) ? at : null; };
export const iso = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19) + "Z";
export const stamp = (seconds) => iso(seconds).replace("T", " ").replace("Z", "");
export const minute = (seconds) => stamp(seconds).slice(0, 16);
export const date = (seconds) => stamp(seconds).slice(0, 10);
export const clock = (seconds) => stamp(seconds).slice(11);
/** "10:20–10:30" with the date of the begin. */
export const stepText = (start, step) => step === DAY ? date(start) : step < 60 ? stamp(start) + "–" + clock(start + step).slice(3)
	: step % DAY === 0 || step > DAY ? minute(start) + " – " + minute(start + step) : minute(start) + "–" + clock(start + step).slice(0, 5);
export const serviceName = (port) => port.port + "/" + port.protocol_name + (port.ip === 6 ? " (IPv6)" : "");
/** A source region in the language that is spoken: where an address is registered or said to be used. */
export function regionName(code) {
	// What is no code at all is shown as it is.
	try { return new Intl.DisplayNames(language, { type: "region" }).of(code) || code; } catch { return code; }
}
