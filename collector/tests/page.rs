//! The page's files over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Server, http};

/// The files of the page, by name.
fn files() -> Vec<(String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

/// Whether lines are those of a text in their order, without what they begin with, but for those that are empty or a comment.
fn is_all_but_comments(lines: &str, text: &str) -> bool {
    let mut lines = lines.lines().peekable();
    let is_left_out = |line: &str| line.is_empty() || line.starts_with("//") || line.starts_with("/**");
    text.lines()
        .map(str::trim_start)
        .all(|line| lines.next_if(|shipped| *shipped == line).is_some() || is_left_out(line))
        && lines.next().is_none()
}

#[test]
fn each_file_is_served_as_what_it_is_and_kept_until_it_changes() {
    let server = Server::with(|config| config.publication.public = true);
    let mut tags = BTreeSet::new();
    let files = files();
    for (name, text) in &files {
        let (path, kind) = match name.rsplit_once('.').unwrap().1 {
            "html" => ("/".to_owned(), "html"),
            "css" => (format!("/page/{name}"), "css"),
            _ => (format!("/page/{name}"), "javascript"),
        };
        let answer = server.ask(&path, &[]);
        let shipped = answer.body.clone();
        assert!(answer.status == 200 && is_all_but_comments(&shipped, text), "{path}");
        assert_eq!(answer.header("content-type"), Some(format!("text/{kind}; charset=utf-8").as_str()), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        let tag = answer.header("etag").unwrap();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let again = server.ask(&path, &[&format!("if-none-match: {tag}")]);
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)), "{path}");
        assert_eq!(server.ask(&path, &["if-none-match: \"x\""]).status, 200, "{path}");
        let (status, head, body) = http(server.http, "HEAD", &path);
        assert!(head.contains(&format!("content-length: {}\r\n", shipped.len())), "{head}");
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        tags.insert(tag.to_owned());
        // The public view has the same page; what it refers to lies beside it.
        let public = server.ask(&format!("/public{path}"), &[]);
        assert!(public.status == 200 && public.body == shipped && public.header("etag") == Some(tag), "{path}");
    }
    assert_eq!(tags.len(), files.len());
    for path in ["/page/", "/page/index.html", "/page/nothing.js", "/page/../index.html", "/page", "/index.html"] {
        assert_eq!(server.ask(path, &[]).status, 404, "{path}");
    }
}
