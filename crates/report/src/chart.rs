//! Lines over days, as SVG.
//!
//! Written by hand: it is a frame, a few ticks and lines, and colours come from the style of the page so that both colour schemes,
//! print and the text of the legend have the same. A plotting library writes colours and sizes into each element, and measures
//! text with fonts of the machine.

use std::fmt::Write as _;

use crate::document::clean;
use crate::html::escape;

/// Lines that are told apart: as many as there are classes in the style.
pub(crate) const MOST_LINES: usize = 10;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 515.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 268.0;
/// Days that are named below the axis.
const MOST_LABELS: usize = 8;
/// Days up to which each has a marker.
const MOST_MARKERS: usize = 31;
/// Width of a name in the legend, in half widths of a character.
const LEGEND_COLUMNS: usize = 30;

#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) description: String,
    /// What the vertical axis counts.
    pub(crate) axis: String,
    /// Days, as they are written below the axis.
    pub(crate) days: Vec<String>,
    pub(crate) lines: Vec<ChartLine>,
    /// The words for what is not known.
    pub(crate) not_known: String,
}

#[derive(Clone, Debug)]
pub(crate) struct ChartLine {
    pub(crate) name: String,
    /// By day; `None` where nothing is known.
    pub(crate) values: Vec<Option<f64>>,
}

impl Chart {
    /// As an element of a page that has the style.
    pub(crate) fn svg(&self, id: &str, number: impl Fn(f64) -> String) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>",
            escape(&self.title),
            escape(&self.description)
        );
        let highest =
            self.lines.iter().flat_map(|line| line.values.iter().flatten()).fold(0.0, |most: f64, v| most.max(*v));
        let step = tick_step(highest);
        let top = (highest / step).ceil().max(1.0) * step;
        self.frame(&mut svg, step, top, number);
        for (place, line) in self.lines.iter().enumerate().rev() {
            self.line(&mut svg, place, line, top);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>");
        svg
    }

    /// As a file of its own.
    pub(crate) fn file(&self, id: &str, style: &str, number: impl Fn(f64) -> String) -> String {
        let svg = self.svg(id, number);
        let at = svg.find('>').map_or(0, |end| end + 1);
        format!("{}<style>{style}</style>{}\n", &svg[..at], &svg[at..])
    }

    fn x(&self, day: usize) -> f64 {
        // Days are few; a place is exact.
        #[expect(clippy::cast_precision_loss, reason = "a report has fewer than 2^52 days")]
        let (day, days) = (day as f64, self.days.len() as f64);
        LEFT + (RIGHT - LEFT) * (day + 0.5) / days.max(1.0)
    }

    fn frame(&self, svg: &mut String, step: f64, top: f64, number: impl Fn(f64) -> String) {
        let half = (RIGHT - LEFT) / 2.0 / f64::from(u32::try_from(self.days.len().max(1)).unwrap_or(u32::MAX));
        for day in 0..self.days.len() {
            if self.is_unknown(day) {
                let x = self.x(day) - half;
                element(svg, "rect", "gap", &[("x", x), ("y", TOP), ("width", 2.0 * half), ("height", BOTTOM - TOP)]);
                let mut at = x;
                while at < x + 2.0 * half - 0.01 {
                    element(svg, "line", "hatch", &[("x1", at), ("y1", BOTTOM), ("x2", at), ("y2", TOP)]);
                    at += 6.0;
                }
            }
        }
        text(svg, (LEFT, 14.0), "start", &self.axis);
        let mut value = 0.0;
        while value <= top * 1.000_001 {
            let y = y(value, top);
            element(
                svg,
                "line",
                if value == 0.0 { "axis" } else { "grid" },
                &[("x1", LEFT), ("y1", y), ("x2", RIGHT), ("y2", y)],
            );
            text(svg, (LEFT - 6.0, y + 4.0), "end", &number(value));
            value += step;
        }
        let every = self.days.len().div_ceil(MOST_LABELS).max(1);
        for (day, name) in self.days.iter().enumerate().step_by(every) {
            let x = self.x(day);
            element(svg, "line", "axis", &[("x1", x), ("y1", BOTTOM), ("x2", x), ("y2", BOTTOM + 4.0)]);
            text(svg, (x, BOTTOM + 18.0), "middle", name);
        }
    }

    fn line(&self, svg: &mut String, place: usize, line: &ChartLine, top: f64) {
        let mut path = String::new();
        let mut is_broken = true;
        for (day, value) in line.values.iter().enumerate() {
            let Some(value) = value else {
                is_broken = true;
                continue;
            };
            let _ = write!(path, "{}{:.1} {:.1}", if is_broken { 'M' } else { 'L' }, self.x(day), y(*value, top));
            is_broken = false;
        }
        let _ = write!(svg, "<path class=\"line s{place}\" d=\"{path}\"/>");
        for (day, value) in line.values.iter().enumerate() {
            let beside =
                [day.checked_sub(1), Some(day + 1)].map(|d| d.and_then(|d| line.values.get(d).copied().flatten()));
            let is_alone = beside == [None, None];
            if let Some(value) = value
                && (self.days.len() <= MOST_MARKERS || is_alone)
            {
                marker(svg, place, self.x(day), y(*value, top));
            }
        }
    }

    fn legend(&self, svg: &mut String) {
        let mut at = TOP + 8.0;
        for (place, line) in self.lines.iter().enumerate() {
            let _ = write!(
                svg,
                "<path class=\"line s{place}\" d=\"M{:.1} {at:.1}L{:.1} {at:.1}\"/>",
                RIGHT + 12.0,
                RIGHT + 36.0
            );
            marker(svg, place, RIGHT + 24.0, at);
            text(svg, (RIGHT + 42.0, at + 4.0), "start", &shortened(&clean(&line.name)));
            at += 21.0;
        }
        if (0..self.days.len()).any(|day| self.is_unknown(day)) {
            element(svg, "rect", "gap", &[("x", RIGHT + 12.0), ("y", at - 6.0), ("width", 24.0), ("height", 12.0)]);
            for x in [0.0, 6.0, 12.0, 18.0, 24.0] {
                let x = RIGHT + 12.0 + x;
                element(svg, "line", "hatch", &[("x1", x), ("y1", at + 6.0), ("x2", x), ("y2", at - 6.0)]);
            }
            text(svg, (RIGHT + 42.0, at + 4.0), "start", &self.not_known);
        }
    }

    /// Whether no line has a value there.
    fn is_unknown(&self, day: usize) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.values.get(day).copied().flatten().is_none())
    }
}

