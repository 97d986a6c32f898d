//! Counting distinct sources: exact while few, then a HyperLogLog.
//!
//! Registers as in Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm", 2007; the estimate from them as in Ertl: "New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284, 2017, which needs no table of bias corrections.

use std::fmt;
use std::sync::Arc;

/// Up to this many distinct hashes the count is exact.
const EXACT_LIMIT: usize = 1024;
/// log2 of the number of registers.
const PRECISION: u32 = 12;
/// Number of registers; one byte each.
const REGISTERS: usize = 1 << PRECISION;
/// The largest rank: one more than the bits that are left of a hash.
const MAX_RANK: usize = 64 - PRECISION as usize + 1;

/// First byte of a written set of hashes.
const EXACT: u8 = 0;
/// First byte of written registers.
const REGISTER: u8 = 1;

/// So many hashes are held without an allocation: most sets of a quiet network stay as small.
const INLINE: usize = 2;

/// A mergeable set of source hashes that can say how many there are.
///
/// It takes 64-bit hashes: whoever feeds it hashes addresses with a secret key, the same for all sketches that are
/// ever merged, so that no sender can aim at a register or at a place in the table of an exact set.
///
/// Clones share what is large; a change copies it once.
#[derive(Clone)]
pub struct DistinctSources {
    form: Form,
}

#[derive(Clone)]
enum Form {
    /// None, one or two hashes; 0 stands for no hash.
    Few([u64; INLINE]),
    /// More, up to [`EXACT_LIMIT`].
    Exact(Arc<Table>),
    /// For each register the largest rank seen.
    Registers(Arc<[u8; REGISTERS]>),
}

/// A set of hashes: open addressing with linear probing, at most three quarters full.
#[derive(Clone)]
struct Table {
    /// A power of two of places; 0 is an empty one.
    places: Box<[u64]>,
    count: usize,
}

impl Table {
    fn with_room_for(count: usize) -> Table {
        let places = (count * 4).div_ceil(3).next_power_of_two().max(8);
        Table { places: vec![0; places].into_boxed_slice(), count: 0 }
    }

    /// Adds a hash that is not 0.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits are looked at")]
    fn insert(&mut self, hash: u64) {
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while self.places[place] != hash {
            if self.places[place] == 0 {
                self.places[place] = hash;
                self.count += 1;
                if self.count * 4 > self.places.len() * 3 {
                    self.grow();
                }
                return;
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = Table { places: vec![0; self.places.len() * 2].into_boxed_slice(), count: 0 };
        self.hashes().for_each(|hash| larger.insert(hash));
        *self = larger;
    }

    fn hashes(&self) -> impl Iterator<Item = u64> {
        self.places.iter().copied().filter(|&hash| hash != 0)
    }
}

/// The same for the same set, however it came about.
impl fmt::Debug for DistinctSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Registers(registers) => f.debug_list().entries(registers.iter()).finish(),
            _ => f.debug_set().entries(self.hashes()).finish(),
        }
    }
}

impl Default for DistinctSources {
    fn default() -> DistinctSources {
        DistinctSources { form: Form::Few([0; INLINE]) }
    }
}

impl DistinctSources {
    /// The relative standard error of an estimate that is not exact: 1.04 / sqrt(registers).
    pub const STANDARD_ERROR: f64 = 0.01625;

    /// Adds hashes.
    pub fn insert(&mut self, hashes: &[u64]) {
        let mut rest = hashes;
        while let Some((&hash, behind)) = rest.split_first() {
            rest = match &mut self.form {
                Form::Few(few) => {
                    if !insert_few(few, one(hash)) {
                        let mut table = Table::with_room_for(INLINE + rest.len().min(EXACT_LIMIT));
                        few.iter().for_each(|&hash| table.insert(hash));
                        self.form = Form::Exact(Arc::new(table));
                        continue;
                    }
                    behind
                }
                Form::Exact(table) => {
                    let table = Arc::make_mut(table);
                    let mut rest = rest.iter();
                    // Only a set that is full need be looked at for each hash.
                    while table.count <= EXACT_LIMIT
                        && let Some(&hash) = rest.next()
                    {
                        table.insert(one(hash));
                    }
                    if table.count > EXACT_LIMIT {
                        self.coarsen();
                    }
                    rest.as_slice()
                }
                Form::Registers(registers) => {
                    let registers = Arc::make_mut(registers);
                    rest.iter().for_each(|&hash| observe(registers, one(hash)));
                    &[]
                }
            };
        }
    }

