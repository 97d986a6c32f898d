//! The live page: files that load nothing from elsewhere and ask the API; and the policy that holds them to that.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;

use super::document::Document;

/// The content security policy: a browser runs and applies only files of the collector, asks nobody else, and refuses to make
/// HTML of text. It holds for every answer.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);
/// What a browser keeps of it, it asks about each time: files of two versions must not meet.
const KEPT: HeaderValue = HeaderValue::from_static("no-cache");

const INDEX: &str = include_str!("../page/index.html");

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../page/", $name)))),*] };
}

/// What the page consists of beside [`INDEX`], by name.
const FILES: &[(&str, &str)] = files![
    "ask.js",
    "chart.js",
    "coverage.js",
    "dom.js",
    "events.js",
    "history.js",
    "ja.js",
    "live.js",
    "main.js",
    "outlook.js",
    "port.js",
    "reports.js",
    "state.js",
    "style.css",
    "text.js"
];

/// The page at `prefix` and a slash. It refers to its files, and to the API, by relative addresses.
pub(super) fn router(prefix: &str) -> Router {
    let index = Router::new().route(&format!("{prefix}/"), get(serve(INDEX, "text/html; charset=utf-8")));
    FILES.iter().fold(index, |router, (name, text)| {
        router.route(&format!("{prefix}/page/{name}"), get(serve(text, content_type(name))))
    })
}

fn serve(
    text: &'static str,
    content_type: &'static str,
) -> impl Fn(HeaderMap) -> std::future::Ready<axum::response::Response> + Clone {
    let document = Document::new(shipped(text), content_type, KEPT);
    move |headers| std::future::ready(document.answer(&headers))
}

/// What a browser needs of a file: not what its lines begin with, nor lines that are for people. No text of the page goes over lines.
fn shipped(text: &str) -> String {
    let is_for_people = |line: &str| line.starts_with("//") || line.starts_with("/**") && line.ends_with("*/");
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !is_for_people(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn content_type(name: &str) -> &'static str {
    if name.ends_with(".css") { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a browser loads for one look at the page, in bytes and uncompressed; what answers begin with comes on top.
    const MOST_BYTES: usize = 188_500;

    #[test]
    fn every_file_of_the_page_is_served() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        let names =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = FILES.iter().map(|(name, _)| *name).chain(["index.html"]).map(str::to_owned);
        assert_eq!(names.collect::<BTreeSet<_>>(), served.collect::<BTreeSet<_>>());
        for (name, _) in FILES {
            assert!(name.ends_with(".css") || name.ends_with(".js"), "{name} has a content type");
        }
    }

    #[test]
    fn lines_for_people_are_not_shipped() {
        assert_eq!(
            shipped("// why\n\n\t/** What it is. */\n\tconst a = \"// not one\"; // kept\n"),
            "const a = \"// not one\"; // kept\n"
        );
        // A text over lines would lose what these begin with: one begins and ends on a line.
        for (name, text) in FILES {
            let is_over_lines = |line: &str| !line.matches('`').count().is_multiple_of(2);
            assert!(!shipped(text).lines().any(is_over_lines), "{name}");
        }
    }

    /// The page without its comments, which say what must not be in it.
    fn index() -> String {
        let (first, rest) = INDEX.split_once("<!--").unwrap_or((INDEX, ""));
        let rest = rest.split("<!--").map(|part| part.split_once("-->").map_or("", |(_, after)| after));
        [first].into_iter().chain(rest).collect()
    }

    #[test]
    fn the_page_has_nothing_inline_and_refers_to_its_files_relatively() {
        let index = index();
        assert!(index.contains("\"page/style.css\"") && index.contains("\"page/main.js\""));
        assert!(!index.contains("<style") && !index.contains(" style="));
        for script in index.match_indices("<script").map(|(at, _)| &index[at..]) {
            let (tag, rest) = script.split_once('>').unwrap();
            assert!(tag.contains(" src=\"page/") && rest.starts_with("</script>"), "{tag}");
        }
        // Handlers in attributes are scripts, too.
        for handler in ["onload", "onclick", "onerror", "oninput", "onchange", "onsubmit", "javascript:"] {
            assert!(!index.contains(handler), "{handler}");
        }
    }

    #[test]
    fn no_file_does_what_the_policy_forbids_or_goes_elsewhere() {
        let files = FILES.iter().copied().chain([("index.html", INDEX)]);
        for (name, text) in files.clone() {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http-equiv",
                "new Function",
            ] {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
            // Names of XML's vocabularies look like addresses, and nobody asks them.
            let text = text.replace("http://www.w3.org/", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{name}");
        }
        let bytes: usize = files.map(|(_, text)| shipped(text).len()).sum();
        assert!(bytes < MOST_BYTES, "{bytes}");
    }
}
