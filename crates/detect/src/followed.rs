//! The candidates, and which of them makes room for another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;

/// What a candidate is worth, the least first: whether it has no source, one or more, and until when it is followed.
type Worth = (u32, i64);

/// Candidates by number of their key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Followed {
    candidates: BTreeMap<u32, Candidate>,
    /// The same, by worth: when all places are taken, one is looked for at every surprise.
    #[serde(skip)]
    by_worth: BTreeSet<(Worth, u32)>,
}

fn worth(candidate: &Candidate) -> Worth {
    (candidate.source_count().min(2), candidate.until)
}

impl Followed {
    /// Orders what was read: only the candidates themselves are written down.
    pub(crate) fn order(&mut self) {
        self.by_worth = self.candidates.iter().map(|(&number, candidate)| (worth(candidate), number)).collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.candidates.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Candidate> {
        self.candidates.get(&number)
    }

    pub(crate) fn insert(&mut self, number: u32, candidate: Candidate) {
        self.remove(number);
        self.by_worth.insert((worth(&candidate), number));
        self.candidates.insert(number, candidate);
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(candidate) = self.candidates.remove(&number) {
            self.by_worth.remove(&(worth(&candidate), number));
        }
    }

    /// Changes one, and says what it is then.
    pub(crate) fn change(&mut self, number: u32, change: impl FnOnce(&mut Candidate)) -> Option<&Candidate> {
        let candidate = self.candidates.get_mut(&number)?;
        let before = worth(candidate);
        change(candidate);
        let after = worth(candidate);
        if after != before {
            self.by_worth.remove(&(before, number));
            self.by_worth.insert((after, number));
        }
        Some(candidate)
    }

    /// The one that is worth least of those that may go.
    pub(crate) fn least(&self, may_go: impl Fn(u32, &Candidate) -> bool) -> Option<u32> {
        let mut numbers = self.by_worth.iter().map(|&(_, number)| number);
        numbers.find(|number| may_go(*number, &self.candidates[number]))
    }

    /// Takes out those that need not stay, and says which they were.
    pub(crate) fn end(&mut self, stays: impl Fn(u32, &Candidate) -> bool) -> Vec<u32> {
        let ended = self.candidates.iter().filter(|(number, candidate)| !stays(**number, candidate));
        let ended: Vec<u32> = ended.map(|(&number, _)| number).collect();
        ended.iter().for_each(|&number| self.remove(number));
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_the_least_after_any_change() {
        let mut followed = Followed::default();
        for number in 0..50 {
            followed.insert(number, Candidate::new(0, i64::from(number * 7 % 50)));
        }
        for round in 0..50u32 {
            let number = round * 13 % 50;
            match round % 5 {
                0 => followed.remove(number),
                1 => drop(followed.change(number, |candidate| candidate.until += 20)),
                2 => drop(followed.change(number, |candidate| candidate.add(1, 10, &[round.into()], 10))),
                3 => followed.insert(number, Candidate::new(1, i64::from(round))),
                _ => drop(followed.end(|number, candidate| number % 17 != 3 || candidate.until.rem_euclid(2) == 0)),
            }
            let may_go = |number: u32, candidate: &Candidate| !number.is_multiple_of(3) && candidate.since == 0;
            let expected = followed.candidates.iter().filter(|(number, candidate)| may_go(**number, candidate));
            let expected = expected.min_by_key(|(_, candidate)| worth(candidate)).map(|(&number, _)| number);
            assert_eq!(followed.least(may_go), expected, "{round}");
            let read: Followed = postcard::from_bytes(&postcard::to_allocvec(&followed).unwrap()).unwrap();
            assert!(read.by_worth.is_empty() && read.len() == followed.len());
            let mut ordered = read;
            ordered.order();
            assert_eq!(ordered.by_worth, followed.by_worth);
        }
    }
}
