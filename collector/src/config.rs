//! The configuration: as written, then checked.

mod defaults;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use martlet_telemetry::config::ConfigError;
use martlet_telemetry::log::Format;
use martlet_telemetry::tls;
use martlet_wire::v1::Limits;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::detect::DetectSettings;
use crate::enroll::{EnrollConfig, EnrollConfigError};
use crate::events::{EventsConfig, EventsConfigError};
use crate::labels::Label;
use crate::publish::PublicationConfig;
use crate::report::{ReportsConfig, ReportsConfigError};
use crate::rollup::{MOST_ZONES, ZoneError, Zones};
use crate::tokens::LoopbackScope;

/// The whole configuration. Every key has a default; `systemd/collector.toml` explains each.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where state is kept.
    pub store: StoreConfig,
    /// What comes from sensors.
    pub ingest: IngestConfig,
    /// How sensors get certificates.
    pub enroll: EnrollConfig,
    /// Decoding and counting.
    pub aggregate: AggregateConfig,
    /// What is held in memory.
    pub live: LiveConfig,
    /// Every count row, in files.
    pub archive: ArchiveConfig,
    /// What is kept of each day.
    pub history: HistoryConfig,
    /// Whom sources belong to.
    pub geo: GeoConfig,
    /// API, page and metrics.
    pub http: HttpConfig,
    /// What is told to callers of scope `public`, and whether anybody is told it.
    pub publication: PublicationConfig,
    /// What Prometheus is told of observed traffic.
    pub metrics: MetricsConfig,
    /// Whether outbreaks are looked for, and how.
    pub detect: DetectSettings,
    /// Observation reports.
    pub reports: ReportsConfig,
    /// How long events are kept, and who is told.
    pub events: EventsConfig,
    /// Log lines.
    pub log: LogConfig,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Directory of the collector's state; made if missing, must be writable, and belongs to one collector.
    pub data_dir: PathBuf,
    /// How often what is new is committed to the store, in milliseconds. Sensors keep batches until then.
    pub commit_interval_ms: u64,
    /// A commit comes earlier when so many bytes of batches are new: a bound on what a start has to replay.
    pub commit_bytes: u64,
    /// Bytes of the disk that the journal leaves free; commits may use them.
    pub reserve_bytes: u64,
    /// Length of a segment of the journal, in bytes.
    pub segment_bytes: u64,
}

/// `[ingest]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Address on which sensors call.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections at a time from one address.
    pub max_connections_per_address: usize,
    /// Connections at a time that have not said Hello; of more the one that has waited longest is ended.
    pub max_waiting_connections: usize,
    /// Sensors that may have names.
    pub max_sensors: usize,
    /// Streams (origin and epoch) whose positions are held in memory: those that are open, and those not committed yet. The
    /// positions of all others are in the store, for ever.
    pub max_streams: usize,
    /// Streams that one connection may open.
    pub max_streams_per_connection: usize,
    /// Batches of one connection that may be on their way at a time.
    pub max_batches_in_flight: usize,
    /// Time within which a connection must have said Hello, in seconds.
    pub handshake_timeout_seconds: u64,
    /// Longest silence within a frame, and longest wait for a peer to take an answer, in seconds.
    pub frame_timeout_seconds: u64,
    /// Slowest pace at which a frame may come, in bytes a second.
    pub min_bytes_per_second: u64,
    /// Longest silence between frames, in seconds.
    pub idle_timeout_seconds: u64,
    /// Memory for frames that are being received, in bytes.
    pub frame_memory_bytes: u64,
    /// Memory for decoded batches on their way to the counts, in bytes.
    pub batch_memory_bytes: u64,
    /// Longest batch payload, in bytes as sent.
    pub max_batch_bytes: u32,
    /// Most rows of a batch.
    pub max_rows: u32,
    /// How far a sensor's clock may be from the collector's before it is called wrong, in seconds.
    pub max_clock_offset_seconds: u32,
    /// Whether sensors may call from other machines without TLS.
    pub allow_plain: bool,
    /// TLS; without it, and without `enroll.names`, sensors are taken over plain TCP.
    pub tls: Option<IngestTlsConfig>,
}

/// `[ingest.tls]`. An empty path is one that was not given: of two variables of the environment one comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestTlsConfig {
    /// The collector's certificate and its chain, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// Certificates as PEM; with it, only sensors with a certificate that one of these has signed are taken.
    pub client_ca: Option<PathBuf>,
    /// Whether a sensor may speak only for the name in its certificate.
    pub bind_names: bool,
}

/// `[aggregate]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// Worker threads; 0 for one a core.
    pub workers: usize,
    /// How often counts are moved into the live view, in milliseconds.
    pub merge_interval_ms: u64,
}

