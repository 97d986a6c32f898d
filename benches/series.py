#!/usr/bin/env python3
"""How many series a storm makes: every port of TCP and UDP, and every port that has regions of its own from every region there is.

usage: MARTLET_PYTHON benches/series.py PROGRAMS [--sensors 50] [--address-step 1024]

PROGRAMS is the directory of martlet-collector and martlet-sensor; the interpreter needs duckdb (tests/python/requirements.txt). One packet
from each ADDRESS-STEP-th address of IPv4 finds an address of each region; then SENSORS sensors replay three captures with 131,072 ports and
all pairs of region and watched port. Prints series by family, and size and time of scrapes.
"""

import argparse
import collections
import json
import pathlib
import struct
import subprocess
import tempfile
import time
import urllib.request

import duckdb

WATCHED = [int(port) for port in "21 22 23 25 80 135 139 443 445 1433 2323 3306 3389 5555 5900 6379 8080 8443".split()]
WATCHED_UDP = [53, 123, 161, 389, 1434, 1900, 5060, 11211]
TCP, UDP = 6, 17
DARK = bytes([198, 18, 0, 1])


def frame(source, protocol, port):
    """An IP packet without a link layer: a SYN, or a datagram of one byte."""
    if protocol == TCP:
        body = struct.pack(">HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 1024, 0, 0)
    else:
        body = struct.pack(">HHHH", 40000, port, 9, 0) + b"x"
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source.to_bytes(4), DARK) + body


def capture(path, start, packets):
    """Writes packets within eight seconds of a time."""
    packets = list(packets)
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for at, packet in enumerate(packets):
            seconds, micros = divmod(at * 8_000_000 // len(packets), 1_000_000)
            file.write(struct.pack("<IIII", start + seconds, micros, len(packet), len(packet)) + packet)
    return path


def scrape(url):
    begun = time.monotonic()
    text = urllib.request.urlopen(url).read()
    return text.decode(), len(text), time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--sensors", type=int, default=50)
    parser.add_argument("--address-step", type=int, default=1024)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="martlet-series-"))
    config = folder / "collector.toml"
    config.write_text(
        f'[store]\ndata_dir = "{folder}/state"\n[ingest]\nlisten = "127.0.0.1:17460"\n[http]\nlisten = "127.0.0.1:17461"\n'
        "[archive]\npending_bytes = 0\n[detect]\nenabled = false\n"
    )
    collector = subprocess.Popen([options.programs / "martlet-collector", "serve", "--config", config])
    metrics = "http://127.0.0.1:17461/metrics"

    def replay(path, sensor):
        command = [options.programs / "martlet-sensor", "replay", "--class", "drill", "--observe", "198.18.0.1/32", "--sensor", sensor]
        subprocess.run([*command, "--collector", "127.0.0.1:17460", path], check=True, stdout=subprocess.DEVNULL)

    try:
        for _ in range(100):
            try:
                scrape("http://127.0.0.1:17461/readyz")
                break
            except OSError:
                time.sleep(0.2)
        now = int(time.time()) // 3600 * 3600 - 3600
        sources = range(1 << 24, 224 << 24, options.address_step)
        replay(capture(folder / "regions.pcap", now, (frame(source, TCP, 9) for source in sources)), "regions")
        found = {}
        for _ in range(60):
            time.sleep(2)
            if list(folder.glob("state/archive/*/*.parquet")):
                rows = duckdb.sql(f"SELECT region, any_value(source), sum(packets) FROM read_parquet('{folder}/state/archive/*/*.parquet') GROUP BY 1").fetchall()
                found = {region: source for region, source, _ in rows}
                if sum(row[2] for row in rows) == len(sources):
                    break
        regions = [int.from_bytes(bytes(int(part) for part in address.split("."))) for address in found.values()]
        before = scrape(metrics)[0].count("\nmartlet_")
        pairs = [(source, TCP, port) for source in regions for port in WATCHED] + [(source, UDP, port) for source in regions for port in WATCHED_UDP]
        ports = [(regions[port % len(regions)], protocol, port) for protocol in (TCP, UDP) for port in range(65536)]
        for minute in range(3):
            path = capture(folder / f"{minute}.pcap", now + 600 + 300 * minute, (frame(*packet) for packet in pairs + ports))
            for sensor in range(options.sensors):
                replay(path, f"sensor-{sensor + 1}")
            time.sleep(15)
        scrapes = [scrape(metrics) for _ in range(3)]
        families = collections.Counter(line.split("{")[0].split(" ")[0] for line in scrapes[-1][0].splitlines() if not line.startswith("#"))
        print(
            json.dumps(
                {
                    "regions": len(regions),
                    "series_before": before,
                    "series": sum(families.values()),
                    "bytes": scrapes[-1][1],
                    "scrape_seconds": [round(scrape[2], 4) for scrape in scrapes],
                    "families": dict(families.most_common(12)),
                },
                indent=2,
            )
        )
    finally:
        collector.terminate()
        collector.wait()
        subprocess.run(["rm", "-r", folder], check=True)


main()