    /// Adds everything that `other` has seen. Associative, commutative and idempotent.
    pub fn merge(&mut self, other: &DistinctSources) {
        match (&mut self.form, &other.form) {
            (Form::Few([0, 0]), _) => self.form = other.form.clone(),
            (_, Form::Few(few)) => few.iter().filter(|&&hash| hash != 0).for_each(|&hash| self.insert(&[hash])),
            (_, Form::Exact(table)) => self.insert(&table.hashes().collect::<Vec<u64>>()),
            (Form::Few(_) | Form::Exact(_), Form::Registers(_)) => {
                self.coarsen();
                self.merge(other);
            }
            (Form::Registers(mine), Form::Registers(theirs)) => {
                for (mine, theirs) in Arc::make_mut(mine).iter_mut().zip(theirs.iter()) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
    }

    /// How many distinct hashes there were: exact if [`Self::is_exact`], else within
    /// [`Self::STANDARD_ERROR`] in two of three cases.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.form {
            Form::Few(few) => few.iter().filter(|&&hash| hash != 0).count() as u64,
            Form::Exact(table) => table.count as u64,
            Form::Registers(registers) => estimate(registers),
        }
    }

    /// Whether [`Self::count`] is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        !matches!(self.form, Form::Registers(_))
    }

    /// Memory on the heap, in bytes, reference counts included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        match &self.form {
            Form::Few(_) => 0,
            Form::Exact(table) => COUNTS + size_of::<Table>() + table.places.len() * size_of::<u64>(),
            Form::Registers(_) => COUNTS + REGISTERS,
        }
    }

    /// The hashes of an exact set, ascending.
    fn hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = match &self.form {
            Form::Few(few) => few.iter().copied().filter(|&hash| hash != 0).collect(),
            Form::Exact(table) => table.hashes().collect(),
            Form::Registers(_) => Vec::new(),
        };
        hashes.sort_unstable();
        hashes
    }

    /// Appends the set in the form that [`DistinctSources::read`] takes: a byte 0, the number of hashes (2 bytes) and the
    /// hashes ascending (8 bytes each); or a byte 1 and 4096 registers. Numbers are little-endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Form::Registers(registers) = &self.form {
            out.push(REGISTER);
            out.extend_from_slice(&**registers);
            return;
        }
        let hashes = self.hashes();
        out.push(EXACT);
        // There are at most EXACT_LIMIT of them.
        out.extend_from_slice(&u16::try_from(hashes.len()).unwrap_or(u16::MAX).to_le_bytes());
        hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
    }

    /// Takes a set off the front of `bytes`; `None` if what is there is no set.
    pub fn read(bytes: &mut &[u8]) -> Option<DistinctSources> {
        let (&[form], rest) = bytes.split_first_chunk()?;
        let (form, rest) = match form {
            EXACT => {
                let (&length, rest) = rest.split_first_chunk()?;
                let length = usize::from(u16::from_le_bytes(length));
                let (list, rest) = rest.split_at_checked(length * size_of::<u64>())?;
                let (list, []) = list.as_chunks() else {
                    return None;
                };
                let hashes: Vec<u64> = list.iter().map(|&hash| u64::from_le_bytes(hash)).collect();
                if length > EXACT_LIMIT || !hashes.is_sorted_by(|a, b| a < b) {
                    return None;
                }
                let mut exact = DistinctSources::default();
                exact.insert(&hashes);
                (exact.form, rest)
            }
            REGISTER => {
                let (registers, rest) = rest.split_first_chunk::<REGISTERS>()?;
                if registers.iter().any(|&rank| usize::from(rank) > MAX_RANK) {
                    return None;
                }
                (Form::Registers(Arc::new(*registers)), rest)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(DistinctSources { form })
    }

    fn coarsen(&mut self) {
        let mut registers = [0u8; REGISTERS];
        match &self.form {
            Form::Few(few) => few.iter().filter(|&&hash| hash != 0).for_each(|&hash| observe(&mut registers, hash)),
            Form::Exact(table) => table.hashes().for_each(|hash| observe(&mut registers, hash)),
            Form::Registers(_) => return,
        }
        self.form = Form::Registers(Arc::new(registers));
    }
}

/// A hash as it is held: 0 means none, so that it stands for 1. One in 2^64 sources is taken for another.
#[inline]
const fn one(hash: u64) -> u64 {
    if hash == 0 { 1 } else { hash }
}

/// Adds a hash; false if there is no room.
fn insert_few(few: &mut [u64; INLINE], hash: u64) -> bool {
    let place = few.iter_mut().find(|place| **place == hash || **place == 0);
    place.map(|place| *place = hash).is_some()
}

#[expect(clippy::cast_possible_truncation, reason = "twelve bits of index; a rank is at most 53")]
fn observe(registers: &mut [u8; REGISTERS], hash: u64) {
    let register = &mut registers[(hash >> (64 - PRECISION)) as usize];
    // The sentinel bit below the rest bounds the rank when all remaining bits are zero.
    let rank = ((hash << PRECISION | 1 << (PRECISION - 1)).leading_zeros() + 1) as u8;
    *register = (*register).max(rank);
}

/// Ertl's improved raw estimator (algorithm 6), unbiased over the whole range.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of at most 2^64, never negative"
)]
fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let m = REGISTERS as f64;
    let mut multiplicity = [0u32; MAX_RANK + 1];
    for &rank in registers {
        multiplicity[usize::from(rank).min(MAX_RANK)] += 1;
    }
    let mut z = m * tau(1.0 - f64::from(multiplicity[MAX_RANK]) / m);
    for &count in multiplicity[1..MAX_RANK].iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += m * sigma(f64::from(multiplicity[0]) / m);
    (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
}

