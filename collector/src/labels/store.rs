//! Labels at rest: in the collector's store, by a connection of their own.

use std::collections::{BTreeMap, BTreeSet};

use martlet_window::SensorName;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use thiserror::Error;

use super::filtered::{self, FilteredPorts};
use super::label::{Group, Label, Setting};
use crate::store::{Location, SCHEMA_VERSION};

/// Values of labels that can be in use at a time: each of `history.group_labels` costs a rollup as much as all sensors together do.
const MOST_VALUES: i64 = 64;

/// Why labels cannot be read or set.
#[derive(Debug, Error)]
pub enum LabelStoreError {
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The store has not been brought up to date.
    #[error(
        "the store has schema version {0}, and this program needs {SCHEMA_VERSION}: start a collector of the same version once"
    )]
    OldSchema(usize),
    /// As many values are in use as can be.
    #[error(
        "{MOST_VALUES} values of labels are in use, and there can be no more: take one that there is (martlet-collector sensor list)"
    )]
    TooMany,
}

/// A sensor with what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Under which it stands in reports, from 1 on; `None` if no batch of it ever came.
    pub number: Option<u32>,
    /// Its labels.
    pub labels: BTreeMap<Label, String>,
    /// Ports that are filtered before it.
    pub filtered: Option<FilteredPorts>,
}

/// The tables of labels.
#[derive(Debug)]
pub struct LabelStore {
    connection: Connection,
}

impl LabelStore {
    /// Opens them beside whoever else has the store open.
    ///
    /// # Errors
    /// If the store cannot be opened, or has not been brought up to date.
    pub fn open(location: &Location) -> Result<LabelStore, LabelStoreError> {
        let connection = location.connect_current()?.map_err(LabelStoreError::OldSchema)?;
        Ok(LabelStore { connection })
    }

    /// Says something of a sensor, all of it or nothing.
    ///
    /// # Errors
    /// If too many values would be in use, or the store cannot be written.
    pub fn set(&mut self, sensor: &SensorName, settings: &[Setting]) -> Result<(), LabelStoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        set_labels(&transaction, sensor, settings)?;
        transaction.commit()?;
        Ok(())
    }

    /// Every sensor that has brought something, or has labels, by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn list(&self) -> Result<BTreeMap<String, Labelled>, LabelStoreError> {
        let mut sensors: BTreeMap<String, Labelled> = BTreeMap::new();
        let mut select = self.connection.prepare_cached("SELECT name, sensor + 1 FROM sensors")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            sensors.entry(row.get(0)?).or_default().number = Some(row.get(1)?);
        }
        each(&self.connection, |sensor, label, value| {
            sensors.entry(sensor).or_default().labels.insert(label, value);
        })?;
        for (sensor, ports) in filtered(&self.connection)? {
            sensors.entry(sensor).or_default().filtered = Some(ports);
        }
        Ok(sensors)
    }
}

/// Says something of a sensor, in a transaction that is begun.
pub(crate) fn set_labels(
    transaction: &Connection,
    sensor: &SensorName,
    settings: &[Setting],
) -> Result<(), LabelStoreError> {
    for setting in settings {
        let Some(value) = setting.value() else {
            let delete = "DELETE FROM sensor_labels WHERE sensor = ?1 AND label = ?2";
            transaction.execute(delete, params![sensor.as_str(), setting.name()])?;
            continue;
        };
        let insert = "INSERT INTO sensor_labels (sensor, label, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (sensor, label) DO UPDATE SET value = excluded.value";
        transaction.execute(insert, params![sensor.as_str(), setting.name(), value])?;
        if let Setting::Label(label, _) = setting {
            let insert = "INSERT INTO sensor_groups (label, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(insert, params![label.name(), value])?;
        }
    }
    // One that nobody has any more keeps its number, and costs nothing.
    let count = "SELECT count(*) FROM (SELECT DISTINCT label, value FROM sensor_labels WHERE label != ?1)";
    let used: i64 = transaction.query_row(count, [filtered::NAME], |row| row.get(0))?;
    if used > MOST_VALUES { Err(LabelStoreError::TooMany) } else { Ok(()) }
}

/// Visits all labels.
fn each(connection: &Connection, mut visit: impl FnMut(String, Label, String)) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare_cached("SELECT sensor, label, value FROM sensor_labels ORDER BY sensor, label")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        // One that this program does not know is of a newer one.
        if let Some(label) = Label::named(&row.get::<_, String>(1)?) {
            visit(row.get(0)?, label, row.get(2)?);
        }
    }
    Ok(())
}

/// The ports that are filtered before sensors, by the sensor's name.
///
/// # Errors
/// If they cannot be read.
pub fn filtered(connection: &Connection) -> rusqlite::Result<BTreeMap<String, FilteredPorts>> {
    let mut select = connection.prepare_cached("SELECT sensor, value FROM sensor_labels WHERE label = ?1")?;
    let mut rows = select.query([filtered::NAME])?;
    let mut filtered = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // Whatever this program cannot read is of a newer one.
        if let Ok(ports) = row.get::<_, String>(1)?.parse() {
            filtered.insert(row.get(0)?, ports);
        }
    }
    Ok(filtered)
}

