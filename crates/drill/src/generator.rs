//! The drill itself: packets in time order, one at a time, out of one reused buffer.
//!
//! Background, outbreak and every inject know when their next packet comes; the earliest is written. Packets to a part of
//! the prefix that is out are made and dropped, so that an outage changes nothing else.

use crate::addresses::SourceSpace;
use crate::arrivals::BackgroundTimes;
use crate::config::{ConfigError, DrillConfig};
use crate::frame::{Frame, Ip};
use crate::mix::{ANY, COMPONENTS, Lookups, Ports, Probe, Sources, single_port_sources};
use crate::noise::Player;
use crate::packet::{Origin, Packet, PacketInfo};
use crate::random::{Purpose, Stream, mix, scale, to_u64};
use crate::template::{self, Host, RST_ACK, SYN_ACK};
use crate::worm::Worm;

/// Domain separators of the keys under which sources are drawn.
pub(crate) const OUTBREAK_HOSTS: u64 = 1 << 40;
const TRAITS: u64 = 2 << 40;
const ANY_PORT: u64 = 3 << 40;
/// A background source that scans "any" port keeps to so many of them.
const PORTS_OF_A_SOURCE: u32 = 8;

/// A running drill. Ask [`Drill::next_packet`] until it is empty; memory does not grow.
pub struct Drill {
    config: DrillConfig,
    start_ns: u64,
    last_ns: u64,
    end_ns: u64,
    background: BackgroundTimes,
    next_background_s: Option<f64>,
    /// Everything else, with the time of its next packet.
    players: Vec<(Player, Option<f64>)>,
    painter: Painter,
}

/// What is needed to write a packet once its time is known.
pub(crate) struct Painter {
    seed: u64,
    dark_first: u32,
    dark_count: u32,
    pub(crate) space: SourceSpace,
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
        let outbreak = config.outbreak.map(|outbreak| Worm::of_drill(config, &outbreak));
        let exactly = match config.exact_packets {
            None => None,
            Some(packets) => {
                let outbreak = outbreak.as_ref().map_or(0, Worm::count);
                Some(packets.checked_sub(outbreak).ok_or(ConfigError::OutbreakLarger { outbreak, packets })?)
            }
        };
        let injects = (0..).zip(&config.injects).map(|(index, inject)| Player::new(config, index, inject));
        let outbreak = outbreak.map(|worm| Player::Worm(Box::new(worm)));
        let players = outbreak.into_iter().chain(injects).map(|mut player| {
            let next_s = player.next_s();
            (player, next_s)
        });
        let players = players.collect();
        let mut background = BackgroundTimes::new(config, exactly);
        let start_ns = config.start_s * 1_000_000_000;
        let duration_ns = u64::try_from(config.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            start_ns,
            last_ns: start_ns,
            end_ns: start_ns.saturating_add(duration_ns),
            next_background_s: background.next_s(),
            background,
            players,
            painter: Painter {
                seed: config.seed,
                dark_first: u32::from(config.dark.network()),
                // A /8 is the largest prefix that is allowed.
                dark_count: u32::try_from(config.dark_addresses()).unwrap_or(u32::MAX),
                space: SourceSpace::new(&config.all_dark()),
                lookups: Lookups::new(),
                fields: Stream::new(config.stream_seed(), Purpose::BackgroundFields),
                frame: Frame::new(),
            },
            config: config.clone(),
        })
    }

    /// The next packet, not before the one before it; `None` after the last. The frame lies in a buffer that the next
    /// call overwrites.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        let (time_ns, info) = loop {
            let (at_s, info) = self.next_written()?;
            // Rounding may put the last packet on the end itself, which is no longer part of the drill.
            let time_ns = (self.start_ns + to_u64(at_s * 1e9)).clamp(self.last_ns, self.end_ns - 1);
            self.last_ns = time_ns;
            if !self.is_out(time_ns, &info) {
                break (time_ns, info);
            }
        };
        Some(Packet { time_ns, frame: self.painter.frame.bytes(), info })
    }

    /// Writes whatever comes next into the frame.
    fn next_written(&mut self) -> Option<(f64, PacketInfo)> {
        let earliest = self.players.iter_mut().filter_map(|(player, next_s)| next_s.map(|at_s| (at_s, player, next_s)));
        let earliest = earliest.min_by(|(one, ..), (other, ..)| one.total_cmp(other));
        match (self.next_background_s, earliest) {
            (background, Some((at_s, player, next_s))) if background.is_none_or(|background| at_s < background) => {
                let info = player.paint(&mut self.painter, at_s);
                *next_s = player.next_s();
                Some((at_s, info))
            }
            (at_s, _) => {
                let at_s = at_s?;
                self.next_background_s = self.background.next_s();
                Some((at_s, self.painter.background()))
            }
        }
    }

    /// Whether the part of the prefix that a packet reaches is out at this time.
    fn is_out(&self, time_ns: u64, info: &PacketInfo) -> bool {
        if self.config.outages.is_empty() {
            return false;
        }
        let since = std::time::Duration::from_nanos(time_ns - self.start_ns);
        let sensor = self.config.sensor_of(u32::from(info.destination) - self.painter.dark_first);
        self.config.outages.iter().any(|it| it.sensor == sensor && (it.begin..it.end).contains(&since))
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
        self.config.seed
    }

    /// The configuration.
    pub fn config(&self) -> &DrillConfig {
        &self.config
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

    /// Writes a packet to a random dark address, with random fields of a stream of its own, so that the background is the
    /// same with and without it.
    pub(crate) fn probe(&mut self, fields: &mut Stream, probe: Probe, source: u32, port: u16) -> PacketInfo {
        let offset = fields.below(self.dark_count);
        self.probe_to(fields, probe, source, offset, port)
    }

    /// The same to the dark address at this offset.
    pub(crate) fn probe_to(
        &mut self,
        fields: &mut Stream,
        probe: Probe,
        source: u32,
        offset: u32,
        port: u16,
    ) -> PacketInfo {
        let host = self.host(source);
        std::mem::swap(&mut self.fields, fields);
        let info = self.write(probe, host, self.dark_first + offset, port);
        std::mem::swap(&mut self.fields, fields);
        info
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
