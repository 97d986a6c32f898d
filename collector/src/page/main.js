// Martlet's page: what is asked for stands in the address, is asked of the collector, and is shown; again whenever something changes.

import { ask, hasToken, listen, Refused, save, setToken } from "./ask.js";
import { drawAll, watchPointers } from "./chart.js";
import { change, classOf, draftOf, eventsCard, eventView, loadEvents } from "./events.js";
import { element, h, h2, para, pick, show, when } from "./dom.js";
import { historyView, loadHistory, nothingYet, periodText, withoutHistory } from "./history.js";
import { emptyState, liveView, loadLive, loadPublic, spanChoices } from "./live.js";
import { historyPort, livePort, nameOf } from "./port.js";
import { loadReports, reportsView } from "./reports.js";
import { CLASSES, isPublic, link, PUBLIC_SPANS, RANGE_WORDS, RANGES, setPublic, SPANS, wanted } from "./state.js";
import { clean, clock, date, duration, figure, instant, iso, isNumber, LANGUAGES, speak, spoken, t, w } from "./text.js";

const REFRESH_SECONDS = 5;         // where nothing tells of changes
const PUBLIC_REFRESH_SECONDS = 60;
const QUIET_SECONDS = 20;          // the collector tells at least every 15 s
const BACKOFF_SECONDS = [5, 10, 20, 40, 60];
const BANNERS = { drill: w("DRILL — synthetic traffic, nobody did this"), import: w("IMPORT — read from a capture file") };
const CLASS_WORDS = { real: w("real"), drill: w("drill"), import: w("import") };

// ---- asking
/** Everything of one choice. Throws before anything is shown. */
async function load(before, told, signal) {
	const asked = performance.now(), status = told || await ask("status", null, signal);
	// Who is told the short status is told no more than everybody is, wherever the page lies.
	setPublic(Boolean(status.publication) && !status.classes);
	const next = { ...wanted(), status, asked, isPublic: isPublic(), now: instant(status.now), sensors: [] };
	if (next.isPublic) {
		Object.assign(next, { class: "real", classes: [], info: null });
		await loadEvents(next, before, signal);
		if (!next.event) await loadPublic(next, before, signal);
		return next;
	}
	// The collector lists real first.
	const { classes } = status, name = (next.event && classOf(next.event)) || next.class || (classes.length ? classes[0].class : "real"), info = classes.find((c) => c.class === name);
	Object.assign(next, { class: name, classes, info });
	if (next.view) {
		await loadReports(next, before, signal);
		return next;
	}
	next.isChanged = isChanged;
	await loadEvents(next, before, signal);
	if (next.event) return next;
	await (next.range === "live" ? loadLive : loadHistory)(next, before && before.range === next.range ? before : null, signal);
	return next;
}

// ---- what is around the numbers
const segment = (legend, name, options) => h("fieldset", { class: "seg" }, h("legend", null, legend), h("div", { class: "opts" },
	options.map(([value, ...label]) => h("label", null, h("input", { testid: name + "-choice", data: { value }, type: "radio", name, value }), label))));
