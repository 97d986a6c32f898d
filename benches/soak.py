#!/usr/bin/env python3
"""A soak: a collector with its own CA, sensors that capture, and load, through restarts, kills, reloads, renewals and a new CA.

usage: benches/soak.py --programs DIR [--minutes 60] [--rate 3000] [--keep]

Needs Linux, root (network namespaces, packet sockets), `ip`, `curl` and Python alone; DIR is the directory of martlet-collector, martlet-sensor,
martlet-drill and martlet-load. In three namespaces sensors enrol with tokens and count what is written to them frame by frame, so that it is
known how much that is; martlet-load sends over TLS as two further sensors, which enrol again before each run; drills are replayed. Everything
that has a bound gets a small one, so that it is reached while the soak warms up: what grows behind that is a leak.

In the first half the collector is stopped (SIGTERM) and killed (SIGKILL) by turns, also in the middle of load and replays; sensors are, too;
one is revoked, and enrols again; the CA is replaced. In the second half nothing is restarted, and all else goes on: load, enrolments,
replays, reloads (SIGHUP), renewals, queries.

Bars: each sensor's packets, in all and by port, are those that were written to it; a run of load that ended well is counted exactly, and one
whose collector was killed at least as far as it was acknowledged and no further than it was sent; a replay counts once however often it is
sent; the archive has what was counted. Over the second half without its first part (warm-up), the least-squares slope of each process's
proportional set size is at most --collector-slope and --sensor-slope MiB an hour (judged in soaks of 30 minutes or more), and the median
number of descriptors in its last quarter is at most that of its first. Exit status 1 if a bar is missed.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request

HTTP = "http://127.0.0.1:7461"
INGEST = 7460
WINDOW_SECONDS = 2
SENSORS = 3
SPARE = 3
PACKETS_A_SECOND = 150  # to each sensor
# Ports that have series of their own from the beginning (metrics.ports), and others.
PORTS = [("tcp", 23), ("tcp", 445), ("tcp", 22), ("udp", 53), ("udp", 5060)]
OTHERS = [("tcp", port) for port in (7, 1000, 9000, 31337, 40001)]
CLONE_NEWNET = 0x40000000
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def run(*command, feed=None, expect=0, timeout=120):
    done = subprocess.run([str(word) for word in command], input=feed, capture_output=True, text=True, timeout=timeout)
    if expect is not None and done.returncode != expect:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {done.returncode}: {done.stderr.strip()}")
    return done


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def fetch(path):
    return urllib.request.urlopen(HTTP + path, timeout=20).read().decode()


class Metrics:
    """One scrape."""

    def __init__(self):
        self.lines = [line for line in fetch("/metrics").splitlines() if line and line[0] != "#"]

    def sum(self, family, **labels):
        total = 0.0
        for line in self.lines:
            name, value = line.rsplit(" ", 1)
            if name.split("{")[0] == family and all(f'{key}="{want}"' in name for key, want in labels.items()):
                total += float(value)
        return total

    def packets(self, sensor, **labels):
        return int(self.sum("martlet_observed_packets_total", sensor=sensor, **labels))


class Writer(threading.Thread):
    """Writes frames to one sensor's link and knows how many."""

    def __init__(self, number, device, destination):
        super().__init__(daemon=True)
        self.counts = {}
        self.wanted, self.resting = threading.Event(), threading.Event()
        self.ended = False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((device, 0))
        head = destination + self.socket.getsockname()[4] + b"\x08\x00"
        draw = random.Random(number)
        self.frames = []
        for _ in range(4096):
            protocol, port = draw.choice(PORTS if draw.random() < 0.7 else OTHERS)
            # Sources are random numbers: nothing of this leaves the namespaces.
            source = struct.pack(">BBBB", draw.randrange(1, 200), *(draw.randrange(256) for _ in range(3)))
            if protocol == "tcp":
                body = struct.pack(">HHIIBBHHH", draw.randrange(1024, 65536), port, draw.randrange(1 << 32), 0, 5 << 4, 2, 1024, 0, 0)
            else:
                body = struct.pack(">HHHH", draw.randrange(1024, 65536), port, 24, 0) + bytes(16)
            number_of = 6 if protocol == "tcp" else 17
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), draw.randrange(65536), 0, 64, number_of, 0)
            to = bytes([198, 18, number, draw.randrange(1, 255)])
            self.frames.append((f"{protocol}/{port}", head + ip + source + to + body))

    @property
    def sent(self):
        return sum(self.counts.values())

    def pause(self):
        """Returns when nothing more is written."""
        self.resting.clear()
        self.wanted.clear()
        self.resting.wait()

    def resume(self):
        self.wanted.set()

    def run(self):
        at, burst = 0, PACKETS_A_SECOND // 20
        while not self.ended:
            if not self.wanted.is_set():
                self.resting.set()
                self.wanted.wait(0.2)
                continue
            for _ in range(burst):
                key, frame = self.frames[at % len(self.frames)]
                at += 1
                self.socket.send(frame)
                self.counts[key] = self.counts.get(key, 0) + 1
            time.sleep(0.05)