/// `[live]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// Length of a bucket of history, in seconds; divides a day.
    pub bucket_seconds: u32,
    /// Memory of the history, in bytes (estimated); beyond it the oldest buckets are dropped.
    pub memory_limit_bytes: u64,
    /// Services by kind of one bucket, over all sensors; beyond them ports are not told apart.
    pub max_services_per_bucket: usize,
    /// Services by kind and sensor of one bucket; beyond them a sensor's ports are not told apart.
    pub max_keys_per_bucket: usize,
    /// Heaviest sources that one bucket keeps.
    pub top_sources_per_bucket: usize,
    /// Beyond three windows, how long a sensor may be without a report before it is called silent, in seconds.
    pub silent_grace_seconds: u32,
}

/// `[archive]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Its directory; `archive` in the data directory if it is empty.
    pub directory: PathBuf,
    /// Days after which the files of a day are deleted; 0 for never.
    pub keep_days: u32,
    /// Bytes of all files beyond which the oldest day is deleted; 0 for no limit.
    pub max_bytes: u64,
    /// Days after which only the networks of sources are left (/24, /48); 0 for never.
    pub source_days: u32,
    /// Rows that are read from the journal and sorted at a time: what the archive takes of memory.
    pub run_rows: u64,
    /// Small files of a day are merged into files of up to so many rows.
    pub merged_rows: u64,
    /// Files are written before the hour is over when the journal is so long, in bytes; 0: with every commit.
    pub pending_bytes: u64,
}

/// `[history]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Time zones whose days have distinct sources, by their IANA names.
    pub report_zones: Vec<String>,
    /// Labels of sensors whose values are groups with figures of their own. Each group takes about as much work and room as all
    /// sensors together.
    pub group_labels: Vec<Label>,
    /// Days after which a day's rollup is deleted; 0 for never.
    pub keep_days: u32,
    /// Sources by kind that are told apart while a day is made; 96 bytes each, and 80 more of those with a tool's mark.
    pub tracked_sources: usize,
}

impl HistoryConfig {
    /// The zones.
    ///
    /// # Errors
    /// If one is not known, or there are too many.
    pub fn zones(&self) -> Result<Zones, ZoneError> {
        Zones::named(&self.report_zones)
    }
}

/// `[geo]`. An empty path is one that was not given. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoConfig {
    /// Database of countries in MaxMind's format; without it regions come from data that is built in.
    pub country_database: Option<PathBuf>,
    /// Database of autonomous systems in MaxMind's format.
    pub asn_database: Option<PathBuf>,
    /// Lists of the networks of known scanners: files, or directories of them.
    pub scanner_lists: Vec<PathBuf>,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address of API, page and metrics.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// Queries that are computed at a time; a few more wait for a moment, others are answered 503.
    pub max_queries: usize,
    /// Queries that one token, or all programs of this machine without one, may have waiting or computed at a time.
    pub max_queries_per_caller: usize,
    /// Streams of live updates that may be open at a time.
    pub max_streams: usize,
    /// Longest time for an answer, in seconds.
    pub request_timeout_seconds: u64,
    /// What programs of this machine may see without a token.
    pub loopback_scope: LoopbackScope,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Ports that always have a series of their own.
    pub ports: Vec<Port>,
    /// How many more get one because they are seen most.
    pub top_ports: usize,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or `target=level` pairs.
    pub filter: String,
    /// Whether lines carry a time of day.
    pub format: Format,
}

