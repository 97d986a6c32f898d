//! What `/metrics` says, held against docs/metrics.md.

use std::collections::BTreeMap;

use crate::program::workspace_root;

/// A family as it is documented: its type, and its labels.
pub type Documented = BTreeMap<String, (String, Vec<String>)>;

/// Every family of docs/metrics.md.
///
/// # Panics
/// If the page cannot be read.
#[must_use]
pub fn documented() -> Documented {
    let page = std::fs::read_to_string(workspace_root().join("docs/metrics.md")).unwrap();
    let text = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `martlet_")?.split(" | ").collect();
        let [name, kind, labels, _] = cells[..] else { return None };
        let labels = labels.split(", ").filter(|label| !label.trim().is_empty()).map(text).collect();
        Some((format!("martlet_{}", text(name)), (kind.to_owned(), labels)))
    });
    rows.collect()
}

/// A sample: the name of its series with labels as written, and its value.
#[must_use]
pub fn samples(scrape: &str) -> Vec<(&str, f64)> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, value)| (series, value.parse().unwrap())).collect()
}

/// The values of the labels of a series, by name.
#[must_use]
pub fn labels(series: &str) -> BTreeMap<&str, &str> {
    let inner = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    inner
        .split_terminator("\",")
        .filter_map(|label| label.split_once("=\""))
        .map(|(k, v)| (k, v.trim_end_matches('"')))
        .collect()
}

/// Asserts that every family and every label of a scrape is documented, and returns the names of its families.
///
/// # Panics
/// If one is not.
#[must_use]
pub fn assert_documented(scrape: &str) -> Vec<String> {
    let documented = documented();
    let mut families = Vec::new();
    for line in scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let expected = documented.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(kind, expected.0, "{name}");
        families.push(name.to_owned());
    }
    for (series, _) in samples(scrape) {
        let name = series.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = documented.get(name).or_else(|| documented.get(of_histogram?));
        let (_, known) = family.unwrap_or_else(|| panic!("{series} is not in docs/metrics.md"));
        for label in labels(series).keys().filter(|label| **label != "le") {
            assert!(known.iter().any(|known| known == label), "{label} of {series} is not in docs/metrics.md");
        }
    }
    families
}