fn y(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * value / top
}

/// 1, 2 or 5 times a power of ten, so that there are three to seven of them.
fn tick_step(highest: f64) -> f64 {
    // Also of what is not a number.
    if !(highest > 0.0 && highest.is_finite()) {
        return 1.0;
    }
    // By multiplication alone: logarithms of machines differ in their last digit.
    let mut power = 1.0;
    while power * 50.0 <= highest {
        power *= 10.0;
    }
    while power * 5.0 > highest {
        power /= 10.0;
    }
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power * 5.0 >= highest);
    factor.unwrap_or(10.0) * power
}

fn element(svg: &mut String, name: &str, class: &str, numbers: &[(&str, f64)]) {
    let _ = write!(svg, "<{name} class=\"{class}\"");
    for (attribute, number) in numbers {
        let _ = write!(svg, " {attribute}=\"{number:.1}\"");
    }
    svg.push_str("/>");
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
}

/// Shapes differ so that lines are told apart without colour.
fn marker(svg: &mut String, place: usize, x: f64, y: f64) {
    let points: &[(f64, f64)] = match place % 5 {
        0 => &[(-2.5, -2.5), (2.5, -2.5), (2.5, 2.5), (-2.5, 2.5)],
        1 => &[(0.0, -3.6), (3.4, 2.6), (-3.4, 2.6)],
        2 => &[(0.0, -3.8), (3.8, 0.0), (0.0, 3.8), (-3.8, 0.0)],
        3 => &[(0.0, 3.6), (3.4, -2.6), (-3.4, -2.6)],
        _ => &[(-1.0, -3.5), (1.0, -3.5), (3.5, 0.0), (1.0, 3.5), (-1.0, 3.5), (-3.5, 0.0)],
    };
    let _ = write!(svg, "<path class=\"mark m{place}\" d=\"");
    for (index, (dx, dy)) in points.iter().enumerate() {
        let _ = write!(svg, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x + dx, y + dy);
    }
    svg.push_str("Z\"/>");
}

/// What fits into the legend; the table has the whole name.
fn shortened(name: &str) -> String {
    let mut columns = 0;
    let mut text = String::new();
    for character in name.chars() {
        // A character beyond Latin, Greek and Cyrillic letters is taken for a wide one.
        columns += if u32::from(character) < 0x1100 { 1 } else { 2 };
        if columns > LEGEND_COLUMNS {
            text.push('…');
            break;
        }
        text.push(character);
    }
    text
}
