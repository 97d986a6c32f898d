//! An event as answers have it.

use martlet_window::TrafficClass;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::json::{Time, class_schema, ip_number, list_of, words};
use crate::events::{
    Action, DeliveryRecord, Event, HistoryEntry, Network, RegionCount, Request, SensorCount, Severity, State, TYPES,
    Whole, name, type_name,
};
use crate::publish::services::{protocol_name, service};
use crate::tokens::Scope;
use martlet_telemetry::counters::Labelled;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(in super::super) struct EventShape {
    /// What it is called.
    id: String,
    /// `real`, `drill` or `import`.
    #[schema(schema_with = class_schema)]
    class: &'static str,
    /// What the detector calls it; it only ever goes up.
    #[serde(rename = "type")]
    #[schema(schema_with = type_schema)]
    event_type: &'static str,
    /// 4 or 6.
    ip: u8,
    /// Name of the IP protocol.
    protocol: String,
    /// The port that is scanned.
    port: u16,
    /// The IANA name of a port that is often scanned.
    service: Option<&'static str>,
    /// Which tool or bot the packets look like, or `none`.
    mark: &'static str,
    /// Where it is in its life.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// How much it matters.
    #[schema(schema_with = severity_schema)]
    severity: &'static str,
    /// Who looks after it; null to scope `public`.
    owner: Option<String>,
    /// Who is to be told; none to scope `public`.
    recipients: Vec<String>,
    /// When it began as far as can be told.
    onset: Time,
    /// When it was called what it is, in event time.
    detected: Time,
    /// When it was first written down, by the collector's clock.
    recorded: Time,
    /// When it was last above what was expected.
    last_active: Time,
    /// When it was over.
    ended: Option<Time>,
    /// What must be said beside it.
    #[schema(schema_with = labels_schema)]
    labels: Vec<&'static str>,
    /// Of an outbreak.
    estimates: Option<EstimatesShape>,
    /// What happened to it, in its order.
    history: Vec<HistoryShape>,
    /// Goes up with every entry of the history: give it with a change, and what has changed since is not overwritten.
    version: i64,
}

/// Estimates of an outbreak.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventEstimates)]
pub(in super::super) struct EstimatesShape {
    /// Growth rate a of dI/dt = a I (1 - I/N), per hour.
    rate_per_hour: EstimateShape,
    /// Doubling time, in seconds.
    doubling_seconds: EstimateShape,
    /// Hosts that scan.
    infected: Option<EstimateShape>,
    /// Hosts that can be infected.
    susceptible: Option<EstimateShape>,
}

/// An estimate with its interval of 95 %.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventEstimate)]
pub(in super::super) struct EstimateShape {
    /// The most likely value; null where data only bound it.
    value: Option<f64>,
    /// Lower end of the interval.
    low: f64,
    /// Upper end of the interval; null where data do not bound it.
    high: Option<f64>,
}

/// Something that happened to an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventHistory)]
pub(in super::super) struct HistoryShape {
    /// When, by the collector's clock.
    at: Time,
    /// Who: `detector`, `local`, or the name of a token; null to scope `public`.
    by: Option<String>,
    /// What.
    #[schema(schema_with = action_schema)]
    action: &'static str,
    /// What was said; null to scope `public`.
    note: Option<String>,
}

/// An event with what it was called on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventWithEvidence)]
pub(in super::super) struct WholeShape {
    #[serde(flatten)]
    event: EventShape,
    /// What it was called on.
    evidence: EvidenceShape,
    /// Who was told; the newest first.
    deliveries: Vec<DeliveryShape>,
    /// What the caller may ask for now, by POST to this path.
    #[schema(schema_with = requests_schema)]
    actions: Vec<&'static str>,
}

/// What an event was called on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventEvidence)]
pub(in super::super) struct EvidenceShape {
    /// Length of a bin of the series.
    bin_seconds: u32,
    /// The series, oldest first.
    series: Vec<BinShape>,
    /// How much better growth explains the series than chance or a step do: a difference of log likelihoods.
    growth_over_step: f64,
    /// Observed addresses of all sensors that reported.
    addresses: u64,
    /// Sources that are remembered.
    sources: u32,
    /// Regions of the networks, by their sources, as of when the event was recorded. To scope `public` none that is about few.
    regions: Vec<RegionCount>,
    /// Networks that sources were seen in first; none to scope `public`.
    networks: Vec<Network>,
    /// Sensors that saw it; none to scope `public`.
    sensors: Vec<SensorCount>,
}

/// A bin of a series.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventBin)]
pub(in super::super) struct BinShape {
    /// Its start.
    start: Time,
    /// Sightings: sources times sensors times windows.
    sightings: u32,
    /// What was expected of them.
    expected: f32,
}

/// What became of telling somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventDelivery)]
pub(in super::super) struct DeliveryShape {
    /// Whom.
    target: String,
    /// Of what.
    #[schema(schema_with = action_schema)]
    action: &'static str,
    /// How often it was tried.
    attempts: u32,
    /// When it will be tried again.
    next_try: Option<Time>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was taken.
    delivered: Option<Time>,
    /// When it was given up.
    given_up: Option<Time>,
}

