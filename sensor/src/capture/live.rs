//! Live capture through libpcap's ring, one or more interfaces in one thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use martlet_observe::capture::Frame;
use martlet_observe::screen::{AddressSet, Own};
use martlet_packet::{LinkType, MacAddress};
use martlet_window::Timestamp;
use pcap::{Active, Capture, Linktype, Precision};
use pnet::datalink;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::config::Config;

/// How long the kernel may hold packets back to hand them over together, in milliseconds.
const BATCHING_MS: i32 = 100;
/// Packets taken from one ring before the others and the clock have their turn.
const TURN: usize = 4096;
/// How long packets gather once the rings are empty. A processor that slept finds its caches cold, so a thousand short
/// turns cost far more than ten long ones; but a ring must never fill while nobody looks.
const LONGEST_REST: Duration = Duration::from_millis(100);
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// What a ring takes for a frame besides its bytes: the kernel's headers and alignment (`tpacket3_hdr`, `sockaddr_ll`).
const FRAME_OVERHEAD: usize = 128;

/// Why capturing cannot begin or go on.
#[derive(Debug, Error)]
pub enum LiveError {
    /// There is no such interface.
    #[error("there is no interface {0:?}; `ip link` lists them")]
    NoInterface(String),
    /// The interface cannot be opened.
    #[error("cannot capture on {interface:?}: {source}{}", hint(source))]
    Open {
        /// The interface.
        interface: String,
        /// Why.
        source: pcap::Error,
    },
    /// The filter is refused.
    #[error("the capture filter for {interface:?} is refused: {source}")]
    Filter {
        /// The interface.
        interface: String,
        /// Why.
        source: pcap::Error,
    },
    /// The interface's link type is not one that Martlet reads.
    #[error("{interface:?} has link type {number}, which Martlet does not read")]
    LinkType {
        /// The interface.
        interface: String,
        /// The number.
        number: i32,
    },
    /// The interface went away or failed.
    #[error("capturing on {interface:?} failed: {source}")]
    Failed {
        /// The interface.
        interface: String,
        /// Why.
        source: pcap::Error,
    },
}

fn hint(error: &pcap::Error) -> &'static str {
    if error.to_string().contains("permission") { " (capturing needs root or the CAP_NET_RAW capability)" } else { "" }
}

/// Frames that never reached us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Dropped by the kernel: the ring was full.
    pub kernel: u64,
    /// Dropped by the interface or its driver.
    pub interface: u64,
}

impl Drops {
    /// Adds further drops.
    pub const fn add(&mut self, more: Drops) {
        self.kernel += more.kernel;
        self.interface += more.interface;
    }
}

struct Ring {
    interface: String,
    capture: Capture<Active>,
    link: LinkType,
    /// libpcap's counters at the last look: 32 bits that wrap.
    last: (u32, u32),
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// Open captures.
pub struct LiveCapture {
    rings: Vec<Ring>,
    rest: Rest,
}

/// How long to let packets gather, following the traffic.
struct Rest {
    length: Duration,
    /// Whether the last turn took all there was.
    drained: bool,
    /// Bytes that the rings gave since the last rest.
    gathered: usize,
    /// More than this is too much for one rest, in bytes.
    enough: usize,
}

impl Rest {
    /// At most a quarter of a ring may fill in one rest: the rate may double before the next.
    const fn new(ring_bytes: usize) -> Rest {
        Rest { length: SHORTEST_REST, drained: false, gathered: 0, enough: ring_bytes / 4 }
    }

    /// Rests if there was nothing left to do.
    fn take(&mut self) {
        if !self.drained {
            return;
        }
        let fast = std::mem::take(&mut self.gathered) > self.enough / 2;
        self.length = if fast { self.length / 2 } else { self.length * 2 };
        self.length = self.length.clamp(SHORTEST_REST, LONGEST_REST);
        std::thread::sleep(self.length);
    }
}

impl LiveCapture {
    /// Opens the configured interfaces; the filter is set with [`Self::set_filter`].
    ///
    /// # Errors
    /// If an interface does not exist or cannot be opened, or has a link type that Martlet does not read.
    pub fn open(config: &Config) -> Result<LiveCapture, LiveError> {
        let rings = config.interfaces.iter().map(|interface| open(interface, config));
        let rest = Rest::new(usize::try_from(config.ring_bytes).unwrap_or(0));
        Ok(LiveCapture { rings: rings.collect::<Result<_, _>>()?, rest })
    }