/** Steps to the periods before and after. */
function periodSteps(view) {
	const { period } = view;
	if (!period) return null;
	const step = (testid, label, from) => h("a", { class: "step", testid, href: link({ from: date(from) }), "aria-label": label, title: label }, testid === "earlier" ? "‹" : "›");
	return h("div", { class: "seg" }, step("earlier", t("the one before"), period.previous.from), h("strong", { testid: "period" }, periodText(view)), view.now > period.end ? step("later", t("the one after"), period.end) : null);
}
/** Controls and banner say what is shown, which is not what is asked for while an answer is due. */
function header(view) {
	const controls = element("controls"), names = view.sensors.map((s) => s.name), live = view.range === "live" && !view.view;
	controls.hidden = false;
	if (view.sensor && !names.includes(view.sensor)) names.push(view.sensor);
	show(controls,
		!view.isPublic && segment(t("Range"), "range", RANGES.map((range) => [range, t(RANGE_WORDS[range])])),
		!live && !view.view && periodSteps(view),
		live && segment(t("Span"), "span", spanChoices(view.isPublic ? PUBLIC_SPANS : Object.keys(SPANS))),
		!view.isPublic && segment(t("Traffic"), "class", CLASSES.map((name) => [name, t(CLASS_WORDS[name]), !view.classes.some((c) => c.class === name) && h("span", { class: "sr" }, t(" (no data)"))])),
		live && !view.isPublic && h("div", { class: "seg" }, h("label", { for: "sensor" }, t("Sensor")),
			h("select", { id: "sensor", testid: "sensor-filter" }, h("option", { value: "" }, t("all sensors")), names.map((name) => h("option", { value: name }, name)))),
		!view.isPublic && h("div", { class: "seg" }, h("a", { testid: "reports-link", href: link({ view: "reports" }), "aria-current": view.view ? "page" : null }, t("Reports"))));
	// What a control shows is a property; attributes are its start.
	for (const input of controls.querySelectorAll("input")) input.checked = input.value === view[input.name] && !(view.view && input.name === "range");
	if (element("sensor")) element("sensor").value = view.sensor || "";
	const banner = BANNERS[view.class];
	show(element("banner"), banner && h("p", { testid: "class-banner", data: { class: view.class }, class: "banner" }, t(banner)));
}
/** Words of the page itself, which stand there before anything is known. */
function frame() {
	const text = (id, words) => { element(id).textContent = words; };
	text("motto", t("unsolicited packets at observed addresses"));
	text("skip", t("Skip to the numbers"));
	text("token-label", t("Token of scope read (martlet-collector token create)"));
	text("token-use", t("Use"));
	text("pause", paused ? t("Resume") : t("Pause"));
	show(element("languages"), Object.entries(LANGUAGES).map(([tag, name], i) => [i > 0 && " · ", tag === spoken() ? h("strong", { lang: tag }, name) : h("a", { href: link({ lang: tag, ...pick(wanted(), "event view") }), lang: tag, testid: "language", data: { value: tag } }, name)]));
}
function footer({ status, isPublic }) {
	const line = (term, text) => h("div", null, h("dt", null, term + ": "), h("dd", null, text)), started = instant(status.started);
	show(element("foot"),
		h("dl", null,
			line(t("Scan"), t("a probe; the sender looks for a service.")),
			line(t("Backscatter"), t("an answer to what the observed address never sent; its source is most likely a victim of forged addresses.")),
			line(t("Other"), t("stray segments, later fragments, tunnels, protocols without ports.")),
			line(t("Rates"), t("packets per observed address (or /64) and day of exposure, which is the time that addresses were really watched. Packets per second or per step, and what is compared with the usual, are counts of all sensors shown, not per address.")),
			!isPublic && line(t("Coverage"), t("a sensor of real traffic is expected to watch from its first window on. An hour is watched if every window came, at most one window's length went unwatched, and nothing was dropped. Hours of which nothing is heard may still come: then they are late.")),
			line(t("Unique sources"), t("addresses in packets; they do not add up over ports, sensors or steps. ≈: an estimate, ± its relative standard error.")),
			!isPublic && line(t("Source region"), t("where an address is registered or said to be used; not where its user is. From {name}{built}.", { name: status.geo.country.name, built: status.geo.country.built ? t(", built {date}", { date: status.geo.country.built.slice(0, 10) }) : "" })),
			line(t("Service names"), t("IANA's; they do not say what the packets speak."))),
		h("p", null, h("span", { testid: "version" }, "martlet-collector " + status.version),
			!isPublic && [" · ", h("span", { testid: "memory-state", data: { value: status.state } }, status.state === "stalled" ? status.journal.reason === "disk_full" ? t("no batch is taken at the moment: the collector's disk is full") : t("no batch is taken at the moment: the collector's disk is failing") : t("state: {state}", { state: status.state })),
				started !== null && [" (", t("started {time}", { time: when(started) }), ")"]], " · MIT OR Apache-2.0"));
}

