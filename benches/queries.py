#!/usr/bin/env python3
"""Asks the collector's API from many connections at once, some of which hardly read, and says how it answers.

usage: queries.py HOST:PORT [--connections 1000] [--slow 50] [--seconds 30] [--from DATE --to DATE]

Each connection asks one question after the other; those about history are about the time given. A slow one reads 64 bytes a
second. Prints a JSON object: answers by status,
connections that were refused or ended, and milliseconds to the end of an answer of status 200.
"""

import argparse
import asyncio
import collections
import json
import time

PATHS = [
    "summary?step=1h",
    "ports?limit=1000",
    "sources?limit=1000",
    "history/ports?limit=100",
    "history/series?group_by=region&step=1h",
    "history/changes",
    "history/sources?limit=1000",
]


async def answer(reader, slow):
    """Status of the next answer on a connection, read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
    while length > 0:
        part = await reader.read(min(length, 64 if slow else 65536))
        if not part:
            raise ConnectionError("ended within an answer")
        length -= len(part)
        if slow:
            await asyncio.sleep(1)
    return int(head.split(" ")[1])


async def client(number, arguments, until, statuses, times):
    slow = number < arguments.slow
    host, port = arguments.address.rsplit(":", 1)
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            for turn in range(1_000_000):
                if time.monotonic() >= until:
                    break
                path = PATHS[(number + turn) % len(PATHS)]
                if path.startswith("history/") and arguments.start:
                    path += ("&" if "?" in path else "?") + f"from={arguments.start}&to={arguments.end}"
                begun = time.monotonic()
                writer.write(f"GET /api/v1/{path} HTTP/1.1\r\nHost: {arguments.address}\r\n\r\n".encode())
                status = await answer(reader, slow)
                statuses[str(status)] += 1
                if status == 200 and not slow:
                    times.append((time.monotonic() - begun) * 1000)
                if status != 200:
                    await asyncio.sleep(1)  # as Retry-After says
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            statuses[type(error).__name__] += 1
            await asyncio.sleep(0.2)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--from", dest="start")
    parser.add_argument("--to", dest="end")
    arguments = parser.parse_args()
    if (arguments.start is None) != (arguments.end is None):
        parser.error("--from and --to belong together")
    until = time.monotonic() + arguments.seconds
    statuses, times = collections.Counter(), []
    clients = [client(number, arguments, until, statuses, times) for number in range(arguments.connections)]
    _, late = await asyncio.wait([asyncio.ensure_future(client) for client in clients], timeout=arguments.seconds + 5)
    for task in late:
        task.cancel()
    times.sort()
    quantile = lambda share: round(times[min(len(times) - 1, int(share * len(times)))], 1) if times else None
    print(json.dumps({"statuses": statuses, "answers": len(times), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99), "max_ms": quantile(1)}))


asyncio.run(main())
