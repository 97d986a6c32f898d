"""What docs/fingerprints.md makes of a capture, by plain reading of its bytes: no code of Martlet, and no packet library.

Reads pcap files of Ethernet frames. IPv4 only, without what is told apart by the direction of a link.
"""

import collections
import ipaddress
import mmap
import struct

# IP protocols with ports, of which only TCP and UDP tell a kind.
PORTS = {6, 17, 33, 132, 136}
ERRORS = {3, 4, 11, 12}
REPLIES = {0, 14, 16, 18}
REQUESTS = {8, 13, 15, 17}
WEAK = {7, 17, 19, 3283, 5093, 10001, 27960, 37810}


def frames(path):
    """Seconds since 1970 and bytes of each frame."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        order = {b"\x4d\x3c\xb2\xa1": "<", b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
        assert struct.unpack_from(order + "I", data, 20)[0] == 1, "not Ethernet"
        head, at, end = struct.Struct(order + "IIII"), 24, len(data)
        while at + 16 <= end:
            seconds, _, captured, _ = head.unpack_from(data, at)
            yield seconds, data[at + 16 : at + 16 + captured]
            at += 16 + captured


def ber(data, at, tag):
    """Where the contents of a BER element with this tag begin and end."""
    if len(data) < at + 2 or data[at] != tag:
        return None
    length, begin = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if count == 0 or len(data) < begin + count:
            return None
        length, begin = int.from_bytes(data[begin : begin + count]), begin + count
    return begin, begin + length


def after(data, at, *tags):
    """The place behind elements with these tags that follow one another."""
    for tag in tags:
        element = at is not None and ber(data, at, tag)
        if not element:
            return None
        at = element[1]
    return at


def snmp(data):
    message = ber(data, 0, 0x30)
    version = message and ber(data, message[0], 0x02)
    if not version:
        return False
    if data[version[0] : version[1]] == b"\x03":
        at = after(data, version[1], 0x30, 0x04)
        scoped = at is not None and ber(data, at, 0x30)
        pdu = after(data, scoped[0], 0x04, 0x04) if scoped else None
    else:
        pdu = after(data, version[1], 0x04)
    return pdu is not None and data[pdu : pdu + 1] in (b"\xa2", b"\xa8")


def ldap(data):
    message = ber(data, 0, 0x30)
    at = after(data, message[0], 0x02) if message else None
    return at is not None and data[at : at + 1] in (b"\x64", b"\x65", b"\x73")


def bacnet(data):
    if len(data) < 6 or data[0] != 0x81 or data[1] not in (0x0A, 0x0B) or data[4] != 1 or data[5] & 0x80:
        return False
    at = 6
    for flag, size in ((0x20, 3), (0x08, 3)):
        if data[5] & flag:
            if len(data) < at + size:
                return False
            at += size + data[at + 2]
    at += 1 if data[5] & 0x20 else 0
    apdu = data[at : at + 2]
    return bool(apdu) and (apdu[0] >> 4 in (2, 3, 4, 5, 6, 7) or apdu[0] >> 4 == 1 and apdu[1:2] in (b"\x00", b"\x01"))


def ntp(data):
    mode = data[0] & 7 if data else 0
    return mode == 4 or mode == 6 and len(data) > 1 and bool(data[1] & 0x80) or mode == 7 and bool(data[0] & 0x80)


def dns(data):
    return len(data) >= 12 and bool(data[2] & 0x80)


ANSWERS = {
    53: dns,
    5353: dns,
    111: lambda data: data[4:8] == b"\x00\x00\x00\x01",
    123: ntp,
    137: dns,
    161: snmp,
    389: ldap,
    443: lambda data: len(data) > 5 and data[0] & 0x80 and data[5] <= 20,
    500: lambda data: len(data) >= 28 and data[8:16] != bytes(8),
    520: lambda data: len(data) > 1 and data[0] == 2 and data[1] in (1, 2),
    1434: lambda data: len(data) >= 3 and data[0] == 5,
    1900: lambda data: data.startswith((b"HTTP/", b"NOTIFY")),
    3478: lambda data: len(data) >= 8 and data[0] & 0xC1 == 1 and data[4:8] == b"\x21\x12\xa4\x42",
    5060: lambda data: data.startswith(b"SIP/2.0 "),
    5683: lambda data: len(data) > 1 and data[0] >> 6 == 1 and 2 <= data[1] >> 5 <= 5,
    11211: lambda data: data[8:].startswith((b"VALUE ", b"STAT ", b"END\r", b"ERROR", b"VERSION ")),
    27015: lambda data: data[:4] == b"\xff\xff\xff\xff" and data[4:5] in (b"I", b"m", b"D", b"E", b"A", b"j") or data[:4] == b"\xfe\xff\xff\xff",
    47808: bacnet,
}


def tcp(rest, ports):
    if len(rest) < 20 or ports is None:
        return "other", ports and ports[1]
    flags = rest[13] & 0x3F
    if flags & 0x04:
        return "backscatter", ports[0]
    if flags & 0x13 == 0x02:
        return "scan", ports[1]
    if flags & 0x13 == 0x12:
        return "backscatter", ports[0]
    return ("scan" if flags in (0x01, 0x00, 0x29) else "other"), ports[1]


def udp(rest, ports):
    if len(rest) < 8:
        return "other", ports and ports[1]
    source, destination = ports
    if source in ANSWERS:
        is_answer = ANSWERS[source](rest[8:])
    else:
        is_answer = source in WEAK and destination not in ANSWERS and destination not in WEAK
    return ("backscatter", source) if is_answer else ("scan", destination)


def quoted(rest):
    """Protocol and destination port of the packet that an error quotes, whatever IP version it claims."""
    quote = rest[8:]
    if len(quote) < 20 or quote[0] & 15 < 5:
        return None
    header, protocol = (quote[0] & 15) * 4, quote[9]
    has_port = protocol in PORTS and not int.from_bytes(quote[6:8]) & 0x1FFF and len(quote) >= header + 4
    return protocol, int.from_bytes(quote[header + 2 : header + 4]) if has_port else 0


Row = collections.namedtuple("Row", "protocol port icmp_type icmp_code quoted_protocol quoted_port kind")


def service(packet):
    """Whom an IPv4 packet concerns and of which kind it is, and the port that it was sent to."""
    header, protocol = (packet[0] & 15) * 4, packet[9]
    total = int.from_bytes(packet[2:4])
    # What is behind the stated end is padding.
    rest = packet[header : total or None]
    none = Row(protocol, None, None, None, None, None, "other")
    if int.from_bytes(packet[6:8]) & 0x1FFF:
        return none, None
    if protocol in PORTS:
        ports = (int.from_bytes(rest[:2]), int.from_bytes(rest[2:4])) if len(rest) >= 4 else None
        kind, port = {6: tcp, 17: udp}.get(protocol, lambda rest, ports: ("other", ports and ports[1]))(rest, ports)
        return none._replace(port=port, kind=kind), ports and ports[1]
    if protocol == 1 and len(rest) >= 8:
        kind, quote = "other", None
        if rest[0] in REQUESTS:
            kind = "scan"
        elif rest[0] in ERRORS | REPLIES:
            kind = "backscatter"
            quote = quoted(rest) if rest[0] in ERRORS else None
        row = none._replace(icmp_type=rest[0], icmp_code=rest[1], kind=kind)
        return row._replace(quoted_protocol=quote[0], quoted_port=quote[1]) if quote else row, None
    return none, None


class Sum:
    def __init__(self):
        self.packets, self.bytes, self.sources = 0, 0, set()

    def add(self, length, source):
        self.packets += 1
        self.bytes += length
        self.sources.add(source)


def totals(path, address):
    """Sums by (day since 1970, row), and by (protocol, port that it was sent to), of packets to an address."""
    to, link_local = ipaddress.ip_address(address).packed, b"\xa9\xfe"
    rows, destinations = collections.defaultdict(Sum), collections.defaultdict(Sum)
    for seconds, frame in frames(path):
        packet = frame[14:]
        if frame[12:14] != b"\x08\x00" or len(packet) < 20 or packet[0] >> 4 != 4 or packet[0] & 15 < 5:
            raise ValueError("a frame that this program does not read")
        source = packet[12:16]
        if packet[16:20] != to or source[:2] == link_local:
            continue
        row, port = service(packet)
        length = int.from_bytes(packet[2:4])
        rows[seconds // 86400, row].add(length, source)
        destinations[row.protocol, port].add(length, source)
    return rows, destinations