// ---- showing
/** What was unfolded by hand. */
const unfolded = { ports: false, strips: false, hours: null, log: false };
/** What was said to the collector of an event and refused, and the draft that is shown. */
let said = {}, isChanged = false;
function body(view) {
	if (view.event) return ["ready", eventView(view, said)];
	if (view.view) return ["ready", reportsView(view)];
	const [state, parts] = numbers(view);
	return [state, [state === "ready" && !view.port && eventsCard(view), parts]];
}
function numbers(view) {
	if (view.isPublic) return ["ready", view.port ? livePort(view, unfolded) : liveView(view, unfolded)];
	if (!view.info && !view.classes.length) return ["empty", emptyState(view)];
	if (!view.info) return ["no-class", h("section", { class: "card empty" }, h2(t("No {class} traffic", { class: t(CLASS_WORDS[view.class]) })), para(t("There is data of: "), view.classes.map((c, i) => [i > 0 && ", ", h("a", { href: link({ class: c.class }) }, t(CLASS_WORDS[c.class]))]), "."))];
	if (view.range === "live") return ["ready", view.port ? livePort(view, unfolded) : liveView(view, unfolded)];
	if (view.noHistory) return ["no-history", withoutHistory()];
	if (view.nothingYet) return ["ready", nothingYet(view)];
	return ["ready", view.port ? historyPort(view, unfolded) : historyView(view, unfolded)];
}
function render(view) {
	const app = element("app"), [state, parts] = body(view), rate = view.info && view.info.recent.packets_per_second, port = view.port && nameOf(view.port);
	header(view);
	show(app, parts);
	drawAll();
	footer(view);
	Object.assign(app.dataset, { state, class: view.class, range: view.range, span: view.span, sensor: view.sensor || "", port: port || "", updated: iso(view.now), language: spoken() });
	const drill = BANNERS[view.class] ? t(BANNERS[view.class]).split(" ")[0] + " · " : "";
	document.title = drill + (view.view ? t("Reports") + " · " : port ? port + " · " : "") + (view.range !== "live" && view.period ? periodText(view) + " · " : isNumber(rate) ? t("{n} packets/s", { n: figure(rate) }) + " · " : "") + "Martlet";
}

// ---- the loop
let shown = null, timer = 0, failures = 0, failed = null, paused = false, running = null, nextAt = 0;
/** The newest status that was told without being asked for, and the stream that tells it. */
let told = null, toldAt = -Infinity, stream = null, streamAt = 0;
const isTold = () => Boolean(stream) && performance.now() - toldAt < QUIET_SECONDS * 1000;
function connection() {
	const conn = element("conn"), text = element("conn-text"), app = element("app"), busy = failed && (failed.status === 503 || failed.status === 429);
	const state = failed ? (busy ? "busy" : "down") : paused ? "paused" : shown ? "ok" : "loading";
	const ago = shown ? t("last updated {time} ago ({clock} UTC)", { time: duration((performance.now() - shown.asked) / 1000), clock: clock(shown.now) }) : "";
	const why = failed && (busy ? t("collector is busy") : failed.status ? failed.message : t("collector does not answer"));
	const next = running ? t("; trying") : paused ? t("; paused") : t("; next try in {n} s", { n: Math.max(0, Math.round((nextAt - performance.now()) / 1000)) });
	const words = clean(failed ? why + (ago && "; " + ago) + next : { ok: t("updated {clock} UTC", { clock: shown ? clock(shown.now) : "" }), paused: t("paused; {ago}", { ago }), loading: t("asking the collector …") }[state]);
	// A live region that counts seconds would never be quiet: only a change of state is spoken.
	text.setAttribute("aria-live", state === "ok" || conn.dataset.state === state ? "off" : "polite");
	Object.assign(conn.dataset, { state, live: isTold() });
	if (text.textContent !== words) text.textContent = words;
	element("token").hidden = isPublic() || !(failed && (failed.status === 401 || failed.status === 403));
	app.classList.toggle("stale", Boolean(failed && shown && !busy));
	app.dataset.stale = Boolean(failed);
	if (failed && !shown) {
		app.dataset.state = "failed";
		show(app, h("section", { class: "card empty" }, h2(busy ? t("The collector is busy") : t("No answer to show")),
			failed.status === 400 ? para(t("What is asked for in the address has no answer: "), failed.message, ". ", h("a", { href: "#" }, t("Show live"))) : para(t("This page keeps trying."))));
	}
}
const isSame = (a, b) => ["class", "range", "from", "span", "sensor", "event", "view"].every((name) => a[name] === b[name] || (name === "class" && !b.class)) && JSON.stringify(a.port) === JSON.stringify(b.port);
async function round() {
	clearTimeout(timer);
	if (running) running.abort();
	const mine = running = new AbortController(), choice = wanted(), used = told, app = element("app");
	speak(choice.lang || navigator.language.slice(0, 2));
	frame();
	app.classList.toggle("busy", Boolean(shown && !isSame(shown, choice)));
	try {
		const view = await load(shown, used, mine.signal);
		if (running !== mine) return;
		render(view);
		shown = view;
		isChanged = false;
		failed = view.partly || null;
	} catch (error) {
		if (running !== mine) return;
		failed = error instanceof Refused ? error : new Refused(200, t("this page cannot read the answer ({message})", { message: error.message }));
		if (shown) header(shown);
	}
	failures = failed ? failures + 1 : 0;
	// What was told meanwhile is shown at once.
	const more = told !== used && !failed;
	if (!more) told = null;
	running = null;
	app.classList.remove("busy");
	const refresh = isPublic() ? PUBLIC_REFRESH_SECONDS : isTold() ? QUIET_SECONDS : REFRESH_SECONDS;
	const due = Math.min(refresh, shown && shown.dueSeconds || refresh);
	const wait = failed ? BACKOFF_SECONDS[Math.min(failures, BACKOFF_SECONDS.length) - 1] : more ? 0 : due;
	nextAt = performance.now() + wait * 1000;
	if (!paused && !document.hidden) timer = setTimeout(round, wait * 1000);
	connection();
	if (stream && performance.now() - Math.max(toldAt, streamAt) > QUIET_SECONDS * 1000) { stream.abort(); stream = null; }
	if (!failed) follow();
}
/** Listens to the collector, so that what changes is shown within a second or two; without a stream, the page asks by itself. */
async function follow() {
	if (stream || isPublic() || paused || document.hidden) return;
	const mine = stream = new AbortController();
	streamAt = performance.now();
	try {
		await listen(mine.signal, (status) => {
			toldAt = performance.now();
			told = status;
			// A round that runs shows it soon enough, and one that failed waits for its time.
			if (!running && !failed) round();
		});
	} catch { /* The page goes on asking, and tries again with its next round. */ }
	mine.abort();
	if (stream === mine) stream = null;
}
/** Nobody looks: nothing is asked, and a connection is left to others. */
function rest() {
	clearTimeout(timer);
	if (stream) stream.abort();
	stream = null;
	told = null;
}

