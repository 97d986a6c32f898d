//! Where our counts differ from tshark's on purpose, and what is known of captures of single tools.

/// A rule of docs/fingerprints.md ("Which frames are packets") that tshark does not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The frames' link type is one that Martlet does not read: they are rejected, and tshark reads them.
    LinkTypeNotRead,
    /// The same, but tshark does not read them either and stops, where we count them as rejected frames.
    LinkTypeReadByNobody,
    /// MPLS labels are not followed: what is behind them is rejected as `not_ip`.
    Mpls,
    /// An IPv4 total length of 0 is what segmentation offload leaves: the packet counts, with the 0 bytes it states.
    ZeroIpv4Length,
    /// An IPv6 payload length of 0 is that of a jumbogram or an offloaded segment: what follows in the frame is read.
    ZeroIpv6Length,
    /// The version field decides over the link layer: the other version is read, not refused.
    VersionFieldDecides,
    /// The fixed IP header is cut off: that is no packet, even where some of its fields are there.
    FixedHeaderCut,
    /// The fixed IP header is there, so it is a packet, even if its options or its stated length are damaged.
    FixedHeaderThere,
}

/// A capture for which some figures differ.
pub(crate) struct Known {
    /// Path below the shared captures.
    pub(crate) capture: &'static str,
    /// Why.
    pub(crate) rule: Rule,
    /// Every figure that differs, ours and theirs: anything else than exactly these is noticed.
    pub(crate) figures: &'static [&'static str],
}

