//! Rows that were written, read by parquet's own reader of rows and by ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;

use martlet_archive::{FileReader, FileWriter, Labels, Network, Observer, ROW_GROUP_ROWS, Region, Row, coarse};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, PackedClass, Service, TrafficClass};
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use proptest::prelude::*;

/// Windows of two days around an hour, the first before 1970.
const BEGIN: i64 = -7200;

/// A row and what it refers to, before it has numbers.
#[derive(Clone, Debug)]
struct Whole {
    row: Row,
    observer: Observer,
    network: Network,
}

fn class() -> impl Strategy<Value = Class> {
    let service = prop_oneof![
        Just(Service::None),
        (0u16..3).prop_map(Service::Port),
        any::<u16>().prop_map(Service::Port),
        (0u8..4, any::<u8>()).prop_map(|(icmp_type, code)| Service::Icmp { icmp_type, code }),
        (any::<u8>(), 0u16..3).prop_map(|(quoted_protocol, quoted_port)| Service::IcmpError {
            icmp_type: 3,
            code: 1,
            quoted_protocol,
            quoted_port
        }),
    ];
    let marks = (0..1u32 << Mark::ALL.len()).prop_map(|bits| Marks::from_bits(bits).unwrap());
    (any::<bool>(), any::<u8>(), service, 0u8..3, prop_oneof![Just(Marks::NONE), marks]).prop_map(
        |(v6, protocol, service, kind, marks)| Class {
            ip: if v6 { IpVersion::V6 } else { IpVersion::V4 },
            protocol,
            service,
            kind: Kind::from_number(kind).unwrap(),
            marks,
        },
    )
}

fn observer() -> impl Strategy<Value = Observer> {
    (prop_oneof![Just(""), Just("gull"), Just("Möwe")], 0usize..3, 1u8..=60).prop_map(
        |(sensor, class, window_seconds)| Observer {
            sensor: sensor.into(),
            class: TrafficClass::ALL[class],
            window_seconds,
        },
    )
}

fn network() -> impl Strategy<Value = Network> {
    let name = || proptest::option::of(prop_oneof![Just("One, Ltd"), Just(""), Just("\"\u{1f426}\"")]);
    let region = prop_oneof![Just("ZZ"), Just("JP"), Just("DE")];
    (region, proptest::option::of(any::<u32>()), name(), name(), any::<bool>()).prop_map(
        |(region, asn, organisation, known_scanner, is_coarse)| Network {
            region: Region::parse(region).unwrap(),
            asn,
            organisation: organisation.map(Into::into),
            known_scanner: known_scanner.map(Into::into),
            is_coarse,
        },
    )
}

fn whole() -> impl Strategy<Value = Whole> {
    let counts = (0..=i64::MAX.cast_unsigned(), 1..=i64::MAX.cast_unsigned(), 0..=i32::MAX.cast_unsigned());
    let few = (40u64..60, 1u64..4, 1u32..3);
    let source = prop_oneof![0u128..4, any::<u128>()];
    (class(), source, 0i64..17_280, prop_oneof![few, counts], observer(), network()).prop_map(
        |(class, source, window, (bytes, packets, targets), observer, network)| {
            let source = if class.ip == IpVersion::V4 { source & 0xffff_ffff } else { source };
            let source = if network.is_coarse { coarse(class.ip, source) } else { source };
            let class = PackedClass::from(class);
            let start = BEGIN + window * 10;
            Whole {
                row: Row { class, source, start, bytes, packets, targets, observer: 0, network: 0 },
                observer,
                network,
            }
        },
    )
}

/// Some rows, each as often in a row as it says: what is written in runs and what is packed.
fn file() -> impl Strategy<Value = Vec<Whole>> {
    let times = prop_oneof![4 => Just(1usize), 1 => 2usize..30];
    proptest::collection::vec((whole(), times), 1..80)
        .prop_map(|rows| rows.into_iter().flat_map(|(row, times)| std::iter::repeat_n(row, times)).collect())
}

