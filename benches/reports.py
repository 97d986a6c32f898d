#!/usr/bin/env python3
"""Times the weekly report of a site with 100 sensors, and what making reports does to acknowledgements.

usage: reports.py PROGRAMS DIR [--rounds 5] [--seconds 20] [--rate 20000]

PROGRAMS has martlet-collector, martlet-load and history, built in release (cargo build --release -p martlet-collector -p martlet-benches).
DIR is made if it is not there, which takes long: two weeks of 100 sensors with 4 addresses each, some 2.6 M rows a day. The
generator makes no hours of exposure, so those are written here: all sensors watched all the time.

Then by turns: a load of --rate rows a second over 100 connections for --seconds, alone, and while the API is asked for one report after
the other. Acknowledgement latency is what martlet-load says. The load is of class drill, so the reports do not change. A copy of DIR is used.
"""

import argparse
import os
import pathlib
import resource
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

WEEK, DAYS, SENSORS, ADDRESSES = "2026-W11", 14, 100, 4
INGEST, HTTP = "127.0.0.1:17460", "127.0.0.1:17461"


def generate(programs, folder):
    print(f"making {DAYS} days in {folder}", flush=True)
    made = [programs / "history", "generate", "--sensors", str(SENSORS), "--addresses", str(ADDRESSES), "--days", str(DAYS), folder]
    subprocess.run(made, check=True)
    subprocess.run([programs / "history", "roll", folder], check=True)


def watch(folder):
    """Hours of all sensors that history names, where there are none."""
    store = sqlite3.connect(folder / "martlet.db")
    if store.execute("SELECT count(*) FROM sensors").fetchone()[0]:
        return
    names = [row[0] for row in store.execute("SELECT DISTINCT sensor FROM rollup_sensor_services ORDER BY sensor")]
    store.executemany("INSERT INTO sensors (sensor, origin, name) VALUES (?, ?, ?)", [(n, n.to_bytes(16, "big"), name) for n, name in enumerate(names)])
    days = [row[0] for row in store.execute("SELECT day FROM rollup_days")]
    hour = 3_600_000
    rows = [
        (day * 86400 + n * 3600, sensor, hour, hour * ADDRESSES)
        for day in days for n in range(24) for sensor in range(len(names))
    ]
    store.executemany(
        """INSERT INTO sensor_hours VALUES (?, 0, ?, 10, 360, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, 0, 0, NULL)""", rows
    )
    store.commit()


def report(programs, folder):
    """Seconds of wall clock and of CPU, and peak memory in MB, of one report on the command line."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    out = folder / "report.html"
    subprocess.run([programs / "martlet-collector", "report", "weekly", "--data-dir", folder, "--week", WEEK, "--out", out], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begin, cpu, after.ru_maxrss / 1024


def wait_for(collector):
    """Until it takes sensors."""
    for _ in range(300):
        time.sleep(0.1)
        if collector.poll() is not None:
            raise SystemExit(f"reports.py: the collector did not start (exit status {collector.returncode})")
        try:
            urllib.request.urlopen(f"http://{HTTP}/readyz").close()
            return
        except OSError:
            pass
    raise SystemExit("reports.py: the collector was not ready within 30 s")


def ask(stop, times):
    while not stop.is_set():
        begin = time.monotonic()
        with urllib.request.urlopen(f"http://{HTTP}/api/v1/reports/{WEEK}") as answer:
            answer.read()
        times.append(time.monotonic() - begin)


def load(programs, seconds, rate):
    """What martlet-load prints; latencies are in it."""
    command = [programs / "martlet-load", "--collector", INGEST, "--sensors", "100", "--rows", "100", "--rate", str(rate), "--seconds", str(seconds)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=20000)
    arguments = parser.parse_args()
    programs = arguments.programs.resolve()
    if not (arguments.folder / "martlet.db").exists():
        generate(programs, arguments.folder)
    with tempfile.TemporaryDirectory(dir=arguments.folder.resolve().parent) as copy:
        folder = pathlib.Path(copy) / "data"
        shutil.copytree(arguments.folder, folder)
        watch(folder)
        runs = [report(programs, folder) for _ in range(arguments.rounds)]
        for name, place, unit in [("wall", 0, "s"), ("CPU", 1, "s"), ("peak memory", 2, "MB")]:
            values = sorted(run[place] for run in runs)
            print(f"report, {name}: {statistics.median(values):.2f} {unit} ({values[0]:.2f} to {values[-1]:.2f}, {len(values)} runs)", flush=True)
        settings = {"MARTLET_LOG__FILTER": "error", "MARTLET_INGEST__MAX_CONNECTIONS_PER_ADDRESS": "1000"}
        command = [programs / "martlet-collector", "serve", "--listen", INGEST, "--http", HTTP, "--data-dir", folder]
        collector = subprocess.Popen(command, env=os.environ | settings)
        try:
            wait_for(collector)
            for turn in range(2 * arguments.rounds):
                stop, times = threading.Event(), []
                asking = threading.Thread(target=ask, args=(stop, times))
                if turn % 2:
                    asking.start()
                text = load(programs, arguments.seconds, arguments.rate)
                stop.set()
                if turn % 2:
                    asking.join()
                made = f"{len(times)} reports, {statistics.median(times):.2f} s each" if times else "no reports"
                line = next(line for line in text.splitlines() if line.strip().startswith("acknowledged in ms"))
                print(f"{made}: {line.strip()}", flush=True)
        finally:
            collector.terminate()
            collector.wait()


if __name__ == "__main__":
    main()
