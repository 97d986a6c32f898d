#!/usr/bin/env python3
"""Scrapes a collector to which a capture is replayed faster than it was, and writes samples at the capture's time.

usage: stretch.py METRICS_URL OUTPUT --begin SECONDS --speed N --every SECONDS --addresses N --while PID

Six hours of a worm are on the dashboards within minutes that way. A capture is of class "import", of which it is not known
which addresses were watched; dashboards begin with class "real". So that they are drawn as they are with live sensors, the
class is renamed here, and the addresses watched are what the drill was made for. None of it is a measurement.
"""

import argparse
import re
import time
import urllib.request
from pathlib import Path

# What dashboards and recording rules ask for.
FAMILIES = re.compile(r"martlet_(observed|collector)_\w+[{ ]")
EXPOSURE = "martlet_observed_sensor_ipv4_address_seconds_total"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("output")
    parser.add_argument("--begin", type=int, required=True)
    parser.add_argument("--speed", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="seconds of the capture between two scrapes")
    parser.add_argument("--addresses", type=int, required=True)
    parser.add_argument("--while", dest="process", type=int, required=True, help="scrape until this process has ended")
    options = parser.parse_args()
    # As Prometheus will name the target, so that its own scrapes go on where these end.
    target = f'instance="{options.url.split("/")[2]}",job="martlet-collector"'
    started, scrapes, elapsed = time.monotonic(), 0, 0
    with open(options.output, "w") as out:
        while Path(f"/proc/{options.process}").exists():
            elapsed = int((time.monotonic() - started) * options.speed)
            at = options.begin + elapsed
            for line in urllib.request.urlopen(options.url).read().decode().splitlines():
                if FAMILIES.match(line):
                    series, value = line.rsplit(" ", 1)
                    if series.startswith(EXPOSURE):
                        value = options.addresses * elapsed
                    name, _, labels = series.partition("{")
                    labels = labels.removesuffix("}").replace('class="import"', 'class="real"')
                    out.write(f"{name}{{{target}{labels and ','}{labels}}} {value} {at}\n")
            scrapes += 1
            time.sleep(max(0.0, started + scrapes * options.every / options.speed - time.monotonic()))
        out.write("# EOF\n")
    print(f"stretch.py: {scrapes} scrapes over {elapsed / 3600:.1f} hours of the capture")


if __name__ == "__main__":
    main()
