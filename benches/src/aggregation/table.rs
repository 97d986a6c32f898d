//! What was measured, as a Markdown table.

use std::fmt;

use super::draw::Shape;
use super::ways::{Outcome, Way};

/// One number of keys and one shape.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) keys: u32,
    /// Distinct sources, once they were counted.
    pub(super) sources: Option<usize>,
    shape: Shape,
    updates: usize,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    way: Way,
    /// With one thread and with two.
    cells: [Cell; 2],
}

#[derive(Clone, Copy, Debug, Default)]
enum Cell {
    #[default]
    NotRun,
    LeftOut,
    /// The least of several runs, each for itself.
    Best {
        seconds: f64,
        cpu_seconds: f64,
        merge_cpu_seconds: f64,
    },
}

impl Cell {
    fn keep_best(&mut self, outcome: Outcome) {
        let Outcome { mut seconds, mut cpu_seconds, mut merge_cpu_seconds, .. } = outcome;
        if let Cell::Best { seconds: best, cpu_seconds: best_cpu, merge_cpu_seconds: best_merge } = *self {
            seconds = seconds.min(best);
            if best_cpu < cpu_seconds {
                (cpu_seconds, merge_cpu_seconds) = (best_cpu, best_merge);
            }
        }
        *self = Cell::Best { seconds, cpu_seconds, merge_cpu_seconds };
    }

    fn seconds(self) -> Option<f64> {
        match self {
            Cell::Best { seconds, .. } => Some(seconds),
            Cell::NotRun | Cell::LeftOut => None,
        }
    }

    fn cpu_seconds(self) -> Option<f64> {
        match self {
            Cell::Best { cpu_seconds, .. } => Some(cpu_seconds),
            Cell::NotRun | Cell::LeftOut => None,
        }
    }

    /// How long it takes where each thread has a core of its own and waits for nobody.
    fn undisturbed_seconds(self, threads: f64) -> Option<f64> {
        match self {
            Cell::Best { cpu_seconds, merge_cpu_seconds, .. } => {
                Some((cpu_seconds - merge_cpu_seconds) / threads + merge_cpu_seconds)
            }
            Cell::NotRun | Cell::LeftOut => None,
        }
    }

    fn is_left_out(self) -> bool {
        matches!(self, Cell::LeftOut)
    }
}

impl Case {
    pub(super) const fn new(keys: u32, shape: Shape, updates: usize) -> Case {
        Case { keys, sources: None, shape, updates, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, way: Way, threads: usize, outcome: Outcome) {
        self.cell(way, threads).keep_best(outcome);
    }

    pub(super) fn leave_out(&mut self, way: Way, threads: usize) {
        *self.cell(way, threads) = Cell::LeftOut;
    }

    fn cell(&mut self, way: Way, threads: usize) -> &mut Cell {
        let line = self.lines.iter().position(|line| line.way == way).unwrap_or_else(|| {
            self.lines.push(Line { way, cells: Default::default() });
            self.lines.len() - 1
        });
        &mut self.lines[line].cells[threads - 1]
    }

    /// Ours to the best of the others.
    fn ratio(&self, seconds: impl Fn(&Line) -> Option<f64>) -> String {
        let least = |is_ours: bool| {
            let lines = self.lines.iter().filter(move |line| (line.way == Way::Ours) == is_ours);
            lines.filter_map(&seconds).reduce(f64::min)
        };
        least(true).zip(least(false)).map_or("-".to_owned(), |(ours, other)| format!("{:.2} x", other / ours))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (updates, sources) = (self.updates as f64 / 1e6, self.sources.unwrap_or(0));
        writeln!(f, "{} keys, {}: {updates} M updates, {sources} sources seen\n", self.keys, self.shape)?;
        writeln!(
            f,
            "| M updates | a second, 1 thread | 2 threads | scaling | a CPU-second, 1 thread | 2 threads | scaling | of it merging, CPU-ms |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for line in &self.lines {
            line.write(self.updates, f)?;
        }
        let wall = [0, 1].map(|threads| self.ratio(|line| line.cells[threads].seconds()));
        let cpu = [0, 1].map(|threads| self.ratio(|line| line.cells[threads].cpu_seconds()));
        write!(f, "| ours to the best other | {} | {} | | {} | {} | | |", wall[0], wall[1], cpu[0], cpu[1])
    }
}

impl Line {
    fn write(&self, updates: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cells.iter().any(|cell| cell.is_left_out()) {
            return writeln!(f, "| {} | left out: memory | | | | | | |", self.way.name());
        }
        let rate = |seconds: Option<f64>| text(seconds.map(|seconds| updates as f64 / seconds / 1e6), "");
        let ratio = |one: Option<f64>, two: Option<f64>| text(one.zip(two).map(|(one, two)| one / two), " x");
        let [one, two] = self.cells;
        let merging = match two {
            Cell::Best { merge_cpu_seconds, .. } if merge_cpu_seconds > 0.0 => Some(merge_cpu_seconds * 1e3),
            _ => None,
        };
        write!(f, "| {} | {} | {} |", self.way.name(), rate(one.seconds()), rate(two.seconds()))?;
        write!(f, " {} |", ratio(one.seconds(), two.seconds()))?;
        write!(f, " {} | {} |", rate(one.cpu_seconds()), rate(two.cpu_seconds()))?;
        // Who waits for others uses no CPU time for it: for them CPU time says nothing about scaling.
        let scaling = merging.and_then(|_| one.undisturbed_seconds(1.0).zip(two.undisturbed_seconds(2.0)));
        writeln!(f, " {} | {} |", ratio(scaling.map(|both| both.0), scaling.map(|both| both.1)), text(merging, ""))
    }
}

fn text(figure: Option<f64>, unit: &str) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.*}{unit}", if unit.is_empty() { 1 } else { 2 }))
}
