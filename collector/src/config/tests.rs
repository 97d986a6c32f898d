//! Defaults, and what is refused.

use super::*;

#[test]
fn the_defaults_hold_and_survive_toml() {
    let config = Config::default();
    config.check().unwrap();
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
}

#[test]
fn plain_tcp_beyond_loopback_is_refused_unless_it_is_wanted() {
    let mut config = Config::default();
    assert_eq!(config.ingest.warnings(), Vec::<String>::new());
    for elsewhere in ["[::]:7460", "0.0.0.0:7460", "[::ffff:192.0.2.1]:7460"] {
        config.ingest.listen = elsewhere.parse().unwrap();
        let told = config.check().unwrap_err().to_string();
        assert!(told.contains("enroll.names") && told.contains("ingest.allow_plain"), "{told}");
    }
    config.ingest.allow_plain = true;
    config.check().unwrap();
    assert!(config.ingest.warnings()[0].contains("tunnel"));
    config.ingest.allow_plain = false;
    config.ingest.tls = Some(IngestTlsConfig::default());
    config.check().unwrap();
    assert_eq!(config.ingest.warnings(), Vec::<String>::new());
    config.enroll.names = vec!["collector.example".to_owned()];
    assert!(config.check().unwrap_err().to_string().contains("both"));
    config.ingest.tls = None;
    config.check().unwrap();
    config.enroll.names.push("not a name".to_owned());
    assert!(config.check().unwrap_err().to_string().contains("not a name"));
}

#[test]
fn ports_are_written_with_their_protocol() {
    assert_eq!("udp/53".parse(), Ok(Port { protocol: UDP, number: 53 }));
    for bad in ["53", "tcp/", "tcp/65536", "icmp/8", ""] {
        assert!(bad.parse::<Port>().is_err(), "{bad}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let mut config = Config::default();
    config.live.bucket_seconds = 700;
    assert!(config.check().unwrap_err().to_string().starts_with("live.bucket_seconds = 700"));
    config = Config::default();
    config.ingest.frame_memory_bytes = 1;
    assert!(config.check().unwrap_err().to_string().contains("ingest.frame_memory_bytes"));
}
