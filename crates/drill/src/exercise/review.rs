//! What every collector saw, called and did in an exercise, beside what really happened.
//!
//! Times of calls are event time, the exercise's own, so that they mean the same whatever speed it was played at. What
//! people did afterwards is told by each collector's clock, as the time since it recorded the event.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::http::{self, Client};
use super::{Exercise, Participant};
use crate::inject::{Call, Inject};

/// Pages of events that are read of one collector; of a thousand each.
const MAX_PAGES: usize = 100;
/// And so many bytes of them together.
const MAX_BYTES: usize = 256 << 20;

/// A collector to ask.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The participant whose it is.
    pub name: String,
    /// Where its API is, without `/api/v1`.
    pub url: String,
    /// What it is asked with.
    pub token: Option<String>,
}

/// An event as a collector's API tells it; what else it tells is not looked at.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Event {
    id: String,
    class: String,
    #[serde(rename = "type")]
    kind: Call,
    ip: u8,
    protocol: String,
    port: Option<u16>,
    mark: String,
    state: String,
    severity: String,
    owner: Option<String>,
    onset: Timestamp,
    /// Event time.
    detected: Timestamp,
    /// The collector's clock.
    recorded: Timestamp,
    labels: Vec<String>,
    estimates: Option<Estimates>,
    history: Vec<Act>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Estimates {
    rate_per_hour: Option<Interval>,
    doubling_seconds: Option<Interval>,
    infected: Option<Interval>,
    susceptible: Option<Interval>,
}

/// An estimate; a bound that is not known is null.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Interval {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Act {
    at: Timestamp,
    by: String,
    action: String,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Event>,
    next_cursor: Option<String>,
}

impl Event {
    /// Without what a terminal would obey, or what would look like further lines: the texts are somebody else's.
    fn printable(mut self) -> Event {
        let texts = [&mut self.protocol, &mut self.state, &mut self.severity].into_iter().chain(&mut self.labels);
        let acts = self.history.iter_mut();
        let said =
            acts.flat_map(|act| [Some(&mut act.by), Some(&mut act.action), act.note.as_mut()].into_iter().flatten());
        for text in texts.chain(said) {
            *text = text.replace(char::is_control, " ");
        }
        self
    }
}

/// Asks one collector for all events of drills.
///
/// # Errors
/// If it does not answer, or not with events.
pub fn ask(collector: &Collector, ca: Option<&Path>) -> Result<Vec<Event>> {
    let client = Client { token: collector.token.clone(), tls: ca.map(http::trust).transpose()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut events = Vec::new();
        let mut cursor = String::new();
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            let base = collector.url.trim_end_matches('/');
            let body = client.get(&format!("{base}/api/v1/events?class=drill&limit=1000{cursor}")).await?;
            bytes += body.len();
            anyhow::ensure!(bytes <= MAX_BYTES, "the answers are longer than {MAX_BYTES} bytes");
            let page: Page = serde_json::from_slice(&body).context("the answer is no list of events")?;
            events.extend(page.events.into_iter().map(Event::printable));
            let Some(next) = page.next_cursor else { return Ok(events) };
            let next = format!("&cursor={next}");
            anyhow::ensure!(next != cursor, "the same page comes again and again");
            cursor = next;
        }
        anyhow::bail!("there are more than {} events", MAX_PAGES * 1000)
    })
}

/// What an exercise came to.
#[derive(Debug, Serialize)]
pub struct Review {
    title: String,
    start: Timestamp,
    messages: Vec<MessageLine>,
    injects: Vec<InjectReview>,
    /// Calls, by collector, that no inject explains.
    unexplained: BTreeMap<String, Vec<Event>>,
    /// Collectors that could not be asked, and why.
    unanswered: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct MessageLine {
    at: Timestamp,
    text: String,
}

#[derive(Debug, Serialize)]
struct InjectReview {
    name: String,
    protocol: &'static str,
    port: u16,
    onset: Timestamp,
    end: Timestamp,
    by_collector: BTreeMap<String, Findings>,
}

/// What one collector made of an inject.
#[derive(Debug, Serialize)]
struct Findings {
    must: &'static [Call],
    must_not: &'static [Call],
    calls: Vec<Finding>,
    /// What it should have called and did not.
    missed: Vec<Call>,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    /// From the onset that was injected to the detection.
    hours_after_onset: f64,
    /// The same in doubling times of the worm; null of anything else.
    doublings_after_onset: Option<f64>,
    /// Share of the vulnerable hosts infected at the detection, by the model; null of anything but worms.
    infected_share: Option<f64>,
    event: Event,
}

/// Whether a call should have been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Right,
    Allowed,
    Wrong,
}

