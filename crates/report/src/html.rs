//! One self-contained page: no script, nothing loaded, figures inline.

use std::fmt::Write as _;

use crate::document::{Banner, Block, Cell, Document, Figure, Inline, Line, Note, Row, Table, clean, lines};
use crate::wording::Wording;

/// The style of page and figures.
pub(crate) const STYLE: &str = include_str!("style.css");
/// The hash of a page's style, as a content security policy names it (`style-src`): a page needs this, and nothing else. A test holds
/// that it is that of its style.
pub const STYLE_HASH: &str = "sha256-zDZjq6nQtbdfKtoK5UCvx8GW9BzQx/KIfvPd86Du8Tw=";

/// Tables of so many rows are kept on one page.
const KEPT_ROWS: usize = 14;

/// Text that cannot be taken for markup, neither between tags nor in attributes with quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in clean(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writes a report as HTML.
pub(crate) fn write(document: &Document, words: &Wording) -> String {
    let mut page = Page { html: String::new(), words };
    page.document(document);
    page.html
}

struct Page<'a> {
    html: String,
    words: &'a Wording,
}

/// Appends to the page; writing to a String cannot fail.
macro_rules! put {
    ($page:expr, $($argument:tt)*) => {{ let _ = write!($page.html, $($argument)*); }};
}

impl Page<'_> {
    fn document(&mut self, document: &Document) {
        let title = escape(&document.title.plain());
        let class = match &document.banner {
            Some(banner) => banner.class,
            None if document.is_provisional => "provisional",
            None => "real",
        };
        put!(
            self,
            "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body class=\"{class}\">\n",
            escape(&document.language)
        );
        self.banner(document.banner.as_ref());
        put!(self, "<header>\n<h1>");
        self.line(&document.title);
        put!(self, "</h1>\n");
        if let Some((heading, warnings)) = &document.warnings {
            put!(self, "<section class=\"warnings\">\n<h2>");
            self.line(heading);
            put!(self, "</h2>\n");
            for warning in warnings {
                self.paragraph(warning, "");
            }
            put!(self, "</section>\n");
        }
        self.table(&document.head, "facts");
        put!(self, "</header>\n<main>\n");
        for section in &document.sections {
            put!(self, "<section>\n<h2>");
            self.line(&section.title);
            put!(self, "</h2>\n");
            for block in &section.blocks {
                self.block(block);
            }
            put!(self, "</section>\n");
        }
        put!(self, "</main>\n");
        self.banner(document.banner.as_ref());
        put!(self, "</body>\n</html>\n");
    }

    fn banner(&mut self, banner: Option<&Banner>) {
        if let Some(banner) = banner {
            put!(self, "<div class=\"banner\" role=\"note\"><p><strong>");
            self.line(&banner.name);
            put!(self, "</strong></p>");
            self.paragraph(&banner.meaning, "");
            put!(self, "</div>\n");
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Paragraph(line) => self.paragraph(line, ""),
            Block::Heading(line) => {
                put!(self, "<h3>");
                self.line(line);
                put!(self, "</h3>\n");
            }
            Block::Table(table) => self.table(table, ""),
            Block::Figure(figure) => self.figure(figure),
            Block::Note(note) => self.note(note),
        }
    }

    fn paragraph(&mut self, line: &Line, class: &str) {
        self.open("p", class);
        self.line(line);
        put!(self, "</p>\n");
    }

    fn open(&mut self, name: &str, class: &str) {
        if class.is_empty() {
            put!(self, "<{name}>");
        } else {
            put!(self, "<{name} class=\"{class}\">");
        }
    }

    fn note(&mut self, note: &Note) {
        let Some((language, text)) = &note.text else {
            return self.paragraph(&note.label, "slot");
        };
        put!(self, "<div class=\"note\">\n");
        self.paragraph(&note.label, "label");
        put!(self, "<blockquote lang=\"{}\" dir=\"auto\">", escape(language));
        for (place, line) in lines(text).iter().enumerate() {
            put!(self, "{}{}", if place == 0 { "" } else { "<br>\n" }, escape(line));
        }
        put!(self, "</blockquote>\n</div>\n");
    }

    fn table(&mut self, table: &Table, class: &str) {
        let kept = if table.rows.len() <= KEPT_ROWS { "keep" } else { "" };
        let class = [class, kept].join(" ");
        put!(self, "<div class=\"table {}\">\n<table>\n<caption>", class.trim());
        self.line(&table.caption);
        for note in &table.notes {
            put!(self, "<span>");
            self.line(note);
            put!(self, "</span>");
        }
        put!(self, "</caption>\n<thead><tr>");
        for column in &table.columns {
            self.open_cell("th scope=\"col\"", column.is_number);
            self.line(&column.heading);
            put!(self, "</th>");
        }
        put!(self, "</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.row(table, row);
        }
        if table.rows.is_empty() {
            put!(
                self,
                "<tr><td colspan=\"{}\">{}</td></tr>\n",
                table.columns.len(),
                escape(self.words.common.none.text())
            );
        }
        put!(self, "</tbody>\n</table>\n</div>\n");
    }

    fn open_cell(&mut self, name: &str, is_number: bool) {
        put!(self, "<{name}{}>", if is_number { " class=\"n\"" } else { "" });
    }

    fn row(&mut self, table: &Table, row: &Row) {
        self.open("tr", if row.is_sum { "sum" } else { "" });
        // The first column of text names the row; there is always one, since a table of numbers alone says nothing.
        let name = table.columns.iter().position(|column| !column.is_number);
        for (place, (column, cell)) in table.columns.iter().zip(&row.cells).enumerate() {
            let (open, close) = if Some(place) == name { ("th scope=\"row\"", "th") } else { ("td", "td") };
            self.open_cell(open, column.is_number);
            self.cell(cell);
            put!(self, "</{close}>");
        }
        put!(self, "</tr>\n");
    }

    fn cell(&mut self, cell: &Cell) {
        self.line(&cell.shown);
    }

    fn figure(&mut self, figure: &Figure) {
        put!(self, "<figure>\n<figcaption>");
        self.line(&figure.caption);
        put!(self, "<span>");
        self.line(&figure.note);
        put!(self, "</span></figcaption>\n");
        let svg = figure.chart.svg(figure.id, |value| self.words.tick(value));
        put!(self, "{svg}\n</figure>\n<details open>\n<summary>");
        self.line(&figure.values.caption);
        put!(self, "</summary>\n");
        self.table(&Table { caption: Line::default(), ..figure.values.clone() }, "values");
        put!(self, "</details>\n");
    }

    fn line(&mut self, line: &Line) {
        for inline in &line.0 {
            match inline {
                Inline::Text(text) => put!(self, "{}", escape(text)),
                Inline::Given(text) => put!(self, "<bdi>{}</bdi>", escape(text)),
                Inline::Data { raw, shown } => put!(self, "<data value=\"{}\">{}</data>", escape(raw), escape(shown)),
                Inline::Time { raw, shown } => {
                    put!(self, "<time datetime=\"{}\">{}</time>", escape(raw), escape(shown))
                }
                Inline::Missing(text) => put!(self, "<span class=\"missing\">{}</span>", escape(text)),
            }
        }
    }
}