class Soak:
    def __init__(self, options):
        self.options = options
        self.length = options.minutes * 60
        self.life = max(90, int(self.length / 6))  # longer than a replay, which does not renew
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="martlet-soak-"))
        self.collector, self.began = None, time.monotonic()
        self.sensors, self.writers = {}, {}
        self.misses, self.log = [], []
        self.samples = []
        self.loads, self.replays = [], []
        self.ending = threading.Event()
        self.quiet_collector = threading.Lock()  # held while a run of load goes on that must not be disturbed
        self.group = 0
        self.commands = {"reloads": 0, "collector SIGTERM": 0, "collector SIGKILL": 0, "sensor SIGTERM": 0, "sensor SIGKILL": 0, "enrolments": 0}
        self.peaks = {}
        self.last_start = 0.0
        self.failed_polls = 0

    # ---- what is run

    def program(self, name):
        return str(self.options.programs / name)

    def elapsed(self):
        return time.monotonic() - self.began

    def miss(self, text):
        say(f"MISSED: {text}")
        self.misses.append(text)

    def prepare(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace: run it as root")
        run("ip", "link", "set", "lo", "up")
        for number in range(1, SENSORS + 1):
            space = self.space(number)
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "link", "add", f"scan{number}", "type", "veth", "peer", "name", "dark0", "netns", space)
            run("ip", "addr", "add", f"198.19.{number}.2/24", "dev", f"scan{number}")
            run("ip", "link", "set", f"scan{number}", "up")
            run("ip", "-n", space, "addr", "add", f"198.19.{number}.1/24", "dev", "dark0")
            run("ip", "-n", space, "link", "set", "dark0", "up")
            link = json.loads(run("ip", "-n", space, "-json", "link", "show", "dark0").stdout)[0]["address"]
            self.writers[number] = Writer(number, f"scan{number}", bytes.fromhex(link.replace(":", "")))
            self.writers[number].start()
        self.write_config("info")

    def space(self, number):
        return f"ms-{os.getpid()}-{number}"

    def write_config(self, log):
        names = ", ".join(f'"198.19.{number}.2"' for number in range(1, SENSORS + 1))
        # Small bounds for all that has one.
        (self.work / "collector.toml").write_text(
            f"""
[store]
data_dir = "{self.work}/collector"
[ingest]
listen = "0.0.0.0:{INGEST}"
[enroll]
names = ["127.0.0.1", {names}]
sensor_life = "{self.life}s"
server_life = "{2 * self.life}s"
[http]
listen = "127.0.0.1:7461"
[live]
bucket_seconds = 60
memory_limit_bytes = 16777216
max_services_per_bucket = 4096
max_keys_per_bucket = 4096
[archive]
pending_bytes = 4194304
run_rows = 65536
[history]
tracked_sources = 65536
[detect.thresholds]
max_keys = 4096
max_candidates = 64
[log]
filter = "{log}"
"""
        )

    def start_collector(self):
        out = open(self.work / "collector.log", "ab")
        command = [self.program("martlet-collector"), "serve", "--config", str(self.work / "collector.toml")]
        self.collector = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until("the collector is ready", lambda: fetch("/readyz"))
        self.last_start = time.monotonic()

    def stop_collector(self, how):
        self.commands[f"collector {how.name}"] += 1
        self.collector.send_signal(how)
        try:
            code = self.collector.wait(60)
        except subprocess.TimeoutExpired:
            self.miss(f"the collector had not ended a minute after {how.name}")
            self.collector.kill()
            self.collector.wait(60)
            return
        if how == signal.SIGTERM and code != 0:
            self.miss(f"the collector ended with {code} after SIGTERM")

    def restart_collector(self, how, down=2.0):
        say(f"collector: {how.name}, and a start {down} s later")
        self.stop_collector(how)
        time.sleep(down)
        self.start_collector()

    def cli(self, *command, **further):
        return run(self.program("martlet-collector"), *command, "--data-dir", self.work / "collector", **further)

    def enrol(self, name, prefix=(), address="127.0.0.1", further=("--force",)):
        """With a new token; returns the directory of its TLS files."""
        token = self.cli("enroll", "create", "--name", name).stdout
        state = self.work / name
        command = [*prefix, self.program("martlet-sensor"), "enroll", "--collector", f"{address}:{INGEST}", "--token-file", "-"]
        run(*command, "--state-dir", state, "--config", self.work / f"{name}.toml", *further, feed=token)
        self.commands["enrolments"] += 1
        return state / "tls"

    def inside(self, number):
        return ["ip", "netns", "exec", self.space(number)]

    def enrol_sensor(self, number, further=("--force",)):
        watched = ["--interface", "dark0", "--observe", f"198.18.{number}.0/24"]
        if "--keep-config" in further:
            watched = []
        self.enrol(f"sensor-{number}", self.inside(number), f"198.19.{number}.2", [*watched, *further])

    def start_sensor(self, number):
        out = open(self.work / f"sensor-{number}.log", "ab")
        command = [*self.inside(number), self.program("martlet-sensor"), "run", "--config", str(self.work / f"sensor-{number}.toml")]
        environment = {**os.environ, "MARTLET_WINDOW__SECONDS": str(WINDOW_SECONDS)}
        self.sensors[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        until(f"sensor {number} captures", lambda: self.sensor_metrics(number))
        time.sleep(0.5)
        self.writers[number].resume()

    def sensor_metrics(self, number):
        command = [*self.inside(number), "curl", "--silent", "--fail", "--max-time", "5", "http://127.0.0.1:7462/metrics"]
        return run(*command, expect=None).stdout

    def sensor_metric(self, number, series):
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.sensor_metrics(number), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def rest(self, number):
        """Nothing more is written, and the sensor has what was: the kernel hands over within a tenth of a second."""
        self.writers[number].pause()
        time.sleep(1)

    def stop_sensor(self, number, how):
        self.commands[f"sensor {how.name}"] += 1
        self.rest(number)
        self.note_sensor(number)
        if how == signal.SIGKILL:
            # Windows that are open die with it, which is its promise: let them close first.
            time.sleep(2 * WINDOW_SECONDS + 2)
        self.sensors[number].send_signal(how)
        code = self.sensors[number].wait(60)
        if how == signal.SIGTERM and code != 0:
            self.miss(f"sensor {number} ended with {code} after SIGTERM")

    def restart_sensor(self, number, how):
        say(f"sensor {number}: {how.name}")
        self.stop_sensor(number, how)
        self.start_sensor(number)

    def note_sensor(self, number):
        """What only the process itself counts goes with it."""
        for what, series in [
            ("renewals", 'martlet_sensor_certificate_renewals_total{outcome="renewed"}'),
            ("failed renewals", 'martlet_sensor_certificate_renewals_total{outcome="refused"}'),
        ]:
            key = f"sensor-{number} {what}"
            self.peaks[key] = self.peaks.get(key, 0) + int(self.sensor_metric(number, series))

    # ---- load

    def load_packets(self):
        scrape = Metrics()
        return scrape.packets("load-0") + scrape.packets("load-1")

    def settled(self, read, least, seconds=60):
        """A count that has reached `least` and moves no more; what it is if it does not reach it."""
        end, last = time.monotonic() + seconds, -1
        while True:
            try:
                now = read()
                if now >= least and now == last or time.monotonic() > end:
                    return now
                last = now
            except OSError:
                pass
            time.sleep(2.5)

    def load(self):
        identities = self.work / "identities"
        identities.mkdir(exist_ok=True)
        seconds = max(10, min(50, self.length / 30))
        while not self.ending.is_set():
            try:
                before = self.settled(self.load_packets, 0)
                for name in ("load-0", "load-1"):
                    tls = self.enrol(name, further=["--interface", "lo", "--force"])
                    shutil.copy(tls / "sensor.pem", identities / f"{name}.pem")
                command = [self.program("martlet-load"), "--collector", f"127.0.0.1:{INGEST}", "--sensors", 2, "--rows", 300, "--keys", 20000]
                command += ["--windows", 6, "--memory-mb", 8, "--rate", self.options.rate, "--seconds", seconds, "--json"]
                command += ["--tls-ca", tls / "ca.pem", "--identities", identities, "--pid", self.collector.pid]
                done = run(*command, expect=None, timeout=600)
                if not done.stdout.strip():
                    raise RuntimeError(done.stderr.strip())
                report = json.loads(done.stdout)
                counted = self.settled(self.load_packets, before + report["packets"]) - before
                report["counted"] = counted
                self.loads.append(report)
                ended_well = done.returncode == 0
                if not report["packets"] <= counted <= report["packets_sent"] or ended_well and report["packets"] != report["packets_sent"]:
                    self.miss(f"load: {report['packets']} acknowledged, {counted} counted, {report['packets_sent']} sent; {done.stderr}")
                if not ended_well:
                    say(f"load was cut off: {report['packets']} acknowledged, {counted} counted, {report['packets_sent']} sent")
            except Exception as error:  # the collector is down, most likely: the next run says whether it is back
                self.log.append(f"load: {error}")
                time.sleep(2)

    def replay(self, disturb=None):
        """A drill of its own, sent by a sensor of its own within some twenty seconds; then all of it once more."""
        seed = len(self.replays) + 1
        capture = self.work / f"drill-{seed}.pcap"
        command = [self.program("martlet-drill"), "--out", capture, "--packets", 2000, "--duration", "20m", "--prefix", "198.18.9.0/24"]
        run(*command, "--seed", seed, "--quiet", "--force")
        observe = ["--observe", "198.18.9.0/24"]
        expected = json.loads(run(self.program("martlet-sensor"), "count", "--format", "json", *observe, capture).stdout)["packets"]
        tls = self.enrol("replay", further=["--interface", "lo", "--force"])
        files = ["--ca", tls / "ca.pem", "--certificate", tls / "sensor.pem", "--key", tls / "sensor.pem"]
        command = [self.program("martlet-sensor"), "replay", "--class", "drill", "--sensor", "replay", "--collector", f"127.0.0.1:{INGEST}"]
        command = [str(word) for word in [*command, *files, *observe]]
        read = lambda: Metrics().packets("replay")
        before = read()
        playing = subprocess.Popen([*command, "--speed", "60", str(capture)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if disturb:
            time.sleep(8)
            disturb()
        _, told = playing.communicate(timeout=180)
        if playing.returncode != 0:
            self.miss(f"replay {seed} ended with {playing.returncode}: {told}")
        first = self.settled(read, before + expected) - before
        run(*command, "--speed", "1000000", capture)
        counted = self.settled(read, before + expected) - before
        self.replays.append((expected, first, counted, disturb is not None))
        if (first, counted) != (expected, expected):
            self.miss(f"replay {seed}: {expected} packets, {first} counted, {counted} after it was sent again")
        capture.unlink()

    # ---- what happens

    def reload(self):
        self.group += 1
        logs = self.work / "collector.log"
        at = logs.stat().st_size
        self.write_config(["info", "info,martlet_collector::ingest=debug"][self.group % 2])
        self.cli("sensor", "set", "sensor-1", f"group=group-{self.group % 5}")
        self.collector.send_signal(signal.SIGHUP)
        read = lambda: logs.read_bytes()[at:].decode(errors="replace")
        until("the reload is in the log", lambda: "SIGHUP: read again" in read(), 20)
        label = lambda: Metrics().sum("martlet_observed_sensor_info", sensor="sensor-1", group=f"group-{self.group % 5}")
        until("the label is shown", label, 20)
        if "1 changed settings are in effect, 0 wait" not in read():
            self.miss(f"a reload did not take the log's level: {read()}")
        self.commands["reloads"] += 1

    def kill_in_replay(self):
        self.replay(lambda: self.restart_collector(signal.SIGKILL))

    def both_down(self):
        say("collector: SIGTERM; sensor 2 is restarted while it is away")
        self.stop_collector(signal.SIGTERM)
        self.restart_sensor(2, signal.SIGTERM)
        time.sleep(5)
        self.start_collector()

    def rotate(self):
        say("a new CA")
        self.cli("enroll", "rotate-ca")
        # A collector that runs sees it within two seconds; tokens that are made until then name the CA that it does not show yet.
        time.sleep(3)

    def revoke(self):
        say("the spare sensor is revoked; what comes to it is written on")
        self.rest(SPARE)
        name, sent = f"sensor-{SPARE}", self.writers[SPARE].sent
        until("all of the spare sensor's packets are counted", lambda: Metrics().packets(name) == sent)
        connected = lambda: self.sensor_metric(SPARE, "martlet_sensor_uplink_connected")
        until("the spare sensor is connected", connected)
        begun = time.monotonic()
        self.cli("enroll", "revoke", name)
        until("the spare sensor is cut off", lambda: connected() == 0)
        self.peaks["seconds until a revoked sensor was cut off"] = round(time.monotonic() - begun, 1)
        self.revoked_at = sent
        self.writers[SPARE].resume()

    def pardon(self):
        say("the spare sensor enrols again")
        counted = Metrics().packets(f"sensor-{SPARE}")
        if counted != self.revoked_at:
            self.miss(f"a revoked sensor went from {self.revoked_at} to {counted} packets")
        self.stop_sensor(SPARE, signal.SIGTERM)
        self.enrol_sensor(SPARE, ["--keep-config"])
        self.start_sensor(SPARE)

    def schedule(self):
        """Pairs of a part of the whole length and what happens then."""
        plan = [
            (0.04, lambda: self.restart_collector(signal.SIGTERM)),
            (0.07, lambda: self.restart_sensor(1, signal.SIGTERM)),
            (0.10, self.revoke),
            (0.13, self.kill_in_replay),
            (0.18, self.pardon),
            (0.21, lambda: self.restart_collector(signal.SIGKILL)),
            (0.24, lambda: self.restart_sensor(2, signal.SIGKILL)),
            (0.27, self.both_down),
            (0.31, self.rotate),
            (0.34, self.kill_in_replay),
            (0.39, lambda: self.restart_collector(signal.SIGTERM, 10.0)),
            (0.42, lambda: self.restart_sensor(1, signal.SIGKILL)),
            (0.45, lambda: self.restart_collector(signal.SIGKILL)),
            (0.60, self.replay),
            (0.72, self.replay),
            (0.84, self.replay),
        ]
        return [(part * self.length, act) for part, act in plan]

    # ---- measuring

    def processes(self):
        alive = {"collector": self.collector, **{f"sensor-{number}": it for number, it in self.sensors.items()}}
        return {name: it.pid for name, it in alive.items() if it and it.poll() is None}

    def sample(self):
        now = self.elapsed()
        for name, pid in self.processes().items():
            try:
                proc = pathlib.Path(f"/proc/{pid}")
                status = (proc / "status").read_text()
                pss = (proc / "smaps_rollup").read_text()
                ticks = (proc / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
                self.samples.append(
                    {
                        "at": now,
                        "name": name,
                        "pid": pid,
                        "rss": int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024,
                        "pss": int(re.search(r"^Pss:\s+(\d+)", pss, re.MULTILINE).group(1)) / 1024,
                        "fds": len(os.listdir(proc / "fd")),
                        "cpu": sum(map(int, ticks)) / TICKS,
                    }
                )
            except (OSError, AttributeError):
                pass  # it has just ended

    def watch(self):
        queries = ["/api/v1/summary?class=real", "/api/v1/sensors", "/api/v1/ports?limit=100", "/api/v1/status", "/"]
        turn = 0
        while not self.ending.is_set():
            self.sample()
            turn += 1
            try:
                fetch("/metrics")
                fetch(queries[turn % len(queries)])
            except OSError:
                self.failed_polls += 1
            if turn % 12 == 0:
                self.progress()
            self.ending.wait(5)

    def progress(self):
        newest = {}
        for sample in self.samples[-8:]:
            newest[sample["name"]] = sample
        shown = ", ".join(f"{name} {it['rss']:.0f} MiB {it['fds']} fds" for name, it in sorted(newest.items()))
        written = sum(writer.sent for writer in self.writers.values())
        rows = sum(report["rows"] for report in self.loads)
        say(f"{self.elapsed() / 60:.1f} min: {shown}; {written} packets written, {len(self.loads)} loads of {rows} rows; {len(self.misses)} misses")

    # ---- the whole

    def go(self):
        self.prepare()
        self.start_collector()
        for number in range(1, SENSORS + 1):
            self.enrol_sensor(number)
            self.start_sensor(number)
        threads = [threading.Thread(target=target, daemon=True) for target in (self.watch, self.load)]
        self.began = time.monotonic()
        for thread in threads:
            thread.start()
        plan = self.schedule()
        reload_each = max(15, self.length / 60)
        next_reload = reload_each / 2
        while self.elapsed() < self.length:
            now = self.elapsed()
            act = None
            if plan and now >= plan[0][0]:
                act = plan.pop(0)[1]
            elif now >= next_reload:
                next_reload, act = now + reload_each, self.reload
            if act:
                try:
                    act()
                except Exception as error:
                    self.miss(f"{error!r}")
                    traceback.print_exc()
            time.sleep(0.2)
        for number in self.sensors:
            self.rest(number)
            self.note_sensor(number)
        self.ending.set()
        for thread in threads:
            thread.join(600)
        self.check_totals()
        self.check_processes()
        self.check_archive()
        return self.report()

    def check_totals(self):
        for number, writer in self.writers.items():
            name = f"sensor-{number}"
            counted = self.settled(lambda: Metrics().packets(name), writer.sent)
            scrape = Metrics()
            by_port = {f"{protocol}/{port}": scrape.packets(name, protocol=protocol, port=port) for protocol, port in PORTS}
            wanted = {key: writer.counts[key] for key in by_port}
            drops = scrape.sum("martlet_observed_sensor_kernel_drops_total", sensor=name)
            lost = scrape.sum("martlet_observed_sensor_lost_packets_total", sensor=name)
            self.log.append(f"{name}: {writer.sent} packets written, {counted} counted; kernel drops {drops:.0f}, said to be lost {lost:.0f}")
            if counted != writer.sent or by_port != wanted or drops or lost:
                self.miss(f"{name}: {writer.sent} packets written, {counted} counted; by port {wanted}, {by_port}; {drops} dropped, {lost} lost")
        totals = {of["class"]: of["packets"] for of in json.loads(fetch("/api/v1/status"))["classes"]}
        wanted = {"real": sum(writer.sent for writer in self.writers.values())}
        wanted["drill"] = sum(it["counted"] for it in self.loads) + sum(it[2] for it in self.replays)
        self.log.append(f"status of the API: {totals}; of the parts: {wanted}")
        if {name: totals.get(name) for name in wanted} != wanted:
            self.miss(f"the API says {totals}, and the parts are {wanted}")

    def check_archive(self):
        scrape = Metrics()
        self.counters = {
            name: int(scrape.sum(f"martlet_collector_{name}"))
            for name in ["live_evicted_buckets_total", "live_memory_bytes", "archive_rows", "archive_bytes", "ingest_streams", "history_rollups_total"]
        }
        observed = int(scrape.sum("martlet_observed_packets_total"))
        self.stop_collector(signal.SIGTERM)
        # With every commit now, so that the archive gets what is left.
        os.environ["MARTLET_ARCHIVE__PENDING_BYTES"] = "0"
        self.start_collector()
        pending = lambda: Metrics().sum("martlet_collector_archive_pending_records") == 0
        until("everything is archived", pending, 300)
        self.stop_collector(signal.SIGTERM)
        files = self.cli("archive", "files", "--json").stdout
        archived = sum(json.loads(line)["packets"] for line in files.splitlines())
        self.log.append(f"archive: {archived} packets, observed: {observed}")
        if archived != observed:
            self.miss(f"the archive has {archived} packets, and {observed} were observed")

    def check_processes(self):
        """Over the stretch without restarts, behind its warm-up."""
        begin = max(self.last_start - self.began, 0)
        begin += 0.25 * (self.length - begin)
        self.rows = []
        for name in ["collector", *(f"sensor-{number}" for number in self.sensors)]:
            of = [sample for sample in self.samples if sample["name"] == name and begin <= sample["at"] <= self.length]
            if len(of) < 8 or len({sample["pid"] for sample in of}) != 1:
                self.miss(f"{name} was not one process over the measured stretch")
                continue
            times, hours = [sample["at"] / 3600 for sample in of], (of[-1]["at"] - of[0]["at"]) / 3600
            slopes = {key: slope(times, [sample[key] for sample in of]) for key in ("rss", "pss")}
            slices = [of[len(of) * part // 4 : len(of) * (part + 1) // 4] for part in range(4)]
            # Not the least: a connection that is made again is missing for a moment.
            usual = [statistics.median_low([sample["fds"] for sample in part]) for part in slices]
            cpu = (of[-1]["cpu"] - of[0]["cpu"]) / (of[-1]["at"] - of[0]["at"])
            mean = lambda key, part: sum(sample[key] for sample in part) / len(part)
            self.rows.append((name, hours * 60, of, slopes, usual, cpu, [mean("pss", part) for part in slices]))
            bound = self.options.collector_slope if name == "collector" else self.options.sensor_slope
            if self.options.minutes >= 30 and slopes["pss"] > bound:
                self.miss(f"{name}: memory grows by {slopes['pss']:.1f} MiB an hour, more than {bound}")
            if self.options.minutes >= 30 and usual[-1] > usual[0]:
                self.miss(f"{name}: descriptors grow: {usual} in the quarters of the stretch")

    def report(self):
        print()
        for line in self.log:
            if not line.startswith("load:"):
                print(line)
        whole = [it for it in self.loads if not it["errors"] and not it["interrupted"]]
        cut = [it for it in self.loads if it not in whole]
        total = lambda key, of: sum(it[key] for it in of)
        print(f"load: {len(whole)} whole runs, {total('rows', whole)} rows, {total('packets', whole)} packets acknowledged, {total('counted', whole)} counted")
        print(f"load: {len(cut)} runs cut off, {total('packets', cut)} packets acknowledged, {total('counted', cut)} counted, {total('packets_sent', cut)} sent")
        latencies = sorted((it["ack_ms"]["p50"], it["ack_ms"]["p99"]) for it in whole)
        if latencies:
            middle = latencies[len(latencies) // 2]
            print(f"load: acknowledged in ms, of the middle run: p50 {middle[0]:.2f}, p99 {middle[1]:.2f}")
        disturbed = sum(it[3] for it in self.replays)
        print(f"replays: {len(self.replays)}, {disturbed} of them through a SIGKILL: {total(0, self.replays)} packets, {total(2, self.replays)} counted, all sent twice")
        print("; ".join(f"{name}: {number}" for name, number in {**self.commands, **self.peaks, "queries that failed": self.failed_polls}.items()))
        print("; ".join(f"{name}: {number}" for name, number in self.counters.items()))
        print()
        print("| process | minutes | RSS MiB, least to most | PSS MiB by quarter | slope of PSS (RSS), MiB an hour | descriptors by quarter | CPU, % of a core |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, minutes, of, slopes, usual, cpu, quarters in self.rows:
            rss = [sample["rss"] for sample in of]
            shown = ", ".join(f"{it:.1f}" for it in quarters)
            print(
                f"| {name} | {minutes:.1f} | {min(rss):.1f} to {max(rss):.1f} | {shown} | {slopes['pss']:+.2f} ({slopes['rss']:+.2f}) "
                f"| {', '.join(map(str, usual))} | {100 * cpu:.1f} |"
            )
        print()
        print("\n".join(f"MISSED: {text}" for text in self.misses) or "every bar is met")
        return 1 if self.misses else 0

    def clean(self):
        self.ending.set()
        for writer in self.writers.values():
            writer.ended = True
        for process in [self.collector, *self.sensors.values()]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for number in range(1, SENSORS + 1):
            run("ip", "netns", "del", self.space(number), expect=None)
        if self.options.keep:
            say(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)


def slope(times, values):
    """Least squares, per unit of time."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    return sum((at - middle) * (value - mean) for at, value in zip(times, values)) / sum((at - middle) ** 2 for at in times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="directory of the programs")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=3000, help="rows a second of the load")
    parser.add_argument("--collector-slope", type=float, default=16.0, help="MiB an hour")
    parser.add_argument("--sensor-slope", type=float, default=2.0, help="MiB an hour")
    parser.add_argument("--keep", action="store_true", help="keep state and logs")
    options = parser.parse_args()
    options.programs = options.programs.resolve()
    soak = Soak(options)
    try:
        return soak.go()
    finally:
        soak.clean()


if __name__ == "__main__":
    sys.exit(main())
