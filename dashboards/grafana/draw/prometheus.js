// Asks Prometheus what a panel's targets ask, and makes data frames of the answers as Grafana's data source does.
import { FieldType, MutableDataFrame, isTimeSeriesFrame, rangeUtil, reduceField, renderLegendFormat } from "@grafana/data";

// What the data source takes as the least step and as the interval of scrapes.
const SCRAPE_MS = 15_000;
const ALL = "$__all";

/** What `$name` stands for: the choices that dashboards begin with, unless `chosen` has another. */
export function variablesOf(dashboard, chosen) {
  const values = {};
  for (const { name, current, allValue } of dashboard.templating.list) {
    values[name] = chosen[name] ?? (current?.value === ALL ? (allValue ?? ".*") : current?.value);
  }
  return values;
}

/** The step of a range on so many pixels, a round number. */
function stepMs(range, width) {
  return rangeUtil.calculateInterval(range, width, "15s").intervalMs;
}

export function replace(text, variables, range, step = SCRAPE_MS) {
  const seconds = (range.to.valueOf() - range.from.valueOf()) / 1000;
  const values = { ...variables, __range: `${seconds}s`, __range_s: seconds, __interval: `${step / 1000}s`, __rate_interval: `${Math.max(step + SCRAPE_MS, 4 * SCRAPE_MS) / 1000}s` };
  return text.replace(/\$(?:\{(\w+)(?::\w+)?\}|(\w+))/g, (whole, braced, bare) => values[braced ?? bare] ?? whole);
}

/** Frames of all targets of a panel. */
export async function ask(prometheus, panel, variables, range, width) {
  const step = stepMs(range, width);
  const answers = await Promise.all(panel.targets.map((target) => series(prometheus, target, variables, range, step)));
  const tables = panel.targets.flatMap((target, i) => (target.format === "table" ? [[target, answers[i]]] : [])).filter(([, found]) => found.length > 0);
  const others = answers.filter((_, i) => panel.targets[i].format !== "table").flat();
  // The value's name has the query's letter only where there are several.
  return [...others, ...tables.map(([target, found]) => asTable(target.refId, found, tables.length > 1 ? `Value #${target.refId}` : "Value"))];
}

/** One frame for each series of a target. */
async function series(prometheus, target, variables, range, step) {
  const expr = replace(target.expr, variables, range, step);
  const aligned = (time) => Math.floor(time.valueOf() / step) * (step / 1000);
  const [path, times] = target.instant
    ? ["query", { time: range.to.valueOf() / 1000 }]
    : ["query_range", { start: aligned(range.from), end: aligned(range.to), step: step / 1000 }];
  const response = await fetch(`${prometheus}/api/v1/${path}`, { method: "POST", body: new URLSearchParams({ query: expr, ...times }) });
  const answer = await response.json();
  if (answer.status !== "success") throw new Error(`${target.refId}: ${answer.error}`);
  return answer.data.result.map(({ metric, values, value }) => {
    const { __name__: metricName, ...labels } = metric;
    const samples = values ?? [value];
    const legend = target.legendFormat && target.legendFormat !== "__auto" ? renderLegendFormat(target.legendFormat, metric) : undefined;
    return {
      refId: target.refId,
      name: legend ?? metricName,
      length: samples.length,
      fields: [
        // The interval says where samples are missing.
        { name: "Time", type: FieldType.time, config: target.instant ? {} : { interval: step }, values: samples.map(([time]) => time * 1000) },
        { name: "Value", type: FieldType.number, labels, config: { displayNameFromDS: legend }, values: samples.map(([, number]) => Number(number.replace("Inf", "Infinity"))) },
      ],
    };
  });
}

function asTable(refId, found, valueName) {
  const labels = [...new Set(found.flatMap((frame) => Object.keys(frame.fields[1].labels)))].sort();
  const column = (name, type, value) => ({ name, type, config: {}, values: found.map(value) });
  return {
    refId,
    length: found.length,
    fields: [
      column("Time", FieldType.time, (frame) => frame.fields[0].values[0]),
      ...labels.map((label) => column(label, FieldType.string, (frame) => frame.fields[1].labels[label] ?? "")),
      column(valueName, FieldType.number, (frame) => frame.fields[1].values[0]),
    ],
  };
}

/** "Time series to table", which @grafana/data names but does not have: labels and a trend of each series, one frame a query; of frames that are `meant`. */
export function timeSeriesTable(frames, meant) {
  const isCourse = (frame) => meant(frame) && isTimeSeriesFrame(frame);
  const [courses, rest] = [frames.filter(isCourse), frames.filter((frame) => !isCourse(frame))];
  const tables = [...new Set(courses.map((frame) => frame.refId))].map((refId) => {
    const rows = courses.filter((frame) => frame.refId === refId);
    const labels = [...new Set(rows.flatMap((row) => Object.keys(row.fields[1].labels ?? {})))];
    const trend = (row) => ({ ...new MutableDataFrame(row), fields: row.fields, length: row.length, value: reduceField({ field: row.fields[1], reducers: ["lastNotNull"] }).lastNotNull });
    return {
      refId,
      length: rows.length,
      fields: [
        ...labels.map((label) => ({ name: label, type: FieldType.string, config: {}, values: rows.map((row) => row.fields[1].labels[label]) })),
        { name: `Trend #${refId}`, type: FieldType.frame, config: {}, values: rows.map(trend) },
      ],
    };
  });
  return [...rest, ...tables];
}
