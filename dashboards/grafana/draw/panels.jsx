// Draws one panel with the components of @grafana/ui. What a panel of Grafana does beyond them (it is not in the package) is here, as little as shows what the JSON says.
import {
  FieldColorModeId, FieldMatcherID, FieldType, Registry, VizOrientation, applyFieldOverrides, applyNullInsertThreshold, displayNameOverrideProcessor, fieldMatchers, getFieldDisplayName,
  getFieldDisplayValues, getFrameMatchers, identityOverrideProcessor, numberOverrideProcessor, standardTransformers, standardTransformersRegistry, thresholdsOverrideProcessor,
  transformDataFrame, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from "@grafana/data";
import { BarGauge, BigValue, Table, TimeSeries, VizRepeater, preparePlotFrame, useTheme2 } from "@grafana/ui";
import { useMemo } from "react";
import { lastValueFrom } from "rxjs";
import { timeSeriesTable } from "./prometheus.js";

// Some are listed under two names.
const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() => [...transformers.values()].map((one) => ({ id: one.id, name: one.name, transformation: one, editor: () => null })));

// Properties of fields that dashboards set, and how they are taken.
const property = (path, process, isCustom = false) => ({ id: isCustom ? `custom.${path}` : path, path, name: path, isCustom, process, shouldApply: () => true, settings: {} });
const CUSTOM = "align cellOptions drawStyle fillBelowTo fillOpacity filterable lineStyle lineWidth minWidth pointSize scaleDistribution showPoints spanNulls stacking".split(" ");
const PROPERTIES = new Registry(() => [
  property("unit", unitOverrideProcessor),
  property("displayName", displayNameOverrideProcessor),
  property("thresholds", thresholdsOverrideProcessor),
  property("mappings", valueMappingsOverrideProcessor),
  property("color", identityOverrideProcessor),
  ...["min", "max", "decimals"].map((path) => property(path, numberOverrideProcessor)),
  ...CUSTOM.map((path) => property(path, identityOverrideProcessor, true)),
  // Of what is on the axis, not of time.
  { ...property("axisLabel", identityOverrideProcessor, true), shouldApply: ({ type }) => type !== FieldType.time && type !== FieldType.string },
]);
// What Grafana takes where a panel says nothing.
const THRESHOLDS = { mode: "absolute", steps: [{ color: "green", value: null }, { color: "red", value: 80 }] };
const CLASSIC = { mode: FieldColorModeId.PaletteClassic };

/** Transformed frames of a panel with everything that its fieldConfig says. */
export async function prepared(panel, frames, theme) {
  for (const step of [...(panel.transformations ?? []), ...(DRAWN[panel.type]?.[2] ?? [])]) {
    if (step.id === "timeSeriesTable") frames = timeSeriesTable(frames, step.filter ? getFrameMatchers(step.filter) : () => true);
    else if (standardTransformersRegistry.getIfExists(step.id)) frames = await lastValueFrom(transformDataFrame([step], frames));
    else throw new Error(`no transformation ${step.id}`);
  }
  return overridden(panel, frames, theme);
}

function overridden(panel, frames, theme) {
  const lines = ["timeseries", "heatmap", "xychart", "geomap"].includes(panel.type);
  const defaults = { thresholds: THRESHOLDS, ...(lines && { color: CLASSIC }), ...panel.fieldConfig.defaults };
  return applyFieldOverrides({ data: frames, fieldConfig: { ...panel.fieldConfig, defaults }, fieldConfigRegistry: PROPERTIES, replaceVariables: (text) => text, theme, timeZone: "utc" });
}

function Lines({ panel, frames, range, width, height, ...more }) {
  // What is missing is a gap, and so is what is not finite. Only once: the component takes note in the field that gaps are there.
  const finite = (field) => (field.type === FieldType.number ? { ...field, values: field.values.map((value) => (Number.isFinite(value) ? value : null)) } : field);
  const drawn = useMemo(() => {
    const whole = frames.map((frame) => applyNullInsertThreshold({ frame, refFieldPseudoMin: range.from.valueOf(), refFieldPseudoMax: range.to.valueOf() }));
    return whole.map((frame) => ({ ...frame, fields: frame.fields.map(finite) }));
  }, [frames]);
  const legend = panel.options.legend ?? { displayMode: "list", placement: "bottom", showLegend: true };
  return <TimeSeries frames={drawn} timeRange={range} timeZone="utc" width={width} height={height} legend={{ calcs: [], ...legend }} {...more} />;
}

