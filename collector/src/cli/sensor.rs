//! `martlet-collector sensor`: what is said of sensors.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use martlet_window::SensorName;

use super::place::{Place, print, table};
use super::{Failure, tell};
use crate::labels::{FilteredPorts, Label, LabelStore, Labelled, Setting};

/// List sensors, and say what group, economy, position, network and addressing they have, and which ports are filtered before
/// them. The collector may run: it knows of a change within seconds.
#[derive(Debug, Args)]
pub(super) struct SensorArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sensors that are known, with their labels.
    List {
        /// Print JSON: an object of sensors by name.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Say something of a sensor, also before it is heard first.
    #[command(after_help = SET_HELP)]
    Set {
        /// Its name.
        name: SensorName,
        /// What is said of it.
        #[arg(required = true, value_name = "LABEL=VALUE")]
        settings: Vec<Setting>,
        #[command(flatten)]
        place: Place,
    },
}

const SET_HELP: &str = "\
Labels: group=NAME (any that you like), economy=JP (ISO 3166-1), position=domestic|overseas, \
network=isp|cloud|academic|corporate|government|other, addressing=static|dynamic. `LABEL=` takes a label away.

filtered=25,135-139,tcp/445 are ports that a network filters before the sensor: they leave its exposure in reports.

Figures of groups are kept for the labels of history.group_labels, of days that are made from then on; `martlet-collector \
rebuild --from DAY --to DAY` makes earlier days again.";

/// Carries out a command.
pub(super) fn run(arguments: SensorArguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List { json, place } => list(json, &place),
        Command::Set { name, settings, place } => {
            let mut store = open(&place)?;
            store.set(&name, &settings).map_err(Failure::failed)?;
            let is_known =
                store.list().map_err(Failure::failed)?.get(name.as_str()).is_some_and(|of| of.number.is_some());
            if !is_known {
                tell(&format!("nothing was heard of {name:?} yet: what is said holds when it comes"));
            }
            Ok(())
        }
    }
}

fn open(place: &Place) -> Result<LabelStore, Failure> {
    LabelStore::open(&place.store()?).map_err(Failure::failed)
}

fn list(json: bool, place: &Place) -> Result<(), Failure> {
    let sensors = open(place)?.list().map_err(Failure::failed)?;
    if json {
        let object: BTreeMap<&String, serde_json::Value> = sensors
            .iter()
            .map(|(name, Labelled { number, labels, filtered })| {
                let filtered = filtered.as_ref().map(FilteredPorts::to_string);
                (name, serde_json::json!({ "number": number, "labels": labels, "filtered": filtered }))
            })
            .collect();
        let text = serde_json::to_string_pretty(&object).map_err(Failure::failed)?;
        return print(&format!("{text}\n"));
    }
    let rows = sensors.iter().map(|(name, Labelled { number, labels, filtered })| {
        let label = |label: Label| labels.get(&label).cloned().unwrap_or_else(|| "-".to_owned());
        // A number once it was heard.
        let number = number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let [group, economy, position, network, addressing] = Label::ALL.map(label);
        let filtered = filtered.as_ref().map_or_else(|| "-".to_owned(), FilteredPorts::to_string);
        [name.clone(), number, group, economy, position, network, addressing, filtered]
    });
    print(&table(["NAME", "NUMBER", "GROUP", "ECONOMY", "POSITION", "NETWORK", "ADDRESSING", "FILTERED"], rows))
}