/// x + the sum over k >= 1 of x^(2^k) 2^(k-1); infinite at 1, where no register was ever hit.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let next = sum + x * weight;
        if next <= sum {
            return sum;
        }
        sum = next;
        weight *= 2.0;
    }
}

/// (1 - x - the sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        weight *= 0.5;
        let next = sum - (1.0 - x).powi(2) * weight;
        if next >= sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SplitMix64's finaliser: a good hash of a counter for tests.
    fn hash(n: u64) -> u64 {
        let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    #[test]
    fn exact_up_to_the_limit_and_not_beyond() {
        let mut sources = DistinctSources::default();
        for n in 0..EXACT_LIMIT as u64 {
            sources.insert(&[hash(n)]);
            sources.insert(&[hash(n / 2)]);
        }
        assert!(sources.is_exact());
        assert_eq!(sources.count(), EXACT_LIMIT as u64);
        sources.insert(&[hash(1 << 40)]);
        assert!(!sources.is_exact());
    }

    #[test]
    fn estimates_keep_the_stated_error() {
        // Mean squared relative error over many independent sets, at sizes on both sides of every regime.
        for size in [1_500u64, 5_000, 20_000, 60_000, 300_000] {
            let rounds = 30u64;
            let mut squares = 0.0;
            for round in 0..rounds {
                let mut sources = DistinctSources::default();
                for n in 0..size {
                    sources.insert(&[hash(round << 32 | n)]);
                }
                let error = sources.count() as f64 / size as f64 - 1.0;
                squares += error * error;
            }
            let measured = (squares / rounds as f64).sqrt();
            assert!(measured < 1.5 * DistinctSources::STANDARD_ERROR, "{size}: {measured}");
        }
    }

    #[test]
    fn sets_come_back_and_damaged_ones_do_not() {
        for size in [0u64, 1, 1024, 1025, 5000] {
            let mut sources = DistinctSources::default();
            (0..size).for_each(|n| sources.insert(&[hash(n)]));
            let mut bytes = Vec::new();
            sources.write(&mut bytes);
            bytes.push(77);
            let mut rest = bytes.as_slice();
            let mut back = DistinctSources::read(&mut rest).unwrap();
            assert_eq!((rest, back.count(), back.is_exact()), (&[77][..], sources.count(), sources.is_exact()));
            back.merge(&sources);
            assert_eq!(back.count(), sources.count());
            for length in 0..bytes.len() - 1 {
                assert!(DistinctSources::read(&mut &bytes[..length]).is_none());
            }
        }
        assert!(DistinctSources::read(&mut &[2, 0, 0][..]).is_none());
        assert!(DistinctSources::read(&mut &[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..]).is_none());
    }

    proptest! {
        #[test]
        fn merging_is_the_union(a in 0u64..3000, b in 0u64..3000, start in 0u64..3000) {
            let fill = |from: u64, n: u64| {
                let mut sources = DistinctSources::default();
                (from..from + n).for_each(|i| sources.insert(&[hash(i)]));
                sources
            };
            let (left, right) = (fill(0, a), fill(start, b));
            let mut forth = left.clone();
            forth.merge(&right);
            let mut back = right;
            back.merge(&left);
            prop_assert_eq!(forth.count(), back.count());
            let union = if start < a { a.max(start + b) } else { a + b };
            let union = if b == 0 { a } else { union };
            let allowed = if forth.is_exact() { 0.0 } else { 0.1 * union as f64 };
            prop_assert!((forth.count() as f64 - union as f64).abs() <= allowed);
        }
    }
}
