//! One ramp of forged SYNs on one port over its background, told to a detector step by step: months have some nine of them, which is
//! too few to choose thresholds on.

use std::collections::BTreeMap;

use martlet_detect::{DetectConfig, Detector, FindingType, STEP};

use crate::outbreak::{
    BEFORE, Background, PORT, START, Scanners, Source, Telescope, observe, population_of_forged, population_of_host,
};
use crate::random::Random;

/// SYNs of a ramp.
const SYNS: u32 = 2000;

/// When each SYN of a ramp comes, in seconds after its begin: their number doubles in a minute and more, 21 in the mean.
pub(crate) fn times(random: &mut Random) -> Vec<f64> {
    let doubling = 60.0 + random.exponential(1200.0);
    let mut at = 0.0;
    (1..SYNS)
        .map(|number| {
            at += doubling / (std::f64::consts::LN_2 * f64::from(number));
            at
        })
        .collect()
}

/// How many SYNs of one seed's ramp had come when it was called an outbreak, if it was.
pub(crate) fn run(config: &DetectConfig, telescope: &Telescope, background: &Background, seed: u64) -> Option<usize> {
    let mut random = Random::new(seed, 2);
    let mut detector = Detector::new(config.clone());
    let mut scanners = Scanners::new(f64::from(telescope.addresses) * background.per_address_day / 86_400.0);
    (1..360).rev().for_each(|back| drop(scanners.step(START - back * STEP, &mut random)));
    let begin = START + BEFORE + i64::try_from(random.below(7200)).unwrap_or_default();
    let mut forged: BTreeMap<i64, Vec<Source>> = BTreeMap::new();
    for after in times(&mut random) {
        let source = random.bits32().into();
        #[expect(clippy::cast_possible_truncation, reason = "some hours")]
        let step = (begin + after as i64).div_euclid(STEP) * STEP;
        forged.entry(step).or_default().push((population_of_forged(source), source));
    }
    let mut step = START;
    let mut come = 0;
    while !forged.is_empty() {
        let hosts = scanners.step(step, &mut random).into_iter().map(|host| (population_of_host(host), host));
        let now = forged.remove(&step).unwrap_or_default();
        come += now.len();
        let mut sources: Vec<Source> = hosts.chain(now).collect();
        sources.sort_unstable();
        sources.dedup();
        let told = observe(&mut detector, telescope, PORT, step, &sources, &mut random);
        if come > 0 && told.iter().any(|finding| finding.finding_type == FindingType::Outbreak) {
            return Some(come);
        }
        step += STEP;
    }
    None
}
