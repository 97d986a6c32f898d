//! Names of services and protocols, as IANA registers them.
//!
//! Source: IANA Service Name and Transport Protocol Port Number Registry and Protocol Numbers registry. Only what is
//! often scanned; a name says whose port it is, not what the packets speak.

use crate::config::{TCP, UDP};

/// Names that TCP and UDP share.
const BOTH: [(u16, &str); 41] = [
    (7, "echo"),
    (9, "discard"),
    (13, "daytime"),
    (19, "chargen"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "domain"),
    (80, "http"),
    (88, "kerberos"),
    (111, "sunrpc"),
    (123, "ntp"),
    (135, "epmap"),
    (137, "netbios-ns"),
    (138, "netbios-dgm"),
    (139, "netbios-ssn"),
    (161, "snmp"),
    (389, "ldap"),
    (443, "https"),
    (445, "microsoft-ds"),
    (623, "asf-rmcp"),
    (631, "ipp"),
    (636, "ldaps"),
    (853, "domain-s"),
    (993, "imaps"),
    (995, "pop3s"),
    (1433, "ms-sql-s"),
    (1434, "ms-sql-m"),
    (1723, "pptp"),
    (1883, "mqtt"),
    (1900, "ssdp"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (3478, "stun"),
    (5060, "sip"),
    (5061, "sips"),
    (5353, "mdns"),
    (5432, "postgresql"),
    (5683, "coap"),
    (5900, "rfb"),
    (11_211, "memcache"),
];

const TCP_ONLY: [(u16, &str); 20] = [
    (20, "ftp-data"),
    (21, "ftp"),
    (79, "finger"),
    (110, "pop3"),
    (113, "ident"),
    (143, "imap"),
    (179, "bgp"),
    (502, "mbap"),
    (513, "login"),
    (514, "shell"),
    (515, "printer"),
    (554, "rtsp"),
    (873, "rsync"),
    (1080, "socks"),
    (1521, "ncube-lm"),
    (2049, "nfs"),
    (5985, "wsman"),
    (6379, "redis"),
    (8080, "http-alt"),
    (8443, "pcsync-https"),
];

const UDP_ONLY: [(u16, &str); 7] = [
    (67, "bootps"),
    (68, "bootpc"),
    (69, "tftp"),
    (500, "isakmp"),
    (514, "syslog"),
    (520, "router"),
    (4500, "ipsec-nat-t"),
];

/// The IANA name of a port, if it is one that is often scanned.
pub(crate) fn service(protocol: u8, port: u16) -> Option<&'static str> {
    let own: &[(u16, &str)] = match protocol {
        TCP => &TCP_ONLY,
        UDP => &UDP_ONLY,
        _ => return None,
    };
    own.iter().chain(&BOTH).find(|(number, _)| *number == port).map(|(_, name)| *name)
}

/// The name of an IP protocol in lower case, or its number as text.
pub(crate) fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        TCP => "tcp",
        UDP => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        89 => "ospf",
        103 => "pim",
        132 => "sctp",
        136 => "udplite",
        _ => return protocol.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_protocol() {
        assert_eq!(service(TCP, 514), Some("shell"));
        assert_eq!(service(UDP, 514), Some("syslog"));
        assert_eq!(service(TCP, 23), Some("telnet"));
        assert_eq!(service(132, 23), None);
        assert_eq!(service(TCP, 65_000), None);
        assert_eq!((protocol_name(6), protocol_name(253)), ("tcp".to_owned(), "253".to_owned()));
    }
}
