//! Flags of the programs that read capture files: they mean the same in each.

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use martlet_window::{Posture, SensorName, TrafficClass, WindowLength};

use crate::aggregate::TableLimits;
use crate::classify::Aim;
use crate::import::ImportSettings;
use crate::screen::parse_network;

/// Which packets of a capture count, and as what.
#[derive(Clone, Debug, Args)]
pub struct CaptureArgs {
    /// Count only packets to these networks, such as 192.0.2.0/24; several with commas, or given several times
    #[arg(long, value_name = "CIDR", value_parser = parse_network, value_delimiter = ',')]
    pub observe: Vec<IpNet>,
    /// Leave out answers to what the observed addresses sent themselves
    #[arg(long, requires = "observe")]
    pub drop_solicited: bool,
    /// The address that senders aimed at, where the capture is from behind NAT: an IPv4 address, as_seen or unknown
    #[arg(long, value_name = "ADDRESS", default_value = "as_seen", value_parser = parse_aim)]
    pub public_address: Aim,
}

/// What a capture becomes batches of.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Name under which the counts are published
    #[arg(long, value_name = "NAME", default_value = "import")]
    pub sensor: SensorName,
    /// How the observed addresses behaved
    #[arg(long, value_enum, default_value_t = FilePosture::Silent)]
    pub posture: FilePosture,
    /// Length of a window, in seconds: a number that divides 60
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_window)]
    pub window: WindowLength,
    /// Which packets count.
    #[command(flatten)]
    pub capture: CaptureArgs,
}

impl ImportArgs {
    /// What they come to, for files of this class.
    #[must_use]
    pub fn settings(self, class: TrafficClass) -> ImportSettings {
        ImportSettings {
            sensor: self.sensor,
            observe: self.capture.observe.into_iter().collect(),
            drop_solicited: self.capture.drop_solicited,
            aim: self.capture.public_address,
            class,
            posture: self.posture.into(),
            window: self.window,
            limits: TableLimits::default(),
        }
    }
}

/// How the observed addresses behaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilePosture {
    /// Nothing answered
    Silent,
    /// A kernel answered with RST and ICMP errors
    Rst,
    /// Something answered with a service
    Reactive,
}

impl From<FilePosture> for Posture {
    fn from(posture: FilePosture) -> Posture {
        match posture {
            FilePosture::Silent => Posture::Silent,
            FilePosture::Rst => Posture::Rst,
            FilePosture::Reactive => Posture::Reactive,
        }
    }
}

fn parse_aim(text: &str) -> Result<Aim, String> {
    match text {
        "as_seen" => Ok(Aim::AsSeen),
        "unknown" => Ok(Aim::Unknown),
        "auto" => Err("a capture file cannot learn its public address".to_owned()),
        _ => text
            .parse()
            .map(Aim::Public)
            .map_err(|_| format!("{text:?} is neither an IPv4 address nor \"as_seen\" or \"unknown\"")),
    }
}

fn parse_window(text: &str) -> Result<WindowLength, String> {
    let seconds = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    WindowLength::from_seconds(seconds).map_err(|error| error.to_string())
}
