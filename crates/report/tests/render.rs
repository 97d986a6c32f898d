//! What is written: golden files, hostile strings, and that languages and formats have the same numbers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::sample;
use martlet_report::model::*;
use martlet_report::{File, Format, Wording, bundle, changes, render, same_numbers};
use sha2::{Digest, Sha256};

const FORMATS: [(&str, Format); 4] =
    [("html", Format::Html), ("markdown", Format::Markdown), ("csv", Format::Csv), ("json", Format::Json)];

fn languages() -> [Wording; 2] {
    [Wording::english().unwrap(), Wording::japanese().unwrap()]
}

fn text(report: &Report, words: &Wording, format: Format) -> String {
    let files = render(report, words, format).unwrap();
    files.into_iter().map(|file| String::from_utf8(file.bytes).unwrap()).collect()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn golden_files() {
    let is_renewed = std::env::var_os("MARTLET_UPDATE_GOLDEN").is_some();
    let mut of_before = sample();
    of_before.overview.mean_daily_sources = None;
    of_before.events.unassessed = 5;
    let mut revised = sample();
    revised.revision = Some(2);
    revised.changes = changes(&of_before, &revised).unwrap();
    for words in languages() {
        for (name, format) in FORMATS {
            // Numbers of a report are the same in all languages, as JSON is.
            let folder = if format == Format::Json { golden() } else { golden().join(words.language()) };
            for File { name: file, bytes } in render(&revised, &words, format).unwrap() {
                let folder = if format == Format::Csv { folder.join("csv") } else { folder.clone() };
                let path = folder.join(file);
                if is_renewed {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(&path, &bytes).unwrap();
                }
                let expected = std::fs::read(&path).unwrap_or_default();
                assert!(expected == bytes, "{name}: {} differs; MARTLET_UPDATE_GOLDEN=1 renews it", path.display());
            }
        }
    }
}

#[test]
fn the_policy_has_the_hash_of_the_style() {
    let page = text(&sample(), &languages()[0], Format::Html);
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = base64(&Sha256::digest(style));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")), "STYLE_HASH should be sha256-{hash}");
    for nothing in ["<script", "style=\"", "href=", "src=", "<link"] {
        assert!(!page.contains(nothing), "{nothing}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0, |number, at| number << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at <= three.len() { digit } else { '=' });
        }
    }
    text
}

#[test]
fn languages_have_the_same_numbers() {
    for edit in [
        |_: &mut Report| {},
        |report: &mut Report| report.revision = None,
        |report: &mut Report| report.previous.period.zone = "Mars".into(),
    ] {
        let mut report = sample();
        edit(&mut report);
        let [english, japanese] = languages().map(|words| render(&report, &words, Format::Html).unwrap().remove(0));
        assert_eq!(same_numbers(&english, &japanese), Ok(()));
        let mut other = japanese.clone();
        other.bytes =
            String::from_utf8(other.bytes).unwrap().replacen("<data value=\"5", "<data value=\"6", 1).into_bytes();
        assert!(same_numbers(&english, &other).is_err());
    }
}

#[test]
fn what_a_page_shows_is_in_json_and_csv() {
    let report = sample();
    let words = &languages()[0];
    let page = text(&report, words, Format::Html);
    let json: serde_json::Value = serde_json::from_str(&text(&report, words, Format::Json)).unwrap();
    let (mut numbers, mut cells) = (BTreeSet::new(), BTreeSet::new());
    collect(&json, &mut numbers);
    for file in render(&report, words, Format::Csv).unwrap() {
        for record in csv::Reader::from_reader(&file.bytes[..]).records() {
            cells.extend(record.unwrap().iter().map(ToOwned::to_owned));
        }
    }
    // Sums of the kinds stand beside them.
    let all = |kinds: &Kinds| kinds.scan + kinds.backscatter + kinds.other;
    numbers.insert(all(&report.overview.packets).to_string());
    numbers.insert(all(&report.overview.previous_packets.unwrap()).to_string());
    let main = &page[page.find("<tbody>").unwrap()..];
    for table in main.split("<tbody>").skip(2).map(|table| table.split("</tbody>").next().unwrap()) {
        for tag in table.split("<data value=\"").skip(1) {
            let raw = tag.split('"').next().unwrap();
            let is_number = raw.parse::<f64>().is_ok();
            // Places of the previous period that were looked at stand in a cell as words.
            if is_number && raw != report.rules.previous_places.to_string() {
                assert!(numbers.contains(raw), "{raw} is not in JSON");
                let in_words = table.contains(&format!("<data value=\"{raw}\">{raw}</data> "));
                assert!(cells.contains(raw) || in_words, "{raw} is not in CSV");
            }
        }
    }
}

fn collect(value: &serde_json::Value, numbers: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Number(number) => {
            // As Rust writes it, without a fraction where there is none.
            numbers.insert(
                number.as_u64().map_or_else(|| number.as_f64().unwrap().to_string(), |number| number.to_string()),
            );
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, numbers)),
        serde_json::Value::Object(fields) => fields.values().for_each(|value| collect(value, numbers)),
        _ => {}
    }
}

