//! Pages as a real browser shows them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use martlet_tests::daemon::{Collector, root_with};
use martlet_tests::python::{ask, interpreter};
use serde_json::Value;

/// How a page is looked at.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Light,
    Dark,
    Phone,
    Japanese,
    /// For pictures of what lies further down.
    Tall,
}

impl Look {
    /// Those that people have.
    pub(crate) const ALL: [Look; 4] = [Look::Light, Look::Dark, Look::Phone, Look::Japanese];

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Look::Light => &[],
            Look::Dark => &["--dark"],
            Look::Phone => &["--width=360", "--height=740"],
            Look::Japanese => &["--language=ja-JP"],
            Look::Tall => &["--height=1500"],
        }
    }
}

/// A browser, if there is one here.
pub(crate) struct Browser {
    python: PathBuf,
}

impl Browser {
    pub(crate) fn find() -> Option<Browser> {
        let python = interpreter()?;
        root_with(&["chromium"]).then_some(Browser { python })
    }

    /// Opens what stands behind the collector's address and does what it is told: `tests/python/page.py` says how.
    pub(crate) fn visit(&self, collector: &Collector, path: &str, look: Look, actions: &[&str]) -> Page {
        let url = OsString::from(format!("http://{}/{path}", collector.http));
        let more = look.arguments().iter().chain(actions).map(OsStr::new);
        let arguments: Vec<&OsStr> = std::iter::once(url.as_os_str()).chain(more).collect();
        let page = Page { seen: ask(&self.python, "page.py", &arguments) };
        assert_eq!(page.seen["errors"], Value::Array(Vec::new()), "{path}");
        page
    }

    /// The same, without doing anything.
    pub(crate) fn open(&self, collector: &Collector, path: &str) -> Page {
        self.visit(collector, path, Look::Light, &[])
    }

    /// A picture of what a person sees at first, where the variable `MARTLET_SCREENSHOTS` names a directory.
    pub(crate) fn photograph(&self, collector: &Collector, path: &str, look: Look, name: &str) {
        let Some(directory) = std::env::var_os("MARTLET_SCREENSHOTS") else { return };
        let file = Path::new(&directory).join(name).with_extension("png");
        self.visit(collector, path, look, &[&format!("view:{}", file.display())]);
    }
}

/// A page as it was when the browser left it.
pub(crate) struct Page {
    pub(crate) seen: Value,
}

impl Page {
    /// Elements with this test identifier, each with its opening tag.
    pub(crate) fn elements(&self, id: &str) -> Vec<&str> {
        let page = self.seen["html"].as_str().unwrap();
        let marked = format!("data-testid=\"{id}\"");
        let tag = |at: usize| {
            let start = page[..at].rfind('<').unwrap();
            let end = at + page[at..].find('>').unwrap();
            &page[start..=end]
        };
        page.match_indices(&marked).map(|(at, _)| tag(at)).collect()
    }

    /// The only one.
    pub(crate) fn element(&self, id: &str) -> &str {
        let found = self.elements(id);
        assert_eq!(found.len(), 1, "{id}");
        found[0]
    }

    /// A raw value of the only one.
    pub(crate) fn value(&self, id: &str) -> u64 {
        attribute(self.element(id), "value").parse().unwrap()
    }

    /// What is to be read.
    pub(crate) fn text(&self) -> &str {
        self.seen["text"].as_str().unwrap()
    }
}

/// A `data-` attribute of an opening tag.
pub(crate) fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let from = tag.find(&format!(" data-{name}=\"")).unwrap_or_else(|| panic!("no data-{name} in {tag}"));
    tag[from..].split('"').nth(1).unwrap()
}