fn write(path: &Path, rows: &[Whole], about: u64, at_once: bool) {
    let mut labels = Labels::default();
    let rows: Vec<Row> = rows
        .iter()
        .map(|whole| Row {
            observer: labels.number_observer(&whole.observer),
            network: labels.number_network(&whole.network),
            ..whole.row
        })
        .collect();
    let mut writer = FileWriter::create(path, about, &[("key".to_owned(), "value".to_owned())], false).unwrap();
    if at_once {
        writer.extend(&rows, &labels).unwrap();
    } else {
        rows.iter().for_each(|row| writer.push(*row, &labels).unwrap());
    }
    let written = writer.finish(&labels).unwrap();
    assert_eq!(written.rows, rows.len() as u64);
    assert_eq!(written.bytes, path.metadata().unwrap().len());
}

fn read(path: &Path) -> Vec<Whole> {
    let (mut reader, mut labels, mut rows) = (FileReader::open(path).unwrap(), Labels::default(), Vec::new());
    assert!(reader.facts().any(|fact| fact == ("key", "value")));
    while let Some(row) = reader.next(&mut labels).unwrap() {
        rows.push(Whole {
            row: Row { observer: 0, network: 0, ..row },
            observer: labels.observer(row.observer).clone(),
            network: labels.network(row.network).clone(),
        });
    }
    rows
}

/// A row as docs/archive.md says that the file has it.
fn fields(whole: &Whole) -> Vec<Field> {
    let (row, class) = (&whole.row, whole.row.class.unpack());
    let text = |text: &str| Field::Str(text.to_owned());
    let optional = |value: Option<i32>| value.map_or(Field::Null, Field::Int);
    let optional_text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map_or(Field::Null, text);
    let (port, icmp_type, icmp_code, quoted_protocol, quoted_port) = match class.service {
        Service::None => (None, None, None, None, None),
        Service::Port(port) => (Some(port.into()), None, None, None, None),
        Service::Icmp { icmp_type, code } => (None, Some(icmp_type.into()), Some(code.into()), None, None),
        Service::IcmpError { icmp_type, code, quoted_protocol, quoted_port } => {
            (None, Some(icmp_type.into()), Some(code.into()), Some(quoted_protocol.into()), Some(quoted_port.into()))
        }
    };
    let (version, bits, network_bits) = if class.ip == IpVersion::V4 { (4, 32, 24) } else { (6, 128, 48) };
    let marks: Vec<&str> = class.marks.iter().map(Mark::name).collect();
    let address = row.address();
    let (source, prefix) = match whole.network.is_coarse {
        true => (format!("{address}/{network_bits}"), network_bits),
        false => (address.to_string(), bits),
    };
    vec![
        Field::TimestampMillis(row.start * 1000),
        Field::Int(whole.observer.window_seconds.into()),
        Field::Int(i32::try_from(row.start.div_euclid(3600).rem_euclid(24)).unwrap()),
        text(&whole.observer.sensor),
        text(whole.observer.class.name()),
        Field::Int(version),
        Field::Int(class.protocol.into()),
        optional(port),
        optional(icmp_type),
        optional(icmp_code),
        optional(quoted_protocol),
        optional(quoted_port),
        text(class.kind.name()),
        text(&marks.join(",")),
        text(&source),
        Field::Int(prefix),
        Field::Long(row.packets.try_into().unwrap()),
        Field::Long(row.bytes.try_into().unwrap()),
        Field::Int(row.targets.try_into().unwrap()),
        text(whole.network.region.as_str()),
        whole.network.asn.map_or(Field::Null, |asn| Field::Long(asn.into())),
        optional_text(&whole.network.organisation),
        optional_text(&whole.network.known_scanner),
    ]
}

