//! What each setting is if nobody says otherwise.

use std::net::SocketAddr;
use std::path::PathBuf;

use martlet_telemetry::log::Format;
use martlet_wire::v1::Limits;

use super::{
    AggregateConfig, ArchiveConfig, HistoryConfig, HttpConfig, IngestConfig, LiveConfig, LogConfig, MetricsConfig,
    Port, StoreConfig, TCP, UDP,
};
use crate::labels::Label;
use crate::rollup::RollupLimits;
use crate::tokens::LoopbackScope;

impl Default for ArchiveConfig {
    fn default() -> ArchiveConfig {
        ArchiveConfig {
            enabled: true,
            directory: PathBuf::new(),
            keep_days: 0,
            max_bytes: 0,
            source_days: 180,
            run_rows: 1 << 20,
            merged_rows: 16_000_000,
            pending_bytes: 512 << 20,
        }
    }
}

impl Default for HistoryConfig {
    fn default() -> HistoryConfig {
        let tracked_sources = RollupLimits::default().tracked_sources;
        HistoryConfig {
            report_zones: vec!["UTC".to_owned()],
            group_labels: vec![Label::Group, Label::Position],
            keep_days: 0,
            tracked_sources,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            data_dir: PathBuf::from("/var/lib/martlet/collector"),
            commit_interval_ms: 5000,
            commit_bytes: 64 << 20,
            reserve_bytes: 64 << 20,
            segment_bytes: 64 << 20,
        }
    }
}

impl Default for IngestConfig {
    fn default() -> IngestConfig {
        let limits = Limits::default();
        IngestConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 7460)),
            max_connections: 1024,
            max_connections_per_address: 64,
            max_waiting_connections: 256,
            max_sensors: 256,
            max_streams: 65_536,
            max_streams_per_connection: 256,
            max_batches_in_flight: 256,
            handshake_timeout_seconds: 10,
            frame_timeout_seconds: 30,
            min_bytes_per_second: 16 << 10,
            idle_timeout_seconds: 180,
            frame_memory_bytes: 64 << 20,
            batch_memory_bytes: 64 << 20,
            max_batch_bytes: limits.max_batch_bytes,
            max_rows: limits.max_rows,
            max_clock_offset_seconds: 60,
            allow_plain: false,
            tls: None,
        }
    }
}

impl Default for AggregateConfig {
    fn default() -> AggregateConfig {
        AggregateConfig { workers: 0, merge_interval_ms: 1000 }
    }
}

impl Default for LiveConfig {
    fn default() -> LiveConfig {
        LiveConfig {
            bucket_seconds: 600,
            memory_limit_bytes: 512 << 20,
            // Every port of TCP and UDP over IPv4 and IPv6, scanned and as a victim's.
            max_services_per_bucket: 8 * 65_536,
            // Every port of TCP and UDP over IPv4, scanned and as a victim's, for one sensor.
            max_keys_per_bucket: 4 * 65_536,
            top_sources_per_bucket: 1024,
            silent_grace_seconds: 30,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 7461)),
            max_connections: 256,
            max_queries: 2,
            max_queries_per_caller: 8,
            max_streams: 64,
            request_timeout_seconds: 30,
            loopback_scope: LoopbackScope::default(),
        }
    }
}

impl Default for MetricsConfig {
    fn default() -> MetricsConfig {
        let tcp = [21, 22, 23, 25, 80, 135, 139, 443, 445, 1433, 2323, 3306, 3389, 5555, 5900, 6379, 8080, 8443];
        let udp = [53, 123, 161, 389, 1434, 1900, 5060, 11_211];
        let ports = tcp.map(|number| Port { protocol: TCP, number }).into_iter();
        MetricsConfig { ports: ports.chain(udp.map(|number| Port { protocol: UDP, number })).collect(), top_ports: 30 }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { filter: "info".to_owned(), format: Format::Auto }
    }
}
