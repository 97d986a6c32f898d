//! What is forgotten in time: days, and the addresses of sources.
//!
//! The archive forgets by itself, and a day that is made again has what its archive still has. This is for days that are not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::{Connection, Transaction, params};

use super::error::RollupError;
use super::stage::{begin, sweep};
use crate::archive::{COARSE_V4, COARSE_V6};

/// Deletes the rollups of days before one, and says how many. On which day services were seen first stays.
///
/// # Errors
/// If they cannot be deleted.
pub fn forget_days(connection: &Connection, before: i64, rests: bool) -> Result<usize, RollupError> {
    let transaction = begin(connection)?;
    transaction
        .execute("INSERT INTO rollup_stale (rollup) SELECT rollup FROM rollup_days WHERE day < ?1", params![before])?;
    let forgotten = transaction.execute("DELETE FROM rollup_days WHERE day < ?1", params![before])?;
    if forgotten > 0 {
        transaction.execute("UPDATE rollup_state SET generation = generation + 1", ())?;
    }
    transaction.commit()?;
    sweep(connection, rests)?;
    Ok(forgotten)
}

/// Leaves of the sources that are listed of days before one only their networks, /24 and /48, and says of how many days.
///
/// # Errors
/// If they cannot be changed.
pub fn forget_sources(connection: &Connection, before: i64) -> Result<usize, RollupError> {
    let sql = "SELECT rollup FROM rollup_days AS d WHERE day < ?1
         AND EXISTS (SELECT 1 FROM rollup_sources AS s WHERE s.rollup = d.rollup AND s.source NOT LIKE '%/%')";
    let changed = change(connection, sql, before, |lists| {
        for list in lists.values_mut() {
            let mut networks: BTreeMap<String, Listed> = BTreeMap::new();
            for listed in std::mem::take(&mut list.sources) {
                let network = network_of(&listed.source);
                match networks.get_mut(&network) {
                    Some(sum) => sum.add(&listed),
                    None => drop(networks.insert(network.clone(), Listed { source: network, ..listed })),
                }
            }
            list.sources = networks.into_values().collect();
        }
    })?;
    Ok(changed)
}

/// Takes the sources of a network out of all lists, and says of how many days.
///
/// # Errors
/// If they cannot be changed.
pub fn erase_sources(connection: &Connection, network: IpNet) -> Result<usize, RollupError> {
    let is_erased = |source: &str| match (source.parse::<IpAddr>(), source.parse::<IpNet>()) {
        (Ok(address), _) => network.contains(&address),
        // Of a network that holds some of what is erased nothing says which part it is.
        (_, Ok(listed)) => network.contains(&listed) || listed.contains(&network),
        _ => false,
    };
    change(connection, "SELECT rollup FROM rollup_days WHERE day < ?1", i64::MAX, |lists| {
        for list in lists.values_mut() {
            let erased = list.sources.iter().filter(|listed| is_erased(&listed.source)).map(Listed::bound).max();
            list.sources.retain(|listed| !is_erased(&listed.source));
            // They may have sent as much, and are not listed any more.
            list.floor = list.floor.max(erased.unwrap_or(0));
        }
    })
}

/// A listed source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    source: String,
    packets: i64,
    error: i64,
    bytes: i64,
    ports: i64,
    region: String,
    asn: Option<i64>,
    organisation: Option<String>,
    known_scanner: Option<String>,
}

impl Listed {
    const fn bound(&self) -> i64 {
        self.packets.saturating_add(self.error)
    }

    fn add(&mut self, other: &Listed) {
        self.packets = self.packets.saturating_add(other.packets);
        self.error = self.error.saturating_add(other.error);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.ports = self.ports.max(other.ports);
    }
}

/// A list of one class and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    floor: i64,
    sources: Vec<Listed>,
}

type Lists = BTreeMap<(u8, u8), List>;

/// Changes the lists of the days that a statement selects, and says how many days changed.
fn change(
    connection: &Connection,
    select: &str,
    before: i64,
    change: impl Fn(&mut Lists),
) -> Result<usize, RollupError> {
    let mut rollups = connection.prepare(select)?;
    let rollups: Vec<i64> = rollups.query_map(params![before], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut changed = 0;
    for rollup in rollups {
        // One day at a time: each takes milliseconds.
        let transaction = begin(connection)?;
        let mut lists = read(&transaction, rollup)?;
        let old = lists.clone();
        change(&mut lists);
        if lists == old {
            continue;
        }
        write(&transaction, rollup, &mut lists)?;
        transaction.execute("UPDATE rollup_state SET generation = generation + 1", ())?;
        transaction.commit()?;
        changed += 1;
    }
    Ok(changed)
}

fn read(transaction: &Transaction<'_>, rollup: i64) -> Result<Lists, RollupError> {
    let mut lists = Lists::new();
    let mut select =
        transaction.prepare_cached("SELECT class, kind, floor FROM rollup_source_lists WHERE rollup = ?1")?;
    let mut rows = select.query(params![rollup])?;
    while let Some(row) = rows.next()? {
        lists.insert((row.get(0)?, row.get(1)?), List { floor: row.get(2)?, sources: Vec::new() });
    }
    let sql = "SELECT class, kind, source, packets, error, bytes, ports, region, asn, organisation, known_scanner
         FROM rollup_sources WHERE rollup = ?1 ORDER BY class, kind, place";
    let mut select = transaction.prepare_cached(sql)?;
    let mut rows = select.query(params![rollup])?;
    while let Some(row) = rows.next()? {
        let listed = Listed {
            source: row.get(2)?,
            packets: row.get(3)?,
            error: row.get(4)?,
            bytes: row.get(5)?,
            ports: row.get(6)?,
            region: row.get(7)?,
            asn: row.get(8)?,
            organisation: row.get(9)?,
            known_scanner: row.get(10)?,
        };
        lists.entry((row.get(0)?, row.get(1)?)).or_default().sources.push(listed);
    }
    Ok(lists)
}

fn write(transaction: &Transaction<'_>, rollup: i64, lists: &mut Lists) -> Result<(), RollupError> {
    transaction.execute("DELETE FROM rollup_sources WHERE rollup = ?1", params![rollup])?;
    let sql =
        "INSERT INTO rollup_sources (rollup, class, kind, place, source, packets, error, bytes, ports, region, asn,
         organisation, known_scanner) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let mut insert = transaction.prepare_cached(sql)?;
    let mut update = transaction
        .prepare_cached("UPDATE rollup_source_lists SET floor = ?4 WHERE rollup = ?1 AND class = ?2 AND kind = ?3")?;
    for ((class, kind), List { floor, sources }) in lists {
        update.execute(params![rollup, class, kind, *floor])?;
        sources.sort_by(|a, b| (b.bound(), a.error, &a.source).cmp(&(a.bound(), b.error, &b.source)));
        for (place, listed) in sources.iter().enumerate() {
            let Listed { source, packets, error, bytes, ports, region, asn, organisation, known_scanner } = listed;
            let known = params![
                rollup,
                class,
                kind,
                place,
                source,
                packets,
                error,
                bytes,
                ports,
                region,
                asn,
                organisation,
                known_scanner
            ];
            insert.execute(known)?;
        }
    }
    Ok(())
}

/// The network of a source, as it stands in lists; of one that is a network already that.
fn network_of(source: &str) -> String {
    let Ok(address) = source.parse::<IpAddr>() else { return source.to_owned() };
    let length = if address.is_ipv4() { COARSE_V4 } else { COARSE_V6 };
    IpNet::new(address, length).map_or_else(|_| source.to_owned(), |network| network.trunc().to_string())
}
