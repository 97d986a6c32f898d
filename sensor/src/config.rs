//! The sensor's configuration: raw TOML to checked settings, in one place.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use martlet_observe::aggregate::TableLimits;
use martlet_observe::screen::{AddressSet, Exclusion, parse_network};
use martlet_telemetry::config::{self, ConfigError};
use martlet_telemetry::log;
use martlet_window::{Posture, SensorName, WindowLength};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::uplink::{ClientTls, TlsSettings};

/// The configuration file, as written. Every key is explained in systemd/sensor.toml.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    sensor: RawSensor,
    capture: RawCapture,
    observe: RawObserve,
    #[serde(default)]
    window: RawWindow,
    #[serde(default)]
    uplink: RawUplink,
    #[serde(default)]
    http: RawHttp,
    #[serde(default)]
    log: RawLog,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawSensor {
    name: String,
    posture: RawPosture,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default)]
    user: String,
    #[serde(default = "default_sandbox")]
    sandbox: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RawPosture {
    Silent,
    Rst,
    Reactive,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCapture {
    interfaces: Vec<String>,
    #[serde(default)]
    promiscuous: bool,
    #[serde(default = "default_ring_mib")]
    ring_mib: u32,
    #[serde(default = "default_snap_bytes")]
    snap_bytes: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawObserve {
    networks: RawNetworks,
    #[serde(default)]
    exclude: Vec<RawExclusion>,
    #[serde(default = "default_public_address")]
    public_address: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum RawNetworks {
    Word(String),
    List(Vec<String>),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawExclusion {
    network: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawWindow {
    seconds: u64,
    max_rows: u32,
    max_further_targets: u32,
}

impl Default for RawWindow {
    fn default() -> RawWindow {
        let TableLimits { max_rows, max_further_targets } = TableLimits::default();
        RawWindow { seconds: u64::from(WindowLength::DEFAULT.seconds()), max_rows, max_further_targets }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawUplink {
    collector: String,
    spool_mib: u32,
    tls: Option<RawTls>,
}

/// An empty path is one that was not given: of several variables of the environment one comes first.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    ca: PathBuf,
    server_name: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    renew: bool,
}

impl Default for RawUplink {
    fn default() -> RawUplink {
        RawUplink { collector: "127.0.0.1:7460".to_owned(), spool_mib: 1024, tls: None }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    listen: String,
}

impl Default for RawHttp {
    fn default() -> RawHttp {
        RawHttp { listen: "127.0.0.1:7462".to_owned() }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    filter: String,
    format: log::Format,
}

impl Default for RawLog {
    fn default() -> RawLog {
        RawLog { filter: "info".to_owned(), format: log::Format::Auto }
    }
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/martlet/sensor")
}

const fn default_sandbox() -> bool {
    true
}

const fn default_ring_mib() -> u32 {
    16
}

const fn default_snap_bytes() -> u32 {
    256
}

fn default_public_address() -> String {
    "auto".to_owned()
}

/// Which addresses are observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observe {
    /// These.
    Networks(AddressSet),
    /// Whatever addresses the captured interfaces have, now and later.
    Interface,
}

/// What is known of the address that senders aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// As seen, unless observed addresses are private: then learnt from the collector, for a single address.
    Auto,
    /// The destination as it arrives, even if it is private.
    AsSeen,
    /// It cannot be known.
    Unknown,
    /// This one.
    Known(Ipv4Addr),
}

impl FromStr for PublicAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicAddress, String> {
        match text {
            "auto" => Ok(PublicAddress::Auto),
            "as_seen" => Ok(PublicAddress::AsSeen),
            "unknown" => Ok(PublicAddress::Unknown),
            _ => text
                .parse()
                .map(PublicAddress::Known)
                .map_err(|_| format!("{text:?} is neither an IPv4 address nor \"auto\", \"as_seen\" or \"unknown\"")),
        }
    }
}

/// The checked configuration of a live sensor.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from, if there was one.
    pub file: Option<PathBuf>,
    /// Name under which the sensor is published.
    pub name: SensorName,
    /// How the observed addresses behave.
    pub posture: Posture,
    /// Where the sensor keeps its identity and its spool.
    pub state_dir: PathBuf,
    /// Whom a sensor that root starts becomes; `None` for nobody else.
    pub user: Option<String>,
    /// Whether it gives up what it does not need ([`crate::sandbox`]).
    pub sandbox: bool,
    /// Interfaces to capture on.
    pub interfaces: Vec<String>,
    /// Whether to ask for frames addressed to other hosts.
    pub promiscuous: bool,
    /// Size of each interface's capture ring.
    pub ring_bytes: i32,
    /// Bytes of a frame that are captured.
    pub snap_bytes: i32,
    /// Which addresses are observed.
    pub observe: Observe,
    /// What is left out.
    pub exclusions: Vec<Exclusion>,
    /// What is known of the address that senders aim at.
    pub public_address: PublicAddress,
    /// Length of a window.
    pub window: WindowLength,
    /// Caps of a window part.
    pub limits: TableLimits,
    /// Host and port of the collector.
    pub collector: String,
    /// How it is called over TLS, with the files read; `None` for plain TCP.
    pub tls: Option<ClientTls>,
    /// Files of certificates that were read for it, with their keys.
    pub tls_files: Vec<(&'static str, PathBuf)>,
    /// Cap of the batches that wait for the collector, on the disk.
    pub spool_bytes: u64,
    /// Where metrics and health are served; `None` for nowhere.
    pub http: Option<SocketAddr>,
    /// Log filter.
    pub log_filter: String,
    /// Form of log lines.
    pub log_format: log::Format,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum InvalidConfig {
    /// The file cannot be read, is no TOML, or has a key that does not exist.
    #[error(transparent)]
    Load(#[from] ConfigError),
    /// A value makes no sense.
    #[error("{key}: {what}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong and what would be right.
        what: String,
    },
}

fn invalid(key: &'static str, what: impl fmt::Display) -> InvalidConfig {
    InvalidConfig::Value { key, what: what.to_string() }
}

/// Reads a configuration file with the overrides of the environment, and checks it.
///
/// # Errors
/// The first thing that is wrong, with its key.
pub fn load(path: &Path) -> Result<(RawConfig, Config), InvalidConfig> {
    let raw: RawConfig = config::load(path, config::environment())?;
    let checked = Config { file: Some(path.to_owned()), ..Config::try_from(&raw)? };
    Ok((raw, checked))
}

/// Reads it again for a sensor that runs, to which files of certificates may be out of reach: these are not looked at.
///
/// # Errors
/// The first thing that is wrong, with its key.
pub fn load_again(path: &Path) -> Result<RawConfig, InvalidConfig> {
    let raw: RawConfig = config::load(path, config::environment())?;
    let mut without_files = raw.clone();
    without_files.uplink.tls = None;
    Config::try_from(&without_files)?;
    Ok(raw)
}

impl RawConfig {
    /// What is logged.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        &self.log.filter
    }
}

impl TryFrom<&RawConfig> for Config {
    type Error = InvalidConfig;

    fn try_from(raw: &RawConfig) -> Result<Config, InvalidConfig> {
        if raw.capture.interfaces.is_empty() {
            return Err(invalid("capture.interfaces", "at least one interface is wanted, such as [\"eth0\"]"));
        }
        let within = |key, value: u32, range: std::ops::RangeInclusive<u32>| {
            if range.contains(&value) {
                Ok(value)
            } else {
                Err(invalid(key, format_args!("{value} is not from {} to {}", range.start(), range.end())))
            }
        };
        let mebibytes = |value: u32| (value as usize) << 20;
        let ring_mib = within("capture.ring_mib", raw.capture.ring_mib, 1..=2047)?;
        let snap = within("capture.snap_bytes", raw.capture.snap_bytes, 96..=65_535)?;
        Ok(Config {
            file: None,
            name: raw.sensor.name.parse().map_err(|error| invalid("sensor.name", error))?,
            posture: match raw.sensor.posture {
                RawPosture::Silent => Posture::Silent,
                RawPosture::Rst => Posture::Rst,
                RawPosture::Reactive => Posture::Reactive,
            },
            state_dir: raw.sensor.state_dir.clone(),
            user: Some(raw.sensor.user.clone()).filter(|user| !user.is_empty()),
            sandbox: raw.sensor.sandbox,
            interfaces: raw.capture.interfaces.clone(),
            promiscuous: raw.capture.promiscuous,
            ring_bytes: i32::try_from(mebibytes(ring_mib)).unwrap_or(i32::MAX),
            snap_bytes: i32::try_from(snap).unwrap_or(i32::MAX),
            observe: observe(&raw.observe.networks)?,
            exclusions: raw.observe.exclude.iter().map(exclusion).collect::<Result<_, _>>()?,
            public_address: raw
                .observe
                .public_address
                .parse()
                .map_err(|what: String| invalid("observe.public_address", what))?,
            window: WindowLength::from_seconds(raw.window.seconds).map_err(|error| invalid("window.seconds", error))?,
            limits: TableLimits {
                max_rows: within("window.max_rows", raw.window.max_rows, 1024..=262_144)?,
                max_further_targets: within(
                    "window.max_further_targets",
                    raw.window.max_further_targets,
                    1024..=4_194_304,
                )?,
            },
            collector: collector(&raw.uplink.collector)?,
            tls: raw.uplink.tls.as_ref().map(|tls| client_tls(tls, &raw.uplink.collector)).transpose()?,
            tls_files: raw.uplink.tls.as_ref().map(certificate_files).unwrap_or_default(),
            spool_bytes: u64::from(within("uplink.spool_mib", raw.uplink.spool_mib, 16..=1_048_576)?) << 20,
            http: match raw.http.listen.as_str() {
                "" => None,
                listen => Some(listen.parse().map_err(|_| {
                    invalid("http.listen", format_args!("{listen:?} is no address and port such as 127.0.0.1:7462"))
                })?),
            },
            log_filter: raw.log.filter.clone(),
            log_format: raw.log.format,
        })
    }
}

/// Host and port, as text: a name is looked up at each connection.
pub(crate) fn collector(text: &str) -> Result<String, InvalidConfig> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    match port {
        Some(1u16..) => Ok(text.to_owned()),
        _ => Err(invalid("uplink.collector", format_args!("{text:?} is no host and port such as collector:7460"))),
    }
}

fn certificate_files(raw: &RawTls) -> Vec<(&'static str, PathBuf)> {
    let own = raw.certificate.clone().map(|path| ("uplink.tls.certificate", path));
    std::iter::once(("uplink.tls.ca", raw.ca.clone())).chain(own).collect()
}

fn client_tls(raw: &RawTls, collector: &str) -> Result<ClientTls, InvalidConfig> {
    let RawTls { ca, server_name, certificate, key, renew } = raw.clone();
    let settings = TlsSettings { ca, server_name, certificate, key, renew };
    ClientTls::load(&settings, collector).map_err(|error| invalid("uplink.tls", error))
}

fn observe(raw: &RawNetworks) -> Result<Observe, InvalidConfig> {
    const KEY: &str = "observe.networks";
    match raw {
        RawNetworks::Word(word) if word == "interface" => Ok(Observe::Interface),
        RawNetworks::Word(word) => {
            Err(invalid(KEY, format_args!("{word:?}: a list of networks or the word \"interface\" is wanted")))
        }
        RawNetworks::List(list) if list.is_empty() => Err(invalid(KEY, "the list is empty: nothing would be counted")),
        RawNetworks::List(list) => {
            let parsed = list.iter().map(|text| parse_network(text).map_err(|what| invalid(KEY, what)));
            Ok(Observe::Networks(parsed.collect::<Result<AddressSet, _>>()?))
        }
    }
}

fn exclusion(raw: &RawExclusion) -> Result<Exclusion, InvalidConfig> {
    const KEY: &str = "observe.exclude";
    let protocol = match raw.protocol.as_deref() {
        None => None,
        Some("tcp") => Some(6),
        Some("udp") => Some(17),
        Some("icmp") => Some(1),
        Some("icmpv6") => Some(58),
        Some(number) => Some(number.parse().map_err(|_| {
            invalid(KEY, format_args!("protocol {number:?} is not tcp, udp, icmp, icmpv6 or a number to 255"))
        })?),
    };
    if raw.port.is_some() && !matches!(protocol, Some(6 | 17)) {
        return Err(invalid(KEY, "a port needs protocol = \"tcp\" or \"udp\""));
    }
    if raw.network.is_none() && protocol.is_none() {
        return Err(invalid(KEY, "an entry without network and protocol would exclude everything"));
    }
    let network = raw.network.as_deref().map(parse_network).transpose().map_err(|what| invalid(KEY, what))?;
    Ok(Exclusion { network, protocol, port: raw.port })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration that can be used.
    pub(crate) fn good() -> Config {
        check(GOOD).unwrap()
    }

    fn check(text: &str) -> Result<Config, String> {
        let raw: RawConfig = toml(text)?;
        Config::try_from(&raw).map_err(|error| error.to_string())
    }

    fn toml(text: &str) -> Result<RawConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        config::load(file.path(), std::iter::empty()).map_err(|error| error.to_string())
    }

    const GOOD: &str = "[sensor]\nname = \"s1\"\nposture = \"silent\"\n[capture]\ninterfaces = [\"eth0\"]\n\
                        [observe]\nnetworks = [\"192.0.2.0/24\", \"2001:db8::/64\"]\n";

    #[test]
    fn the_least_configuration_is_enough() {
        let config = check(GOOD).unwrap();
        assert_eq!(config.window, WindowLength::DEFAULT);
        assert_eq!(config.public_address, PublicAddress::Auto);
        assert_eq!((config.user, config.sandbox), (None, true));
        assert!(matches!(config.observe, Observe::Networks(set) if set.ipv4_addresses() == 256));
    }

    #[test]
    fn a_sensor_can_become_somebody_and_stay_unconfined() {
        let config = check(&GOOD.replace("[capture]", "user = \"martlet\"\nsandbox = false\n[capture]")).unwrap();
        assert_eq!((config.user.as_deref(), config.sandbox), (Some("martlet"), false));
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let cases = [
            (GOOD.replace("\"s1\"", "\"S 1\""), "sensor.name"),
            (GOOD.replace("[\"eth0\"]", "[]"), "capture.interfaces"),
            (GOOD.replace("192.0.2.0/24", "192.0.2.0/33"), "observe.networks"),
            (GOOD.replace("[\"192.0.2.0/24\", \"2001:db8::/64\"]", "\"interfaces\""), "observe.networks"),
            (format!("{GOOD}public_address = \"maybe\"\n"), "observe.public_address"),
            (format!("{GOOD}exclude = [{{ port = 22 }}]\n"), "observe.exclude"),
            (format!("{GOOD}[window]\nseconds = 7\n"), "window.seconds"),
            (format!("{GOOD}[window]\nmax_rows = 1\n"), "window.max_rows"),
            (format!("{GOOD}[uplink]\ncollector = \"host\"\n"), "uplink.collector"),
            (format!("{GOOD}[uplink]\nspool_mib = 1\n"), "uplink.spool_mib"),
            (format!("{GOOD}[uplink.tls]\n"), "uplink.tls: ca is not set"),
            (format!("{GOOD}[uplink.tls]\nca = \"/nonexistent/ca.pem\"\n"), "/nonexistent/ca.pem"),
            (format!("{GOOD}[uplink.tls]\nca = \"/x\"\nrenew = true\n"), "renew = true needs"),
            (format!("{GOOD}[uplink.tls]\ncas = \"\"\n"), "cas"),
            (format!("{GOOD}[http]\nlisten = \"7462\"\n"), "http.listen"),
            (GOOD.replace("posture", "postur"), "postur"),
            (format!("{GOOD}[windows]\n"), "windows"),
        ];
        for (text, key) in cases {
            let error = check(&text).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