    /// Replaces the kernel's filter on every interface.
    ///
    /// # Errors
    /// If libpcap or the kernel refuses it.
    pub fn set_filter(&mut self, expression: &str) -> Result<(), LiveError> {
        for ring in &mut self.rings {
            let interface = ring.interface.clone();
            ring.capture.filter(expression, true).map_err(|source| LiveError::Filter { interface, source })?;
        }
        Ok(())
    }

    /// Waits until there are frames, at most `patience`, and lets more gather while the rings have room.
    pub fn wait(&mut self, patience: Duration) {
        self.rest.take();
        let mut fds: Vec<PollFd<'_>> = self.rings.iter().map(|ring| PollFd::new(ring, PollFlags::IN)).collect();
        let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        // An interruption by a signal is as good as a timeout: the caller looks at the clock and comes back.
        let _ = poll(&mut fds, Some(&patience));
    }

    /// Takes a turn's worth of frames from every ring.
    ///
    /// # Errors
    /// If an interface failed.
    pub fn read(&mut self, mut take: impl FnMut(Frame<'_>)) -> Result<(), LiveError> {
        self.rest.drained = true;
        for ring in &mut self.rings {
            let mut gathered = 0;
            let mut turn = TURN;
            while turn > 0 {
                match ring.capture.next_packet() {
                    Ok(packet) => {
                        turn -= 1;
                        gathered += packet.data.len() + FRAME_OVERHEAD;
                        let (seconds, nanoseconds) = (packet.header.ts.tv_sec, packet.header.ts.tv_usec);
                        let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
                        let time = Timestamp::from_parts(seconds, nanoseconds);
                        take(Frame { time, link: Some(ring.link), bytes: packet.data });
                    }
                    Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => break,
                    Err(source) => return Err(LiveError::Failed { interface: ring.interface.clone(), source }),
                }
            }
            self.rest.drained &= turn > 0;
            self.rest.gathered += gathered;
        }
        Ok(())
    }

    /// Frames dropped since the last call.
    pub fn drops(&mut self) -> Drops {
        let mut drops = Drops::default();
        for ring in &mut self.rings {
            // A failing interface shows at the next read; its drops are not known then.
            if let Ok(now) = ring.capture.stats() {
                drops.kernel += u64::from(now.dropped.wrapping_sub(ring.last.0));
                drops.interface += u64::from(now.if_dropped.wrapping_sub(ring.last.1));
                ring.last = (now.dropped, now.if_dropped);
            }
        }
        drops
    }
}

fn open(interface: &str, config: &Config) -> Result<Ring, LiveError> {
    if !datalink::interfaces().iter().any(|known| known.name == interface) {
        return Err(LiveError::NoInterface(interface.to_owned()));
    }
    let at = |source| LiveError::Open { interface: interface.to_owned(), source };
    let inactive = Capture::from_device(interface)
        .map_err(at)?
        .promisc(config.promiscuous)
        .snaplen(config.snap_bytes)
        .buffer_size(config.ring_bytes)
        .precision(Precision::Nano)
        .timeout(BATCHING_MS);
    let capture = inactive.open().map_err(at)?.setnonblock().map_err(at)?;
    let Linktype(number) = capture.get_datalink();
    let link =
        LinkType::from_number(number).ok_or_else(|| LiveError::LinkType { interface: interface.to_owned(), number })?;
    Ok(Ring { interface: interface.to_owned(), capture, link, last: (0, 0) })
}

/// The addresses and hardware addresses of these interfaces, now.
#[must_use]
pub fn own_addresses(interfaces: &[String]) -> Own {
    let mine = datalink::interfaces().into_iter().filter(|known| interfaces.contains(&known.name));
    let mut hardware = Vec::new();
    let mut addresses = Vec::new();
    for interface in mine {
        // Loopback and tunnels have none, or all zeros: there the addresses decide.
        hardware.extend(interface.mac.map(|mac| mac.octets()).filter(|octets| *octets != [0; 6]).map(MacAddress::new));
        addresses.extend(interface.ips.iter().map(|network| ipnet::IpNet::from(network.ip())));
    }
    let link_local =
        |network: &ipnet::IpNet| matches!(network, ipnet::IpNet::V6(v6) if v6.addr().is_unicast_link_local());
    Own { hardware, addresses: addresses.into_iter().filter(|network| !link_local(network)).collect::<AddressSet>() }
}
