//! How long answers take.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use martlet_collector::live::ServiceKey;
use martlet_collector::rollup::query::{Change, Filter, GroupBy, Grouping, History, Snapshot, Span, Step, Which};
use martlet_collector::rollup::{DAY_SECONDS, Dimension, Order, RollupError, Zone};
use martlet_window::{Class, IpVersion, Kind, Marks, Service, TrafficClass};

use super::generate::FIRST_DAY;

/// So often each is asked; the first time is told apart.
const ROUNDS: usize = 21;

type Answer = Result<usize, RollupError>;
type Question<'a> = (&'static str, Box<dyn Fn(&Snapshot<'_>) -> Answer + 'a>);

pub(super) fn ask(directory: &Path) -> Result<()> {
    let (location, _) = super::open(directory)?;
    let history = History::open(&location)?;
    let port = |port| {
        let (ip, protocol, service) = (IpVersion::V4, 6, Service::Port(port));
        ServiceKey::new(Class { ip, protocol, service, kind: Kind::Scan, marks: Marks::NONE }.into())
    };
    let tokyo = Zone::named("Asia/Tokyo")?;
    let week = Span::new(FIRST_DAY * DAY_SECONDS, (FIRST_DAY + 7) * DAY_SECONDS)?;
    let shifted = Span::new(week.from() - 9 * 3600, week.to() - 9 * 3600)?;
    let twelve = Span::new(week.to() - 84 * DAY_SECONDS, week.to())?;
    let filter = Filter::class(TrafficClass::Real);
    let scans = Filter { kind: Some(Kind::Scan), ..filter };
    let hour = Step::Seconds(3600);
    let services = |s: &Snapshot<'_>, filter: &Filter, span, zone: &Zone, order, limit| {
        s.services(filter, span, zone, Which::Ports, order, limit).map(|list| list.services.len())
    };
    let questions: Vec<Question<'_>> = vec![
        ("top 20 ports of a week", Box::new(|s| services(s, &filter, week, &Zone::UTC, Order::Packets, 20))),
        ("top 20 ports of a week of Tokyo", Box::new(|s| services(s, &filter, shifted, &tokyo, Order::Packets, 20))),
        ("top 1000 ports of a week", Box::new(|s| services(s, &filter, week, &Zone::UTC, Order::Packets, 1000))),
        ("top 20 by daily sources of a week", Box::new(|s| services(s, &scans, week, &Zone::UTC, Order::Sources, 20))),
        ("the same of Tokyo", Box::new(|s| services(s, &scans, shifted, &tokyo, Order::Sources, 20))),
        ("top 20 ports of twelve weeks", Box::new(|s| services(s, &filter, twelve, &Zone::UTC, Order::Packets, 20))),
        ("port 23, hourly, twelve weeks", {
            let by = GroupBy::Services(vec![port(23)]);
            Box::new(move |s| s.series(&filter, twelve, &Step::Seconds(3600), &by, false).map(|list| list.starts.len()))
        }),
        ("port 23, daily sources of Tokyo, twelve weeks", {
            let (by, days) = (GroupBy::Services(vec![port(23)]), Step::Days(tokyo.clone()));
            Box::new(move |s| s.series(&filter, twelve, &days, &by, true).map(|list| list.starts.len()))
        }),
        ("ports that grew most, week on week", {
            let before = week.before()?;
            Box::new(move |s| {
                let comparison = s.compare(&scans, week, before, &Zone::UTC, Which::Ports, Order::Packets)?;
                let movers = comparison.first(Change::Up, 20)?.into_iter().map(|ranked| comparison.mover(ranked));
                movers.collect::<Result<Vec<_>, _>>().map(|movers| movers.len())
            })
        }),
        ("regions of a week", {
            Box::new(|s| s.groups(&filter, week, Dimension::Region, Grouping::All).map(|groups| groups.len()))
        }),
        ("regions of port 23, a week", {
            let by = Grouping::Service(port(23));
            Box::new(move |s| s.groups(&filter, week, Dimension::Region, by).map(|groups| groups.len()))
        }),
        ("regions, hourly, a week", {
            let by = GroupBy::Dimension(Dimension::Region, Grouping::All);
            Box::new(move |s| s.series(&filter, week, &hour, &by, false).map(|list| list.series.len()))
        }),
        ("autonomous systems of a week", Box::new(|s| s.networks(&filter, week, 20).map(|networks| networks.len()))),
        ("heaviest sources of a week", {
            Box::new(|s| s.top_sources(TrafficClass::Real, Kind::Scan, week, 20).map(|list| list.sources.len()))
        }),
        ("services of a sensor, a week", {
            Box::new(|s| s.sensor_services(TrafficClass::Real, "sensor-7", week, 50).map(|list| list.services.len()))
        }),
        ("totals and basis of a week", {
            Box::new(|s| s.totals(&filter, week).and_then(|_| s.basis(&filter, week)).map(|basis| basis.sensors.len()))
        }),
    ];
    println!("{:<48} {:>8} {:>9} {:>9} {:>9}", "question", "answers", "first ms", "median ms", "worst ms");
    for (name, question) in questions {
        let mut times = Vec::new();
        let mut answers = 0;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            answers = question(&history.snapshot()?)?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        let first = times.remove(0);
        times.sort_by(f64::total_cmp);
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{name:<48} {answers:>8} {first:>9.2} {median:>9.2} {worst:>9.2}");
    }
    Ok(())
}
