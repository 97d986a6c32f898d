"""Opens the collector's page in a real browser, does what it is told, and prints as JSON what it saw.

page.py URL [--dark] [--width N] [--height N] [--language TAG] [ACTION...]

Actions, one after the other:
  wait:SELECTOR    until such an element is there
  focus:SELECTOR   click:SELECTOR   press:KEY
  axe              accessibility, by axe-core: what it calls serious or critical is added to "violations"
  picture:FILE     of the whole page; view:FILE of what is in sight
  state:EXPRESSION what JavaScript makes of the page's module state.js is added to "found"
  cost:SECONDS     what the browser does in so many seconds is added to "cost"
First of all it waits until the page shows an answer.
"""

import argparse
import json
import sys
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

READY = ", ".join(f"#app[data-state={state}]" for state in ("ready", "empty", "no-class", "no-history", "failed"))
PATIENCE_MS = 20_000


def metrics(session):
    found = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return {name: found[name] for name in ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "JSHeapUsedSize", "Nodes")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--language", default="en-US")
    parser.add_argument("actions", nargs="*")
    arguments = parser.parse_intermixed_args()
    seen = {"requests": [], "errors": [], "violations": [], "cost": None}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        )
        context = browser.new_context(
            viewport={"width": arguments.width, "height": arguments.height},
            color_scheme="dark" if arguments.dark else "light",
            locale=arguments.language,
            timezone_id="Asia/Tokyo",
        )
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: seen["errors"].append(str(error)))
        # What the collector refuses is told by the page itself.
        page.on("console", lambda message: message.type == "error" and "Failed to load resource" not in message.text and seen["errors"].append(message.text))

        def finished(request):
            sizes = request.sizes()
            seen["requests"].append({"url": request.url, "bytes": sizes["responseBodySize"], "headers": sizes["responseHeadersSize"]})

        page.on("request", lambda request: seen.setdefault("asked", []).append(request.url))
        page.on("requestfinished", finished)
        begun = time.monotonic()
        page.goto(arguments.url)
        page.wait_for_selector(READY)
        seen["load_seconds"] = time.monotonic() - begun
        seen["waits"] = []
        for action in arguments.actions:
            name, _, value = action.partition(":")
            begun = time.monotonic()
            if name == "wait":
                page.wait_for_selector(value, state="attached")
                seen["waits"].append(time.monotonic() - begun)
            elif name == "focus":
                page.focus(value)
            elif name == "click":
                page.click(value)
            elif name == "press":
                page.keyboard.press(value)
            elif name == "axe":
                found = Axe().run(page).response["violations"]
                serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
                seen["violations"] += [[violation["id"], [node["html"][:300] for node in violation["nodes"][:5]]] for violation in serious]
            elif name == "state":
                seen.setdefault("found", []).append(page.evaluate(f"import('/page/state.js').then((state) => {value})"))
            elif name == "picture" or name == "view":
                page.screenshot(path=value, full_page=name == "picture")
            elif name == "cost":
                count, before = len(seen["requests"]), metrics(session)
                page.wait_for_timeout(1000 * float(value))
                after, during = metrics(session), seen["requests"][count:]
                seen["cost"] = {
                    **{key: after[key] - before[key] for key in after if key.endswith("Duration")},
                    "heap_bytes": after["JSHeapUsedSize"],
                    "nodes": after["Nodes"],
                    "requests": len(during),
                    "bytes": sum(request["bytes"] for request in during),
                }
            else:
                parser.error(f"no such action: {action}")
        seen["hash"] = page.evaluate("location.hash")
        seen["focus"] = page.evaluate("document.activeElement.outerHTML.slice(0, 300)")
        seen["scroll_width"] = page.evaluate("document.documentElement.scrollWidth")
        seen["text"] = page.evaluate("document.body.innerText")
        seen["html"] = page.content()
        browser.close()
    json.dump(seen, sys.stdout)


main()
