//! Counters that never go down, whatever order batches come in.

use super::*;
use crate::live::{RowKey, ServiceKey, Sorted};
use martlet_window::{Class, IpVersion, Marks, Service};

fn seen(observer: &mut Observer, ports: &[(u16, u64)]) {
    let mut rows = Sorted::default();
    let ports: BTreeMap<u16, u64> = ports.iter().copied().collect();
    for (port, packets) in ports {
        let class = Class {
            ip: IpVersion::V4,
            protocol: TCP,
            service: Service::Port(port),
            kind: Kind::Scan,
            marks: Marks::NONE,
        };
        let key = RowKey { service: ServiceKey::new(class.into()), kind: Kind::Scan, sensor: SensorId(0) };
        rows.push(key, packets, packets * 40, &mut vec![1]);
    }
    let mut delta = BucketDelta::default();
    delta.rows = rows;
    observer.count(TrafficClass::Real, &delta);
}

fn published(observer: &mut Observer) -> BTreeMap<String, u64> {
    observer.publish().ports.iter().map(|(series, sample)| (series.port_label(), sample.packets)).collect()
}

#[test]
fn counters_never_go_down_through_promotion_and_retirement() {
    let config = MetricsConfig { ports: vec!["tcp/23".parse().unwrap()], top_ports: 2 };
    let mut observer = Observer::new(&config);
    let day = SECONDS_PER_DAY * 20_000;
    let mut now = day + 1000;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut total = 0;
    let mut names = BTreeSet::new();
    observer.evaluate(now);
    for round in 0..3000u64 {
        // A different port is busiest every ten rounds; 23 is always seen.
        let busy = 1000 + u16::try_from(round / 10 % 7).unwrap();
        seen(&mut observer, &[(23, 5), (busy, 100 + 300 * (round / 10 % 7)), (9, 1)]);
        total += 106 + 300 * (round / 10 % 7);
        now += 61;
        observer.evaluate(now);
        let current = published(&mut observer);
        for (name, packets) in &current {
            assert!(*packets >= last.get(name).copied().unwrap_or(0), "{name} went down");
        }
        assert!(current.len() <= 2 + 2 * config.top_ports, "{current:?}");
        // Series that are not published now keep what they had.
        last.extend(current.clone());
        names.extend(current.into_keys());
    }
    assert_eq!(observer.all.values().map(|sample| sample.packets).sum::<u64>(), total);
    assert_eq!(last["23"], 15_000);
    assert!(names.contains("other") && names.len() > 4, "{names:?}");
}

#[test]
fn regions_of_a_port_that_is_not_configured_any_more_are_forgotten() {
    let (real, japan) = (TrafficClass::Real, Region::parse("JP").unwrap());
    let port = |text: &str| OwnerKey::Port(real, text.parse().unwrap(), japan);
    let region = OwnerKey::Region(real, Kind::Scan, japan);
    let observer = |ports: &[&str]| {
        let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
        Observer::new(&MetricsConfig { ports, top_ports: 1 })
    };
    let mut before = observer(&["tcp/22", "tcp/23"]);
    let counted = vec![(port("tcp/22"), 1), (port("tcp/23"), 2), (region.clone(), 3)];
    before.count_owners(counted.into_iter());
    let image = before.changes().unwrap();
    let mut after = observer(&["tcp/23"]);
    after.restore(ObserverImage::from_blob(&image.to_blob().unwrap()).unwrap());
    let expected = BTreeMap::from([(port("tcp/23"), 2), (region, 3)]);
    assert_eq!(*after.publish().owners, expected);
}

#[test]
fn a_port_is_retired_at_midnight_only() {
    let config = MetricsConfig { ports: Vec::new(), top_ports: 1 };
    let mut observer = Observer::new(&config);
    let midnight = SECONDS_PER_DAY * 20_000;
    observer.evaluate(midnight - 10_000);
    seen(&mut observer, &[(7, 10)]);
    observer.evaluate(midnight - 9_000);
    seen(&mut observer, &[(8, 1000)]);
    observer.evaluate(midnight - 8_000);
    seen(&mut observer, &[(7, 1), (8, 1000)]);
    assert_eq!(published(&mut observer).keys().collect::<Vec<_>>(), ["7", "8", "other"]);
    observer.evaluate(midnight + 1);
    assert_eq!(published(&mut observer).keys().collect::<Vec<_>>(), ["8", "other"]);
    seen(&mut observer, &[(7, 50)]);
    assert_eq!(published(&mut observer)["other"], 10 + 1000 + 50);
}
