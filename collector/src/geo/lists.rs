//! Lists of networks as they are written: one network a line, or a MISP warninglist.

use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

use super::error::{EntryError, Problem};
use super::file;

/// Largest list that is read.
const MAX_LIST_BYTES: u64 = 256 << 20;
/// Longest name of a list.
const MAX_NAME: usize = 100;
/// What is shown of an entry that is wrong.
const SHOWN: usize = 60;

/// Networks of one organisation, from one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) name: String,
    pub(super) networks: Vec<IpNet>,
}

/// The parts of a warninglist that matter (<https://github.com/MISP/misp-warninglists>).
#[derive(Deserialize)]
struct Warninglist {
    name: String,
    list: Vec<String>,
}

/// Reads every list that a path stands for: a file, or a directory of them.
pub(super) fn read(path: &Path) -> Result<Vec<List>, Problem> {
    let unreadable = |source| Problem::Unreadable { path: path.to_owned(), source };
    let files = file::lists_within(path).map_err(unreadable)?;
    if files.is_empty() {
        return Err(Problem::NoLists { path: path.to_owned() });
    }
    files.iter().map(|file| read_file(file)).collect()
}

fn read_file(path: &Path) -> Result<List, Problem> {
    let bytes = file::read(path, MAX_LIST_BYTES)?;
    let list = if path.extension().is_some_and(|extension| extension == "json") {
        warninglist(path, &bytes)?
    } else {
        List { name: name_of(path), networks: text(path, &bytes)? }
    };
    let length = list.name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || list.name.chars().any(char::is_control) {
        return Err(Problem::Name { path: path.to_owned(), limit: MAX_NAME });
    }
    Ok(list)
}

/// The name of a file without its extension; and without the IP version, for which some keep files apart.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let version = ["_v4", "_v6"].into_iter().find_map(|version| stem.strip_suffix(version));
    version.filter(|name| !name.is_empty()).unwrap_or(&stem).to_owned()
}

fn text(path: &Path, bytes: &[u8]) -> Result<Vec<IpNet>, Problem> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut networks = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let wrong = |entry| Problem::Line { path: path.to_owned(), line, entry };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(EntryError::NotText))?;
        let entry = text.split('#').next().unwrap_or("").trim();
        if !entry.is_empty() {
            networks.push(network(entry).map_err(wrong)?);
        }
    }
    Ok(networks)
}

fn warninglist(path: &Path, bytes: &[u8]) -> Result<List, Problem> {
    let Warninglist { name, list } =
        serde_json::from_slice(bytes).map_err(|source| Problem::Warninglist { path: path.to_owned(), source })?;
    let networks = (1..).zip(&list).map(|(number, entry)| {
        network(entry.trim()).map_err(|entry| Problem::Entry { path: path.to_owned(), number, entry })
    });
    Ok(List { name: name.trim().to_owned(), networks: networks.collect::<Result<_, _>>()? })
}

/// A network or a single address. Bits behind the prefix are cleared, and IPv4 within IPv6 is IPv4.
fn network(text: &str) -> Result<IpNet, EntryError> {
    let wrong = || EntryError::NotANetwork(text.chars().take(SHOWN).collect());
    let network = if text.contains('/') {
        text.parse::<IpNet>().map_err(|_| wrong())?.trunc()
    } else {
        IpNet::from(text.parse::<IpAddr>().map_err(|_| wrong())?)
    };
    let network = match network {
        IpNet::V6(net) if net.prefix_len() >= 96 => match net.network().to_ipv4_mapped() {
            Some(address) => IpNet::V4(Ipv4Net::new(address, net.prefix_len() - 96).map_err(|_| wrong())?),
            None => network,
        },
        _ => network,
    };
    if network.prefix_len() == 0 { Err(EntryError::Everybody(network)) } else { Ok(network) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, content: &[u8]) -> Result<List, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut lists = read(&path).map_err(|problem| {
            let message = problem.to_string();
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            message
        })?;
        assert_eq!(lists.len(), 1);
        Ok(lists.remove(0))
    }

    #[test]
    fn a_text_has_networks_addresses_and_comments() {
        let text = "\u{feff}# known\r\n192.0.2.0/24\r\n\n  198.51.100.7 # one\n2001:db8::/32\n2001:db8::1\n192.0.2.9/24\n\
                    ::ffff:203.0.113.0/120\n::ffff:203.0.113.9\n#end";
        let List { name, networks } = list("Example_v6.txt", text.as_bytes()).unwrap();
        assert_eq!(name, "Example");
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let expected = [
            "192.0.2.0/24",
            "198.51.100.7/32",
            "2001:db8::/32",
            "2001:db8::1/128",
            "192.0.2.0/24",
            "203.0.113.0/24",
            "203.0.113.9/32",
        ];
        assert_eq!(networks, expected);
        assert_eq!(list("a.b.cidr", b"").unwrap(), List { name: "a.b".to_owned(), networks: Vec::new() });
    }

    #[test]
    fn a_malformed_line_is_named() {
        for (text, line, said) in [
            ("192.0.2.0/24\nexample.org\n", 2, "\"example.org\" is no network"),
            ("\n\n192.0.2.0/33", 3, "\"192.0.2.0/33\" is no network"),
            ("192.0.2.0 - 192.0.2.9", 1, "is no network"),
            ("192.0.2", 1, "is no network"),
            ("0.0.0.0/0", 1, "0.0.0.0/0 is every address"),
            ("#\n::/0", 2, "::/0 is every address"),
            ("::ffff:0:0/96", 1, "0.0.0.0/0 is every address"),
        ] {
            let message = list("x.txt", text.as_bytes()).unwrap_err();
            assert!(message.contains(&format!("line {line}:")) && message.contains(said), "{message}");
        }
        let message = list("x.txt", b"192.0.2.1\n\xff\xfe").unwrap_err();
        assert!(message.contains("line 2:") && message.contains("UTF-8"), "{message}");
    }

    #[test]
    fn a_warninglist_has_its_name_inside() {
        let json = r#"{"name": "Example scanners", "version": 3, "description": "d", "type": "cidr",
                       "matching_attributes": ["ip-src"], "list": ["192.0.2.0/24", "2001:db8::1"]}"#;
        let List { name, networks } = list("list.json", json.as_bytes()).unwrap();
        assert_eq!((name.as_str(), networks.len()), ("Example scanners", 2));
        for (json, said) in [
            (r#"{"name": "x", "list": ["192.0.2.0/24", "example.org"]}"#, "entry 2 of `list`"),
            ("{\"name\": \"x\",\n \"list\": 7}", "line 2"),
            (r#"{"list": []}"#, "`name`"),
            (r#"{"name": " ", "list": []}"#, "needs a name"),
            (r#"{"name": "a\nb", "list": []}"#, "control characters"),
            ("", "no MISP warninglist"),
        ] {
            let message = list("list.json", json.as_bytes()).unwrap_err();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let message = read(path).unwrap_err().to_string();
        assert!(message.contains("has no list"), "{message}");
        for name in ["b_v4.txt", "a.json", ".hidden.txt", "LICENSE", "c.txt~", "d.netset"] {
            let content = if name == "a.json" { r#"{"name": "A", "list": []}"# } else { "192.0.2.1" };
            std::fs::write(path.join(name), content).unwrap();
        }
        std::fs::create_dir(path.join("e.txt")).unwrap();
        let names: Vec<String> = read(path).unwrap().into_iter().map(|list| list.name).collect();
        assert_eq!(names, ["A", "b", "d"]);
    }
}
