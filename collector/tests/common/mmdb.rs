//! Writes small databases in MaxMind's format (<https://maxmind.github.io/MaxMind-DB/>), for tests. Records are JSON values.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use ipnet::IpNet;
use serde_json::{Value, json};

/// Bytes between the search tree and the data.
const SEPARATOR: [u8; 16] = [0; 16];
const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// A database that is being made.
pub(crate) struct Mmdb {
    name: String,
    pub(crate) ip_version: u16,
    pub(crate) record_size: u16,
    pub(crate) build_epoch: u64,
    entries: Vec<(IpNet, Value)>,
}

/// What a branch of the tree leads to.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    /// Offset in the data.
    Data(usize),
}

impl Mmdb {
    pub(crate) fn new(name: &str) -> Mmdb {
        // 2026-06-17T00:00:00Z
        Mmdb { name: name.to_owned(), ip_version: 6, record_size: 24, build_epoch: 1_781_654_400, entries: Vec::new() }
    }

    pub(crate) fn with(mut self, network: &str, record: Value) -> Mmdb {
        self.entries.push((network.parse().unwrap(), record));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        // A wider network would cover those within it.
        entries.sort_by_key(|(network, _)| self.place(network).1);
        let mut data = Vec::new();
        let mut nodes = vec![[Branch::Nothing; 2]];
        for (network, record) in &entries {
            let offset = data.len();
            write_value(&mut data, record);
            let (bits, length) = self.place(network);
            let mut node = 0;
            for depth in 0..length {
                let side = usize::from(bits >> (127 - depth) & 1 == 1);
                let branch = nodes[node][side];
                if depth + 1 == length {
                    nodes[node][side] = Branch::Data(offset);
                } else if let Branch::Node(next) = branch {
                    node = next;
                } else {
                    nodes.push([branch; 2]);
                    nodes[node][side] = Branch::Node(nodes.len() - 1);
                    node = nodes.len() - 1;
                }
            }
        }
        let count = nodes.len();
        let number = |branch| match branch {
            Branch::Nothing => count,
            Branch::Node(node) => node,
            Branch::Data(offset) => count + SEPARATOR.len() + offset,
        };
        let mut file = Vec::new();
        for [left, right] in nodes {
            let (left, right) = (u32::try_from(number(left)).unwrap(), u32::try_from(number(right)).unwrap());
            let ([l3, l2, l1, l0], [r3, r2, r1, r0]) = (left.to_be_bytes(), right.to_be_bytes());
            match self.record_size {
                24 => file.extend([l2, l1, l0, r2, r1, r0]),
                28 => file.extend([l2, l1, l0, l3 << 4 | r3, r2, r1, r0]),
                32 => file.extend([l3, l2, l1, l0, r3, r2, r1, r0]),
                other => panic!("no such record size: {other}"),
            }
        }
        file.extend(SEPARATOR);
        file.extend(data);
        file.extend(METADATA_MARKER);
        self.write_metadata(&mut file, count);
        file
    }

    /// Bits from the top, and how many of them count.
    fn place(&self, network: &IpNet) -> (u128, u8) {
        match network {
            IpNet::V4(net) if self.ip_version == 4 => (u128::from(u32::from(net.network())) << 96, net.prefix_len()),
            IpNet::V4(net) => (u128::from(u32::from(net.network())), net.prefix_len() + 96),
            IpNet::V6(net) => (net.network().into(), net.prefix_len()),
        }
    }

    fn write_metadata(&self, out: &mut Vec<u8>, node_count: usize) {
        control(out, 7, 9);
        let mut field = |name: &str, kind: u8, bytes: &[u8]| {
            write_value(out, &json!(name));
            control(out, kind, bytes.len());
            out.extend(bytes);
        };
        field("binary_format_major_version", 5, &2u16.to_be_bytes());
        field("binary_format_minor_version", 5, &0u16.to_be_bytes());
        field("build_epoch", 9, &self.build_epoch.to_be_bytes());
        field("database_type", 2, self.name.as_bytes());
        field("ip_version", 5, &self.ip_version.to_be_bytes());
        field("node_count", 6, &u32::try_from(node_count).unwrap().to_be_bytes());
        field("record_size", 5, &self.record_size.to_be_bytes());
        for (name, value) in [("description", json!({})), ("languages", json!([]))] {
            write_value(out, &json!(name));
            write_value(out, &value);
        }
    }
}

/// The byte or bytes that a value begins with: its type and its size.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (small, more) = match size {
        0..29 => (size, None),
        29..285 => (29, Some(size - 29)),
        _ => panic!("values so large are not written here: {size}"),
    };
    let small = u8::try_from(small).unwrap();
    if kind < 8 {
        out.push(kind << 5 | small);
    } else {
        out.extend([small, kind - 7]);
    }
    out.extend(more.map(|more| u8::try_from(more).unwrap()));
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let mut plain = |kind: u8, bytes: &[u8]| {
        control(out, kind, bytes.len());
        out.extend(bytes);
    };
    match value {
        Value::String(text) => plain(2, text.as_bytes()),
        Value::Bool(truth) => control(out, 14, usize::from(*truth)),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => match u32::try_from(number) {
                Ok(number) => plain(6, &number.to_be_bytes()),
                Err(_) => plain(9, &number.to_be_bytes()),
            },
            (None, Some(number)) => plain(8, &i32::try_from(number).unwrap().to_be_bytes()),
            (None, None) => plain(3, &number.as_f64().unwrap().to_be_bytes()),
        },
        Value::Array(items) => {
            control(out, 11, items.len());
            items.iter().for_each(|item| write_value(out, item));
        }
        Value::Object(fields) => {
            control(out, 7, fields.len());
            for (name, value) in fields {
                write_value(out, &json!(name));
                write_value(out, value);
            }
        }
        Value::Null => panic!("the format has no null"),
    }
}
