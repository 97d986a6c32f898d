//! Pages as a real browser shows them.

use std::path::Path;
use std::process::Command;

use martlet_tests::daemon::Collector;
use martlet_tests::program::run;

/// Elements of the page with this test identifier, each with its opening tag.
pub(crate) fn elements<'a>(page: &'a str, id: &str) -> Vec<&'a str> {
    let marked = format!("data-testid=\"{id}\"");
    let tag = |at: usize| {
        let start = page[..at].rfind('<').unwrap();
        let end = at + page[at..].find('>').unwrap();
        &page[start..=end]
    };
    page.match_indices(&marked).map(|(at, _)| tag(at)).collect()
}

/// A `data-` attribute of an opening tag.
pub(crate) fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let from = tag.find(&format!(" data-{name}=\"")).unwrap_or_else(|| panic!("no data-{name} in {tag}"));
    tag[from..].split('"').nth(1).unwrap()
}

fn chromium(collector: &Collector, hash: &str, arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--virtual-time-budget=6000", "--hide-scrollbars"]).args(arguments);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let outcome = run(command.arg(format!("http://{}/{hash}", collector.http)), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.text().to_owned()
}

/// The page as the browser shows it after it has asked the API.
pub(crate) fn shown(collector: &Collector, hash: &str) -> String {
    chromium(collector, hash, &["--dump-dom"])
}

/// Pictures of the page in light and dark and on a phone, where the variable `MARTLET_SCREENSHOTS` names a directory.
pub(crate) fn photograph(collector: &Collector, hash: &str, name: &str) {
    let Some(directory) = std::env::var_os("MARTLET_SCREENSHOTS") else { return };
    for (look, size, scheme) in [("light", "1280,2600", "1"), ("dark", "1280,2600", "0"), ("phone", "360,5200", "1")] {
        let path = Path::new(&directory).join(format!("{name}-{look}.png"));
        let arguments = [
            format!("--screenshot={}", path.display()),
            format!("--window-size={size}"),
            format!("--blink-settings=preferredColorScheme={scheme}"),
        ];
        chromium(collector, hash, &arguments.each_ref().map(String::as_str));
    }
}
