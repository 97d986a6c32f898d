//! GitHub flavoured Markdown, with the figures as files beside it.

use crate::document::{Banner, Block, Document, Figure, Inline, Line, Note, Table, clean, lines};
use crate::wording::Wording;

/// Text in which nothing is taken for markup: neither Markdown nor HTML, nor what is made a link of by itself.
fn escape(text: &str) -> String {
    let text = clean(text);
    let mut escaped = String::with_capacity(text.len());
    let mut characters = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, character)) = characters.next() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // A comment in between: an address or a name of an account is none any more, and nothing is seen of it.
            '@' => escaped.push_str("@<!-- -->"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '$' => escaped.extend(['\\', character]),
            // `https://`, `mailto:a`, `www.a`.
            ':' if before.is_ascii_alphabetic() && characters.peek().is_some_and(|(_, next)| !next.is_whitespace()) => {
                escaped.push_str("\\:");
            }
            '.' if text[..at].to_ascii_lowercase().ends_with("www") => escaped.push_str("\\."),
            other => escaped.push(other),
        }
        before = character;
    }
    escaped
}

/// Escaped text that begins a line, and neither a list nor a rule with it.
fn begin(escaped: &str) -> String {
    let escaped = escaped.trim_start();
    let number = escaped.trim_start_matches(|character: char| character.is_ascii_digit());
    let is_numbered = number.len() < escaped.len() && number.starts_with(['.', ')']);
    // What a number is followed by, or what stands first.
    let at = if is_numbered { escaped.len() - number.len() } else { 0 };
    if is_numbered || escaped.starts_with(['-', '+', '=']) {
        format!("{}\\{}", &escaped[..at], &escaped[at..])
    } else {
        escaped.to_owned()
    }
}

fn line(line: &Line) -> String {
    let write = |inline: &Inline| match inline {
        Inline::Missing(text) => format!("*{}*", escape(text)),
        other => escape(other.shown()),
    };
    line.0.iter().map(write).collect()
}

/// Writes a report as Markdown.
pub(crate) fn write(document: &Document, words: &Wording) -> String {
    let mut text = String::new();
    banner(&mut text, document.banner.as_ref());
    text.push_str(&format!("# {}\n\n", line(&document.title)));
    if let Some((heading, warnings)) = &document.warnings {
        text.push_str(&format!("**{}**\n\n", line(heading)));
        for warning in warnings {
            text.push_str(&format!("- {}\n", begin(&line(warning))));
        }
        text.push('\n');
    }
    table(&mut text, &document.head, words);
    for section in &document.sections {
        text.push_str(&format!("## {}\n\n", line(&section.title)));
        for block in &section.blocks {
            match block {
                Block::Paragraph(paragraph) => text.push_str(&format!("{}\n\n", begin(&line(paragraph)))),
                Block::Heading(heading) => text.push_str(&format!("### {}\n\n", line(heading))),
                Block::Table(rows) => table(&mut text, rows, words),
                Block::Figure(drawing) => figure(&mut text, drawing, words),
                Block::Note(written) => note(&mut text, written),
            }
        }
    }
    banner(&mut text, document.banner.as_ref());
    format!("{}\n", text.trim_end())
}

fn banner(text: &mut String, banner: Option<&Banner>) {
    if let Some(banner) = banner {
        text.push_str(&format!("# {}\n\n**{}**\n\n", line(&banner.name), line(&banner.meaning)));
    }
}

fn note(text: &mut String, note: &Note) {
    text.push_str(&format!("**{}**\n\n", line(&note.label)));
    if let Some((_, written)) = &note.text {
        // Two lines of the note stay two lines.
        let quoted: Vec<_> = lines(written).iter().map(|line| format!("> {}", begin(&escape(line)))).collect();
        text.push_str(&format!("{}\n\n", quoted.join("\\\n").replace("> \\\n", ">\n")));
    }
}

fn table(text: &mut String, table: &Table, words: &Wording) {
    text.push_str(&format!("**{}**\n\n", line(&table.caption)));
    let headings: Vec<_> = table.columns.iter().map(|column| line(&column.heading)).collect();
    let rule: Vec<_> = table.columns.iter().map(|column| if column.is_number { "---:" } else { "---" }).collect();
    text.push_str(&format!("| {} |\n| {} |\n", headings.join(" | "), rule.join(" | ")));
    for row in &table.rows {
        let cells: Vec<_> = row.cells.iter().map(|cell| line(&cell.shown)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    if table.rows.is_empty() {
        text.push_str(&format!("| {} |\n", escape(words.common.none.text())));
    }
    text.push('\n');
    for note in &table.notes {
        text.push_str(&format!("{}\n\n", begin(&line(note))));
    }
}

fn figure(text: &mut String, figure: &Figure, words: &Wording) {
    text.push_str(&format!("**{}**\n\n", line(&figure.caption)));
    let description = escape(&format!("{} — {}", figure.chart.title, figure.chart.description));
    text.push_str(&format!("![{description}]({}.svg)\n\n{}\n\n", figure.id, line(&figure.note)));
    table(text, &figure.values, words);
}
