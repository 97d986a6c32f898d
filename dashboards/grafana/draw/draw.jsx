// A page with one dashboard. Its address says what: ?prometheus=URL&dashboard=FILE&theme=dark|light[&end=SECONDS][&set.NAME=VALUE...]
// When everything is drawn, window.report holds what each panel got.
import { ThemeContext, createTheme, dateMath, dateTime } from "@grafana/data";
import { GlobalStyles, PanelChrome } from "@grafana/ui";
import { Component as ReactComponent, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import "uplot/dist/uPlot.min.css";
import { component, prepared } from "./panels.jsx";
import { ask, variablesOf } from "./prometheus.js";

// Grafana's grid: 24 columns, and rows of 30 pixels with 8 between them.
const [WIDTH, ROW, GAP] = [1600, 30, 8];
const NOTE = 18;

class Caught extends ReactComponent {
  state = {};
  static getDerivedStateFromError(error) {
    return { error };
  }
  componentDidCatch(error) {
    this.props.onError(error);
  }
  render() {
    return this.state.error ? <pre>{String(this.state.error)}</pre> : this.props.children;
  }
}

function placed({ x, y, w, h }) {
  const column = (WIDTH + GAP) / 24;
  return { left: x * column, top: y * (ROW + GAP), width: Math.floor(w * column - GAP), height: h * (ROW + GAP) - GAP };
}

/** What the panel got, of each target. */
function counted(panel, frames) {
  const numbers = (frame) => frame.fields.filter((field) => field.type === "number");
  return panel.targets.map(({ refId, format }) => {
    const found = frames.filter((frame) => frame.refId === refId);
    const values = found.flatMap(numbers).flatMap((field) => field.values);
    return { refId, series: format === "table" ? values.length : found.length, points: values.filter(Number.isFinite).length, infinite: values.filter((value) => Math.abs(value) === Infinity).length };
  });
}

function Panel({ panel, place, drawn, onError }) {
  const { note, Component } = drawn;
  const below = note ? NOTE : 0;
  return (
    <div style={{ position: "absolute", left: place.left, top: place.top }}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width, height) => (
          <Caught onError={onError}>
            {drawn.empty ? <div style={{ textAlign: "center", paddingTop: height / 2 - 20 }}>No data</div> : <Component panel={panel} frames={drawn.frames} range={drawn.range} width={width} height={height - below} />}
            {note && <div style={{ fontSize: 11, opacity: 0.7, height: below, textAlign: "right" }}>{note}</div>}
          </Caught>
        )}
      </PanelChrome>
    </div>
  );
}

/** Asks and prepares; never throws, as the others are drawn anyway. */
async function fetched(prometheus, panel, variables, range, theme) {
  const result = { title: panel.title, type: panel.type, targets: [], error: null };
  const drawn = { range, frames: [], empty: true };
  try {
    Object.assign(drawn, component(panel.type));
    const frames = await ask(prometheus, panel, variables, range, placed(panel.gridPos).width);
    result.targets = counted(panel, frames);
    drawn.empty = frames.length === 0;
    drawn.frames = await prepared(panel, frames, theme);
  } catch (error) {
    result.error = String(error.stack ?? error);
    drawn.Component = () => <pre>{String(error)}</pre>;
    drawn.empty = false;
  }
  return { panel, drawn, result };
}

function Page({ dashboard, variables, range, theme, prometheus }) {
  const [panels, setPanels] = useState();
  useEffect(() => {
    Promise.all(dashboard.panels.map((panel) => fetched(prometheus, panel, variables, range, theme))).then(setPanels);
  }, []);
  useEffect(() => {
    // Charts draw in the frames after they are mounted, sparklines and icons a little later.
    if (panels) document.fonts.ready.then(() => setTimeout(() => (window.report = panels.map(({ result }) => result)), 1500));
  }, [panels]);
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * (ROW + GAP);
  const choices = Object.entries(variables).filter(([name]) => name !== "datasource");
  return (
    <div style={{ width: WIDTH + 32, padding: 16, background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
      <h3 style={{ margin: 0 }}>{dashboard.title}</h3>
      <p style={{ color: theme.colors.text.secondary }}>
        {choices.map(([name, value]) => `${name}: ${value}`).join("   ·   ")}   ·   {range.from.utc().format("YYYY-MM-DD HH:mm")} to {range.to.utc().format("YYYY-MM-DD HH:mm")} UTC
      </p>
      <div style={{ position: "relative", height: bottom }}>
        {panels?.map(({ panel, drawn, result }) => (
          <Panel key={panel.id} panel={panel} place={placed(panel.gridPos)} drawn={drawn} onError={(error) => (result.error = String(error.stack ?? error))} />
        ))}
      </div>
    </div>
  );
}

async function main() {
  const asked = new URLSearchParams(location.search);
  const dashboard = await (await fetch(`dashboards/${asked.get("dashboard")}`)).json();
  const chosen = Object.fromEntries([...asked].filter(([key]) => key.startsWith("set.")).map(([key, value]) => [key.slice(4), value]));
  const to = dateTime(asked.has("end") ? Number(asked.get("end")) * 1000 : Date.now());
  const from = dateTime(to.valueOf() - (Date.now() - dateMath.parse(dashboard.time.from).valueOf()));
  const theme = createTheme({ colors: { mode: asked.get("theme") } });
  createRoot(document.getElementById("page")).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Page dashboard={dashboard} variables={variablesOf(dashboard, chosen)} range={{ from, to, raw: dashboard.time }} theme={theme} prometheus={asked.get("prometheus")} />
    </ThemeContext.Provider>,
  );
}

main();