/// Lays what collectors called beside what happened. `answers` is by participant.
///
/// # Errors
/// If an answer is of nobody who takes part.
pub fn review(exercise: &Exercise, answers: Vec<(String, Result<Vec<Event>>)>) -> Result<Review> {
    let first = exercise.participants.first().context("nobody takes part")?;
    let start = Timestamp::from_second(i64::try_from(first.drill.start_s)?)?;
    let mut injects = Vec::new();
    for inject in &first.drill.injects {
        let (transport, port) = inject.service();
        let (onset, end) = (start.checked_add(inject.begin)?, start.checked_add(inject.end)?);
        let (name, protocol, by_collector) = (inject.name.clone(), transport.name(), BTreeMap::new());
        injects.push(InjectReview { name, protocol, port, onset, end, by_collector });
    }
    let messages = exercise
        .messages
        .iter()
        .map(|message| Ok(MessageLine { at: start.checked_add(message.at)?, text: message.text.clone() }));
    let messages = messages.collect::<Result<_>>()?;
    let (unexplained, unanswered) = (BTreeMap::new(), BTreeMap::new());
    let mut review = Review { title: exercise.title.clone(), start, messages, injects, unexplained, unanswered };
    for (name, events) in answers {
        let participant = exercise.participant(&name)?;
        match events {
            Ok(events) => review.add(participant, events)?,
            Err(error) => _ = review.unanswered.insert(name, format!("{error:#}")),
        }
    }
    Ok(review)
}

impl Review {
    fn add(&mut self, participant: &Participant, events: Vec<Event>) -> Result<()> {
        ensure!(
            events.iter().all(|event| event.class == "drill"),
            "{} told of events that are no drill's",
            participant.name
        );
        let end = self.start.checked_add(participant.drill.duration)?;
        let truth = &participant.drill.injects;
        for (review, inject) in self.injects.iter_mut().zip(truth) {
            let expected = inject.expectation(&participant.drill);
            let (must, must_not) = (expected.must, expected.must_not);
            let findings = Findings { must, must_not, calls: Vec::new(), missed: must.to_vec() };
            review.by_collector.insert(participant.name.clone(), findings);
        }
        // Those of other drills that the same collector saw are none of ours.
        let mut events: Vec<Event> =
            events.into_iter().filter(|it| (self.start..=end).contains(&it.detected)).collect();
        events.sort_by_key(|event| event.detected);
        for event in events {
            let Some((at, inject)) = self.cause(participant, &event) else {
                self.unexplained.entry(participant.name.clone()).or_default().push(event);
                continue;
            };
            let review = &mut self.injects[at];
            let finding = finding(participant, inject, review.onset, event);
            if let Some(findings) = review.by_collector.get_mut(&participant.name) {
                findings.missed.retain(|missed| *missed != finding.event.kind);
                findings.calls.push(finding);
            }
        }
        Ok(())
    }

