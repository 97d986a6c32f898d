// Opens each dashboard in Chromium, in both themes, writes what it looks like, and prints what each panel got.
//   photograph.js --prometheus URL --out FOLDER --dashboards FOLDER [--end SECONDS] [--set NAME=VALUE]... FILE...
// Exit code: 0 if every panel has data and none threw, else 1.
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { parseArgs } from "node:util";
import puppeteer from "puppeteer-core";

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { prometheus: { type: "string" }, out: { type: "string" }, dashboards: { type: "string" }, end: { type: "string" }, set: { type: "string", multiple: true, default: [] } },
});
const PATIENCE_MS = 120_000;
const here = import.meta.dirname;

/** Where a path of the page is: what Grafana's server has besides the page is fonts and icons. */
function fileOf(url) {
  const font = url.match(/fonts\/inter\/Inter-(Regular|Medium)\.woff2$/);
  if (font) return path.join(here, "node_modules/@fontsource/inter/files", `inter-latin-${font[1] === "Regular" ? 400 : 500}-normal.woff2`);
  if (url.startsWith("/public/")) return path.join(here, "node_modules/@grafana/ui/dist", url);
  if (url.startsWith("/dashboards/")) return path.join(options.dashboards, path.basename(url));
  return path.join(here, url === "/" ? "index.html" : path.join("bundle", path.basename(url)));
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const server = createServer(async (request, response) => {
  const file = fileOf(new URL(request.url, "http://page").pathname);
  const content = await readFile(file).catch(() => null);
  response.writeHead(content ? 200 : 404, { "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" }).end(content ?? "");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

async function drawn(browser, file, theme) {
  const page = await browser.newPage();
  const thrown = [];
  page.on("pageerror", (error) => thrown.push(String(error.stack ?? error)));
  await page.setViewport({ width: 1632, height: 900 });
  const chosen = options.set.map((one) => [`set.${one.split("=", 1)}`, one.slice(one.indexOf("=") + 1)]);
  const query = new URLSearchParams([["prometheus", options.prometheus], ["dashboard", file], ["theme", theme], ...(options.end ? [["end", options.end]] : []), ...chosen]);
  await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
  await page.waitForFunction("window.report", { timeout: PATIENCE_MS });
  const report = await page.evaluate("window.report");
  const picture = path.join(options.out, `${path.basename(file, ".json")}-${theme}.png`);
  await page.screenshot({ path: picture, fullPage: true });
  await page.close();
  return { report, thrown, picture };
}

function told({ title, type, targets, error }) {
  const points = targets.reduce((sum, one) => sum + one.points, 0);
  const each = targets.map(({ refId, series, points, infinite }) => `${refId} ${series}/${points}${infinite ? ` (${infinite} infinite)` : ""}`);
  const wrong = error ? `THREW ${error}` : points === 0 ? "NO DATA" : "";
  console.log(`  ${type.padEnd(14)} ${title.padEnd(30)} ${each.join("  ")}  ${wrong}`);
  return wrong === "";
}

await mkdir(options.out, { recursive: true });
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let good = true;
try {
  for (const file of files) {
    for (const theme of ["dark", "light"]) {
      const { report, thrown, picture } = await drawn(browser, file, theme);
      // What is counted is the same in both.
      if (theme === "dark") console.log(`${file}: series/points of each query`);
      const fine = theme === "dark" ? report.map(told).every(Boolean) : report.every(({ error }) => !error);
      thrown.forEach((error) => console.log(`  the page threw ${error}`));
      console.log(`  ${picture}`);
      good &&= fine && thrown.length === 0;
    }
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = good ? 0 : 1;
