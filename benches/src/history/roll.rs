//! Making rollups, and what it takes.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use martlet_collector::archive::Merge;
use martlet_collector::config::Config;
use martlet_collector::rollup::{Archive, Roller, Settings, Turn, Zones, date_text};
use rusqlite::{Connection, params};

use super::generate::FIRST_DAY;
use crate::load::Process;

const TABLES: [&str; 8] =
    ["services", "ranks", "groups", "sensor_services", "networks", "sources", "source_lists", "first_seen"];

pub(super) fn settings() -> Result<Settings> {
    let mut settings = Settings::configured(&Config::default(), super::SOURCE_KEY)?;
    settings.zones = Zones::named(&["UTC", "Asia/Tokyo"])?;
    settings.rests = false;
    Ok(settings)
}

pub(super) fn roll(directory: &Path) -> Result<()> {
    let (location, connection) = super::open(directory)?;
    let mut roller = Roller::open(&location, Archive(directory.join("archive")), settings()?)?;
    loop {
        let process = Process::own();
        process.forget_peak();
        let (begun, cpu) = (Instant::now(), process.cpu_seconds()?);
        let made = match roller.turn(0)? {
            Turn::Idle => break,
            Turn::Gone(_) => continue,
            Turn::Made(made) => made,
        };
        let sql = "SELECT rows, packets FROM rollup_days WHERE day = ?1";
        let (rows, packets): (i64, i64) =
            connection.query_row(sql, params![made.day], |row| Ok((row.get(0)?, row.get(1)?)))?;
        println!(
            "{}: rows {rows}, packets {packets}: {:.1} s, CPU {:.1} s, peak resident {} MiB, SQLite rows {}",
            date_text(made.day),
            begun.elapsed().as_secs_f64(),
            process.cpu_seconds()? - cpu,
            process.memory()?.peak_kib / 1024,
            made.rows
        );
    }
    sizes(&connection)
}

/// Reads the rows of every day, and does nothing with them.
pub(super) fn read(directory: &Path) -> Result<()> {
    let (_, connection) = super::open(directory)?;
    let mut select = connection.prepare("SELECT day, name FROM archive_files ORDER BY day, name")?;
    let files = select.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let files: Vec<(i64, String)> = files.collect::<Result<_, _>>()?;
    for of_day in files.chunk_by(|a, b| a.0 == b.0) {
        let day = directory.join("archive").join(format!("date={}", date_text(of_day[0].0)));
        let paths: Vec<_> = of_day.iter().map(|(_, name)| day.join(name)).collect();
        let (begun, cpu, mut rows) = (Instant::now(), Process::own().cpu_seconds()?, 0u64);
        let mut merge = Merge::open(&paths)?;
        while merge.next_row()?.is_some() {
            rows += 1;
        }
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), Process::own().cpu_seconds()? - cpu);
        println!("{}: rows {rows} read in {seconds:.1} s, CPU {cpu:.1} s", day.display());
    }
    Ok(())
}

/// Rows and bytes of each table.
fn sizes(connection: &Connection) -> Result<()> {
    let days: i64 = connection.query_row("SELECT count(*) FROM rollup_days", (), |row| row.get(0))?;
    println!("days {days}");
    for table in TABLES {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM rollup_{table}"), (), |row| row.get(0))?;
        let sql = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = 1 AND name LIKE ?1";
        let bytes: i64 = connection.query_row(sql, params![format!("rollup_{table}%")], |row| row.get(0))?;
        println!("  {table:<16} rows {rows:>9}  KiB {:>9}", bytes / 1024);
    }
    let sql = "SELECT sum(length(quarters)), sum(length(sketch)), sum(sources) FROM rollup_services";
    let (quarters, sketches, sources): (i64, i64, i64) =
        connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    println!("  of services: quarters {quarters} bytes, sketches {sketches} bytes of {sources} sources");
    Ok(())
}

/// Copies what there is to earlier weeks: as many rows as real ones would be, and the same.
pub(super) fn copy(directory: &Path, weeks: i64) -> Result<()> {
    let (_, mut connection) = super::open(directory)?;
    for week in 1..=weeks {
        let transaction = connection.transaction()?;
        let of_first = "SELECT rollup, day FROM rollup_days WHERE day >= ?1 AND day < ?1 + 7";
        let days: Vec<(i64, i64)> = transaction
            .prepare(of_first)?
            .query_map(params![FIRST_DAY], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (rollup, day) in days {
            let sql = "UPDATE rollup_state SET next_rollup = next_rollup + 1 RETURNING next_rollup - 1";
            let copy: i64 = transaction.query_row(sql, (), |row| row.get(0))?;
            for table in TABLES.iter().filter(|table| **table != "first_seen").chain(&["days"]) {
                let mut columns = Vec::new();
                let mut select =
                    transaction.prepare(&format!("SELECT name FROM pragma_table_info('rollup_{table}')"))?;
                let mut rows = select.query(())?;
                while let Some(row) = rows.next()? {
                    columns.push(row.get::<_, String>(0)?);
                }
                let values: Vec<String> = columns
                    .iter()
                    .map(|column| match column.as_str() {
                        "rollup" => copy.to_string(),
                        "day" => (day - 7 * week).to_string(),
                        other => other.to_owned(),
                    })
                    .collect();
                let (columns, values) = (columns.join(", "), values.join(", "));
                let sql = format!(
                    "INSERT INTO rollup_{table} ({columns}) SELECT {values} FROM rollup_{table} WHERE rollup = ?1"
                );
                transaction.execute(&sql, params![rollup])?;
            }
        }
        transaction.commit()?;
        println!("week -{week}");
    }
    Ok(())
}