    /// The inject that an event is of: on its service, begun by then. Of several, the last that it may be called for, else
    /// the last.
    fn cause<'a>(&self, participant: &'a Participant, event: &Event) -> Option<(usize, &'a Inject)> {
        let begun = |at: usize| {
            let inject = &self.injects[at];
            event.ip == 4
                && event.protocol == inject.protocol
                && event.port == Some(inject.port)
                && event.detected >= inject.onset
        };
        let truth = participant.drill.injects.iter().enumerate();
        let begun: Vec<_> = truth.filter(|&(at, _)| begun(at)).collect();
        let latest = |of: &[(usize, &'a Inject)]| of.iter().copied().max_by_key(|&(at, _)| self.injects[at].onset);
        let allowed: Vec<_> = begun
            .iter()
            .copied()
            .filter(|(_, inject)| !inject.expectation(&participant.drill).must_not.contains(&event.kind))
            .collect();
        latest(&allowed).or_else(|| latest(&begun))
    }

    /// Whether everything that had to be called was, nothing that must not be, and everybody answered.
    pub fn is_clean(&self) -> bool {
        let fine = |findings: &Findings| {
            findings.missed.is_empty() && findings.calls.iter().all(|call| call.verdict != Verdict::Wrong)
        };
        self.unanswered.is_empty()
            && self.injects.iter().all(|inject| inject.by_collector.values().all(fine))
            && self.unexplained.values().flatten().all(|event| !is_false_alarm(event))
    }

    /// The timeline for people.
    pub fn text(&self) -> String {
        let mut lines: Vec<(Timestamp, String)> = Vec::new();
        lines.extend(self.messages.iter().map(|it| (it.at, format!("inject: {}", it.text))));
        for inject in &self.injects {
            let service = format!("{}/{}", inject.protocol, inject.port);
            lines.push((inject.onset, format!("onset of {} on {service}", inject.name)));
            for (collector, findings) in &inject.by_collector {
                let calls = findings.calls.iter();
                lines.extend(calls.map(|call| (call.event.detected, line(collector, &inject.name, call))));
            }
        }
        for (collector, events) in &self.unexplained {
            let unexplained = |event: &Event| {
                let port = event.port.map_or_else(|| "no port".to_owned(), |port| port.to_string());
                format!(
                    "{collector} called {}{} on {}/{port}: nothing was injected there by then",
                    name(event.kind),
                    if is_false_alarm(event) { " (WRONG)" } else { "" },
                    event.protocol
                )
            };
            lines.extend(events.iter().map(|event| (event.detected, unexplained(event))));
        }
        // Stable, so that an onset stands before what was called at the same moment.
        lines.sort_by_key(|(at, _)| *at);
        let mut text = format!("{}\nbegan {} (event time)\n\n", self.title, self.start);
        for (at, line) in lines {
            let hours = hours(self.start, at);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{hours:>9.2} h  {line}");
        }
        text.push_str("\nmissed:\n");
        let before = text.len();
        for inject in &self.injects {
            for (collector, findings) in &inject.by_collector {
                for call in &findings.missed {
                    let _ = writeln!(text, "  {collector} did not call {} for {}", name(*call), inject.name);
                }
            }
        }
        for (collector, error) in &self.unanswered {
            let _ = writeln!(text, "  {collector} could not be asked: {error}");
        }
        if text.len() == before {
            text.push_str("  nothing\n");
        }
        text
    }
}

/// The background has ports that are new and surges of its own, but no outbreak.
fn is_false_alarm(event: &Event) -> bool {
    event.kind == Call::Outbreak
}

fn finding(participant: &Participant, inject: &Inject, onset: Timestamp, event: Event) -> Finding {
    let expected = inject.expectation(&participant.drill);
    let verdict = if expected.must.contains(&event.kind) {
        Verdict::Right
    } else if expected.must_not.contains(&event.kind) {
        Verdict::Wrong
    } else {
        Verdict::Allowed
    };
    let hours_after_onset = hours(onset, event.detected);
    let after_s = hours_after_onset * 3600.0;
    let model = inject.model(&participant.drill);
    Finding {
        verdict,
        hours_after_onset,
        doublings_after_onset: model.map(|model| after_s / model.doubling_s()),
        infected_share: model.map(|model| model.infected_share(after_s)),
        event,
    }
}

/// What a collector called and what was done about it.
fn line(collector: &str, inject: &str, call: &Finding) -> String {
    let event = &call.event;
    let verdict = match call.verdict {
        Verdict::Right => "",
        Verdict::Allowed => " (allowed)",
        Verdict::Wrong => " (WRONG)",
    };
    let mut line = format!(
        "{collector} called {}{verdict} for {inject}, {:.2} h after its onset",
        name(event.kind),
        call.hours_after_onset
    );
    // Writing to a string cannot fail.
    if let (Some(doublings), Some(share)) = (call.doublings_after_onset, call.infected_share) {
        let _ = write!(line, ", {doublings:.1} doublings, {:.3} % infected", share * 100.0);
    }
    let _ = write!(line, "; {}, {}", event.state, event.severity);
    if !event.labels.is_empty() {
        let _ = write!(line, " [{}]", event.labels.join(", "));
    }
    for act in event.history.iter().filter(|act| act.action != "detected") {
        let minutes = hours(event.recorded, act.at) * 60.0;
        let note = act.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        let _ = write!(line, "\n{:>14}{} by {} {minutes:.1} min after it was recorded{note}", "", act.action, act.by);
    }
    line
}

const fn name(call: Call) -> &'static str {
    match call {
        Call::FirstSeenPort => "first_seen_port",
        Call::Surge => "surge",
        Call::Outbreak => "outbreak",
    }
}

fn hours(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 3600.0
}