fn type_schema() -> Schema {
    words(&TYPES.map(|(_, name)| name))
}

fn state_schema() -> Schema {
    words(State::NAMES)
}

fn severity_schema() -> Schema {
    words(Severity::NAMES)
}

fn action_schema() -> Schema {
    words(Action::NAMES)
}

fn requests_schema() -> Schema {
    list_of(words(Request::NAMES))
}

fn labels_schema() -> Schema {
    list_of(words(&["single_sensor", "spoofed_looking", "one_network"]))
}

const fn seconds(ms: i64) -> Time {
    Time(ms.div_euclid(1000))
}

impl EventShape {
    /// Of an event; to whoever may see only what is published, without what is the analysts' own.
    pub(super) fn new(event: Event, history: Vec<HistoryEntry>, is_public: bool) -> EventShape {
        let key = event.key;
        let entry = |entry: HistoryEntry| HistoryShape {
            at: seconds(entry.at_ms),
            by: Some(entry.by).filter(|_| !is_public),
            action: name(entry.action),
            note: entry.note.filter(|_| !is_public),
        };
        EventShape {
            id: event.id.to_string(),
            class: event.id.class.name(),
            event_type: type_name(event.finding_type),
            ip: ip_number(key.ip),
            protocol: protocol_name(key.protocol),
            port: key.port,
            service: service(key.protocol, key.port),
            mark: key.population.name(),
            state: name(event.state),
            severity: name(event.severity),
            owner: event.owner.filter(|_| !is_public),
            recipients: if is_public { Vec::new() } else { event.recipients },
            onset: Time(event.onset),
            detected: Time(event.detected),
            recorded: seconds(event.recorded_ms),
            last_active: Time(event.last_active),
            ended: event.ended.map(Time),
            labels: event.labels.into_iter().map(crate::events::label_name).collect(),
            estimates: event.estimates.as_ref().map(EstimatesShape::from),
            history: history.into_iter().map(entry).collect(),
            version: event.version,
        }
    }
}

impl From<&martlet_detect::Estimates> for EstimatesShape {
    fn from(estimates: &martlet_detect::Estimates) -> EstimatesShape {
        EstimatesShape {
            rate_per_hour: estimates.rate_per_hour.into(),
            doubling_seconds: estimates.doubling_seconds.into(),
            infected: estimates.infected.map(Into::into),
            susceptible: estimates.susceptible.map(Into::into),
        }
    }
}

impl From<martlet_detect::Estimate> for EstimateShape {
    fn from(estimate: martlet_detect::Estimate) -> EstimateShape {
        EstimateShape { value: estimate.value, low: estimate.low, high: estimate.high }
    }
}

impl WholeShape {
    /// Of an event; `least_sources` is given for whoever may see only what is published: the fewest sources of a region that is
    /// told. `scope` is what the caller may do.
    pub(super) fn new(whole: Whole, scope: Scope, least_sources: Option<u64>) -> WholeShape {
        let Whole { event, evidence, history, deliveries } = whole;
        let is_public = least_sources.is_some();
        debug_assert!(!is_public || event.id.class == TrafficClass::Real);
        let may_tell = |region: &RegionCount| u64::from(region.sources) >= least_sources.unwrap_or(0);
        let bin = |bin: &crate::events::SeriesBin| BinShape {
            start: Time(bin.start),
            sightings: bin.sightings,
            expected: bin.expected,
        };
        let evidence = EvidenceShape {
            bin_seconds: evidence.bin_seconds,
            series: evidence.series.iter().map(bin).collect(),
            growth_over_step: evidence.growth_over_step,
            addresses: evidence.addresses,
            sources: evidence.sources,
            regions: evidence.regions.into_iter().filter(may_tell).collect(),
            networks: if is_public { Vec::new() } else { evidence.networks },
            sensors: if is_public { Vec::new() } else { evidence.sensors },
        };
        let may_ask = |request: &Request| request.leads_to().is_none_or(|next| next > event.state);
        let actions = Request::ALL.iter().copied().filter(|request| scope >= Scope::Analyst && may_ask(request));
        let actions = actions.map(name).collect();
        let deliveries = if is_public { Vec::new() } else { deliveries };
        WholeShape {
            event: EventShape::new(event, history, is_public),
            evidence,
            deliveries: deliveries.into_iter().map(DeliveryShape::from).collect(),
            actions,
        }
    }
}

impl From<DeliveryRecord> for DeliveryShape {
    fn from(record: DeliveryRecord) -> DeliveryShape {
        DeliveryShape {
            target: record.target,
            action: name(record.action),
            attempts: record.attempts,
            next_try: record.next_try_ms.map(seconds),
            last_error: record.last_error,
            delivered: record.delivered_ms.map(seconds),
            given_up: record.given_up_ms.map(seconds),
        }
    }
}
