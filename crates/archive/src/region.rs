//! Regions: two capital letters.

use std::fmt;

use serde::{Serialize, Serializer};

/// A region as ISO 3166-1 alpha-2 writes it, or [`Region::UNKNOWN`].
///
/// It is where an address is registered or said to be used, never where an attacker is. Registries also write `EU` and
/// `AP` for blocks that belong to no one country; they are passed on as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region([u8; 2]);

impl Region {
    /// Nobody knows.
    pub const UNKNOWN: Region = Region(*b"ZZ");

    /// How many there can be.
    pub const COUNT: usize = 26 * 26;

    /// Its number, below [`Self::COUNT`].
    #[must_use]
    pub const fn number(self) -> usize {
        // Both bytes are capital letters by construction.
        let [first, second] = self.0;
        (first - b'A') as usize * 26 + (second - b'A') as usize
    }

    /// The region with this number.
    #[must_use]
    pub fn from_number(number: usize) -> Option<Region> {
        let letter =
            |number: usize| u8::try_from(number).ok().filter(|number| *number < 26).map(|number| b'A' + number);
        Some(Region([letter(number / 26)?, letter(number % 26)?]))
    }

    /// The region that a text names, or `None` if it is anything but two capital letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Region> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Region(letters))
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both bytes are ASCII letters by construction.
        std::str::from_utf8(&self.0).unwrap_or("ZZ")
    }
}

impl Default for Region {
    fn default() -> Region {
        Region::UNKNOWN
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn only_two_capital_letters_are_a_region() {
        assert_eq!(Region::parse("JP").unwrap().as_str(), "JP");
        for text in ["", "J", "jp", "Jp", "JPN", "J1", "é", "日", "  ", "J "] {
            assert_eq!(Region::parse(text), None, "{text}");
        }
        assert_eq!(Region::default().to_string(), "ZZ");
    }

    #[test]
    fn each_has_a_number() {
        assert_eq!((Region::parse("AA").unwrap().number(), Region::UNKNOWN.number()), (0, Region::COUNT - 1));
        for number in 0..Region::COUNT {
            let region = Region::from_number(number).unwrap();
            assert_eq!((region.number(), Region::parse(region.as_str())), (number, Some(region)));
        }
        assert_eq!(Region::from_number(Region::COUNT), None);
    }
}
