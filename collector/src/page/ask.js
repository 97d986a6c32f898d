// Asking the collector, through the API of docs/api.md.

import { iso } from "./text.js";

const TIMEOUT_SECONDS = 15;
const TOKEN = "martlet-token";

export class Refused extends Error {
	constructor(status, message) { super(message); this.status = status; }
}
export const setToken = (token) => sessionStorage.setItem(TOKEN, token);
function headers() {
	const token = sessionStorage.getItem(TOKEN);
	return token ? { authorization: "Bearer " + token } : {};
}
/** A time or a length of time as parameters have it. */
const asParameter = (name, value) => typeof value !== "number" ? value : name === "step" ? value + "s" : name === "from" || name === "to" ? iso(value) : value;
/** Relative: works under a prefix of a reverse proxy too. */
export function question(path, parameters) {
	const given = Object.entries(parameters || {}).filter(([, value]) => value != null);
	return "api/v1/" + path + "?" + new URLSearchParams(given.map(([name, value]) => [name, asParameter(name, value)]));
}
/** The same question, answered with a table. */
export const csvOf = (path, parameters) => question(path, { ...parameters, format: "csv" });
export async function ask(path, parameters, signal) {
	try {
		// What has not changed comes from the browser's cache, once the collector has said so.
		const answer = await fetch(question(path, parameters), { headers: headers(), signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_SECONDS * 1000)]), cache: "no-cache" });
		const body = await answer.json().catch(() => null);
		if (!answer.ok) throw new Refused(answer.status, (body && (body.detail || body.title)) || "status " + answer.status);
		if (body === null || typeof body !== "object") throw new Refused(answer.status, "the answer is not JSON");
		return body;
	} catch (error) {
		throw error instanceof Refused || signal.aborted ? error : new Refused(0, "no answer");
	}
}
async function plainly(path, parameters, more) {
	const answer = await fetch(path + (parameters ? "?" + new URLSearchParams(parameters) : ""), { ...more, headers: { ...headers(), ...more.headers }, signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000), cache: "no-store" });
	if (answer.ok) return answer;
	const body = await answer.json().catch(() => null);
	throw new Refused(answer.status, (body && (body.detail || body.title)) || "status " + answer.status);
}
/** Asks for a text. */
export const askText = async (path, parameters) => (await plainly("api/v1/" + path, parameters, {})).text();
/** Says something to the collector. */
export const tell = async (path, body) => (await plainly("api/v1/" + path, null, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
/**
 * Server-sent events, read by `fetch` since EventSource sends no token. Calls `told` with the data of each event; returns at the end of
 * the stream, and throws where there is none.
 */
export async function listen(signal, told) {
	const answer = await fetch("api/v1/stream", { headers: { ...headers(), accept: "text/event-stream" }, signal, cache: "no-store" });
	if (!answer.ok || !answer.body) throw new Refused(answer.status, "no stream");
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const events = (rest + value).split("\n\n");
		rest = events.pop();
		// Of several that came at once the newest says it all.
		const newest = events.map((event) => /^data: ?(.*)$/m.exec(event)).filter(Boolean).pop();
		if (newest) told(JSON.parse(newest[1]));
	}
}
/** Saves a table. A plain link does as well, but that no link sends a token. */
export async function save(href, name) {
	const answer = await fetch(href, { headers: headers() });
	if (!answer.ok) throw new Refused(answer.status, "status " + answer.status);
	const url = URL.createObjectURL(await answer.blob()), anchor = document.createElement("a");
	Object.assign(anchor, { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
export const hasToken = () => Boolean(sessionStorage.getItem(TOKEN));
