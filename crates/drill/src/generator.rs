//! The drill itself: packets in time order, one at a time, out of one reused buffer.

use crate::addresses::SourceSpace;
use crate::arrivals::{BackgroundTimes, OutbreakTimes};
use crate::config::{ConfigError, DrillConfig, OutbreakConfig, OutbreakMark, Transport};
use crate::frame::{Frame, Ip};
use crate::mix::{ANY, COMPONENTS, Lookups, Ports, Probe, Sources, single_port_sources};
use crate::packet::{Origin, Packet, PacketInfo};
use crate::random::{Purpose, Stream, mix, scale, to_u64};
use crate::template::{self, Host, RST_ACK, SYN_ACK, Tool};

/// Domain separators of the keys under which sources are drawn.
const OUTBREAK_HOSTS: u64 = 1 << 40;
const TRAITS: u64 = 2 << 40;
const ANY_PORT: u64 = 3 << 40;
/// A background source that scans "any" port keeps to so many of them.
const PORTS_OF_A_SOURCE: u32 = 8;

/// A running drill. Ask [`Drill::next_packet`] until it is empty; memory does not grow.
pub struct Drill {
    seed: u64,
    start_ns: u64,
    last_ns: u64,
    end_ns: u64,
    background: BackgroundTimes,
    next_background_s: Option<f64>,
    outbreak: Option<Outbreak>,
    next_outbreak: Option<(f64, f64)>,
    painter: Painter,
}

/// What is needed to write the packets of the outbreak.
struct Outbreak {
    config: OutbreakConfig,
    times: OutbreakTimes,
    fields: Stream,
}

/// What is needed to write a packet once its time is known.
struct Painter {
    seed: u64,
    dark_first: u32,
    dark_count: u32,
    space: SourceSpace,
    lookups: Lookups,
    fields: Stream,
    frame: Frame,
}