const HOSTILE: &str = "=1+1|<script>alert(1)</script>[x](javascript:a)`b`\"'&\u{202e}\u{0}\u{1b}[31m @all https://evil.example www.evil.example ![i](j)";

fn hostile() -> Report {
    let mut report = sample();
    let name = || HOSTILE.to_owned();
    report.period.label = name();
    report.period.zone = name();
    report.group = Some(name());
    report.groups[1].name = format!("x{HOSTILE}");
    report.populations.known_scanners[0].name = name();
    report.events.assessed[0].id = name();
    report.events.assessed[0].mark = name();
    report.events.assessed[0].severity = name();
    report.events.assessed[0].event_type = name();
    report.quality.region_data = vec![name()];
    report.quality.sensors[0].group = Some(name());
    report.regions.rows[0].key = name();
    report.ports.rows[0].key.name = Some(name());
    report.populations.mirai_ports.clear();
    report.movers = Movers::default();
    report.overview.rates[2].of = RateOf::Group { name: format!("x{HOSTILE}") };
    report.notes.comment =
        Some(Text::from([("\"><script>".into(), format!("{HOSTILE}\n# heading\n- list\n\n1. one\n</blockquote>"))]));
    report
}

#[test]
fn hostile_strings_come_out_inert() {
    let report = hostile();
    for words in languages() {
        for (name, format) in FORMATS {
            for File { name: file, bytes } in render(&report, &words, format).unwrap() {
                let text = String::from_utf8(bytes).unwrap();
                assert!(!text.contains('\u{202e}') || format == Format::Json, "{file}");
                assert!(!text.contains(['\u{0}', '\u{1b}']), "{file}");
                match format {
                    Format::Html => {
                        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"), "{name}");
                        assert_eq!(text.matches("</blockquote>").count(), text.matches("<blockquote").count());
                    }
                    Format::Markdown if file.ends_with(".svg") => assert!(!text.contains("<script"), "{file}"),
                    Format::Markdown => {
                        assert!(!text.contains("<script") && !text.contains("[x]"), "{name}");
                        assert!(
                            !text.contains("https://") && !text.contains("www.evil") && !text.contains("@all"),
                            "{name}"
                        );
                        assert!(text.contains("> \\# heading\\\n> \\- list") && text.contains("> 1\\. one"), "{text}");
                        // Every row of a table has as many cells as its heading.
                        let pipes = |line: &str| line.replace("\\|", "").matches('|').count();
                        for lines in text.lines().collect::<Vec<_>>().windows(2) {
                            if lines.iter().all(|line| line.starts_with('|')) && !lines[1].contains("*none*") {
                                assert!(pipes(lines[1]) == pipes(lines[0]) || pipes(lines[1]) == 2, "{lines:?}");
                            }
                        }
                    }
                    Format::Csv => {
                        for record in
                            csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).records()
                        {
                            for cell in &record.unwrap() {
                                let is_formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
                                assert!(!is_formula, "{file}: {cell}");
                            }
                        }
                    }
                    Format::Json => {
                        let back: Report = serde_json::from_str(&text).unwrap();
                        assert!(back == report);
                    }
                }
            }
        }
    }
}

#[test]
fn a_drill_is_called_one_at_both_ends() {
    let mut report = common::report(&common::Counts {
        known: vec![true; 7],
        ports: vec![vec![100; 7]],
        weights: vec![1],
        backscatter: vec![],
        other: vec![0; 7],
        previous: None,
        sensors: 2,
        filtered: 0,
        top: 5,
        class: Class::Drill,
    });
    report.revision = None;
    for words in languages() {
        let page = text(&report, &words, Format::Html);
        let banner = "<div class=\"banner\" role=\"note\">";
        assert_eq!(page.matches(banner).count(), 2);
        assert!(page.find(banner) < page.find("<h1>") && page.rfind(banner) > page.find("</main>"));
        assert!(page.contains("EXERCISE") && page.contains("訓練"));
        let markdown = text(&report, &words, Format::Markdown);
        let name = if words.language() == "en" { "# EXERCISE / 訓練" } else { "# 訓練 / EXERCISE" };
        assert!(markdown.starts_with(name) && markdown.matches(name).count() == 2);
        assert!(text(&report, &words, Format::Csv).contains("EXERCISE"));
        let status = if words.language() == "en" { "provisional" } else { "暫定値" };
        assert!(page.split("</h1>").next().unwrap().contains(status));
        // Nothing is known of the time before, and nobody wrote anything.
        let slot = if words.language() == "en" {
            "Analyst&#39;s comment: none entered"
        } else {
            "分析者コメント：未記入"
        };
        assert!(page.matches(slot).count() >= 2);
    }
}

