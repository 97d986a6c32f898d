//! Groups of sensors, side by side.

use std::collections::BTreeSet;

use martlet_report::model::{self, Rules};
use martlet_window::IpVersion;

use super::count::{Counted, change_of_rate, per};
use crate::labels::{Group, Label};
use crate::rollup::RollupError;
use crate::rollup::query::Filter;

/// Names of sensors.
type Members = BTreeSet<String>;

/// The groups of a time of which something may be told.
pub(super) struct Told {
    groups: Vec<(Group, u32, Members)>,
    /// Fewest sensors of which anything may be told.
    least: u32,
}

impl Told {
    /// Of a report of all sensors. There is none of one group: what groups have in common is nobody's business there.
    pub(super) fn new(now: &Counted<'_>, rules: &Rules) -> Result<Told, RollupError> {
        if !now.is_of_all() {
            return Ok(Told { groups: Vec::new(), least: rules.min_sensors });
        }
        let all: Members = now.watched.sensors.keys().cloned().collect();
        let mut by_scope = now.snapshot.scope_members(now.class, now.placed.span)?;
        let groups = now.snapshot.sensor_groups()?.into_iter().filter_map(|(group, scope)| {
            let members: Members = by_scope.remove(&scope)?.into_iter().filter(|name| all.contains(name)).collect();
            (!members.is_empty()).then_some((group, scope, members))
        });
        let groups = groups.collect();
        let mut told = Told { groups, least: rules.min_sensors };
        told.withhold(&all);
        told.groups.sort_by_key(|(group, ..)| group.to_string());
        Ok(told)
    }

    /// Takes out groups of few sensors, and those from which, with the others, figures of few sensors would follow: what is left
    /// of all sensors beside the groups of a label, and what one group has beside another.
    fn withhold(&mut self, all: &Members) {
        let least = self.least as usize;
        self.groups.retain(|(.., members)| members.len() >= least);
        let is_few = |count: usize| (1..least).contains(&count);
        while let Some(place) = self.telling(all, is_few) {
            self.groups.remove(place);
        }
    }

    /// A group that tells too much: of those that do the one with the fewest sensors.
    fn telling(&self, all: &Members, is_few: impl Fn(usize) -> bool) -> Option<usize> {
        let rest_of = |label: Label| {
            let of_label = self.groups.iter().filter(|(group, ..)| group.label == label);
            all.len() - of_label.flat_map(|(.., members)| members).collect::<BTreeSet<_>>().len()
        };
        let tells = |place: usize| {
            let (group, _, members) = &self.groups[place];
            let others = self.groups.iter().map(|(.., members)| members).chain([all]);
            is_few(rest_of(group.label))
                || others.into_iter().any(|other| is_few(other.difference(members).count()) && members.is_subset(other))
        };
        (0..self.groups.len()).filter(|&place| tells(place)).min_by_key(|&place| self.groups[place].2.len())
    }

    /// The sensors of each, by its name.
    pub(super) fn members(&self) -> impl Iterator<Item = (String, &Members)> {
        self.groups.iter().map(|(group, _, members)| (group.to_string(), members))
    }

    /// The group of a sensor, by the label `group`.
    pub(super) fn of(&self, sensor: &str) -> Option<String> {
        let mut groups = self.groups.iter();
        let found = groups.find(|(group, _, members)| group.label == Label::Group && members.contains(sensor));
        found.map(|(group, ..)| group.to_string())
    }

    /// What each came to.
    pub(super) fn rows(
        &self,
        now: &Counted<'_>,
        before: Option<&Counted<'_>>,
    ) -> Result<Vec<model::Group>, RollupError> {
        let row = |(group, scope, _): &(Group, u32, Members)| -> Result<model::Group, RollupError> {
            let side = |counted: &Counted<'_>| -> Result<_, RollupError> {
                let exposure = counted.exposure_of_group(*scope)?;
                let packets = counted.kinds_of(&Filter { ip: Some(IpVersion::V4), ..counted.scoped(*scope) })?;
                let rate = exposure.sensor_days.and_then(|days| per(packets.scan, days));
                Ok((exposure, packets, rate))
            };
            let (exposure, packets, per_sensor_day) = side(now)?;
            let previous = before.map(side).transpose()?;
            // It may have had fewer sensors then.
            let previous_per_sensor_day =
                previous.and_then(|(exposure, _, rate)| rate.filter(|_| exposure.sensors >= self.least));
            let both = previous_per_sensor_day.zip(per_sensor_day);
            Ok(model::Group {
                name: group.to_string(),
                exposure,
                packets,
                per_sensor_day,
                previous_per_sensor_day,
                change_percent: both.and_then(|(before, now)| change_of_rate(before, now)),
            })
        };
        self.groups.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(groups: &[(&str, &[&str])], all: &[&str], least: u32) -> Vec<String> {
        let members = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Members>();
        let groups = groups.iter().map(|(group, names)| (group.parse().unwrap(), 1, members(names))).collect();
        let mut told = Told { groups, least };
        told.withhold(&members(all));
        told.members().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_would_tell_figures_of_few_sensors_is_withheld() {
        let all = ["a", "b", "c", "d", "e", "f"];
        let home: (&str, &[&str]) = ("position:domestic", &["a", "b", "c"]);
        let away: (&str, &[&str]) = ("position:overseas", &["d", "e", "f"]);
        assert_eq!(told(&[home, away], &all, 1), ["position:domestic", "position:overseas"]);
        assert_eq!(told(&[home, away], &all, 3), ["position:domestic", "position:overseas"]);
        assert!(told(&[home, away], &all, 4).is_empty());
        // Beside one of five, the sixth would follow from all.
        assert!(
            told(&[("position:domestic", &["a", "b", "c", "d", "e"]), ("position:overseas", &["f"])], &all, 2)
                .is_empty()
        );
        // Those without a label are left over, and enough.
        assert_eq!(told(&[home], &all, 3), ["position:domestic"]);
        // A group within another, with one sensor less; and two that are about others.
        assert_eq!(told(&[home, away, ("tokyo", &["a", "b"])], &all, 2), ["position:domestic", "position:overseas"]);
        assert_eq!(
            told(&[home, away, ("tokyo", &["a", "b", "d"])], &all, 3),
            ["position:domestic", "position:overseas", "tokyo"]
        );
    }
}
