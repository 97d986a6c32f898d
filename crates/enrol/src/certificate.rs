//! What a certificate says, as far as it matters here.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use martlet_window::SensorName;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What stands in front of a sensor's name in a URI of its certificate. A URI and not a host name: it is no host's, and nothing
/// that checks host names can be led to take it for one.
pub(crate) const NAME_URI: &str = "urn:martlet:sensor:";

/// Serial number of a certificate, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A new one: 126 random bits, positive and of 16 bytes as a DER integer.
    #[must_use]
    pub fn new() -> Serial {
        let mut bytes: [u8; 16] = rand::random();
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Serial(bytes.to_vec())
    }

    /// Of bytes, most significant first.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Serial {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Serial(bytes[zeros..].to_vec())
    }

    /// Its bytes, most significant first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Serial {
    fn default() -> Serial {
        Serial::new()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Serial, String> {
        let bytes =
            HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok().filter(|bytes| (1..=20).contains(&bytes.len()));
        let wrong = || "a serial number of hexadecimal digits is wanted, as `martlet-collector enroll list` shows it";
        bytes.map(|bytes| Serial::of_bytes(&bytes)).ok_or_else(|| wrong().to_owned())
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its serial number.
    pub serial: Serial,
    /// The name of the sensor in its URI, if it has one.
    pub name: Option<SensorName>,
    /// The host names in it.
    pub host_names: Vec<String>,
    /// From when on it is valid, in seconds since the Unix epoch.
    pub not_before: i64,
    /// Until when it is valid, that second included.
    pub not_after: i64,
    /// Whether it is its own issuer.
    pub is_root: bool,
}

/// Reads a certificate; `None` if it is none. Whether it can be trusted is not looked at.
#[must_use]
pub fn facts(certificate: &[u8]) -> Option<Facts> {
    let (rest, certificate) = parse_x509_certificate(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut name = None;
    let mut host_names = Vec::new();
    let names = certificate.subject_alternative_name().ok()?;
    for general in names.iter().flat_map(|extension| &extension.value.general_names) {
        match general {
            GeneralName::URI(uri) => name = name.or_else(|| uri.strip_prefix(NAME_URI)?.parse().ok()),
            GeneralName::DNSName(host) => host_names.push((*host).to_owned()),
            _ => {}
        }
    }
    let validity = certificate.validity();
    Some(Facts {
        serial: Serial::of_bytes(certificate.raw_serial()),
        name,
        host_names,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        is_root: certificate.issuer().as_raw() == certificate.subject().as_raw(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn serials_are_read_as_they_are_written() {
        let serial = Serial::new();
        assert_eq!(serial.to_string().len(), 32);
        assert_eq!(serial.to_string().parse(), Ok(serial.clone()));
        assert_ne!(Serial::new(), serial);
        assert_eq!(Serial::of_bytes(&[0, 0, 7]), "07".parse().unwrap());
        assert!("".parse::<Serial>().is_err() && "xy".parse::<Serial>().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(facts(&bytes), None);
        }
    }
}
