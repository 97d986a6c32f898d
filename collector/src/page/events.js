// Events: what the detector called, in a list and one by one; what analysts say of it; and the draft of a public alert.

import { ask, askText, tell } from "./ask.js";
import { chart } from "./chart.js";
import { card, h, h2, long, mono, pick, soft, strong, sub, table, tag, para } from "./dom.js";
import { regionCell } from "./live.js";
import { CLASSES, link, portLink } from "./state.js";
import { date, duration, figure, instant, isNumber, minute, NONE, num, percent, serviceName, spoken, t, w } from "./text.js";

const EVENTS_SECONDS = 10, MOST_LISTED = 20;
const TYPES = { first_seen_port: w("port seen first"), surge: w("surge"), outbreak: w("outbreak") };
const STATES = { detected: w("detected"), acknowledged: w("acknowledged"), assessed: w("assessed"), resolved: w("resolved") };
const SEVERITIES = { info: w("info"), low: w("low"), medium: w("medium"), high: w("high"), critical: w("critical") };
const ACTIONS = { detected: w("detected"), escalated: w("escalated"), ended: w("ended"), acknowledged: w("acknowledged"), assessed: w("assessed"), resolved: w("resolved"), noted: w("noted"), assigned: w("assigned") };
const REQUESTS = { acknowledge: w("Acknowledge"), assess: w("Assess"), resolve: w("Resolve"), note: w("Note"), assign: w("Assign") };
const LABELS = { single_sensor: w("nine of ten sightings come from one sensor"), spoofed_looking: w("many sources look forged"), one_network: w("half of the sources lie in one network") };
const TLPS = ["clear", "green", "amber", "amber+strict", "red"];
const say = (words, name) => Object.hasOwn(words, name) ? t(words[name]) : name;
const isOpen = (event) => !event.ended && event.state !== "resolved";

/** Fills in the list, and the event that is asked for. What fails is told, and hides nothing else. */
export async function loadEvents(next, before, signal) {
	const isSame = before && before.class === next.class && before.event === next.event && before.eventsAt !== undefined;
	if (isSame && next.asked - before.eventsAt < EVENTS_SECONDS * 1000 && !next.isChanged) return void Object.assign(next, pick(before, "events one eventsAt"));
	try {
		next.events = (await ask("events", { class: next.class, limit: MOST_LISTED }, signal)).events;
		next.one = next.event ? await ask("events/" + next.event, null, signal) : null;
	} catch (error) {
		if (signal.aborted) throw error;
		if (next.event && error.status === 404) next.one = null;
		else next.partly = error;
		if (isSame) Object.assign(next, pick(before, "events one"));
	}
	next.eventsAt = next.asked;
}

/** An interval of 95 %; absent ends are open. */
const ends = ({ low, high }, text) => high === null ? t("{low} or more", { low: text(low) }) : t("{low} to {high}", { low: text(low), high: text(high) });
const interval = (estimate, text) => isNumber(estimate.value) ? [strong(text(estimate.value)), " ", soft("(" + ends(estimate, text) + ")")] : ends(estimate, text);
const nameOf = (event) => serviceName({ ...event, protocol_name: event.protocol });
const kindOf = (event) => isOpen(event) && event.type === "outbreak" ? tag("up", "▲ " + say(TYPES, event.type)) : say(TYPES, event.type);
const markOf = (event) => event.mark === "none" ? soft(NONE) : mono(event.mark);
/** The list: open ones first. */
export function eventsCard({ events }) {
	if (!events || !events.length) return null;
	const rows = [...events].sort((a, b) => isOpen(b) - isOpen(a));
	return h("section", { class: "card", testid: "events" }, table(t("Events"), t("what the detector called; open ones first"), [[t("Port")], [t("Type")], [t("Mark")], [t("Onset, UTC")], [t("Growth an hour")], [t("State")], [t("Severity")]], rows.map((event) => ({
		testid: "event-row", data: { id: event.id, type: event.type, state: event.state, open: isOpen(event) },
		cells: [[h("a", { href: link({ event: event.id }) }, nameOf(event)), event.service && sub(event.service)], kindOf(event), markOf(event), minute(instant(event.onset)),
			event.estimates ? interval(event.estimates.rate_per_hour, figure) : NONE, [say(STATES, event.state), event.ended && sub(t("over"))], say(SEVERITIES, event.severity)] }))));
}

