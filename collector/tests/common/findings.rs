//! Findings as a detector says them, and the store that they are recorded in.

use martlet_collector::config::GeoConfig;
use martlet_collector::events::{Recorded, Recorder};
use martlet_collector::geo::Geo;
use martlet_collector::store::Location;
use martlet_detect::{
    Bin, Estimate, Estimates, Evidence, Finding, FindingType, Key, Label, Population, SeenBy, SeenNetwork,
};
use martlet_window::{IpVersion, TrafficClass};

use super::TEN;

/// A finding of a port, as of so many hours after its onset.
pub(crate) fn finding(port: u16, finding_type: FindingType, hours: i64) -> Finding {
    let estimate = |value, low, high| Estimate { value: Some(value), low, high: Some(high) };
    let estimates = Estimates {
        rate_per_hour: estimate(0.7, 0.5, 0.9),
        doubling_seconds: estimate(3565.0, 2773.0, 4991.0),
        infected: Some(estimate(12_000.0, 9000.0, 16_000.0)),
        susceptible: None,
    };
    let is_outbreak = finding_type == FindingType::Outbreak;
    Finding {
        key: Key { ip: IpVersion::V4, protocol: 6, port, population: Population::Mirai },
        onset: TEN,
        finding_type,
        detected: TEN + 3600 * hours,
        last_active: TEN + 3600 * hours,
        ended: None,
        labels: if is_outbreak { vec![Label::OneNetwork] } else { vec![] },
        estimates: is_outbreak.then_some(estimates),
        evidence: Evidence {
            bin_seconds: 600,
            series: vec![
                Bin { start: TEN, sightings: 40, expected: 3.5 },
                Bin { start: TEN + 600, sightings: 80, expected: 3.5 },
            ],
            growth_over_step: if is_outbreak { f64::INFINITY } else { 1.5 },
            addresses: 256,
            sources: 12,
            networks: vec![
                // 133.0.0.0/24 is Japan's by its registry; 192.0.2.0/24 is nobody's.
                SeenNetwork { address: 0x8500_0000, sources: 9 },
                SeenNetwork { address: 0xc000_0200, sources: 2 },
            ],
            sensors: vec![SeenBy { sensor: 1, sightings: 40 }, SeenBy { sensor: 0, sightings: 80 }],
        },
    }
}

/// Records findings in the store of a data directory, as the stage of the detector does.
pub(crate) fn record(location: &Location, class: TrafficClass, findings: &[Finding], now: i64) -> Recorded {
    let Location::File(path) = location else { panic!("a file is wanted") };
    let mut connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let (geo, _) = Geo::open(&GeoConfig::default()).unwrap();
    let name = |sensor| ["alpha", "beta"][usize::from(sensor)].to_owned();
    let recorded = Recorder::new(geo).record(&transaction, class, findings, name, now * 1000).unwrap();
    transaction.commit().unwrap();
    recorded
}