/// A TCP or UDP port, written `tcp/23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// The number.
    pub number: u16,
}

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// A text that is no port.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no port: write \"tcp/23\" or \"udp/53\"")]
pub struct PortError(String);

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Port, PortError> {
        let wrong = || PortError(text.chars().take(40).collect());
        let (protocol, number) = text.split_once('/').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => TCP,
            "udp" => UDP,
            _ => return Err(wrong()),
        };
        Ok(Port { protocol, number: number.parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for Port {
    type Error = PortError;

    fn try_from(text: String) -> Result<Port, PortError> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> String {
        format!("{}/{}", if port.protocol == TCP { "tcp" } else { "udp" }, port.number)
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key} = {value}: {rule}")]
pub struct SettingError {
    key: &'static str,
    value: u64,
    rule: String,
}

/// A setting that cannot be used.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A number is out of its range.
    #[error(transparent)]
    Range(#[from] SettingError),
    /// One of `[detect]`.
    #[error("detect.{0}: {1}")]
    Detect(String, &'static str),
    /// One of `[reports]`.
    #[error(transparent)]
    Reports(#[from] ReportsConfigError),
    /// One of `[events]`.
    #[error(transparent)]
    Events(#[from] EventsConfigError),
    /// One of `[enroll]`.
    #[error(transparent)]
    Enroll(#[from] EnrollConfigError),
    /// Batches would cross a network unencrypted, and be taken from anybody.
    #[error(
        "ingest.listen = {0}: without TLS sensors are taken on loopback only. Set enroll.names to the names under which sensors call, or [ingest.tls]; ingest.allow_plain = true is for a port that is reached through a tunnel alone"
    )]
    Plain(SocketAddr),
}

impl StoreConfig {
    /// How often what is new is committed to the store.
    #[must_use]
    pub const fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }
}

impl IngestConfig {
    /// What is believed of a peer's lengths.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { max_batch_bytes: self.max_batch_bytes, max_rows: self.max_rows, ..Limits::default() }
    }

    /// Time within which a connection must have said Hello.
    #[must_use]
    pub const fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_seconds)
    }

    /// What an operator should know although it is allowed.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Some(tls) = &self.tls else {
            let plain = || {
                format!(
                    "ingest.listen = {} with ingest.allow_plain: batches are taken unencrypted and from anybody who reaches the \
                     port; keep it in a tunnel",
                    self.listen
                )
            };
            return self.allow_plain.then(plain).into_iter().collect();
        };
        tls::exposed_key(&tls.key).into_iter().collect()
    }

    /// Longest silence within a frame.
    #[must_use]
    pub const fn frame_timeout(&self) -> Duration {
        Duration::from_secs(self.frame_timeout_seconds)
    }

    /// Longest silence between frames.
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_seconds)
    }
}

impl HttpConfig {
    /// What an operator should know although it is allowed; `is_read_elsewhere`: whether there is a token or a public view.
    #[must_use]
    pub fn warnings(&self, is_read_elsewhere: bool) -> Vec<String> {
        let listen = self.listen;
        if listen.ip().to_canonical().is_loopback() {
            return Vec::new();
        }
        let plain = format!(
            "http.listen = {listen}: tokens and answers go over the network unencrypted; keep it in a tunnel or behind a proxy \
             that speaks TLS"
        );
        let closed = format!(
            "http.listen = {listen}: nobody but programs of this machine can read anything, since there is no token; make one \
             with `martlet-collector token create`"
        );
        [Some(plain), (!is_read_elsewhere).then_some(closed)].into_iter().flatten().collect()
    }
}