impl Drill {
    /// Checks the configuration and gets ready. With `exact_packets`, the outbreak is counted in a dry run first.
    ///
    /// # Errors
    /// What [`DrillConfig::check`] says, or that the outbreak alone has more packets than asked for in total.
    pub fn new(config: &DrillConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut outbreak = config.outbreak.map(|outbreak| Outbreak {
            times: OutbreakTimes::new(config, &outbreak),
            fields: Stream::new(config.seed, Purpose::OutbreakFields),
            config: outbreak,
        });
        let exactly = match config.exact_packets {
            None => None,
            Some(packets) => {
                let mut dry = outbreak.as_ref().map(|o| o.times.clone());
                let outbreak = std::iter::from_fn(|| dry.as_mut()?.next_s()).fold(0_u64, |n, _| n + 1);
                Some(packets.checked_sub(outbreak).ok_or(ConfigError::OutbreakLarger { outbreak, packets })?)
            }
        };
        let mut background = BackgroundTimes::new(config, exactly);
        let start_ns = config.start_s * 1_000_000_000;
        let duration_ns = u64::try_from(config.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            seed: config.seed,
            start_ns,
            last_ns: start_ns,
            end_ns: start_ns.saturating_add(duration_ns),
            next_background_s: background.next_s(),
            background,
            next_outbreak: outbreak.as_mut().and_then(|o| o.times.next_s()),
            outbreak,
            painter: Painter {
                seed: config.seed,
                dark_first: u32::from(config.dark.network()),
                // A /8 is the largest prefix that is allowed.
                dark_count: u32::try_from(config.dark_addresses()).unwrap_or(u32::MAX),
                space: SourceSpace::new(config.dark),
                lookups: Lookups::new(),
                fields: Stream::new(config.seed, Purpose::BackgroundFields),
                frame: Frame::new(),
            },
        })
    }

    /// The next packet, not before the one before it; `None` after the last. The frame lies in a buffer that the next
    /// call overwrites.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        let outbreak_first = match (self.next_background_s, self.next_outbreak) {
            (None, None) => return None,
            (Some(background), Some((outbreak, _))) => outbreak < background,
            (background, _) => background.is_none(),
        };
        let (at_s, info) = match (outbreak_first, &mut self.outbreak, self.next_outbreak) {
            (true, Some(outbreak), Some((at_s, infected))) => {
                self.next_outbreak = outbreak.times.next_s();
                (at_s, self.painter.outbreak(&outbreak.config, &mut outbreak.fields, infected))
            }
            _ => {
                let at_s = self.next_background_s?;
                self.next_background_s = self.background.next_s();
                (at_s, self.painter.background())
            }
        };
        // Rounding may put the last packet on the end itself, which is no longer part of the drill.
        let time_ns = (self.start_ns + to_u64(at_s * 1e9)).clamp(self.last_ns, self.end_ns - 1);
        self.last_ns = time_ns;
        Some(Packet { time_ns, frame: self.painter.frame.bytes(), info })
    }

    /// Unix time of the beginning, in nanoseconds.
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Unix time of the end, in nanoseconds; every packet is before it.
    pub fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Painter {
    /// Writes one background packet.
    fn background(&mut self) -> PacketInfo {
        let number = self.lookups.components.pick(self.fields.bits32());
        // The look-up holds indices of the table only.
        let index = usize::from(number).min(COMPONENTS.len() - 1);
        let component = &COMPONENTS[index];
        let destination = self.dark_first + self.fields.below(self.dark_count);
        let listed = match component.ports {
            Ports::Research => self.lookups.research.pick(self.fields.bits32()),
            Ports::Single => self.lookups.single.pick(self.fields.bits32()),
            Ports::Mirai => self.lookups.mirai.pick(self.fields.bits32()),
            Ports::Udp => self.lookups.udp.pick(self.fields.bits32()),
            Ports::Victims => self.lookups.victims.pick(self.fields.bits32()),
            Ports::Own => ANY,
        };
        let mut group = u64::from(number);
        let mut sources = component.sources;
        if matches!(component.ports, Ports::Single | Ports::Victims) {
            group |= u64::from(listed) << 16;
        }
        if component.ports == Ports::Single {
            sources = single_port_sources(listed, sources);
        }
        let rank = rank(self.fields.bits64(), sources);
        let group = mix(self.seed, group);
        let host = self.host(self.space.hashed(group, rank));
        let port = if listed == ANY { self.any_port(component.ports, mix(group ^ ANY_PORT, rank)) } else { listed };
        let info = self.write(component.probe, host, destination, port);
        PacketInfo { origin: Origin::Background(index), ..info }
    }

    /// A port that no list names: the source's own few where sources keep to their ports, else any.
    fn any_port(&mut self, ports: Ports, source: u64) -> u16 {
        let bits = self.fields.bits32();
        let bits = match ports {
            Ports::Single => (mix(source, u64::from(scale(bits, PORTS_OF_A_SOURCE))) >> 32) as u32,
            Ports::Victims => (source >> 32) as u32,
            _ => bits,
        };
        1 + (scale(bits, 65_535) & 0xffff) as u16
    }

    fn host(&self, address: u32) -> Host {
        Host { address, traits: mix(self.seed ^ TRAITS, u64::from(address)) }
    }

    /// Writes one packet of the outbreak while `infected` hosts are.
    fn outbreak(&mut self, outbreak: &OutbreakConfig, fields: &mut Stream, infected: f64) -> PacketInfo {
        let infected = to_u64(infected).clamp(outbreak.initial_infected, outbreak.vulnerable);
        let index = fields.below(u32::try_from(infected).unwrap_or(u32::MAX));
        let host = self.host(self.space.permuted(mix(self.seed, OUTBREAK_HOSTS), index));
        let destination = self.dark_first + fields.below(self.dark_count);
        let probe = match (outbreak.mark, outbreak.transport) {
            (OutbreakMark::Mirai, _) => Probe::Syn(Tool::Mirai),
            (OutbreakMark::Slammer, _) => Probe::Slammer,
            (OutbreakMark::None, Transport::Tcp) => Probe::Syn(Tool::Linux),
            (OutbreakMark::None, Transport::Udp) => Probe::Udp,
        };
        // The outbreak draws from its own stream, so that the background is the same with and without it.
        std::mem::swap(&mut self.fields, fields);
        let info = self.write(probe, host, destination, outbreak.port);
        std::mem::swap(&mut self.fields, fields);
        PacketInfo { origin: Origin::Outbreak, ..info }
    }

    /// Writes a probe into the frame and describes it.
    fn write(&mut self, probe: Probe, host: Host, destination: u32, port: u16) -> PacketInfo {
        let (frame, random) = (&mut self.frame, &mut self.fields);
        let mut tcp_answer = |flags, random: &mut Stream| {
            let unasked = 1024 + (random.below(64_512) & 0xffff) as u16;
            let (ip, sequence) = template::answer(frame, flags, host, destination, (port, unasked), random);
            PacketInfo::tcp(&ip, flags, sequence, (port, unasked))
        };
        let info = match probe {
            Probe::SynAck => tcp_answer(SYN_ACK, random),
            Probe::Rst => tcp_answer(RST_ACK, random),
            Probe::StrayAck => tcp_answer(crate::frame::ACK, random),
            Probe::Syn(tool) => {
                let (ip, sequence) = template::syn(frame, tool, host, destination, port, random);
                PacketInfo::tcp(&ip, crate::frame::SYN, sequence, (0, port))
            }
            Probe::Udp => udp(template::udp_probe(frame, host, destination, port, random), port, false),
            Probe::Slammer => udp(template::slammer(frame, host, destination, random), 1434, false),
            Probe::UdpAnswer => {
                // Above all service ports that a payload might be mistaken for.
                let unasked = 55_000 + (port % 10_000);
                udp(template::udp_answer(frame, host, destination, unasked, random), unasked, true)
            }
            Probe::Echo => icmp(template::echo(frame, host, destination, random)),
            Probe::IcmpAnswer => icmp(template::icmp_answer(frame, host, destination, port, random)),
        };
        PacketInfo { total_length: self.frame.total_length(), ..info }
    }
}

fn udp((ip, source_port, first): (Ip, u16, u8), port: u16, answer: bool) -> PacketInfo {
    PacketInfo::udp(&ip, (source_port, port), first, answer)
}

fn icmp((ip, kind): (Ip, (u8, u8))) -> PacketInfo {
    PacketInfo::icmp(&ip, kind)
}

/// A rank from `2^first` to `2^last`: first the power of two, all alike, then a place within it. With integers only,
/// this is a stepped 1/rank law.
fn rank(bits: u64, sources: Sources) -> u64 {
    let octave = sources.first + scale((bits >> 32) as u32, sources.last - sources.first);
    (1 << octave) | (bits & ((1 << octave) - 1))
}