#[test]
fn a_report_that_disagrees_is_not_written() {
    let mut report = sample();
    report.ports.rows[0].rank = 2;
    let error = render(&report, &languages()[0], Format::Html).unwrap_err();
    assert!(error.to_string().contains("/ports/rows/0/rank"), "{error}");
}

#[test]
fn a_revision_tells_what_it_changes() {
    let (before, mut now) = (sample(), sample());
    assert_eq!(changes(&before, &now).unwrap(), []);
    now.revision = Some(2);
    now.notes.comment = None;
    assert_eq!(changes(&before, &now).unwrap(), []);
    // A row that moves is compared with itself.
    now.ports.rows.swap(0, 1);
    assert_eq!(changes(&before, &now).unwrap(), []);
    // Nor is what a port is called a figure.
    now.ports.rows[0].key.name = Some("another".into());
    assert_eq!(changes(&before, &now).unwrap(), []);
    now.quality.excluded_packets = 5;
    now.ports.rows[0].cell.packets += 1;
    now.overview.per_sensor_day = None;
    let changed = changes(&before, &now).unwrap();
    let places: Vec<_> = changed.iter().map(|changed| changed.place.as_str()).collect();
    assert_eq!(places, ["/overview/per_sensor_day", "/ports/rows/0/cell/packets", "/quality/excluded_packets"]);
    assert!(changed[0].before.is_some() && changed[0].now.is_none());
    // That there is nothing is another thing than that it is not known.
    let (mut unknown, mut nothing) = (sample(), sample());
    (unknown.populations.confirmed, nothing.populations.confirmed) = (None, Some(Vec::new()));
    for (before, now) in [(&unknown, &nothing), (&nothing, &unknown)] {
        assert_eq!(changes(before, now).unwrap().len(), 1);
    }
    // What is new is told number by number.
    let mut gone = before.clone();
    gone.ports.rows.pop();
    let changed = changes(&gone, &before).unwrap();
    assert!(changed.len() > 10 && changed.iter().all(|changed| changed.place.starts_with("/ports/rows/4/")));
}

#[test]
fn a_bundle_is_an_archive_that_others_read() {
    let files = render(&sample(), &languages()[0], Format::Csv).unwrap();
    let archive = bundle(&files).unwrap();
    assert_eq!(archive, bundle(&files).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.zip");
    std::fs::write(&path, archive).unwrap();
    let program =
        "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(len(z.namelist()))";
    // Without Python there is nobody to ask.
    if let Ok(ran) = std::process::Command::new("python3").args(["-c", program]).arg(&path).output() {
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), files.len().to_string());
    }
}

#[test]
fn a_pdf_needs_a_renderer_that_writes_one() {
    let folder = tempfile::tempdir().unwrap();
    let (page, out) = (folder.path().join("report.html"), folder.path().join("report.pdf"));
    std::fs::write(&page, text(&sample(), &languages()[0], Format::Html)).unwrap();
    let command = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
    let print = |arguments: &[&str]| martlet_report::pdf::print(&page, &out, Some(&command(arguments)), &|| true);
    let script = "test -f \"$1\" && printf '%%PDF-1.7' > \"$2\"";
    print(&["sh", "-c", script, "sh", "{html}", "{pdf}"]).unwrap();
    // What is there from before is not taken for what a run wrote that wrote nothing.
    let error = print(&["sh", "-c", "echo no paper >&2", "sh", "{html}", "{pdf}"]).unwrap_err();
    assert!(error.to_string().contains("no paper"), "{error}");
    assert!(print(&["sh", "{html}"]).unwrap_err().to_string().contains("{pdf}"));
    assert!(print(&["no-such-program", "{html}", "{pdf}"]).unwrap_err().to_string().contains("no-such-program"));
    // One that nobody waits for any more is killed.
    let (begun, endless) =
        (std::time::Instant::now(), command(&["sh", "-c", "exec sleep 60", "sh", "{html}", "{pdf}"]));
    let goes_on = || begun.elapsed() < std::time::Duration::from_millis(200);
    let error = martlet_report::pdf::print(&page, &out, Some(&endless), &goes_on).unwrap_err();
    assert!(error.to_string().contains("was stopped") && begun.elapsed().as_secs() < 30, "{error}");
    let check = |arguments: &[&str]| martlet_report::pdf::check(Some(&command(arguments)));
    assert!(check(&["sh", "{html}", "{pdf}"]).is_ok() && check(&["/bin/sh", "{html}", "{pdf}"]).is_ok());
    for wrong in [&["sh", "{pdf}"][..], &["no-such-program", "{html}", "{pdf}"], &["/bin/no-such", "{html}", "{pdf}"]] {
        assert!(check(wrong).is_err(), "{wrong:?}");
    }
}