/** Points on an axis of numbers, as Grafana's trend panel has it. */
function Points({ panel, frames, ...rest }) {
  const names = frames[0].fields.map((field) => getFieldDisplayName(field, frames[0], frames));
  const order = [...frames[0].fields[0].values.keys()].sort((a, b) => frames[0].fields[0].values[a] - frames[0].fields[0].values[b]);
  const size = panel.fieldConfig.defaults.custom.pointSize?.fixed ?? 5;
  const fields = frames[0].fields.map((field) => ({ ...field, values: order.map((row) => field.values[row]), config: { ...field.config, custom: { drawStyle: "points", pointSize: size } } }));
  const byFirst = (found, matchers) => preparePlotFrame(found, { ...matchers, x: fieldMatchers.get(FieldMatcherID.byName).get(names[0]) });
  return <Lines panel={panel} frames={[{ ...frames[0], fields }]} preparePlotFrame={byFirst} {...rest} />;
}

function Stat({ panel, frames, range, width, height }) {
  const theme = useTheme2();
  const { reduceOptions, colorMode, graphMode, textMode } = panel.options;
  const values = getFieldDisplayValues({ data: frames, fieldConfig: panel.fieldConfig, reduceOptions, replaceVariables: (text) => text, theme, timeZone: "utc", sparkline: graphMode !== "none" });
  const draw = ({ value, width, height }) => (
    <BigValue value={value.display} sparkline={value.sparkline && { ...value.sparkline, timeRange: range }} colorMode={colorMode} graphMode={graphMode} textMode={textMode} justifyMode="auto" theme={theme} width={width} height={height} />
  );
  return <VizRepeater source={values} getValues={() => values} renderValue={draw} width={width} height={height} renderCounter={0} orientation={VizOrientation.Vertical} autoGrid />;
}

function Rows({ panel, frames, range, width, height }) {
  const { showHeader, sortBy, cellHeight } = panel.options;
  return <Table data={frames[0]} timeRange={range} width={width} height={height} noHeader={!showHeader} initialSortBy={sortBy} cellHeight={cellHeight} />;
}

/** The most of a table's rows, by its last column. */
function Bars({ frames, width, height }) {
  const theme = useTheme2();
  const [labels, numbers] = [frames[0].fields.find((field) => field.type === FieldType.string), frames[0].fields.at(-1)];
  const rows = [...numbers.values.keys()].sort((a, b) => numbers.values[b] - numbers.values[a]).slice(0, Math.floor(height / 24));
  const max = Math.max(...numbers.values);
  const field = { ...numbers.config, min: 0, max, color: CLASSIC };
  const draw = ({ value: row, width, height }) => (
    <BarGauge value={{ ...numbers.display(numbers.values[row]), title: labels.values[row] }} field={field} display={numbers.display} theme={theme} orientation={VizOrientation.Horizontal} width={width} height={height} itemSpacing={4} lcdCellWidth={10} displayMode="basic" />
  );
  return <VizRepeater source={rows} getValues={() => rows} renderValue={draw} width={width} height={height} itemSpacing={4} orientation={VizOrientation.Horizontal} />;
}

// Component of each type, and what is said on the panel where it is another than Grafana's, with what is transformed for it.
const DRAWN = {
  timeseries: [Lines],
  stat: [Stat],
  table: [Rows],
  heatmap: [Lines, "in Grafana a heat map: here lines, as the package has no heat map"],
  xychart: [Points, "in Grafana an XY chart: here points of its time series component"],
  geomap: [Bars, "in Grafana a map: here bars, as the package has no map"],
  "state-timeline": [Rows, "in Grafana a state timeline: here the last state of each, as the package has none", [{ id: "reduce", options: { reducers: ["lastNotNull"] } }]],
};

export function component(type) {
  const found = DRAWN[type];
  if (!found) throw new Error(`nothing to draw a ${type} with`);
  return { Component: found[0], note: found[1] };
}