/// The scopes of each labelled sensor's groups, by its name: of these labels.
///
/// # Errors
/// If they cannot be read.
pub fn scopes(connection: &Connection, labels: &[Label]) -> rusqlite::Result<BTreeMap<String, Vec<u32>>> {
    let numbers: BTreeMap<Group, u32> = groups(connection)?.into_iter().collect();
    let mut scopes: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    each(connection, |sensor, label, value| {
        if let Some(&scope) = numbers.get(&Group { label, value }).filter(|_| labels.contains(&label)) {
            scopes.entry(sensor).or_default().insert(scope);
        }
    })?;
    Ok(scopes.into_iter().map(|(sensor, scopes)| (sensor, scopes.into_iter().collect())).collect())
}

/// All groups that there ever were, with their scopes, by label and value.
///
/// # Errors
/// If they cannot be read.
pub fn groups(connection: &Connection) -> rusqlite::Result<Vec<(Group, u32)>> {
    let mut select = connection.prepare_cached("SELECT label, value, scope FROM sensor_groups")?;
    let mut rows = select.query(())?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(label) = Label::named(&row.get::<_, String>(0)?) {
            groups.push((Group { label, value: row.get(1)? }, row.get(2)?));
        }
    }
    groups.sort();
    Ok(groups)
}

/// The scope of a group; `None` if there never was one of this name.
///
/// # Errors
/// If it cannot be read.
pub fn scope_of(connection: &Connection, group: &Group) -> rusqlite::Result<Option<u32>> {
    let mut select = connection.prepare_cached("SELECT scope FROM sensor_groups WHERE label = ?1 AND value = ?2")?;
    select.query_row(params![group.label.name(), group.value], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn sensor(name: &str) -> SensorName {
        name.parse().unwrap()
    }

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn labels_are_set_and_groups_keep_their_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::in_directory(directory.path());
        assert!(matches!(LabelStore::open(&location), Err(LabelStoreError::OldSchema(0))));
        let _store = Store::open(location.clone()).unwrap();
        let mut labels = LabelStore::open(&location).unwrap();
        labels.set(&sensor("tokyo-1"), &settings(&["group=tokyo", "position=domestic", "economy=JP"])).unwrap();
        labels.set(&sensor("berlin"), &settings(&["position=overseas"])).unwrap();
        let before = scopes(&labels.connection, &[Label::Group, Label::Position]).unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), ["berlin", "tokyo-1"]);
        // Economy is no label that figures are kept by.
        assert_eq!(before["tokyo-1"].len(), 2);
        // A value that nobody has any more keeps its number, and a new one gets another.
        labels.set(&sensor("tokyo-1"), &settings(&["group=osaka", "position="])).unwrap();
        let after = scopes(&labels.connection, &[Label::Group, Label::Position]).unwrap();
        assert_eq!(after["tokyo-1"].len(), 1);
        assert!(!before["tokyo-1"].contains(&after["tokyo-1"][0]));
        assert_eq!(after["berlin"], before["berlin"]);
        let osaka: Group = "osaka".parse().unwrap();
        assert_eq!(scope_of(&labels.connection, &osaka).unwrap(), Some(after["tokyo-1"][0]));
        assert_eq!(scope_of(&labels.connection, &"nara".parse().unwrap()).unwrap(), None);
        let listed = labels.list().unwrap();
        assert_eq!(listed["tokyo-1"].labels[&Label::Economy], "JP");
        // Filtered ports are no group.
        labels.set(&sensor("nara"), &settings(&["filtered=tcp/445,25"])).unwrap();
        assert_eq!(filtered(&labels.connection).unwrap()["nara"].to_string(), "25,tcp/445");
        assert_eq!(labels.list().unwrap()["nara"].filtered, Some("25,tcp/445".parse().unwrap()));
        assert_eq!(groups(&labels.connection).unwrap().len(), 5);
        labels.set(&sensor("nara"), &settings(&["filtered="])).unwrap();
        assert!(filtered(&labels.connection).unwrap().is_empty());
        assert!(listed["tokyo-1"].number.is_none() && !listed["tokyo-1"].labels.contains_key(&Label::Position));
    }

    #[test]
    fn there_are_no_more_groups_than_rollups_can_keep() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::in_directory(directory.path());
        let _store = Store::open(location.clone()).unwrap();
        let mut labels = LabelStore::open(&location).unwrap();
        for number in 0..MOST_VALUES {
            labels.set(&sensor(&format!("s{number}")), &settings(&[&format!("group=g{number}")])).unwrap();
        }
        let refused = labels.set(&sensor("s0"), &settings(&["position=domestic", "group=one-more"]));
        assert!(matches!(refused, Err(LabelStoreError::TooMany)));
        // Nothing of what was refused is there.
        assert_eq!(groups(&labels.connection).unwrap().len() as i64, MOST_VALUES);
        assert_eq!(labels.list().unwrap()["s0"].labels.len(), 1);
        // One that comes takes the place of one that nobody has any more.
        labels.set(&sensor("s0"), &settings(&["group=one-more"])).unwrap();
    }
}
