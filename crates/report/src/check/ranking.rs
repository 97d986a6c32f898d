//! Rankings: sums, shares, ranks, days, and what is compared with the previous period.

use serde_json::json;

use super::{Checker, change, float, per, ranks, share, told};
use crate::model::{Cell, Daily, Day, Kinds, PreviousRank, Ranked, Ranking, Report, Watching};

/// How a ranking belongs into its report.
struct About {
    place: &'static str,
    /// What its total is.
    of: fn(&Kinds) -> u64,
    is_compared: bool,
}

impl Checker {
    pub(super) fn rankings(&mut self, report: &Report) {
        let scan = |kinds: &Kinds| kinds.scan;
        let backscatter = |kinds: &Kinds| kinds.backscatter;
        self.ranking(report, &report.ports, &About { place: "/ports", of: scan, is_compared: true });
        self.ranking(report, &report.regions, &About { place: "/regions", of: scan, is_compared: true });
        let about = About { place: "/backscatter", of: backscatter, is_compared: false };
        self.ranking(report, &report.backscatter, &about);
    }

    fn ranking<K>(&mut self, report: &Report, ranking: &Ranking<K>, about: &About) {
        let (place, rules) = (about.place, &report.rules);
        let total = ranking.total.packets;
        self.at_most(format!("{place}/rows"), ranking.rows.len(), usize::try_from(rules.top).unwrap_or(usize::MAX));
        let packets: Vec<_> = ranking.rows.iter().map(|row| row.cell.packets).collect();
        for (at, rank) in ranks(&packets).into_iter().enumerate() {
            self.equal(format!("{place}/rows/{at}/rank"), ranking.rows[at].rank, rank);
        }
        for (at, pair) in packets.windows(2).enumerate() {
            self.at_most(format!("{place}/rows/{}/cell/packets", at + 1), pair[1], pair[0]);
        }
        let sum = packets.iter().chain([&ranking.others.packets]).map(|packets| u128::from(*packets)).sum();
        self.equal(format!("{place}/total/packets"), u128::from(total), sum);
        self.equal(format!("{place}/total/packets"), total, (about.of)(&report.overview.packets));
        for (at, row) in ranking.rows.iter().enumerate() {
            let at = format!("{place}/rows/{at}");
            self.watching(report, &format!("{at}/watching"), row.watching.as_ref());
            self.cell(report, &format!("{at}/cell"), &row.cell, total, row.watching.as_ref());
            self.row(report, &at, row, about);
        }
        self.cell(report, &format!("{place}/others"), &ranking.others, total, None);
        self.cell(report, &format!("{place}/total"), &ranking.total, total, None);
        for (day, known) in report.overview.days.iter().enumerate() {
            self.day(place, ranking, day, known, about);
        }
        if about.is_compared {
            self.previous_order(place, &ranking.rows);
        }
    }

    /// That some of the sensors watched some of the time.
    fn watching(&mut self, report: &Report, place: &str, watching: Option<&Watching>) {
        let Some(watching) = watching else { return };
        let overview = &report.overview;
        let most = overview.exposure.sensors.saturating_sub(report.rules.min_sensors.max(1));
        self.at_least(format!("{place}/sensors"), watching.sensors, report.rules.min_sensors);
        self.at_most(format!("{place}/sensors"), watching.sensors, most);
        self.equal(format!("{place}/daily"), watching.daily.len(), overview.days.len());
        self.close(format!("{place}/sensor_days"), watching.sensor_days, watching.daily.iter().copied().sum());
        for (at, (days, day)) in watching.daily.iter().zip(&overview.days).enumerate() {
            let at = format!("{place}/daily/{at}");
            self.rate(at.clone(), *days);
            if let (Some(days), Some(all)) = (*days, day.exposure.sensor_days) {
                self.at_most(at, days, all);
            }
        }
    }

    fn cell(&mut self, report: &Report, place: &str, cell: &Cell, total: u64, watching: Option<&Watching>) {
        let overview = &report.overview;
        self.close(format!("{place}/share_percent"), cell.share_percent, share(cell.packets, total));
        let watched = watching.map_or(overview.exposure.sensor_days, |watching| watching.sensor_days);
        let rate = watched.and_then(|days| per(cell.packets, days));
        self.close(format!("{place}/per_sensor_day"), cell.per_sensor_day, rate);
        self.equal(format!("{place}/daily"), cell.daily.len(), overview.days.len());
        for (place_of_day, (daily, day)) in cell.daily.iter().zip(&overview.days).enumerate() {
            let at = format!("{place}/daily/{place_of_day}");
            let Some(daily) = daily else {
                // All days of a cell may be withheld.
                if day.packets.is_some() && cell.daily.iter().any(Option::is_some) {
                    self.found(at, "not known", "known as the day is");
                }
                continue;
            };
            if day.packets.is_none() {
                self.found(at, daily.packets, "not known, as the day is");
            } else {
                let watched = match watching {
                    Some(watching) => watching.daily.get(place_of_day).copied().flatten(),
                    None => day.exposure.sensor_days,
                };
                let rate = watched.and_then(|days| per(daily.packets, days));
                self.close(format!("{at}/per_sensor"), daily.per_sensor, rate);
            }
        }
        if let Some(days) =
            cell.daily.iter().map(|daily| daily.map(|daily| u128::from(daily.packets))).collect::<Option<Vec<_>>>()
        {
            self.equal(format!("{place}/packets"), u128::from(cell.packets), days.into_iter().sum());
        }
    }

