// Observation reports: those that are finished, each in every format, and those of the week that runs and of the one before.

import { ask, csvOf, hasToken, question } from "./ask.js";
import { h, pick, para, soft, table } from "./dom.js";
import { link } from "./state.js";
import { LANGUAGES, num, spoken, t, w } from "./text.js";

const REPORTS_SECONDS = 30, MOST_LISTED = 200;
const KINDS = { week: w("week"), month: w("month"), quarter: w("quarter"), days: w("days") };

/** Fills in which reports there are. What fails is told, and leaves what was known. */
export async function loadReports(next, before, signal) {
	const isSame = before && before.reports && before.class === next.class;
	if (isSame) Object.assign(next, pick(before, "reports reportsAt"));
	if (isSame && next.asked - before.reportsAt < REPORTS_SECONDS * 1000) return;
	try {
		next.reports = await ask("reports", { class: next.class, limit: MOST_LISTED }, signal);
	} catch (error) {
		if (signal.aborted) throw error;
		next.partly = error;
	}
	next.reportsAt = next.asked;
}

/** A link to a report in one format. A page is looked at, everything else is saved; so is a page where only a token opens it. */
function fileLink(view, { time, revision }, label, format, lang) {
	const parameters = { class: view.class, lang, format, revision }, isPage = format === "html", isSaved = !isPage || hasToken();
	const name = [time, revision ? "r" + revision : "provisional", lang, format === "csv" ? "csv.zip" : format].filter(Boolean).join(".");
	return [" ", h("a", { class: "csv", testid: "report-link", data: { format, lang }, href: question("reports/" + time, parameters), lang: isPage ? lang : null, "aria-label": time + " " + label,
		download: isSaved ? name : null, target: isSaved ? null : "_blank", rel: isSaved ? null : "noopener" }, label)];
}
const fileLinks = (view, report) => [Object.entries(LANGUAGES).map(([lang, name]) => fileLink(view, report, name, "html", lang)),
	fileLink(view, report, "CSV", "csv", spoken()), fileLink(view, report, "JSON", "json")];

/** The page of reports. */
export function reportsView(view) {
	const back = h("p", { class: "range" }, h("a", { href: link({}) }, t("← All numbers"))), { reports } = view;
	if (!reports) return [back, h("section", { class: "card empty", testid: "no-reports" }, para(t("Reports are not known at the moment.")))];
	const isKept = (time) => reports.reports.some((report) => report.time === time), rows = reports.reports;
	const open = [[reports.current_week, t("runs")], [reports.last_week, t("is over")]].filter(([time]) => time && !isKept(time));
	return [back,
		open.length > 0 && h("div", { class: "cols" }, h("section", { class: "card" }, table(t("Provisional reports"), t("made when they are asked for, of what is known by now; that may take some time"), [[t("Time")], [t("State")], [t("Report")]], open.map(([time, state]) => ({
			testid: "report-open", data: { time }, cells: [time, state, fileLinks(view, { time })] }))))),
		h("div", { class: "cols" }, h("section", { class: "card", testid: "reports" }, table(t("Observation reports"), t("finished, 72 hours after the end of their time; what changed later is the next revision; zone {zone}", { zone: reports.zone }), [[t("Time")], [t("Kind of time")], [t("Revision"), "n"], [t("Report")]], rows.map((report) => ({
			testid: "report-row", data: pick(report, "time kind revision"), cells: [report.time, KINDS[report.kind] ? t(KINDS[report.kind]) : report.kind, num(report.revision), fileLinks(view, report)] })),
			rows.length > 0 && csvOf("reports", { class: view.class, limit: 1000 })),
			!rows.length && para(t("None yet.")),
			reports.reports_left_out > 0 && para(t("{n} older ones are in the CSV.", { n: num(reports.reports_left_out) })),
			para(soft(t("What analysts write stands in every format. Markdown, other times and PDF: docs/reports.md.")))))];
}
