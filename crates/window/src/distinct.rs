//! Counting distinct sources: exact while few, then a HyperLogLog.
//!
//! Registers as in Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm", 2007; the estimate from them as in Ertl: "New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284, 2017, which needs no table of bias corrections.

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

/// A mergeable set of source hashes that can say how many there are.
///
/// It takes 64-bit hashes: whoever feeds it hashes addresses with a secret key, the same for all sketches that are
/// ever merged, so that no sender can aim at a register.
#[derive(Clone, Debug)]
pub struct DistinctSources {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Sorted, unique hashes.
    Exact(Vec<u64>),
    /// For each register the largest rank seen.
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for DistinctSources {
    fn default() -> DistinctSources {
        DistinctSources { form: Form::Exact(Vec::new()) }
    }
}

impl DistinctSources {
    /// The relative standard error of an estimate that is not exact: 1.04 / sqrt(registers).
    pub const STANDARD_ERROR: f64 = 0.01625;

    /// Adds one hash.
    pub fn insert(&mut self, hash: u64) {
        match &mut self.form {
            Form::Exact(hashes) => {
                if let Err(place) = hashes.binary_search(&hash) {
                    hashes.insert(place, hash);
                    if hashes.len() > EXACT_LIMIT {
                        self.coarsen();
                    }
                }
            }
            Form::Registers(registers) => observe(registers, hash),
        }
    }

    /// Adds everything that `other` has seen. Associative, commutative and idempotent.
    pub fn merge(&mut self, other: &DistinctSources) {
        match (&mut self.form, &other.form) {
            (_, Form::Exact(hashes)) => {
                for &hash in hashes {
                    self.insert(hash);
                }
            }
            (Form::Exact(_), Form::Registers(_)) => {
                self.coarsen();
                self.merge(other);
            }
            (Form::Registers(mine), Form::Registers(theirs)) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs.iter()) {
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
            Form::Exact(hashes) => hashes.len() as u64,
            Form::Registers(registers) => estimate(registers),
        }
    }

    /// Whether [`Self::count`] is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.form, Form::Exact(_))
    }

    /// Memory on the heap, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Form::Registers(_) => REGISTERS,
        }
    }

    /// Appends the set in the form that [`DistinctSources::read`] takes: a byte 0, the number of hashes (2 bytes) and the
    /// hashes ascending (8 bytes each); or a byte 1 and 4096 registers. Numbers are little-endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Exact(hashes) => {
                out.push(EXACT);
                // There are at most EXACT_LIMIT of them.
                out.extend_from_slice(&u16::try_from(hashes.len()).unwrap_or(u16::MAX).to_le_bytes());
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Form::Registers(registers) => {
                out.push(REGISTER);
                out.extend_from_slice(&**registers);
            }
        }
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
                (Form::Exact(hashes), rest)
            }
            REGISTER => {
                let (registers, rest) = rest.split_first_chunk::<REGISTERS>()?;
                if registers.iter().any(|&rank| usize::from(rank) > MAX_RANK) {
                    return None;
                }
                (Form::Registers(Box::new(*registers)), rest)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(DistinctSources { form })
    }

    fn coarsen(&mut self) {
        if let Form::Exact(hashes) = &self.form {
            let mut registers = Box::new([0u8; REGISTERS]);
            for &hash in hashes {
                observe(&mut registers, hash);
            }
            self.form = Form::Registers(registers);
        }
    }
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
            sources.insert(hash(n));
            sources.insert(hash(n / 2));
        }
        assert!(sources.is_exact());
        assert_eq!(sources.count(), EXACT_LIMIT as u64);
        sources.insert(hash(1 << 40));
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
                    sources.insert(hash(round << 32 | n));
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
            (0..size).for_each(|n| sources.insert(hash(n)));
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
                (from..from + n).for_each(|i| sources.insert(hash(i)));
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
