//! Lists and levels against sums made one by one.

use super::*;
use proptest::prelude::*;

impl SortedKey for u32 {
    fn overflow(self) -> u32 {
        u32::MAX - self % 2
    }
    fn is_overflow(self) -> bool {
        self >= u32::MAX - 1
    }
}

/// Key, packets, and numbers of sources.
type Given = Vec<(u32, u64, Vec<u64>)>;
type Sums = BTreeMap<u32, (u64, u64, DistinctSources)>;

/// A good hash of a number, and the same for the same.
fn hash(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn add(sums: &mut Sums, key: u32, packets: u64, bytes: u64, set: &DistinctSources) {
    let sum = sums.entry(key).or_default();
    (sum.0, sum.1) = (sum.0 + packets, sum.1 + bytes);
    sum.2.merge(set);
}

fn sorted(given: &Given) -> Sorted<u32> {
    let mut sums = Sums::new();
    for (key, packets, sources) in given {
        let mut set = DistinctSources::default();
        set.insert(&sources.iter().map(|&n| hash(n)).collect::<Vec<_>>());
        add(&mut sums, *key, *packets, packets * 40, &set);
    }
    let mut list = Sorted::default();
    for (key, (packets, bytes, set)) in sums {
        match set.hashes() {
            Some(mut hashes) => {
                // In any order, and more than once.
                hashes.reverse();
                hashes.extend_from_within(..);
                list.push(key, packets, bytes, &mut hashes);
            }
            None => list.push_set(key, packets, bytes, set),
        }
    }
    list
}

fn sums<'a>(rows: impl Iterator<Item = (u32, RowRef<'a>)>) -> Sums {
    let mut sums = Sums::new();
    rows.for_each(|(key, row)| add(&mut sums, key, row.packets, row.bytes, &row.sources.to_set()));
    sums
}

fn shown(sums: &Sums) -> String {
    format!("{sums:?}")
}

fn given() -> impl Strategy<Value = Given> {
    // Mostly few sources, sometimes more than are exact.
    let sources = prop_oneof![
        20 => proptest::collection::vec(0u64..50, 1..4),
        2 => (0u64..3000, 0u64..2000).prop_map(|(from, count)| (from..from + count.max(1)).collect()),
    ];
    proptest::collection::vec((0u32..60, 1u64..9, sources), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn levels_are_the_sum_of_what_came(all in proptest::collection::vec(given(), 0..8), share: bool) {
        let (mut levels, mut expected, mut views) = (Levels::default(), Sums::new(), Vec::new());
        for given in &all {
            let list = sorted(given);
            sums(list.iter()).iter().for_each(|(key, sum)| add(&mut expected, *key, sum.0, sum.1, &sum.2));
            prop_assert_eq!(levels.add(list, usize::MAX), 0);
            if share {
                views.push((levels.clone(), shown(&expected)));
            }
            prop_assert!(levels.lists().collect::<Vec<_>>().windows(2).all(|pair| pair[0].weight() >= 2 * pair[1].weight()));
        }
        prop_assert_eq!(shown(&sums(levels.iter())), shown(&expected));
        let merged = levels.merged();
        prop_assert!(merged.rows.is_sorted_by(|a, b| a.key < b.key));
        prop_assert_eq!(shown(&sums(merged.iter())), shown(&expected));
        // What others hold has not changed.
        for (view, expected) in views {
            prop_assert_eq!(shown(&sums(view.iter())), expected);
        }
    }

    #[test]
    fn beyond_the_limit_nothing_is_lost_and_what_was_told_apart_stays(
        all in proptest::collection::vec(given(), 1..8), most in 1usize..70) {
        let (mut levels, mut packets, mut overflowed) = (Levels::default(), 0, 0);
        let mut told_apart: Vec<u32> = Vec::new();
        for given in &all {
            let list = sorted(given);
            packets += list.iter().map(|(_, row)| row.packets).sum::<u64>();
            overflowed += levels.add(list, most);
            let now = sums(levels.iter());
            prop_assert!(told_apart.iter().all(|key| now.contains_key(key)));
            told_apart = now.keys().copied().filter(|key| !key.is_overflow()).collect();
            prop_assert!(told_apart.len() <= most);
            prop_assert_eq!(now.values().map(|sum| sum.0).sum::<u64>(), packets);
            let rest = now.iter().filter(|(key, _)| key.is_overflow()).map(|(_, sum)| sum.0).sum::<u64>();
            prop_assert_eq!(rest, overflowed);
            // There is overflow only if there is no room.
            prop_assert!(overflowed == 0 || told_apart.len() == most);
        }
    }

    #[test]
    fn sums_of_keys_are_those_of_their_rows(given in given()) {
        let list = sorted(&given);
        let mut expected = Sums::new();
        sums(list.iter()).iter().for_each(|(key, sum)| add(&mut expected, key / 4, sum.0, sum.1, &sum.2));
        prop_assert_eq!(shown(&sums(list.summed(|key| key / 4).iter())), shown(&expected));
    }
}

#[test]
fn beyond_its_memory_sets_become_coarse_and_counts_do_not() {
    let (mut levels, mut coarsened) = (Levels::default(), 0);
    for round in 0..20u64 {
        // Few, many, and very many sources.
        let sources = |key: u32| (0..[1, 60, 800][key as usize % 3]).map(|n| round * 100_000 + n).collect();
        levels.add(sorted(&(0..300).map(|key| (key, 2, sources(key))).collect()), usize::MAX);
        coarsened += levels.bound_memory(200_000);
    }
    assert!(levels.heap_bytes(0) < 250_000, "{}", levels.heap_bytes(0));
    assert_eq!(coarsened, 200);
    for (key, (packets, _, set)) in sums(levels.iter()) {
        assert_eq!(packets, 40);
        let expected = [20.0, 1200.0, 16_000.0][key as usize % 3];
        let error = set.count() as f64 / expected - 1.0;
        assert!(error.abs() <= 4.5 * set.standard_error(), "{key}: {error}");
    }
}

#[test]
fn the_heaviest_keys_get_the_room() {
    let list = sorted(&vec![(1, 5, vec![1]), (2, 9, vec![1, 2]), (3, 7, vec![3]), (4, 7, vec![4])]);
    let (kept, new, overflowed) = list.limited(|_| false, 2);
    let rows: Vec<(u32, u64)> = kept.iter().map(|(key, row)| (key, row.packets)).collect();
    assert_eq!((rows, new, overflowed), (vec![(2, 9), (3, 7), (u32::MAX - 1, 5), (u32::MAX, 7)], 2, 12));
}