const tile = (name, testid, value, note) => h("div", { class: "card" }, h("dt", null, name), h("dd", { testid, class: "v" }, value), h("dd", { class: "s" }, note));
const estimated = (name, testid, estimate, text) => estimate && tile(name, testid, isNumber(estimate.value) ? text(estimate.value) : NONE, t("{interval} (95 %)", { interval: ends(estimate, text) }));
/** The page of one event. */
export function eventView(view, said) {
	const { one } = view, back = h("p", { class: "range" }, h("a", { href: link({}) }, t("← All events")));
	if (!one) return [back, h("section", { testid: "no-event", class: "card empty" }, h2(t("There is no such event.")))];
	const { evidence, estimates } = one;
	return [h("p", { class: "range" }, h("a", { href: link({}) }, t("← All events")), " ", strong(say(TYPES, one.type), ": "), h("a", { href: portLink({ ...one, protocol_name: one.protocol }) }, nameOf(one)), one.service && [" ", soft(one.service)], " ", soft(one.id)),
		h("dl", { class: "tiles", testid: "event", data: { id: one.id, state: one.state, version: one.version } },
			tile(t("State"), "event-state", say(STATES, one.state), one.ended ? t("over since {time} UTC", { time: minute(instant(one.ended)) }) : t("last active {time} UTC", { time: minute(instant(one.last_active)) })),
			tile(t("Severity"), "event-severity", say(SEVERITIES, one.severity), one.owner && t("owner: {name}", { name: one.owner })),
			tile(t("Onset, UTC"), "event-onset", minute(instant(one.onset)).slice(11), [date(instant(one.onset)), "; ", t("called {time} UTC", { time: minute(instant(one.detected)) })]),
			estimates && [estimated(t("Growth an hour"), "event-rate", estimates.rate_per_hour, figure), estimated(t("Doubling time"), "event-doubling", estimates.doubling_seconds, duration),
				estimated(t("Hosts that scan"), "event-infected", estimates.infected, figure), estimated(t("Hosts that can be infected"), "event-susceptible", estimates.susceptible, figure)],
			tile(t("Mark"), "event-mark", markOf(one), one.labels.map((label) => say(LABELS, label)).join("; ")),
			tile(t("Sources remembered"), "event-sources", num(evidence.sources), t("{n} addresses observed", { n: num(evidence.addresses) }))),
		h("div", { class: "cols" }, seriesChart(evidence)),
		h("div", { class: "cols two" }, regionsTable(evidence), networksTable(evidence), sensorsTable(evidence)),
		h("div", { class: "cols" }, historyTable(one), one.deliveries.length > 0 && deliveriesTable(one), one.actions.length > 0 && changeForm(one, said), !view.isPublic && draftCard(said))];
}
function seriesChart({ series, bin_seconds: step, growth_over_step: growth }) {
	if (!series.length) return null;
	const start = instant(series[0].start), count = Math.round((instant(series[series.length - 1].start) - start) / step) + 1, values = Array(count).fill(0), previous = Array(count).fill(null);
	for (const bin of series) {
		const i = Math.round((instant(bin.start) - start) / step);
		values[i] = bin.sightings;
		previous[i] = bin.expected;
	}
	return chart("event", t("What it was called on"), t("sightings: sources times sensors times windows; growth explains them better than a step by {n} (log likelihood)", { n: num(growth, 1) }), {
		start, step, count, begins: start, ends: start + count * step, complete: count, parts: [{ key: "scan", label: t("sightings"), values }],
		previous, previousLabel: t("expected"), unit: w("sightings per {unit}"), read: w("{n} sightings"),
	});
}
function regionsTable({ regions }) {
	const total = regions.reduce((sum, { sources }) => sum + sources, 0);
	return card(table(t("Source regions"), t("of the networks that sources were seen in first"), [[t("Region")], [t("Sources"), "n"], [t("Share"), "n"]], regions.map(({ region, sources }) => ({
		testid: "event-region", data: { region, sources }, cells: [region === "ZZ" ? soft(t("unknown")) : regionCell(region), num(sources), percent(sources, total)] }))));
}
function networksTable({ networks }) {
	return networks.length > 0 && card(table(t("First networks"), t("/24 and /48, in the order in which they were seen"), [[t("Network")], [t("Region")], [t("Sources"), "n"]], networks.slice(0, MOST_LISTED).map((row) => ({
		testid: "event-network", data: pick(row, "network"), cells: [[mono(row.network), row.known_scanner && sub(t("known scanner: {name}", { name: row.known_scanner })), row.organisation && sub("AS" + row.asn + " " + row.organisation)], row.region === "ZZ" ? soft(t("unknown")) : regionCell(row.region), num(row.sources)] }))));
}
function sensorsTable({ sensors }) {
	const total = sensors.reduce((sum, { sightings }) => sum + sightings, 0);
	return sensors.length > 0 && card(table(t("Sensors"), t("by their sightings"), [[t("Sensor")], [t("Sightings"), "n"], [t("Share"), "n"]], sensors.map(({ sensor, sightings }) => ({
		testid: "event-sensor", data: { sensor }, cells: [sensor, num(sightings), percent(sightings, total)] }))));
}
function historyTable({ history, recipients }) {
	return card(table(t("What happened"), recipients.length ? t("recipients: {list}", { list: recipients.join(", ") }) : null, [[t("Time, UTC")], [t("What")], [t("Who")], [t("Note")]], history.map((entry) => ({
		testid: "event-history", data: pick(entry, "action by"), cells: [minute(instant(entry.at)), say(ACTIONS, entry.action), entry.by ?? NONE, entry.note ? long(entry.note) : NONE] }))));
}
function deliveriesTable({ deliveries }) {
	const state = (row) => row.delivered ? t("told {time} UTC", { time: minute(instant(row.delivered)) }) : row.given_up ? tag("warn", t("given up")) : t("next try {time} UTC", { time: minute(instant(row.next_try)) });
	return card(table(t("Who was told"), t("newest first"), [[t("Target")], [t("Of what")], [t("State")], [t("Attempts"), "n"]], deliveries.map((row) => ({
		testid: "event-delivery", data: pick(row, "target action"), cells: [row.target, say(ACTIONS, row.action), [state(row), row.last_error && sub(row.last_error)], num(row.attempts)] }))));
}
const option = (value, label, selected) => h("option", { value, selected: selected ? "" : null }, label);
function changeForm(one, { failed }) {
	const field = (id, label, input) => h("p", null, h("label", { for: id }, label), " ", input);
	return h("section", { class: "card" }, h2(t("Say what it is")), h("form", { id: "event-form", testid: "event-form", data: { id: one.id, version: one.version } },
		field("event-note", t("Note"), h("textarea", { id: "event-note", rows: 3, maxlength: 4000 })),
		field("event-owner", t("Owner"), h("input", { id: "event-owner", maxlength: 100, value: one.owner || "", autocomplete: "off" })),
		field("event-recipients", t("Recipients, with commas"), h("input", { id: "event-recipients", value: one.recipients.join(", "), autocomplete: "off" })),
		field("event-choose-severity", t("Severity"), h("select", { id: "event-choose-severity" }, Object.keys(SEVERITIES).map((name) => option(name, say(SEVERITIES, name), name === one.severity)))),
		h("p", null, one.actions.map((action) => [h("button", { value: action, testid: "event-action", data: { action } }, say(REQUESTS, action)), " "])),
		h("p", { role: "status", testid: "event-said" }, failed || null)));
}
function draftCard({ draft }) {
	return h("section", { class: "card" }, h2(t("Draft of a public alert")), para(t("Facts and figures are filled in; judgement is the analyst's. The marking decides what it says.")), h("form", { id: "draft-form" },
		h("label", { for: "draft-lang" }, t("Language")), " ", h("select", { id: "draft-lang" }, option("en", "English", spoken() === "en"), option("ja", "日本語", spoken() === "ja")), " ",
		h("label", { for: "draft-tlp" }, t("Marking")), " ", h("select", { id: "draft-tlp" }, TLPS.map((tlp) => option(tlp, "TLP:" + tlp.toUpperCase(), tlp === "red"))), " ",
		h("button", { testid: "draft-show" }, t("Show the draft"))),
		draft && h("div", { testid: "draft", lang: draft.lang, tabindex: 0, role: "region", "aria-label": t("Draft of a public alert") }, long(draft.text)));
}
/** Sends what stands in the form of an event; resolves once it is done. */
export function change(form, action) {
	const value = (id) => document.getElementById(id).value, shown = (id) => document.getElementById(id).getAttribute("value");
	const severity = document.querySelector("#event-choose-severity option[selected]"), body = { action, version: Number(form.dataset.version) };
	if (value("event-note").trim()) body.note = value("event-note");
	// What was not touched is not sent: it says nothing.
	if (value("event-owner") !== shown("event-owner")) body.owner = value("event-owner");
	if (value("event-recipients") !== shown("event-recipients")) body.recipients = value("event-recipients").split(/[,、]/).map((name) => name.trim()).filter(Boolean);
	if (!severity || value("event-choose-severity") !== severity.value) body.severity = value("event-choose-severity");
	return tell("events/" + form.dataset.id, body);
}
/** Asks for a draft as the form says. */
export async function draftOf(id) {
	const lang = document.getElementById("draft-lang").value, tlp = document.getElementById("draft-tlp").value;
	return { lang, id, text: await askText("events/" + id + "/draft", { lang, tlp }) };
}
/** The class of an event by its name. */
export const classOf = (event) => CLASSES[Number(event[0])];
