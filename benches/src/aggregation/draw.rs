//! Rows to count, drawn before the clock runs.

use std::fmt;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Rows of a batch.
const BATCH_ROWS: usize = 1000;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Each as likely as any other.
    Uniform,
    /// The k-th about 1/k times as likely as the first.
    Zipf,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Uniform => "uniform",
            Shape::Zipf => "Zipf-like",
        })
    }
}

impl Shape {
    /// One of the numbers below `keys`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to the range")]
    fn draw(self, keys: u32, random: &mut impl Rng) -> u32 {
        match self {
            Shape::Uniform => random.random_range(0..keys),
            // The inverse of the logarithm's distribution, whose density is 1/x.
            Shape::Zipf => {
                let x = (random.random::<f64>() * f64::from(keys).ln_1p()).exp_m1();
                (x as u32).min(keys - 1)
            }
        }
    }
}

/// Rows as they are after decoding: sources and packets in columns of their own.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) sources: Vec<u128>,
    pub(super) packets: Vec<u32>,
}

impl Batch {
    /// The rows.
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, u64)> {
        self.sources.iter().zip(&self.packets).map(|(&source, &packets)| (source as u32, u64::from(packets)))
    }
}

/// All rows of one measurement.
#[derive(Debug)]
pub(super) struct Rows {
    batches: Vec<Batch>,
    passes: usize,
}

impl Rows {
    /// Draws so many rows, to be counted so often. The same arguments give the same rows.
    pub(super) fn draw(keys: u32, shape: Shape, rows: usize, passes: usize) -> Rows {
        let mut random = StdRng::seed_from_u64(u64::from(keys));
        let batches = (0..rows / BATCH_ROWS).map(|_| {
            let sources = (0..BATCH_ROWS).map(|_| address(shape.draw(keys, &mut random)).into()).collect();
            let packets = (0..BATCH_ROWS).map(|_| random.random_range(1..=4)).collect();
            Batch { sources, packets }
        });
        Rows { batches: batches.collect(), passes }
    }

    /// Memory of so many rows, in bytes.
    pub(super) const fn bytes(rows: usize) -> u64 {
        (rows * (size_of::<u128>() + size_of::<u32>())) as u64
    }

    /// How many rows are counted in all.
    pub(super) fn updates(&self) -> usize {
        self.batches.len() * BATCH_ROWS * self.passes
    }

    /// Packets of all rows that are counted.
    pub(super) fn packets(&self) -> u64 {
        let once = self.batches.iter().flat_map(|batch| &batch.packets).map(|&packets| u64::from(packets)).sum::<u64>();
        once * self.passes as u64
    }

    /// What one of several threads counts.
    pub(super) fn share(&self, thread: usize, threads: usize) -> impl Iterator<Item = &Batch> {
        let all = (0..self.passes).flat_map(|_| &self.batches);
        all.skip(thread).step_by(threads)
    }
}

/// The source with a number: spread over all addresses as scanners are, each once, since every step can be undone.
const fn address(number: u32) -> u32 {
    let mixed = number.wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77)
}
