//! Why a frame was not counted: the closed list that makes frames = packets + the sum of rejects.

use martlet_packet::Reject;

/// The one reason for which a frame was not counted. The number is its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// The frame ends before its link-layer header does.
    TruncatedLink = 0,
    /// The link layer carries something else than IP (ARP, LLDP, MPLS ...).
    NotIp = 1,
    /// The frame ends before the fixed part of the IP header does.
    TruncatedIp = 2,
    /// The IP version is neither 4 nor 6. Where it contradicts the link layer, the version field decides.
    BadIpVersion = 3,
    /// The IPv4 header length is below 20 bytes.
    BadIpHeader = 4,
    /// The frame's link type is not one that Martlet reads.
    UnsupportedLinkType = 5,
    /// The observing host sent it.
    Outbound = 6,
    /// Its destination is not an observed address.
    NotObserved = 7,
    /// Its destination or source is excluded by configuration.
    Excluded = 8,
    /// It answers something the observing host asked.
    Solicited = 9,
    /// IPv6 neighbour discovery, multicast listener discovery, or anything link-local.
    LinkLocal = 10,
}

impl RejectReason {
    /// Every reason, in wire order.
    pub const ALL: [RejectReason; 11] = [
        RejectReason::TruncatedLink,
        RejectReason::NotIp,
        RejectReason::TruncatedIp,
        RejectReason::BadIpVersion,
        RejectReason::BadIpHeader,
        RejectReason::UnsupportedLinkType,
        RejectReason::Outbound,
        RejectReason::NotObserved,
        RejectReason::Excluded,
        RejectReason::Solicited,
        RejectReason::LinkLocal,
    ];

    /// The name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RejectReason::TruncatedLink => "truncated_link",
            RejectReason::NotIp => "not_ip",
            RejectReason::TruncatedIp => "truncated_ip",
            RejectReason::BadIpVersion => "bad_ip_version",
            RejectReason::BadIpHeader => "bad_ip_header",
            RejectReason::UnsupportedLinkType => "unsupported_link_type",
            RejectReason::Outbound => "outbound",
            RejectReason::NotObserved => "not_observed",
            RejectReason::Excluded => "excluded",
            RejectReason::Solicited => "solicited",
            RejectReason::LinkLocal => "link_local",
        }
    }
}

impl From<Reject> for RejectReason {
    fn from(reject: Reject) -> RejectReason {
        match reject {
            Reject::TruncatedLink => RejectReason::TruncatedLink,
            Reject::NotIp => RejectReason::NotIp,
            Reject::TruncatedIp => RejectReason::TruncatedIp,
            Reject::BadIpVersion => RejectReason::BadIpVersion,
            Reject::BadIpHeader => RejectReason::BadIpHeader,
        }
    }
}
