//! The live page: one file without anything to load, made from the API; and the policy that holds it to that.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../page/index.html");

pub(super) fn router() -> Router {
    Router::new().route("/", get(|| std::future::ready(Html(PAGE))))
}

/// The content security policy: a browser runs and applies only what has the hashes of the page's own script and style,
/// asks nobody but the collector, and refuses to make HTML of text. It holds for every answer.
pub(super) fn content_security_policy() -> String {
    let [style, script] = ["style", "script"].map(|element| base64(&Sha256::digest(inline(element))));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    )
}

/// What stands in the page's one element of this name; a browser hashes exactly these bytes.
fn inline(element: &str) -> &'static str {
    let after = PAGE.split_once(&format!("<{element}>")).map_or("", |(_, after)| after);
    after.split_once(&format!("</{element}>")).map_or("", |(text, _)| text)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 0x3f) as usize];
            text.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_else_that_the_policy_forbids() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert!(inline(element).len() > 1000, "{element}");
        }
        // A browser reads CR LF as LF before it hashes.
        assert!(!PAGE.contains('\r'));
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http-equiv"] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }
}
