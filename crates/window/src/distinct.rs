//! Counting distinct sources: exact while few, then a HyperLogLog.
//!
//! Registers as in Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm", 2007; the estimate from them as in Ertl: "New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284, 2017, which needs no table of bias corrections.

use std::fmt;
use std::sync::Arc;

/// See [`DistinctSources::EXACT_LIMIT`].
const EXACT_LIMIT: usize = DistinctSources::EXACT_LIMIT;
/// Number of registers; one byte each.
const REGISTERS: usize = 1 << 12;
/// Number of registers of a set that was made coarse.
const COARSE_REGISTERS: usize = 1 << 8;
/// An exact set of so many hashes is as large as a coarse one.
const COARSE_LIMIT: usize = COARSE_REGISTERS / size_of::<u64>();

/// First byte of a written set of hashes.
const EXACT: u8 = 0;
/// First byte of written registers.
const REGISTER: u8 = 1;
/// First byte of the written registers of a coarse set.
const COARSE: u8 = 2;

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
    /// The same of fewer.
    Coarse(Arc<[u8; COARSE_REGISTERS]>),
}

/// A set of hashes: open addressing with linear probing, at most three quarters full.
#[derive(Clone)]
struct Table {
    /// A power of two of places; 0 is an empty one.
    places: Box<[u64]>,
    count: usize,
}

/// Which bits of a hash say where it stands: not the low ones, which who stores hashes may leave out, and not the highest, which
/// are alike in hashes that come in ascending order.
const HOME_SHIFT: u32 = 40;

impl Table {
    fn with_room_for(count: usize) -> Table {
        let places = (count * 4).div_ceil(3).next_power_of_two().max(8);
        Table { places: vec![0; places].into_boxed_slice(), count: 0 }
    }

    /// Adds a hash that is not 0.
    #[inline]
    fn insert(&mut self, hash: u64) {
        let mask = self.places.len() - 1;
        let mut place = (hash >> HOME_SHIFT) as usize & mask;
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
            Form::Coarse(registers) => f.debug_list().entries(registers.iter()).finish(),
            _ => f.debug_set().entries(self.hashes().unwrap_or_default()).finish(),
        }
    }
}

impl Default for DistinctSources {
    fn default() -> DistinctSources {
        DistinctSources { form: Form::Few([0; INLINE]) }
    }
}

impl DistinctSources {
    /// Up to so many distinct hashes the count is exact.
    pub const EXACT_LIMIT: usize = 1024;