// ---- what people do
element("token").addEventListener("submit", (event) => {
	event.preventDefault();
	setToken(element("token-text").value.trim());
	element("token-text").value = "";
	round();
});
element("pause").addEventListener("click", () => {
	paused = !paused;
	element("pause").setAttribute("aria-pressed", paused);
	frame();
	if (paused) { rest(); connection(); } else round();
});
document.addEventListener("submit", async (event) => {
	const { target, submitter } = event;
	if (target.id !== "event-form" && target.id !== "draft-form") return;
	event.preventDefault();
	try {
		if (target.id === "draft-form") said.draft = await draftOf(shown.event);
		else {
			await change(target, submitter.value);
			// So that fields show what the event has, also what others give it from now on.
			target.reset();
			isChanged = true;
		}
		said.failed = null;
	} catch (error) { said.failed = error.message; }
	render(shown);
	if (isChanged) round();
});
element("skip").addEventListener("click", (event) => { event.preventDefault(); element("app").focus(); });
document.addEventListener("change", ({ target: { id, name, value } }) => {
	if (name === "range") location.hash = link({ range: value, from: null });
	if (name === "class") location.hash = link({ class: value, view: wanted().view });
	if (name === "span") location.hash = link({ span: value });
	if (id === "sensor") location.hash = link({ sensor: value || null });
});
document.addEventListener("click", (event) => {
	const target = event.target instanceof Element ? event.target : null, button = shown && target && target.closest("[data-act]"), table = target && target.closest("a.csv");
	if (table && hasToken()) {
		event.preventDefault();
		save(table.href, table.download || "martlet.csv").catch((error) => { failed = error; connection(); });
	}
	if (!button) return;
	const { act, sensor } = button.dataset;
	if (act === "hours") unfolded.hours = (unfolded.hours ?? shown.sensor) === sensor ? "" : sensor;
	else unfolded[act] = !unfolded[act];
	render(shown);
});
window.addEventListener("hashchange", () => { said = {}; round(); });
document.addEventListener("visibilitychange", () => { if (document.hidden) rest(); else if (!paused) round(); });
watchPointers();
setInterval(() => { if (!document.hidden) connection(); }, 1000);
round();