fn check(rows: &[Whole], about: u64, at_once: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.parquet");
    write(&path, rows, about, at_once);
    let mut ours = read(&path).into_iter();
    let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let mut theirs = file.get_row_iter(None).unwrap();
    for (number, row) in rows.iter().enumerate() {
        let ours = ours.next().unwrap();
        assert_eq!((&ours.row, &ours.observer, &ours.network), (&row.row, &row.observer, &row.network), "row {number}");
        let theirs = theirs.next().unwrap().unwrap();
        let theirs: Vec<Field> = theirs.get_column_iter().map(|(_, field)| field.clone()).collect();
        assert_eq!(theirs, fields(row), "row {number}");
    }
    assert!(ours.next().is_none() && theirs.next().is_none());
    check_footer(&path, about);
}

/// Which columns have bounds and filters, and how windows are written.
fn check_footer(path: &Path, about: u64) {
    let file = File::open(path).unwrap();
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = reader.parse_and_finish(&file).unwrap();
    let index = metadata.page_index_for_row_group(0);
    let (mut of_chunks, mut of_pages, mut filters) = (Vec::new(), Vec::new(), Vec::new());
    for (place, column) in metadata.row_group(0).columns().iter().enumerate() {
        let name = column.column_descr().name();
        of_chunks.extend(column.statistics().map(|_| name));
        of_pages.extend(index.column_index(place).map(|_| name));
        filters.extend(column.bloom_filter_offset().map(|_| name));
        assert!(index.offset_index(place).is_some(), "{name}");
    }
    assert_eq!(of_chunks, ["window_start", "hour", "class", "ip_version", "protocol", "port", "kind"]);
    assert_eq!(of_pages, ["window_start", "protocol", "port"]);
    assert_eq!(filters, ["source"]);
    let has_differences = metadata.row_group(0).column(0).encodings().any(|one| one == Encoding::DELTA_BINARY_PACKED);
    assert_eq!(has_differences, about < 1 << 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_come_back(rows in file(), is_large in any::<bool>(), at_once in any::<bool>()) {
        // How many rows are to come decides how windows are written, whatever comes.
        check(&rows, if is_large { 1 << 20 } else { rows.len() as u64 }, at_once);
    }
}

#[test]
fn rows_of_many_pages_come_back() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut rows = Vec::new();
    while rows.len() < 70_000 {
        use proptest::strategy::ValueTree as _;
        rows.extend(file().new_tree(&mut runner).unwrap().current());
    }
    // Pages and more without a port, then pages in which each row has one.
    let (with, without): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|whole| matches!(whole.row.class.unpack().service, Service::Port(_)));
    let rows: Vec<Whole> = without.into_iter().chain(with).collect();
    check(&rows, rows.len() as u64, true);
    check(&rows[10_000..60_001], 50_001, false);
}

#[test]
fn rows_of_two_row_groups_come_back() {
    let class =
        Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(23), kind: Kind::Scan, marks: Marks::NONE };
    let network = Network { asn: Some(64_500), ..Network::default() };
    let observer = Observer { sensor: "gull".into(), class: TrafficClass::Real, window_seconds: 10 };
    let mut labels = Labels::default();
    let (observer, network) = (labels.number_observer(&observer), labels.number_network(&network));
    // Each source is another, so that numbers of the dictionary are as wide as they get.
    let row = |number: u32| Row {
        class: class.into(),
        source: number.into(),
        start: i64::from(number % 360) * 10,
        bytes: 40,
        packets: 1,
        targets: 1,
        observer,
        network,
    };
    let count = u32::try_from(ROW_GROUP_ROWS).unwrap() + 1;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.parquet");
    let mut writer = FileWriter::create(&path, count.into(), &[], false).unwrap();
    (0..count).for_each(|number| writer.push(row(number), &labels).unwrap());
    writer.finish(&labels).unwrap();
    let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    assert_eq!(file.num_row_groups(), 2);
    let mut reader = FileReader::open(&path).unwrap();
    for number in 0..count {
        assert_eq!(reader.next(&mut labels).unwrap(), Some(row(number)));
    }
    assert_eq!(reader.next(&mut labels).unwrap(), None);
}