    /// The relative standard error of an estimate that is not exact: 1.04 / sqrt(registers), which measurements confirm.
    pub const STANDARD_ERROR: f64 = 0.01625;
    /// The same of a set that was made coarse.
    pub const COARSE_ERROR: f64 = 0.065;

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
                Form::Coarse(registers) => {
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
            (Form::Few(_) | Form::Exact(_), _) => {
                let mut sum = other.clone();
                sum.merge(self);
                *self = sum;
            }
            (Form::Registers(mine), Form::Registers(theirs)) => raise(Arc::make_mut(mine), theirs),
            (Form::Coarse(mine), Form::Coarse(theirs)) => raise(Arc::make_mut(mine), theirs),
            (Form::Coarse(mine), Form::Registers(theirs)) => raise(Arc::make_mut(mine), &fold(theirs)),
            (Form::Registers(mine), Form::Coarse(theirs)) => {
                let mut sum = fold(mine);
                raise(&mut sum, theirs);
                self.form = Form::Coarse(Arc::new(sum));
            }
        }
    }

    /// How many distinct hashes there were: exact if [`Self::is_exact`], else within [`Self::standard_error`] in two of three
    /// cases.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.form {
            Form::Few(few) => few.iter().filter(|&&hash| hash != 0).count() as u64,
            Form::Exact(table) => table.count as u64,
            Form::Registers(registers) => estimate(registers),
            Form::Coarse(registers) => estimate(registers),
        }
    }

    /// The relative standard error of [`Self::count`]; 0 if it is exact.
    #[must_use]
    pub const fn standard_error(&self) -> f64 {
        match self.form {
            Form::Few(_) | Form::Exact(_) => 0.0,
            Form::Registers(_) => Self::STANDARD_ERROR,
            Form::Coarse(_) => Self::COARSE_ERROR,
        }
    }

    /// Lets the set take a few hundred bytes at most, for the price of [`Self::COARSE_ERROR`].
    pub fn make_coarse(&mut self) {
        match &self.form {
            Form::Exact(table) if table.count > COARSE_LIMIT => {
                let mut registers = [0u8; COARSE_REGISTERS];
                table.hashes().for_each(|hash| observe(&mut registers, hash));
                self.form = Form::Coarse(Arc::new(registers));
            }
            Form::Registers(registers) => self.form = Form::Coarse(Arc::new(fold(registers))),
            Form::Few(_) | Form::Exact(_) | Form::Coarse(_) => {}
        }
    }

    /// Whether [`Self::count`] is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.form, Form::Few(_) | Form::Exact(_))
    }

    /// Memory on the heap, in bytes, reference counts included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        match &self.form {
            Form::Few(_) => 0,
            Form::Exact(table) => COUNTS + size_of::<Table>() + table.places.len() * size_of::<u64>(),
            Form::Registers(_) => COUNTS + REGISTERS,
            Form::Coarse(_) => COUNTS + COARSE_REGISTERS,
        }
    }

    /// The hashes of an exact set, ascending; 0 stands for 1 there.
    #[must_use]
    pub fn hashes(&self) -> Option<Vec<u64>> {
        let mut hashes: Vec<u64> = match &self.form {
            Form::Few(few) => few.iter().copied().filter(|&hash| hash != 0).collect(),
            Form::Exact(table) => table.hashes().collect(),
            Form::Registers(_) | Form::Coarse(_) => return None,
        };
        hashes.sort_unstable();
        Some(hashes)
    }

    /// Appends the set in the form that [`DistinctSources::read`] takes: a byte 0, the number of hashes (2 bytes) and the
    /// hashes ascending (8 bytes each); or a byte 1 and 4096 registers; or a byte 2 and 256. Numbers are little-endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Registers(registers) => {
                out.push(REGISTER);
                out.extend_from_slice(&**registers);
            }
            Form::Coarse(registers) => {
                out.push(COARSE);
                out.extend_from_slice(&**registers);
            }
            _ => Self::write_hashes(&self.hashes().unwrap_or_default(), out),
        }
    }

    /// Appends the set of these hashes, at most [`Self::EXACT_LIMIT`] and ascending, as [`DistinctSources::write`].
    pub fn write_hashes(hashes: &[u64], out: &mut Vec<u8>) {
        out.push(EXACT);
        out.extend_from_slice(&u16::try_from(hashes.len()).unwrap_or(u16::MAX).to_le_bytes());
        hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
    }

    /// The set of these hashes; `None` if they do not ascend, or are more than an exact set holds.
    #[must_use]
    pub fn from_hashes(hashes: &[u64]) -> Option<DistinctSources> {
        let mut exact = DistinctSources::default();
        let is_sound = hashes.len() <= EXACT_LIMIT && hashes.is_sorted_by(|a, b| a < b);
        is_sound.then(|| exact.insert(hashes))?;
        Some(exact)
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
                (DistinctSources::from_hashes(&hashes)?.form, rest)
            }
            REGISTER => {
                let (registers, rest) = read_registers(rest)?;
                (Form::Registers(registers), rest)
            }
            COARSE => {
                let (registers, rest) = read_registers(rest)?;
                (Form::Coarse(registers), rest)
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
            Form::Registers(_) | Form::Coarse(_) => return,
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

/// The largest rank that one of so many registers can have: one more than the bits that are left of a hash.
const fn max_rank(registers: usize) -> usize {
    64 - registers.trailing_zeros() as usize + 1
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a few bits of index; a rank is at most 64")]
fn observe<const M: usize>(registers: &mut [u8; M], hash: u64) {
    let precision = const { M.trailing_zeros() };
    let register = &mut registers[(hash >> (64 - precision)) as usize];
    // The sentinel bit below the rest bounds the rank when all remaining bits are zero.
    let rank = ((hash << precision | 1 << (precision - 1)).leading_zeros() + 1) as u8;
    *register = (*register).max(rank);
}

/// Takes in the registers of another set.
fn raise<const M: usize>(mine: &mut [u8; M], theirs: &[u8; M]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = (*mine).max(*theirs);
    }
}

/// What the same hashes would have left in fewer registers.
#[expect(clippy::cast_possible_truncation, reason = "a rank is at most 64")]
fn fold(registers: &[u8; REGISTERS]) -> [u8; COARSE_REGISTERS] {
    const BITS: u32 = REGISTERS.trailing_zeros() - COARSE_REGISTERS.trailing_zeros();
    let mut coarse = [0u8; COARSE_REGISTERS];
    for (place, &rank) in registers.iter().enumerate().filter(|(_, rank)| **rank > 0) {
        // The low bits of the place lie in front of the bits that the rank was taken of.
        let low = place as u32 & ((1 << BITS) - 1);
        let rank = if low == 0 { rank + BITS as u8 } else { (low.leading_zeros() - (32 - BITS) + 1) as u8 };
        let register = &mut coarse[place >> BITS];
        *register = (*register).max(rank);
    }
    coarse
}

fn read_registers<const M: usize>(bytes: &[u8]) -> Option<(Arc<[u8; M]>, &[u8])> {
    let (registers, rest) = bytes.split_first_chunk::<M>()?;
    let is_sound = registers.iter().all(|&rank| usize::from(rank) <= max_rank(M));
    is_sound.then(|| (Arc::new(*registers), rest))
}

/// Ertl's improved raw estimator (algorithm 6), unbiased over the whole range.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of at most 2^64, never negative"
)]
fn estimate<const M: usize>(registers: &[u8; M]) -> u64 {
    let (m, max_rank) = (M as f64, max_rank(M));
    let mut multiplicity = [0u32; 66];
    for &rank in registers {
        multiplicity[usize::from(rank).min(max_rank)] += 1;
    }
    let mut z = m * tau(1.0 - f64::from(multiplicity[max_rank]) / m);
    for &count in multiplicity[1..max_rank].iter().rev() {
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

    /// Root of the mean squared relative error over independent sets, as they are and made coarse.
    fn measured_errors(size: u64, rounds: u64) -> [f64; 2] {
        let mut squares = [0.0; 2];
        for round in 0..rounds {
            let hashes: Vec<u64> = (0..size).map(|n| hash(round << 40 | n)).collect();
            let mut sources = DistinctSources::default();
            sources.insert(&hashes);
            let mut coarse = sources.clone();
            coarse.make_coarse();
            for (sum, set) in squares.iter_mut().zip([sources, coarse]) {
                let error = set.count() as f64 / size as f64 - 1.0;
                *sum += error * error;
            }
        }
        squares.map(|sum| (sum / rounds as f64).sqrt())
    }

    #[test]
    fn estimates_keep_the_stated_error() {
        // Sizes on both sides of every regime.
        for size in [1_500u64, 5_000, 20_000, 60_000, 300_000] {
            let [fine, coarse] = measured_errors(size, 30);
            assert!(fine < 1.5 * DistinctSources::STANDARD_ERROR, "{size}: {fine}");
            assert!(coarse < 1.5 * DistinctSources::COARSE_ERROR, "{size}: {coarse}");
        }
    }

    /// `cargo test --release -p martlet-window -- --ignored --nocapture errors`: the figures of benches/results.
    #[test]
    #[ignore = "takes a minute, and prints instead of checking"]
    fn print_the_errors_of_estimates() {
        for size in [1_100u64, 1_500, 3_000, 5_000, 10_000, 20_000, 60_000, 300_000, 1_000_000] {
            let [fine, coarse] = measured_errors(size, (60_000_000 / size).clamp(200, 4000));
            println!("{size:>9} sources: {:.3} % and coarse {:.2} %", fine * 100.0, coarse * 100.0);
        }
    }

    #[test]
    fn a_coarse_set_is_what_its_hashes_would_have_made_it() {
        for size in [10u64, 40, 1000, 3000, 100_000] {
            let hashes: Vec<u64> = (0..size).map(hash).collect();
            let (few, many) = hashes.split_at(hashes.len() / 3);
            let mut at_once = DistinctSources::default();
            at_once.insert(&hashes);
            at_once.make_coarse();
            assert_eq!(at_once.is_exact(), size <= COARSE_LIMIT as u64);
            // One half coarse, the other as it is, merged both ways.
            let [mut one, mut other] = [few, many].map(|hashes| {
                let mut set = DistinctSources::default();
                set.insert(hashes);
                set
            });
            one.make_coarse();
            let mut back = other.clone();
            back.merge(&one);
            one.merge(&other);
            one.make_coarse();
            back.make_coarse();
            other.make_coarse();
            other.insert(few);
            other.make_coarse();
            for set in [one, back, other] {
                assert_eq!(format!("{set:?}"), format!("{at_once:?}"), "{size}");
            }
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
            sources.make_coarse();
            bytes.clear();
            sources.write(&mut bytes);
            let back = DistinctSources::read(&mut bytes.as_slice()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{sources:?}"));
        }
        assert!(DistinctSources::read(&mut &[3, 0, 0][..]).is_none());
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
