//! Wordings: what is wrong with one is named, and a third language needs no code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use martlet_report::{Format, Wording, render, same_numbers};

const ENGLISH: &str = include_str!("../wording/en.toml");
const JAPANESE: &str = include_str!("../wording/ja.toml");

fn error(text: &str) -> String {
    Wording::read(text).unwrap_err().to_string()
}

#[test]
fn both_languages_are_whole() {
    assert_eq!(Wording::read(ENGLISH).unwrap().language(), "en");
    assert_eq!(Wording::read(JAPANESE).unwrap().language(), "ja");
}

#[test]
fn what_is_wrong_is_named() {
    assert!(error(&JAPANESE.replace("no_comment = ", "comment_no = ")).contains("comment_no"));
    assert!(error(&JAPANESE.replace("no_comment = \"分析者コメント：未記入\"\n", "")).contains("no_comment"));
    assert!(error(&JAPANESE.replace("TOP{n}圏外", "圏外")).contains("ranking.outside: placeholder {n}"));
    assert!(error(&JAPANESE.replace("改訂第{n}版", "改訂第{nn}版")).contains("head.revision: placeholder {n"));
    assert!(error(&JAPANESE.replace("\nJP = ", "\nXX = ")).contains("regions."));
    assert!(error(&JAPANESE.replace("%-m/%-d", "%Ö")).contains("time.day"));
    assert!(error("language = [").contains("TOML"));
}

#[test]
fn a_third_language_is_a_file() {
    let german = ENGLISH
        .replace("language = \"en\"", "language = \"de\"")
        .replace("group = \",\"\ndecimal = \".\"", "group = \".\"\ndecimal = \",\"")
        .replace("\nDE = \"Germany\"", "\nDE = \"Deutschland\"");
    let [german, english] = [&german, ENGLISH]
        .map(|text| render(&common::sample(), &Wording::read(text).unwrap(), Format::Html).unwrap().remove(0));
    let page = String::from_utf8(german.bytes.clone()).unwrap();
    assert!(page.contains("<html lang=\"de\">") && page.contains(">12,50</data>"));
    assert_eq!(same_numbers(&german, &english), Ok(()));
}
