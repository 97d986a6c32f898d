//! Whether a report has the same numbers in two languages.

use crate::File;

/// Where two pages have other numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("number {place} is {one:?} in one language and {other:?} in the other")]
pub struct Difference {
    /// Which number of the page, from 1 on.
    pub place: usize,
    /// Its raw value in one.
    pub one: Option<String>,
    /// And in the other.
    pub other: Option<String>,
}

/// Holds that two pages, of one report in two languages, have the same numbers and times in the same order. Within a paragraph or
/// a cell the order is the language's.
///
/// # Errors
/// The first number that differs.
pub fn same_numbers(one: &File, other: &File) -> Result<(), Difference> {
    let (one, other) = (values(&one.bytes), values(&other.bytes));
    match (0..one.len().max(other.len())).find(|place| one.get(*place) != other.get(*place)) {
        None => Ok(()),
        Some(place) => {
            Err(Difference { place: place + 1, one: one.get(place).cloned(), other: other.get(place).cloned() })
        }
    }
}

/// Raw values of all numbers and times in a page that this crate wrote: text is escaped there, so tags are only its own.
fn values(html: &[u8]) -> Vec<String> {
    let html = String::from_utf8_lossy(html);
    let mut values = Vec::new();
    let mut of_piece = Vec::new();
    for tag in html.split('<').skip(1) {
        let value = tag.strip_prefix("data value=\"").or_else(|| tag.strip_prefix("time datetime=\""));
        if let Some((value, _)) = value.and_then(|value| value.split_once('"')) {
            of_piece.push(value.to_owned());
        } else if ["/p>", "/td>", "/th>", "/h1>", "/h2>", "/h3>", "/span>", "/caption>", "/summary>", "/figcaption>"]
            .iter()
            .any(|end| tag.starts_with(end))
        {
            of_piece.sort();
            values.append(&mut of_piece);
        }
    }
    values
}
