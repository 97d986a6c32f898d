//! What a record of a database says, in whichever of the known shapes it says it.
//!
//! | shape | who writes it |
//! | --- | --- |
//! | `country: {iso_code}`, `registered_country: {iso_code}` | MaxMind, DB-IP |
//! | `country_code` | IPinfo (beside `country` with the name), IPLocate, collections on npm |
//! | `country` as a text of two letters | IPinfo, earlier |
//! | `autonomous_system_number`, `autonomous_system_organization` | MaxMind, DB-IP |
//! | `asn` as `"AS174"` or a number; `as_name`, `name`, `org` | IPinfo, IPLocate |
//!
//! Nothing here can fail because of what a field holds: a field of another kind is one that says nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use martlet_archive::Region;

/// What is taken from a record, of whichever database.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) region: Option<Region>,
    pub(super) asn: Option<u32>,
    pub(super) organisation: Option<Cow<'a, str>>,
}

/// Fields that matter. Of several that say the same thing, the one with the lower rank is believed.
enum Key {
    Region(u8),
    Asn(u8),
    Organisation(u8),
    IsoCode,
    Other,
}

impl Key {
    fn of(name: &[u8]) -> Key {
        match name {
            b"country_code" => Key::Region(0),
            b"country" => Key::Region(1),
            b"registered_country" => Key::Region(2),
            b"autonomous_system_number" => Key::Asn(0),
            b"asn" => Key::Asn(1),
            b"as_number" => Key::Asn(2),
            b"autonomous_system_organization" => Key::Organisation(0),
            b"as_name" => Key::Organisation(1),
            b"organization" => Key::Organisation(2),
            b"org" => Key::Organisation(3),
            b"name" => Key::Organisation(4),
            b"iso_code" => Key::IsoCode,
            _ => Key::Other,
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key::of(name.as_bytes()))
            }