impl GeoConfig {
    /// The database of countries, if one is given.
    #[must_use]
    pub fn country_database(&self) -> Option<&Path> {
        self.country_database.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// The database of autonomous systems, if one is given.
    #[must_use]
    pub fn asn_database(&self) -> Option<&Path> {
        self.asn_database.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

impl AggregateConfig {
    /// Number of worker threads.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    /// How often counts are moved into the live view.
    #[must_use]
    pub const fn merge_interval(&self) -> Duration {
        Duration::from_millis(self.merge_interval_ms)
    }
}

impl Config {
    /// Where the archive is.
    #[must_use]
    pub fn archive_directory(&self) -> PathBuf {
        match self.archive.directory.as_os_str().is_empty() {
            true => self.store.data_dir.join("archive"),
            false => self.archive.directory.clone(),
        }
    }

    /// Reads file (if one is given) and environment. Check the result with [`Config::check`] once flags are applied.
    ///
    /// # Errors
    /// If file or environment cannot be understood.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        match file {
            Some(path) => martlet_telemetry::config::load(path, env),
            None => martlet_telemetry::config::from_environment(env),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn check(&self) -> Result<(), CheckError> {
        self.check_ranges()?;
        self.detect.check().map_err(|(name, rule)| CheckError::Detect(name, rule))?;
        self.reports.check()?;
        self.enroll.check(&self.ingest)?;
        let ingest = &self.ingest;
        let is_local = ingest.listen.ip().to_canonical().is_loopback();
        if !is_local && ingest.tls.is_none() && !self.enroll.is_enabled() && !ingest.allow_plain {
            return Err(CheckError::Plain(ingest.listen));
        }
        Ok(self.events.check()?)
    }

    /// Checks every number against its range.
    fn check_ranges(&self) -> Result<(), SettingError> {
        let within = |key, value: u64, low: u64, high: u64| {
            let rule = format!("take a number from {low} to {high}");
            if (low..=high).contains(&value) { Ok(()) } else { Err(SettingError { key, value, rule }) }
        };
        let store = &self.store;
        within("store.commit_interval_ms", store.commit_interval_ms, 10, 600_000)?;
        within("store.commit_bytes", store.commit_bytes, 1 << 16, 1 << 40)?;
        within("store.reserve_bytes", store.reserve_bytes, 0, 1 << 44)?;
        within("store.segment_bytes", store.segment_bytes, 1 << 16, 1 << 32)?;
        let archive = &self.archive;
        within("archive.run_rows", archive.run_rows, 1 << 10, 1 << 27)?;
        within("archive.merged_rows", archive.merged_rows, 1 << 10, 1 << 32)?;
        within("archive.pending_bytes", archive.pending_bytes, 0, 1 << 40)?;
        let ingest = &self.ingest;
        let default = Limits::default();
        within("ingest.max_connections", ingest.max_connections as u64, 1, 65_536)?;
        within("ingest.max_connections_per_address", ingest.max_connections_per_address as u64, 1, 65_536)?;
        within("ingest.max_waiting_connections", ingest.max_waiting_connections as u64, 1, 65_536)?;
        within("ingest.max_sensors", ingest.max_sensors as u64, 1, 4096)?;
        within("ingest.max_streams", ingest.max_streams as u64, 1, 1 << 24)?;
        within("ingest.max_streams_per_connection", ingest.max_streams_per_connection as u64, 1, 65_536)?;
        within("ingest.max_batches_in_flight", ingest.max_batches_in_flight as u64, 1, 256)?;
        within("ingest.handshake_timeout_seconds", ingest.handshake_timeout_seconds, 1, 3600)?;
        within("ingest.frame_timeout_seconds", ingest.frame_timeout_seconds, 1, 3600)?;
        within("ingest.idle_timeout_seconds", ingest.idle_timeout_seconds, 1, 86_400)?;
        within("ingest.min_bytes_per_second", ingest.min_bytes_per_second, 1, 1 << 30)?;
        within("ingest.max_batch_bytes", ingest.max_batch_bytes.into(), 4096, default.max_batch_bytes.into())?;
        within("ingest.max_rows", ingest.max_rows.into(), 1, default.max_rows.into())?;
        within("ingest.max_clock_offset_seconds", ingest.max_clock_offset_seconds.into(), 1, 1 << 31)?;
        // A budget below one largest batch would never let that batch in.
        within("ingest.frame_memory_bytes", ingest.frame_memory_bytes, ingest.max_batch_bytes.into(), 1 << 40)?;
        let largest = crate::ingest::decoded_cost(ingest.max_rows);
        within("ingest.batch_memory_bytes", ingest.batch_memory_bytes, largest, 1 << 40)?;
        within("aggregate.workers", self.aggregate.workers as u64, 0, 256)?;
        within("aggregate.merge_interval_ms", self.aggregate.merge_interval_ms, 10, 60_000)?;
        let live = &self.live;
        within("live.bucket_seconds", live.bucket_seconds.into(), 60, 86_400)?;
        if !86_400u32.is_multiple_of(live.bucket_seconds) || !live.bucket_seconds.is_multiple_of(60) {
            let rule = "take whole minutes that divide a day".to_owned();
            return Err(SettingError { key: "live.bucket_seconds", value: live.bucket_seconds.into(), rule });
        }
        within("live.memory_limit_bytes", live.memory_limit_bytes, 1 << 20, 1 << 44)?;
        within("live.max_services_per_bucket", live.max_services_per_bucket as u64, 16, 1 << 22)?;
        within("live.max_keys_per_bucket", live.max_keys_per_bucket as u64, 16, 1 << 22)?;
        within("live.top_sources_per_bucket", live.top_sources_per_bucket as u64, 16, 1 << 20)?;
        within("live.silent_grace_seconds", live.silent_grace_seconds.into(), 0, 86_400)?;
        let history = &self.history;
        within("history.report_zones", history.report_zones.len() as u64, 0, MOST_ZONES as u64)?;
        within("history.tracked_sources", history.tracked_sources as u64, 1 << 10, 1 << 28)?;
        within("geo.scanner_lists", self.geo.scanner_lists.len() as u64, 0, 1024)?;
        within("http.max_connections", self.http.max_connections as u64, 1, 65_536)?;
        within("http.max_queries", self.http.max_queries as u64, 1, 64)?;
        within("http.max_queries_per_caller", self.http.max_queries_per_caller as u64, 1, 4096)?;
        within("http.max_streams", self.http.max_streams as u64, 0, 65_536)?;
        within("http.request_timeout_seconds", self.http.request_timeout_seconds, 1, 600)?;
        let publication = &self.publication;
        within("publication.delay_hours", publication.delay_hours.into(), 0, 8784)?;
        within("publication.min_packets", publication.min_packets, 1, 1_000_000)?;
        within("publication.min_sources", publication.min_sources, 1, 1024)?;
        within("metrics.ports", self.metrics.ports.len() as u64, 0, 256)?;
        within("metrics.top_ports", self.metrics.top_ports as u64, 0, 256)
    }
}
