//! Randomness that is the same on every machine.
//!
//! Everything drawn comes from ChaCha8 with a seed laid out by hand (`seed_from_u64` may change between versions of
//! `rand_core`), and from integer mixing. Logarithm and exponential are written here with the four basic operations only:
//! IEEE 754 fixes those to the bit, while the platform's mathematics library differs between systems.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random bits is for. Separate streams keep one part of a drill unchanged when another part changes:
/// the same seed gives the same outbreak over any background.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    BackgroundTimes,
    BackgroundFields,
    OutbreakTimes,
    OutbreakFields,
    /// Times of the inject with this index.
    InjectTimes(u32),
    /// Everything else of it.
    InjectFields(u32),
}

impl Purpose {
    /// The number of its stream, another for each.
    fn stream(self) -> u64 {
        match self {
            Self::BackgroundTimes => 1,
            Self::BackgroundFields => 2,
            Self::OutbreakTimes => 3,
            Self::OutbreakFields => 4,
            Self::InjectTimes(index) => 16 + 2 * u64::from(index),
            Self::InjectFields(index) => 17 + 2 * u64::from(index),
        }
    }
}

/// One stream of random bits.
#[derive(Clone)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut bytes = *b"martlet drill, version 1........";
        bytes[24..].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(bytes);
        rng.set_stream(purpose.stream());
        Self(rng)
    }

    pub(crate) fn bits32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn bits64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A whole number in `0..n`, by multiplication: the bias is at most n / 2^32.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        scale(self.bits32(), n)
    }

    /// A draw from the exponential distribution with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        // 53 bits, shifted into (0, 1] so that the logarithm is finite.
        let unit = ((self.bits64() >> 11) + 1) as f64 * (1.0 / 9_007_199_254_740_992.0);
        -ln(unit)
    }
}

/// Maps 32 random bits onto `0..n`.
pub(crate) fn scale(bits: u32, n: u32) -> u32 {
    ((u64::from(bits) * u64::from(n)) >> 32) as u32
}

/// Mixes a key and a value into 64 bits that look random (the finalizer of SplitMix64, applied twice).
pub(crate) fn mix(key: u64, value: u64) -> u64 {
    finalize(finalize(key ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(value).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Natural logarithm of a positive, normal number; relative error below 1e-15.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as f64 - 1023.0;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // Centring the mantissa on 1 keeps the series short.
    if m > core::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1.0;
    }
    // ln m = 2 atanh s with |s| <= 0.172: eleven terms leave less than one unit in the last place.
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut sum = 0.0;
    for k in (0..11_u32).rev() {
        sum = sum * s2 + 1.0 / f64::from(2 * k + 1);
    }
    exponent * core::f64::consts::LN_2 + 2.0 * s * sum
}

/// `e^x`, saturating to 0 and to a huge finite number outside -700..700; relative error below 1e-14.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let k = (x * core::f64::consts::LOG2_E + 0.5).floor();
    let r = x - k * core::f64::consts::LN_2;
    let mut sum = 1.0;
    for n in (1..16_u32).rev() {
        sum = 1.0 + sum * r / f64::from(n);
    }
    sum * f64::from_bits(to_u64(k + 1023.0) << 52)
}

/// `1 - e^-x` for x >= 0, without cancellation where x is small.
pub(crate) fn one_minus_exp_neg(x: f64) -> f64 {
    if x > 0.3 {
        return 1.0 - exp(-x);
    }
    let mut sum = 1.0;
    for n in (2..13_u32).rev() {
        sum = 1.0 - sum * x / f64::from(n);
    }
    sum * x
}

/// The whole part of a number that is not negative; what does not fit saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates at both ends, which is what every caller wants"
)]
pub(crate) fn to_u64(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_agree_with_the_platform() {
        for i in 1..4_000_u32 {
            let x = f64::from(i) * 0.37 + 1e-9 / f64::from(i);
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "ln {x}");
            let y = f64::from(i) * 0.17 - 340.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-12, "exp {y}");
            let z = f64::from(i) * 1e-3;
            assert!((one_minus_exp_neg(z) / -(-z).exp_m1() - 1.0).abs() < 1e-13, "expm1 {z}");
        }
        assert!((one_minus_exp_neg(1e-12) / 1e-12 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn exponential_has_mean_and_variance_one() {
        let mut stream = Stream::new(3, Purpose::BackgroundTimes);
        let n = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let e = stream.exponential();
            assert!(e >= 0.0 && e.is_finite());
            sum += e;
            squares += e * e;
        }
        let mean = sum / f64::from(n);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((squares / f64::from(n) - mean * mean - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_stream_starts_with_the_same_bits_for_ever() {
        // A change here means that every drill changes: raise the version in the seed and say so.
        let mut stream = Stream::new(1, Purpose::BackgroundFields);
        let first = stream.bits64();
        assert_eq!(first, Stream::new(1, Purpose::BackgroundFields).bits64());
        assert_ne!(first, Stream::new(2, Purpose::BackgroundFields).bits64());
        assert_ne!(first, Stream::new(1, Purpose::OutbreakFields).bits64());
    }
}