            // The reader gives names as they lie in the file, without looking whether they are UTF-8.
            fn visit_bytes<E>(self, name: &[u8]) -> Result<Key, E> {
                Ok(Key::of(name))
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

/// The value of a field, as far as one can matter.
enum Field<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    /// A map with an `iso_code`.
    Code(Cow<'a, str>),
    Other,
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<'de>, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field<'de>, E> {
        Ok(u64::try_from(number).map_or(Field::Other, Field::Number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Field<'de>, E> {
        Ok(u64::try_from(number).map_or(Field::Other, Field::Number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Field<'de>, A::Error> {
        let mut code = Field::Other;
        while let Some(key) = fields.next_key::<Key>()? {
            match key {
                Key::IsoCode => {
                    if let Field::Text(text) = fields.next_value()? {
                        code = Field::Code(text);
                    }
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(code)
    }
}

impl Field<'_> {
    fn region(&self) -> Option<Region> {
        match self {
            Field::Text(text) | Field::Code(text) => Region::parse(text),
            _ => None,
        }
    }

    /// AS 0 is reserved (RFC 7607): databases write it for what nobody announces.
    fn asn(&self) -> Option<u32> {
        let number = match self {
            Field::Number(number) => u32::try_from(*number).ok()?,
            Field::Text(text) => {
                let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??
            }
            _ => return None,
        };
        (number != 0).then_some(number)
    }
}

/// What is believed so far, with its rank.
struct Best<T>(Option<(u8, T)>);

impl<T> Best<T> {
    fn hear(&mut self, rank: u8, said: Option<T>) {
        if let Some(said) = said
            && self.0.as_ref().is_none_or(|(held, _)| rank < *held)
        {
            self.0 = Some((rank, said));
        }
    }

    fn believed(self) -> Option<T> {
        self.0.map(|(_, said)| said)
    }
}

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record<'de>, D::Error> {
        deserializer.deserialize_any(AnyRecord)
    }
}

struct AnyRecord;

impl<'de> Visitor<'de> for AnyRecord {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record: a map of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Record<'de>, A::Error> {
        let (mut region, mut asn, mut organisation) = (Best(None), Best(None), Best(None));
        while let Some(key) = fields.next_key::<Key>()? {
            match key {
                Key::Region(rank) => region.hear(rank, fields.next_value::<Field<'de>>()?.region()),
                Key::Asn(rank) => asn.hear(rank, fields.next_value::<Field<'de>>()?.asn()),
                Key::Organisation(rank) => {
                    if let Field::Text(text) = fields.next_value()? {
                        organisation.hear(rank, (!text.is_empty()).then_some(text));
                    }
                }
                Key::IsoCode | Key::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Record { region: region.believed(), asn: asn.believed(), organisation: organisation.believed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Region, number, organisation. JSON has the same model as a record; tests with real databases are in
    /// `collector/tests/geo.rs`.
    fn read(json: &str) -> (String, Option<u32>, Option<String>) {
        let record: Record<'_> = serde_json::from_str(json).unwrap();
        let region = record.region.unwrap_or_default().to_string();
        (region, record.asn, record.organisation.map(Cow::into_owned))
    }

    #[test]
    fn regions_come_in_known_shapes() {
        for (json, region) in [
            (r#"{"country_code": "JP"}"#, "JP"),
            (r#"{"country": "JP", "country_name": "Japan"}"#, "JP"),
            (r#"{"country": "Japan", "country_code": "JP"}"#, "JP"),
            (r#"{"country_code": "JP", "country": "Japan"}"#, "JP"),
            (r#"{"country": {"geoname_id": 1, "iso_code": "JP", "names": {"en": "Japan"}}}"#, "JP"),
            (r#"{"registered_country": {"iso_code": "US"}, "country": {"iso_code": "JP"}}"#, "JP"),
            (r#"{"registered_country": {"iso_code": "US"}, "country": {"names": {}}}"#, "US"),
            (r#"{"registered_country": {"iso_code": "US"}, "continent": {"iso_code": "NA"}}"#, "US"),
            (r#"{"country_code": "jp"}"#, "ZZ"),
            (r#"{"country_code": "-", "country": {"iso_code": "JP"}}"#, "JP"),
            (r#"{"country_code": 7, "country": ["JP"], "registered_country": {"iso_code": 1.5}}"#, "ZZ"),
            (r#"{"iso_code": "JP"}"#, "ZZ"),
            ("{}", "ZZ"),
        ] {
            assert_eq!(read(json), (region.to_owned(), None, None), "{json}");
        }
    }

    #[test]
    fn numbers_and_organisations_come_in_known_shapes() {
        for (json, asn, organisation) in [
            (
                r#"{"autonomous_system_number": 174, "autonomous_system_organization": "Cogent"}"#,
                Some(174),
                Some("Cogent"),
            ),
            (r#"{"asn": "AS174", "name": "Cogent", "domain": "cogentco.com"}"#, Some(174), Some("Cogent")),
            (r#"{"asn": 174, "org": "Cogent"}"#, Some(174), Some("Cogent")),
            (r#"{"asn": "174", "as_name": "Cogent", "name": "other"}"#, Some(174), Some("Cogent")),
            (r#"{"name": "other", "as_name": "Cogent", "asn": "as4294967295"}"#, Some(u32::MAX), Some("Cogent")),
            (r#"{"asn": "AS", "name": ""}"#, None, None),
            (r#"{"asn": "AS+5"}"#, None, None),
            (r#"{"asn": "AS4294967296", "autonomous_system_number": 4294967296}"#, None, None),
            (r#"{"asn": 0, "autonomous_system_number": "AS7"}"#, Some(7), None),
            (r#"{"asn": -1, "name": {"en": "Cogent"}, "org": true, "as_name": null}"#, None, None),
        ] {
            let expected = ("ZZ".to_owned(), asn, organisation.map(str::to_owned));
            assert_eq!(read(json), expected, "{json}");
        }
    }
}