    /// That the parts of a day come to its total, and that to the day's packets.
    fn day<K>(&mut self, place: &str, ranking: &Ranking<K>, day: usize, known: &Day, about: &About) {
        let of = |cell: &Cell| cell.daily.get(day).copied().flatten().map(|daily| daily.packets);
        let Some(total) = of(&ranking.total) else { return };
        let cells = ranking.rows.iter().map(|row| &row.cell).chain([&ranking.others]);
        let parts: Option<Vec<u128>> = cells.map(|cell| of(cell).map(u128::from)).collect();
        let place = format!("{place}/total/daily/{day}/packets");
        // Where one is withheld, so are the others, which would tell it.
        match parts {
            Some(parts) => self.equal(place.clone(), u128::from(total), parts.into_iter().sum()),
            None if of(&ranking.others).is_some() => {
                self.found(place.clone(), total, "no others, as a row is withheld")
            }
            None => {}
        }
        if let Some(kinds) = &known.packets {
            self.equal(place, total, (about.of)(kinds));
        }
    }

    fn row<K>(&mut self, report: &Report, place: &str, row: &Ranked<K>, about: &About) {
        let rules = &report.rules;
        self.sources(&format!("{place}/sources"), row.sources);
        self.at_least(format!("{place}/cell/packets"), row.cell.packets, rules.min_packets);
        if let Some(sources) = row.sources {
            self.at_least(format!("{place}/sources/count"), sources.count, rules.min_sources);
        }
        if let Some(sensors) = row.sensors {
            self.at_least(format!("{place}/sensors"), sensors, rules.min_sensors);
            self.at_most(format!("{place}/sensors"), sensors, report.overview.exposure.sensors);
        }
        let is_compared = about.is_compared && report.previous.is_known;
        match row.previous_rank {
            PreviousRank::Unknown if !is_compared => {}
            PreviousRank::Place { rank } if is_compared => {
                self.at_least(format!("{place}/previous_rank/rank"), rank, 1);
                self.at_most(format!("{place}/previous_rank/rank"), rank, rules.previous_places);
            }
            PreviousRank::Outside if is_compared => {}
            says => self.found(
                format!("{place}/previous_rank"),
                json!(says),
                if is_compared { "known" } else { "not known" },
            ),
        }
        if !is_compared && let Some(packets) = row.previous_packets {
            self.found(format!("{place}/previous_packets"), packets, "not known");
        }
        if let Some(packets) = row.previous_packets.filter(|&packets| packets > 0) {
            self.at_least(format!("{place}/previous_packets"), packets, rules.min_packets);
        }
        let is_fine = |daily: &&Daily| daily.packets > 0 && daily.packets < rules.min_packets;
        if let Some(daily) = row.cell.daily.iter().flatten().find(is_fine) {
            self.at_least(format!("{place}/cell/daily"), daily.packets, rules.min_packets);
        }
        let changed = row.previous_packets.and_then(|before| change(float(row.cell.packets), float(before)));
        self.close(format!("{place}/change_percent"), row.change_percent, changed);
    }

    /// That previous ranks are in the order of previous packets, where both are known.
    fn previous_order<K>(&mut self, place: &str, rows: &[Ranked<K>]) {
        let place_of = |row: &Ranked<K>| match row.previous_rank {
            // Behind all that have one.
            PreviousRank::Outside => Some(u32::MAX),
            PreviousRank::Place { rank } => Some(rank),
            PreviousRank::Unknown => None,
        };
        for (at, row) in rows.iter().enumerate() {
            for other in rows {
                let (Some(rank), Some(behind)) = (place_of(row), place_of(other)) else { continue };
                let (Some(packets), Some(fewer)) = (row.previous_packets, other.previous_packets) else { continue };
                if packets > fewer && (rank > behind || rank == behind && rank != u32::MAX) {
                    let above = if behind == u32::MAX { "a place".to_owned() } else { format!("above {behind}") };
                    self.found(format!("{place}/rows/{at}/previous_rank"), json!(row.previous_rank), above);
                }
            }
        }
    }

    /// Against the stored report of the previous period.
    pub(super) fn against_previous(&mut self, report: &Report, previous: &Report) {
        self.equal("/previous/period/label", report.previous.period.label.clone(), previous.period.label.clone());
        let Some(revision) = report.previous.revision else { return };
        self.equal("/previous/revision", told(Some(revision)), told(previous.revision));
        let (says, should_be) = (report.overview.previous_packets, previous.overview.packets);
        if says != Some(should_be) {
            self.found("/overview/previous_packets", json!(says), json!(should_be));
        }
        self.against("/ports", report, &report.ports, &previous.ports);
        self.against("/regions", report, &report.regions, &previous.regions);
    }

    fn against<K: PartialEq>(&mut self, place: &str, report: &Report, now: &Ranking<K>, before: &Ranking<K>) {
        let places = report.rules.previous_places;
        // Where others are below the last row, every place that the stored report does not have is behind it.
        let last = before.rows.last().map_or(0, |row| row.rank);
        for (at, row) in now.rows.iter().enumerate() {
            let at = format!("{place}/rows/{at}");
            let says = row.previous_rank;
            match before.rows.iter().find(|before| before.key == row.key) {
                Some(before) => {
                    let rank = before.rank;
                    let should_be = if rank <= places { PreviousRank::Place { rank } } else { PreviousRank::Outside };
                    if says != should_be {
                        self.found(format!("{at}/previous_rank"), json!(says), json!(should_be));
                    }
                    if row.previous_packets != Some(before.cell.packets) {
                        let place = format!("{at}/previous_packets");
                        self.found(place, told(row.previous_packets), before.cell.packets);
                    }
                }
                None => {
                    if let PreviousRank::Place { rank } = says
                        && rank < last
                    {
                        self.found(format!("{at}/previous_rank"), json!(says), format!("at least {last}, or outside"));
                    }
                }
            }
        }
    }
}
