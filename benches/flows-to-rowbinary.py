#!/usr/bin/env python3
"""Turns nfdump's text (window of ten seconds, source, port, protocol, packets, bytes) on standard input into ClickHouse's
RowBinary on standard output: DateTime, UInt32, UInt16, UInt8, UInt32, UInt64, UInt32."""
import calendar
import struct
import sys
import time

ROW = struct.Struct("<IIHBIQI")
minutes = {}


def minute(text):
    """Seconds since 1970 of the start of a minute, remembered: flows come in order."""
    if text not in minutes:
        minutes[text] = calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M"))
    return minutes[text]


def main():
    out = []
    for line in sys.stdin:
        start, source, port, protocol, packets, length = line.split(",")
        a, b, c, d = source.split(".")
        window = minute(start[:16]) + int(start[17:19]) // 10 * 10
        # nfdump writes ICMP's type and code as "8.0".
        port = int(float(port)) if "." in port else int(port)
        address = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
        out.append(ROW.pack(window, address, port, int(protocol), int(packets), int(length), 1))
        if len(out) == 10000:
            sys.stdout.buffer.write(b"".join(out))
            out.clear()
    sys.stdout.buffer.write(b"".join(out))


main()