/// All of them.
pub(crate) const DIFFERENCES: &[Known] = &[
    Known {
        capture: "odd/tcpdump/LINKTYPE_IPV4_invalid.pcap",
        rule: Rule::VersionFieldDecides,
        figures: &["packets 1 != 0", "bytes 77 != 0", "sources 1 != 0", "port ipv6/17/53 (1, 77, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/LINKTYPE_IPV6_invalid.pcap",
        rule: Rule::VersionFieldDecides,
        figures: &["packets 1 != 0", "bytes 57 != 0", "sources 1 != 0", "port ipv4/17/53 (1, 57, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv4-geneve-ipv4.pcap",
        rule: Rule::ZeroIpv4Length,
        figures: &["packets 1 != 0", "sources 1 != 0", "port ipv4/17/6081 (1, 0, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv4-vxlan-ipv6.pcap",
        rule: Rule::ZeroIpv4Length,
        figures: &["packets 1 != 0", "sources 1 != 0", "port ipv4/17/4789 (1, 0, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv4.pcap",
        rule: Rule::ZeroIpv4Length,
        figures: &[
            "packets 1 != 0",
            "sources 1 != 0",
            "port ipv4/6/36425 (1, 0, 1) != (0, 0, 0)",
            "kind tcp other 1 != 0",
        ],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv6-geneve-ipv4.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/17/- (0, 0, 0) != (1, 40, 1)", "port ipv6/17/6081 (1, 40, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv6-geneve-ipv6.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/17/- (0, 0, 0) != (1, 40, 1)", "port ipv6/17/6081 (1, 40, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv6-vxlan-ipv4.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/17/- (0, 0, 0) != (1, 40, 1)", "port ipv6/17/4789 (1, 40, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv6-vxlan-ipv6.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/17/- (0, 0, 0) != (1, 40, 1)", "port ipv6/17/4789 (1, 40, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/bigtcp-ipv6.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/6/- (0, 0, 0) != (1, 40, 1)", "port ipv6/6/41219 (1, 40, 1) != (0, 0, 0)"],
    },
    Known { capture: "odd/tcpdump/dsa-high-vid.pcap", rule: Rule::LinkTypeReadByNobody, figures: &["frames 4 != 0"] },
    Known { capture: "odd/tcpdump/dsa.pcap", rule: Rule::LinkTypeReadByNobody, figures: &["frames 8 != 0"] },
    Known { capture: "odd/tcpdump/edsa-high-vid.pcap", rule: Rule::LinkTypeReadByNobody, figures: &["frames 4 != 0"] },
    Known {
        capture: "odd/tcpdump/icmp-cksum-oobr-4.pcapng",
        rule: Rule::LinkTypeNotRead,
        figures: &[
            "packets 0 != 1",
            "bytes 0 != 8360",
            "sources 0 != 1",
            "port ipv4/1/* (0, 0, 0) != (1, 8360, 1)",
            "icmp ipv4 11/0 0 != 1",
            "kind icmp backscatter 0 != 1",
        ],
    },
    Known {
        capture: "odd/tcpdump/icmp-rfc5837.pcap",
        rule: Rule::LinkTypeNotRead,
        figures: &[
            "packets 0 != 1",
            "bytes 0 != 240",
            "sources 0 != 1",
            "port ipv4/1/* (0, 0, 0) != (1, 240, 1)",
            "icmp ipv4 11/0 0 != 1",
            "kind icmp backscatter 0 != 1",
        ],
    },
    Known {
        capture: "odd/tcpdump/icmpv6-length-zero.pcapng",
        rule: Rule::ZeroIpv6Length,
        figures: &["icmp ipv6 136/0 1 != 0"],
    },
    Known {
        capture: "odd/tcpdump/ipv4_invalid_length.pcap",
        rule: Rule::FixedHeaderCut,
        figures: &["packets 0 != 1", "bytes 0 != 84", "sources 0 != 1", "port ipv4/17/- (0, 0, 0) != (1, 84, 1)"],
    },
    Known {
        capture: "odd/tcpdump/ipv4_tcp_http_xml_tso.pcap",
        rule: Rule::ZeroIpv4Length,
        figures: &[
            "packets 1 != 0",
            "sources 1 != 0",
            "port ipv4/6/8080 (1, 0, 1) != (0, 0, 0)",
            "kind tcp other 1 != 0",
        ],
    },
    Known {
        capture: "odd/tcpdump/ipv6_frag6_negative_len.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/2/* (1, 40, 1) != (0, 0, 0)", "port ipv6/44/* (0, 0, 0) != (1, 40, 1)"],
    },
    Known {
        capture: "odd/tcpdump/ipv6_missing_jumbo_payload_option.pcap",
        rule: Rule::ZeroIpv6Length,
        figures: &["port ipv6/0/* (0, 0, 0) != (1, 40, 1)", "port ipv6/88/* (1, 40, 1) != (0, 0, 0)"],
    },
    Known {
        capture: "odd/tcpdump/juniper_es_oobr.pcap",
        rule: Rule::LinkTypeReadByNobody,
        figures: &["frames 1 != 0"],
    },
    Known {
        capture: "odd/tcpdump/juniper_monitor_invalid_cookie_length.pcap",
        rule: Rule::LinkTypeReadByNobody,
        figures: &["frames 1 != 0"],
    },
    Known {
        capture: "odd/tcpdump/kday3.pcap",
        rule: Rule::VersionFieldDecides,
        figures: &[
            "packets 9 != 8",
            "bytes 66072 != 1226",
            "sources 5 != 4",
            "port ipv6/64/* (1, 64846, 1) != (0, 0, 0)",
        ],
    },
    Known {
        capture: "odd/tcpdump/lspping-fec-ldp.pcap",
        rule: Rule::LinkTypeNotRead,
        figures: &[
            "packets 0 != 13",
            "bytes 0 != 874",
            "sources 0 != 2",
            "port ipv4/17/3503 (0, 0, 0) != (5, 380, 1)",
            "port ipv4/17/4786 (0, 0, 0) != (5, 300, 1)",
            "port ipv4/6/179 (0, 0, 0) != (3, 194, 1)",
            "kind tcp other 0 != 3",
        ],
    },
    Known { capture: "odd/tcpdump/vtp_asan-2.pcap", rule: Rule::LinkTypeReadByNobody, figures: &["frames 1 != 0"] },
    Known {
        capture: "odd/tcpdump/wb-oobr.pcap",
        rule: Rule::LinkTypeNotRead,
        figures: &[
            "packets 0 != 6",
            "bytes 0 != 74016",
            "sources 0 != 3",
            "port ipv4/17/3503 (0, 0, 0) != (3, 37008, 2)",
            "port ipv4/17/4567 (0, 0, 0) != (3, 37008, 2)",
        ],
    },
    Known {
        capture: "odd/zeek/ip6-trunc.pcap",
        rule: Rule::FixedHeaderCut,
        figures: &["packets 0 != 1", "bytes 0 != 60", "sources 0 != 1", "port ipv6/0/* (0, 0, 0) != (1, 60, 1)"],
    },
    Known {
        capture: "odd/zeek/ipv4-truncated-broken-header.pcap",
        rule: Rule::FixedHeaderThere,
        figures: &[
            "packets 1 != 0",
            "bytes 20 != 0",
            "sources 1 != 0",
            "port ipv4/6/- (1, 20, 1) != (0, 0, 0)",
            "kind tcp other 1 != 0",
        ],
    },
    Known {
        capture: "odd/zeek/llc.pcap",
        rule: Rule::LinkTypeNotRead,
        figures: &[
            "packets 0 != 1333",
            "bytes 0 != 53320",
            "sources 0 != 1",
            "port ipv4/6/80 (0, 0, 0) != (1333, 53320, 1)",
            "kind tcp backscatter 0 != 1333",
        ],
    },
    Known {
        capture: "odd/zeek/mixed-vlan-mpls.trace",
        rule: Rule::Mpls,
        figures: &[
            "packets 36 != 47",
            "bytes 14857 != 15327",
            "sources 4 != 5",
            "port ipv4/6/23 (0, 0, 0) != (11, 470, 1)",
            "kind tcp other 32 != 42",
            "kind tcp scan 2 != 3",
        ],
    },
    Known {
        capture: "odd/zeek/mpls-6in6-6in6-4in6-trunc.pcap",
        rule: Rule::Mpls,
        figures: &["packets 0 != 1", "bytes 0 != 84", "sources 0 != 1", "port ipv6/41/* (0, 0, 0) != (1, 84, 1)"],
    },
    Known {
        capture: "odd/zeek/mpls-in-vlan.trace",
        rule: Rule::Mpls,
        figures: &[
            "packets 1 != 3",
            "bytes 257 != 2467",
            "port ipv4/6/32828 (0, 0, 0) != (1, 1500, 1)",
            "port ipv4/6/80 (1, 257, 1) != (2, 967, 1)",
            "kind tcp other 1 != 3",
        ],
    },
];

/// A real capture of one kind of sender, and what we make of it.
///
/// Read with care: the answers of the scanned hosts are in some of these files too.
pub(crate) struct Sender {
    /// Path below the shared captures.
    pub(crate) capture: &'static str,
    /// Protocol, kind, packets; most packets first.
    pub(crate) kinds: &'static [(u64, &'static str, u64)],
    /// Mark and packets by name, without `spoofed_looking`: laboratories use private addresses.
    pub(crate) marks: &'static [(&'static str, u64)],
}

/// All of them.
pub(crate) const SENDERS: &[Sender] = &[
    Sender {
        capture: "backscatter/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng",
        kinds: &[(6, "backscatter", 542), (6, "scan", 354)],
        marks: &[("nmap_shape", 2), ("zmap", 2), ("zmap_ipid", 2)],
    },
    Sender {
        capture: "backscatter/amp.UDP.bacnet.IOT.37810.pcapng",
        kinds: &[(17, "backscatter", 9112), (17, "scan", 350), (1, "backscatter", 155)],
        marks: &[("weak_backscatter", 2377)],
    },
    // From port 4500, but neither IKE nor with any other common first bytes: no rule of ours calls it an answer.
    Sender { capture: "backscatter/amp.UDP.isakmp.pcap", kinds: &[(17, "scan", 3984)], marks: &[] },
    Sender {
        capture: "backscatter/amp.UDP.snmp.src161.pcapng",
        kinds: &[(17, "backscatter", 4077), (1, "backscatter", 290), (1, "other", 4), (17, "scan", 2)],
        marks: &[],
    },
    Sender {
        capture: "backscatter/pkt.TCP.synflood.spoofed.pcap",
        kinds: &[(6, "scan", 37841)],
        marks: &[("zmap_ipid", 1)],
    },
    Sender { capture: "icmp/echo.pcap", kinds: &[(1, "scan", 890)], marks: &[] },
    Sender { capture: "icmp/icmp-timestamp-scan.pcap", kinds: &[(1, "scan", 1777)], marks: &[] },
    Sender {
        capture: "scanners/hping3.pcapng",
        kinds: &[(6, "scan", 4000), (6, "other", 1000), (17, "scan", 1000), (6, "backscatter", 5)],
        marks: &[("stealth", 3000)],
    },
    Sender {
        capture: "scanners/masscan.pcap",
        kinds: &[(6, "scan", 600), (6, "backscatter", 10)],
        marks: &[("masscan", 600), ("masscan_ipid", 600)],
    },
    Sender {
        capture: "scanners/masscan_5k.pcapng",
        kinds: &[(6, "scan", 4989), (6, "backscatter", 11)],
        marks: &[("masscan", 4989), ("masscan_ipid", 4989)],
    },
    Sender {
        capture: "scanners/nmap.pcapng",
        kinds: &[
            (6, "scan", 23899),
            (6, "other", 18207),
            (17, "scan", 552),
            (1, "backscatter", 255),
            (6, "backscatter", 98),
        ],
        // One of its scans has several sequence numbers.
        marks: &[("nmap", 854), ("nmap_shape", 4161), ("stealth", 15079)],
    },
    Sender {
        capture: "scanners/unicornscan.pcapng",
        kinds: &[
            (6, "scan", 9802),
            (6, "other", 1732),
            (6, "backscatter", 1406),
            (17, "scan", 954),
            (1, "backscatter", 357),
        ],
        // All 3,718 SYNs but the first one of each of 11 runs.
        marks: &[("stealth", 6084), ("tcp_data", 21), ("unicornscan", 3707)],
    },
    Sender {
        capture: "scanners/zmap_tcp_5k.pcapng",
        kinds: &[(6, "scan", 5000)],
        marks: &[("zmap", 5000), ("zmap_ipid", 5000)],
    },
    Sender {
        capture: "scanners/angryip.pcap",
        kinds: &[
            (17, "scan", 182),
            (1, "scan", 153),
            (1, "backscatter", 115),
            (6, "scan", 114),
            (6, "backscatter", 99),
            (6, "other", 70),
            (17, "backscatter", 38),
        ],
        marks: &[],
    },
    Sender { capture: "scanners/udp_0_1000_20190821.pcap", kinds: &[(17, "scan", 1001)], marks: &[] },
    // nmap's, with both IP versions of the laboratory beside it.
    Sender {
        capture: "scans/portscan.pcap",
        kinds: &[
            (6, "scan", 1365),
            (6, "backscatter", 1017),
            (17, "scan", 6),
            (17, "scan", 3),
            (2, "other", 2),
            (17, "backscatter", 2),
            (17, "backscatter", 1),
        ],
        marks: &[("nmap", 1255), ("nmap_shape", 1365)],
    },
    Sender { capture: "scans/23-tcp-scan.pcap", kinds: &[(6, "scan", 31933)], marks: &[("zmap_ipid", 1)] },
    Sender {
        capture: "scans/scan-1433.pcap",
        kinds: &[(6, "scan", 7667)],
        marks: &[("masscan", 7667), ("masscan_ipid", 7667)],
    },
    Sender { capture: "worms/slammer_worm.pcap", kinds: &[(17, "scan", 9), (1, "scan", 1)], marks: &[("slammer", 9)] },
];

/// Captures of tools, with the marks that are no chance there.
pub(crate) const TOOLS: &[(&str, &[&str])] = &[
    ("scanners/masscan.pcap", &["masscan_ipid"]),
    ("scanners/masscan_5k.pcapng", &["masscan_ipid"]),
    ("scans/scan-1433.pcap", &["masscan_ipid"]),
    ("scanners/zmap_tcp_5k.pcapng", &["zmap_ipid", "zmap"]),
    ("scanners/nmap.pcapng", &["nmap"]),
    ("scans/portscan.pcap", &["nmap"]),
    ("scanners/unicornscan.pcapng", &["unicornscan"]),
    // Two SYNs of somebody who scans with ZMap, at an address of the Internet.
    ("backscatter/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng", &["zmap_ipid", "zmap"]),
];
