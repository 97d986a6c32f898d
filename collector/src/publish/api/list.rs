//! Lists in a stable order, page by page.
//!
//! An entry's place is a row of bytes, unlike that of any other entry, and lists are in the order of these bytes. So a place
//! that comes from outside needs no checking: whatever it is, some entries lie behind it.

use super::params::Query;

/// The place of an entry in its list's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub(super) Vec<u8>);

/// One page of a list.
pub(super) struct Page<T> {
    pub(super) entries: Vec<T>,
    /// How many are behind it.
    pub(super) left_out: usize,
    /// What asks for them.
    pub(super) next: Option<String>,
}

/// The entries that a query asks for: behind its cursor, and no more than its limit.
pub(super) fn page<T, P: AsRef<[u8]> + Ord>(query: &Query, mut entries: Vec<T>, place: impl Fn(&T) -> P) -> Page<T> {
    if let Some(Place(after)) = &query.after {
        entries.retain(|entry| place(entry).as_ref() > after.as_slice());
    }
    let Page { entries, left_out, .. } = top(query, entries, &place);
    let last = entries.last().filter(|_| left_out > 0);
    let next = last.map(|last| query.cursor_after(Place(place(last).as_ref().to_vec())));
    Page { entries, left_out, next }
}

/// The first entries of a list that has no further pages, no more than the query's limit.
pub(super) fn top<T, P: Ord>(query: &Query, mut entries: Vec<T>, place: impl Fn(&T) -> P) -> Page<T> {
    entries.sort_unstable_by_key(place);
    let left_out = entries.len().saturating_sub(query.limit);
    entries.truncate(query.limit);
    Page { entries, left_out, next: None }
}

/// A place in a list by packets, descending, and then by something of `N` bytes; `L` is `N` and eight.
pub(super) fn by_packets<const N: usize, const L: usize>(packets: u64, then: [u8; N]) -> [u8; L] {
    const { assert!(L == N + 8) };
    let mut place = [0; L];
    let (first, rest) = place.split_at_mut(8);
    first.copy_from_slice(&(u64::MAX - packets).to_be_bytes());
    rest.copy_from_slice(&then);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_lists() {
        let place = |packets, then| by_packets::<2, 10>(packets, [0, then]);
        let places = [place(u64::MAX, 9), place(256, 0), place(255, 1), place(255, 2), place(0, 0)];
        assert!(places.is_sorted());
    }
}
