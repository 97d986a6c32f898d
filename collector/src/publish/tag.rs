//! Entity tags: what a client may keep of an answer, and how it asks whether that is still right.
//!
//! A tag is strong: two answers of one path with the same tag are the same bytes. It names the start of the collector, since
//! generations begin anew with each, the generation of the counts, and what else the answer is made from.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Bytes of a hash that stand in a tag: enough that nobody meets two alike.
const HASH_BYTES: usize = 16;

/// A strong entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    /// A tag of one start and generation; `content` is all that tells answers of one generation apart.
    pub(super) fn new(start: u64, generation: u64, content: &[u8]) -> Tag {
        let hash = Sha256::digest(content);
        Tag(format!("\"{start:016x}-{generation:x}-{}\"", HEXLOWER.encode(&hash[..HASH_BYTES])))
    }

    /// Whether the client has what the tag is of.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        // Our tags have no comma inside. Comparison is weak here (RFC 9110, section 13.1.2).
        lists
            .flat_map(|list| list.split(',').map(str::trim))
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }

    /// Whether what the tag is of is what the client means to replace; `None` if it does not say.
    pub(super) fn is_meant(&self, headers: &HeaderMap) -> Option<bool> {
        let mut lists = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok()).peekable();
        lists.peek()?;
        // Comparison is strong here (RFC 9110, section 13.1.1).
        let mut tags = lists.flat_map(|list| list.split(',').map(str::trim));
        Some(tags.any(|tag| tag == "*" || tag == self.0))
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn tags_are_found_in_lists() {
        let tag = Tag::new(1, 2, b"query");
        assert_ne!(tag, Tag::new(2, 2, b"query"));
        assert_ne!(tag, Tag::new(1, 3, b"query"));
        assert_ne!(tag, Tag::new(1, 2, b"other"));
        let text = &tag.0;
        assert!(text.starts_with("\"0000000000000001-2-") && text.ends_with('"'), "{text}");
        for lines in [&[text.as_str()][..], &["*"], &[&format!("\"x\", W/{text}")], &["\"x\"", text]] {
            assert!(tag.is_known(&asking(lines)), "{lines:?}");
        }
        for lines in [&[][..], &["\"x\""], &[text.trim_matches('"')]] {
            assert!(!tag.is_known(&asking(lines)), "{lines:?}");
        }
        let meaning = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_str(text).unwrap());
            tag.is_meant(&headers)
        };
        assert_eq!(tag.is_meant(&HeaderMap::new()), None);
        for (given, is_meant) in [
            (text.clone(), true),
            ("*".to_owned(), true),
            (format!("\"x\", {text}"), true),
            (format!("W/{text}"), false),
        ] {
            assert_eq!(meaning(&given), Some(is_meant), "{given}");
        }
    }
}
