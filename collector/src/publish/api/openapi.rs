//! The API's description (OpenAPI 3.1), made from the types that answers are written from and the parameters that are read.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use martlet_telemetry::counters::Labelled;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ArrayItems, KnownFormat, ObjectBuilder, SchemaFormat, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, HttpMethod, InfoBuilder, LicenseBuilder, OpenApiBuilder, Paths,
    Ref, RefOr, Required, ResponseBuilder, Schema,
};

use super::super::document::Document;
use super::super::problem::{Kind, MEDIA_TYPE, Problem, VARY};
use super::endpoint::{About, Endpoint, REVALIDATED};
use super::format::{Format, Table};
use super::json::{class_schema, words};
use super::parameter::{GroupBy, Parameter};
use super::params::{DEFAULT_HOUR_STEPS, DEFAULT_LIMIT, DEFAULT_STEPS, MAX_LIMIT, MAX_STEPS, Ranges};
use super::validator::Validity;
use super::{events, reports, status, stream};
use crate::events::{LONGEST_NAME, LONGEST_NOTE, Language, MOST_RECIPIENTS, Request, Severity, State, TYPES, Tlp};
use crate::report::{Form, LONGEST_NOTE as LONGEST_REPORT_NOTE, MOST_TIMES_BEFORE};
use crate::tokens::Scope;

const SCHEME: &str = "token";
const ABOUT: &str = "What Martlet's sensors saw: unsolicited packets to addresses where nothing lives. docs/api.md explains every \
    word. Times are event time, in UTC; ranges are half-open. Answers are JSON, or their one table as CSV or NDJSON. A token of \
    scope `public` is told less and later: docs/api.md says how much.";

/// The description while it is put together.
pub(super) struct Description {
    /// What all paths begin with.
    prefix: &'static str,
    needs: Needs,
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

/// What whoever asks must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// A token.
    Token,
    /// A token, unless it is a program of the collector's machine.
    TokenElsewhere,
    Nothing,
}

impl Description {
    /// Of no path yet.
    pub(super) fn new(prefix: &'static str, needs: Needs) -> Description {
        Description { prefix, needs, paths: Paths::default(), schemas: BTreeMap::new() }
    }

    /// Describes a path.
    pub(super) fn add<E: Endpoint>(&mut self) {
        let success = self.success::<E>();
        self.operation(&E::ABOUT, !E::Answer::COLUMNS.is_empty(), success);
    }

    /// Describes the path whose answer goes on.
    pub(super) fn add_stream(&mut self) {
        self.register::<status::Answer>();
        let words = "Server-sent events of the name `status`, whose `data` is JSON of the schema Status, on one line, and whose `id` goes \
                     up with every change. One comes at once, and then one a second at most and one in 15 seconds at least. A stream \
                     ends after ten minutes at the latest; ask again.";
        let events: Schema = ObjectBuilder::new().schema_type(Type::String).description(Some(words)).into();
        let success = ResponseBuilder::new()
            .description(stream::ABOUT.summary)
            .header("Cache-Control", text("That the answer is not kept."))
            .header("Vary", text("Which headers of the request decide about the answer."))
            .content(stream::MEDIA_TYPE, ContentBuilder::new().schema(Some(events)).build());
        self.operation(&stream::ABOUT, false, success);
    }

    /// Describes the path whose answer is a text.
    pub(super) fn add_draft(&mut self) {
        let about = &events::draft::ABOUT;
        let words = "A draft in Markdown, with a marking of TLP 2.0 at both ends.";
        let draft: Schema = ObjectBuilder::new().schema_type(Type::String).description(Some(words)).into();
        let success = ResponseBuilder::new()
            .description(about.summary)
            .header("Cache-Control", text("That the answer is not kept."))
            .header("Vary", text("Which headers of the request decide about the answer."))
            .content(events::draft::MEDIA_TYPE, ContentBuilder::new().schema(Some(draft)).build());
        self.operation(about, false, success);
    }

    /// Describes the path of a report, which comes in formats of its own.
    pub(super) fn add_report(&mut self) {
        let about = &reports::report::ABOUT;
        let text =
            |words: &str| -> Schema { ObjectBuilder::new().schema_type(Type::String).description(Some(words)).into() };
        let numbers: Schema = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("Every number of the report: the model that all other formats are written from."))
            .into();
        let [html, json, zip] = reports::report::MEDIA_TYPES;
        let schemas = [
            (html, text("One page, without scripts, that loads nothing.")),
            (json, numbers),
            (zip, text("A ZIP archive of Markdown with figures, or of tables as CSV.")),
        ];
        let success = kept_answer(about.summary, "A strong entity tag, for If-None-Match.")
            .header("Content-Disposition", self::text("What the report is called as a file."))
            .header("Content-Security-Policy", self::text("What the page may load: nothing."));
        let success = schemas.into_iter().fold(success, |success, (media_type, schema)| {
            success.content(media_type, ContentBuilder::new().schema(Some(schema)).build())
        });
        self.operation(about, false, success);
    }

    /// Describes the path of notes, which are read and replaced.
    pub(super) fn add_notes(&mut self) {
        use reports::notes::{ABOUT, ABOUT_REPLACING, Shape};
        let notes = self.register::<Shape>();
        let json = || ContentBuilder::new().schema(Some(notes.clone())).build();
        let tag = "A strong entity tag: for If-None-Match, and for If-Match of whoever replaces them.";
        let success = kept_answer(ABOUT.summary, tag).content(Format::Json.media_type(), json());
        self.operation(&ABOUT, false, success);
        let success = kept_answer("The notes as they are then", tag).content(Format::Json.media_type(), json());
        let body = ContentBuilder::new().schema(Some(notes_schema())).build();
        let body = RequestBodyBuilder::new()
            .description(Some("All notes of the report; what is left out is removed."))
            .content(Format::Json.media_type(), body)
            .required(Some(Required::True))
            .build();
        let seen = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some("The ETag of the notes that the caller has seen; `*` for whatever there is."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).examples(["*"])))
            .build();
        let operation = self.described_operation(&ABOUT_REPLACING, false, success, &Kind::OF_NOTE_CHANGES);
        let operation = operation.parameter(seen).request_body(Some(body)).operation_id(Some("replace_report_notes"));
        self.paths.add_path_operation(ABOUT.path(self.prefix), vec![HttpMethod::Put], operation.build());
    }

    /// Describes the path that changes an event.
    pub(super) fn add_change(&mut self) {
        let about = &events::change::ABOUT;
        let json = ContentBuilder::new().schema(Some(self.register::<<events::event::Path as Endpoint>::Answer>()));
        let success = ResponseBuilder::new()
            .description("The event as it is then")
            .header("Cache-Control", text("That the answer is not kept."))
            .header("Vary", text("Which headers of the request decide about the answer."))
            .content(Format::Json.media_type(), json.build());
        let body = ContentBuilder::new().schema(Some(change_schema())).build();
        let body = RequestBodyBuilder::new()
            .description(Some("What is said. `version` is that of the event that the caller has seen."))
            .content(Format::Json.media_type(), body)
            .required(Some(Required::True))
            .build();
        let operation =
            self.described_operation(about, false, success, &Kind::OF_EVENT_CHANGES).request_body(Some(body));
        let operation = operation.operation_id(Some("change_event"));
        self.paths.add_path_operation(about.path(self.prefix), vec![HttpMethod::Post], operation.build());
    }

    fn operation(&mut self, about: &About, has_table: bool, success: ResponseBuilder) {
        let operation = self.described_operation(about, has_table, success, &[]).response("304", unchanged(about));
        self.paths.add_path_operation(about.path(self.prefix), vec![HttpMethod::Get], operation.build());
    }

    /// With what all paths answer, and with problems that `only` this one has.
    fn described_operation(
        &mut self,
        about: &About,
        has_table: bool,
        success: ResponseBuilder,
        only: &[Kind],
    ) -> OperationBuilder {
        let (names_an_event, names_a_time) = (about.name.contains("{id}"), about.name.contains("{time}"));
        let mut operation = OperationBuilder::new()
            .operation_id(Some(about.name.replace(['/', '-'], "_").replace(['{', '}'], "")))
            .summary(Some(about.summary))
            .description(Some(format!("See docs/api.md, {}.", about.path(""))))
            .securities(Some(self.security(about.scope)))
            .response("200", success);
        if names_an_event {
            operation = operation.parameter(event_id());
        }
        if names_a_time {
            operation = operation.parameter(report_time());
        }
        for parameter in about.accepts.parameters {
            operation = operation.parameter(described(*parameter, about, has_table));
        }
        let mut statuses: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
        // What no path is there for is not described at one.
        let is_answered = |kind: &Kind| match kind {
            Kind::NotFound => false,
            kind if Kind::OF_EVENTS.contains(kind) => names_an_event,
            kind if Kind::OF_REPORTS.contains(kind) => names_a_time,
            kind if Kind::OF_EVENT_CHANGES.contains(kind) || Kind::OF_NOTE_CHANGES.contains(kind) => {
                only.contains(kind)
            }
            _ => true,
        };
        for kind in Kind::ALL.into_iter().filter(is_answered) {
            statuses.entry(kind.status().as_u16()).or_default().push(kind);
        }
        if self.needs == Needs::Nothing {
            statuses.remove(&StatusCode::UNAUTHORIZED.as_u16());
        }
        // Refused where requests are read, with a problem of type about:blank.
        statuses.entry(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16()).or_default();
        self.register::<Problem>();
        for (status, kinds) in statuses {
            operation = operation.response(status.to_string(), refusal(status, &kinds));
        }
        operation
    }

    /// With a token of the scope, or, if that is so here, without one.
    fn security(&self, scope: Scope) -> Vec<SecurityRequirement> {
        let (token, nothing) = (SecurityRequirement::new(SCHEME, [scope.name()]), SecurityRequirement::default());
        match self.needs {
            Needs::Token => vec![token],
            Needs::TokenElsewhere => vec![token, nothing],
            Needs::Nothing => vec![nothing],
        }
    }

    fn success<E: Endpoint>(&mut self) -> ResponseBuilder {
        let about = &E::ABOUT;
        let mut response = ResponseBuilder::new()
            .description(about.summary)
            .header(
                "Cache-Control",
                text("How long the answer may be kept: until it is asked for again, or not at all."),
            )
            .header("Vary", text("Which headers of the request decide about the answer."));
        if about.validity != Validity::Never {
            response = response.header("ETag", text("A strong entity tag, for If-None-Match."));
        }
        let json = ContentBuilder::new().schema(Some(self.register::<E::Answer>())).build();
        response = response.content(Format::Json.media_type(), json);
        if E::Answer::COLUMNS.is_empty() {
            return response;
        }
        if about.accepts.parameters.contains(&Parameter::Cursor) {
            response = response.header("Link", text("The next page, as rel=\"next\", unless this is the last one."));
        }
        self.register::<<E::Answer as Table>::Row>();
        let columns = E::Answer::COLUMNS.iter().map(|path| path.replace('.', "_")).collect::<Vec<_>>().join(",");
        let csv = format!("RFC 4180 with the header line {columns}");
        let row = <E::Answer as Table>::Row::name();
        let ndjson = format!("Each line is a JSON object of the schema {row}");
        let lines = |words: String| -> Schema {
            ObjectBuilder::new().schema_type(Type::String).description(Some(words)).into()
        };
        response
            .content(Format::Csv.media_type(), ContentBuilder::new().schema(Some(lines(csv))).build())
            .content(Format::Ndjson.media_type(), ContentBuilder::new().schema(Some(lines(ndjson))).build())
    }

    /// Takes in a type and all that are within it, and refers to it.
    fn register<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            let known = self.schemas.insert(name.clone(), schema.clone());
            debug_assert!(known.is_none_or(|known| known == schema), "two types have the name {name}");
        }
        Ref::from_schema_name(T::name()).into()
    }

    /// The whole document.
    pub(super) fn finish(self) -> Document {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("martlet_<id>_<secret>");
        let scheme = scheme.description(Some(
            "A token that `martlet-collector token create` made, with one of the scopes public, read, analyst, admin; each has what those \
             before it have. Programs of the collector's machine need none unless http.loopback_scope says so.",
        ));
        let components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas)
            .security_scheme(SCHEME, SecurityScheme::Http(scheme.build()))
            .build();
        let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
        let info = InfoBuilder::new().title("Martlet collector").version(env!("CARGO_PKG_VERSION"));
        let info = info.description(Some(ABOUT)).license(Some(license)).build();
        let document = OpenApiBuilder::new().info(info).paths(self.paths).components(Some(components)).build();
        // Strings, numbers and maps can always be written.
        let mut document = serde_json::to_value(&document).unwrap_or_default();
        if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
            schemas.values_mut().for_each(require_all);
        }
        let body = serde_json::to_vec(&document).unwrap_or_default();
        Document::new(body, Format::Json.content_type(), REVALIDATED)
    }
}

/// Fields that are left out where they say nothing; all others are always there.
const OPTIONAL: [&str; 3] = ["parameter", "expected", "partial"];

/// Says of every object that it has all its fields: nulls are written, and a reader may rely on that.
fn require_all(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(require_all),
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                let names = properties.keys().filter(|name| !OPTIONAL.contains(&name.as_str()));
                let required: Vec<Value> = names.map(|name| json!(name)).collect();
                object.insert("required".to_owned(), required.into());
            }
            object.values_mut().for_each(require_all);
        }
        _ => {}
    }
}

/// The event that a path names.
fn event_id() -> utoipa::openapi::path::Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-2][0-9a-f]{16}$"));
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("What the event is called."))
        .schema(Some(schema))
        .build()
}

/// The time of a report that a path names.
fn report_time() -> utoipa::openapi::path::Parameter {
    let schema =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(REPORT_TIME_PATTERN)).examples(["2021-W10"]);
    ParameterBuilder::new()
        .name("time")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(
            "Of which time: an ISO week, a month, a quarter, or first and last day, of 366 days at most.",
        ))
        .schema(Some(schema))
        .build()
}

/// What an answer has that may be kept until it is asked for again.
fn kept_answer(description: &str, tag: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(description)
        .header("Cache-Control", text("How long the answer may be kept: until it is asked for again, or not at all."))
        .header("Vary", text("Which headers of the request decide about the answer."))
        .header("ETag", text(tag))
}

/// What may be written into a report. Everything may be left out, unlike in answers.
fn notes_schema() -> Schema {
    let by_key = |value: Schema| {
        let values = AdditionalProperties::RefOr(RefOr::T(value));
        Schema::from(ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(values)))
    };
    let texts = || by_key(ObjectBuilder::new().schema_type(Type::String).max_length(Some(LONGEST_REPORT_NOTE)).into());
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("comment", texts())
        .property("phenomena", texts())
        .property("events", by_key(texts()))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .into()
}

/// What may be asked for of an event. Beside `action` everything may be left out, unlike in answers.
fn change_schema() -> Schema {
    let text = |most: usize| ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
    let recipients = ArrayBuilder::new()
        .items(ArrayItems::RefOrSchema(Box::new(Schema::from(text(LONGEST_NAME).min_length(Some(1))).into())))
        .max_items(Some(MOST_RECIPIENTS));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("action", words(Request::NAMES))
        .property("version", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)))
        .property("note", text(LONGEST_NOTE))
        .property("owner", text(LONGEST_NAME))
        .property("recipients", recipients)
        .property("severity", words(Severity::NAMES))
        .required("action")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .into()
}

fn text(description: &str) -> utoipa::openapi::Header {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

fn unchanged(about: &About) -> ResponseBuilder {
    let when =
        if about.validity == Validity::Never { "Never: each answer is another" } else { "If-None-Match has its tag" };
    ResponseBuilder::new().description(format!("The answer that the client has is still right. {when}."))
}

fn refusal(status: u16, kinds: &[Kind]) -> ResponseBuilder {
    let words = kinds.iter().map(|kind| {
        let (problem, title) = kind.words();
        format!("{title} (`{problem}`)")
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let words =
        if words.is_empty() { "The head of the request is too large (`about:blank`)".to_owned() } else { words };
    let problem: RefOr<Schema> = Ref::from_schema_name(Problem::name()).into();
    let response = ResponseBuilder::new()
        .description(words)
        .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(problem)).build());
    match status {
        401 | 403 => response.header("WWW-Authenticate", text("What kind of token is needed (RFC 6750).")),
        405 => response.header("Allow", text("The methods that there are.")),
        429 | 503 => response.header("Retry-After", text("After how many seconds to try again.")),
        _ => response,
    }
}

fn described(parameter: Parameter, about: &About, has_table: bool) -> utoipa::openapi::path::Parameter {
    let hours = about.accepts.ranges == Ranges::Hours;
    let history = about.accepts.ranges == Ranges::History;
    let string = || ObjectBuilder::new().schema_type(Type::String);
    let time = || string().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).pattern(Some(TIME_PATTERN));
    let (schema, words): (Schema, String) = match parameter {
        Parameter::Class => (class_schema(), "Which traffic: real if it is not given.".to_owned()),
        Parameter::From if history => (
            time().into(),
            "Begin of the time, rounded down to quarter hours; 7 days before `to` if it is not given.".to_owned(),
        ),
        Parameter::To if history => {
            let words = "End of the time, which is not in it, rounded up to quarter hours; the end of the newest day of history, in \
                         the zone, if it is not given.";
            (time().into(), words.to_owned())
        }
        Parameter::Step if history => {
            let words = "Length of a step of the series: a multiple of 15m; `1d` is a day of the zone. 1h up to 14 days and else 1d \
                         if it is not given.";
            (string().pattern(Some("^[1-9][0-9]{0,6}[smhd]$")).examples(["1h"]).into(), words.to_owned())
        }
        Parameter::From => {
            (time().into(), "Begin of the range, rounded down; 24 h before `to` if it is not given.".to_owned())
        }
        Parameter::To => {
            let end = if hours { "the end of the hour that runs" } else { "the end of the newest data" };
            (time().into(), format!("End of the range, which is not in it, rounded up; {end} if it is not given."))
        }
        Parameter::Step => {
            let most = if hours { DEFAULT_HOUR_STEPS } else { DEFAULT_STEPS };
            let words = format!(
                "Length of a step of the series: a multiple of `bucket_seconds`, with which there are {MAX_STEPS} steps at most; \
                 the shortest with which there are {most} if it is not given."
            );
            (string().pattern(Some("^[1-9][0-9]{0,6}[smhd]$")).examples(["10m"]).into(), words)
        }
        Parameter::Sensor => {
            let schema = string().pattern(Some("^[a-z0-9][a-z0-9-]{0,31}$"));
            (schema.into(), "Only this sensor. Scope public may not give it.".to_owned())
        }
        Parameter::Group => {
            let schema = string().pattern(Some("^([a-z]{1,10}:)?[A-Za-z0-9-]{1,32}$")).examples(["position:overseas"]);
            let words =
                "Only sensors of this group, as they were labelled when the days were made; all if it is not given.";
            (schema.into(), words.to_owned())
        }
        Parameter::Kind => (words(&["scan", "backscatter", "other"]), "Only packets of this kind.".to_owned()),
        Parameter::Zone => {
            let schema = string().pattern(Some("^[A-Za-z0-9_+/-]{1,40}$")).examples(["Asia/Tokyo"]);
            (schema.into(), "Whose days are meant; UTC if it is not given.".to_owned())
        }
        Parameter::Ip => (words(&["4", "6"]), "Only this IP version; both if it is not given.".to_owned()),
        Parameter::Protocol => {
            let schema = string().pattern(Some("^[a-z0-9-]{1,20}$")).examples(["tcp"]);
            (schema.into(), "Only this IP protocol.".to_owned())
        }
        Parameter::Port => {
            let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u16::MAX));
            let versions = if history { "IPv4" } else { "both IP versions" };
            let words =
                format!("Only this port, of the `protocol` that is given with it; of {versions} unless `ip` is given.");
            (schema.into(), words)
        }
        Parameter::Address => (string().examples(["192.0.2.1"]).into(), "The source.".to_owned()),
        Parameter::Order => (
            words(&["packets", "daily_sources"]),
            "By what the list is ordered; packets if it is not given.".to_owned(),
        ),
        Parameter::GroupBy => (
            words(&GroupBy::ALL.map(GroupBy::name)),
            "What there is a series of each; none, which is one series of all, if it is not given.".to_owned(),
        ),
        Parameter::Direction => (words(&["up", "down"]), "Which changes; up if it is not given.".to_owned()),
        Parameter::Sources => (
            words(&["yes", "no"]),
            "Whether distinct sources of each step are wanted; no if it is not given.".to_owned(),
        ),
        Parameter::Type => (words(&TYPES.map(|(_, name)| name)), "Only events of this type.".to_owned()),
        Parameter::State => (words(State::NAMES), "Only events in this state.".to_owned()),
        Parameter::Since => (time().into(), "Only events that were detected then or later.".to_owned()),
        Parameter::Until => (time().into(), "Only events that were detected before.".to_owned()),
        Parameter::Lang => {
            (words(&Language::ALL.map(|(_, name)| name)), "In which language; en if it is not given.".to_owned())
        }
        Parameter::Tlp => (
            words(&Tlp::ALL.map(|(_, name)| name)),
            "How far the draft may be passed on, which decides what it says; red if it is not given.".to_owned(),
        ),
        Parameter::Revision => {
            let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u32::MAX));
            (schema.into(), "A revision as it was kept; made from history as it is now if it is not given.".to_owned())
        }
        Parameter::Compare => {
            let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
            let words = "Compare with the time that lies so many before; with the one right before if it is not given.";
            (schema.maximum(Some(MOST_TIMES_BEFORE)).into(), words.to_owned())
        }
        Parameter::ReportFormat => {
            let words =
                "In which format; of `md` and `csv` a ZIP archive. Without it `Accept` decides between html and json.";
            (words_of_forms(), words.to_owned())
        }
        Parameter::Limit => {
            let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_LIMIT));
            (schema.default(Some(json!(DEFAULT_LIMIT))).into(), "Longest list.".to_owned())
        }
        Parameter::Cursor => {
            let schema = string().pattern(Some("^[0-9a-f]{66,256}$"));
            let words = "Where the list goes on: `next_cursor` of an answer to the same query. All other parameters but `limit` \
                         and `format` must be as they were.";
            (schema.into(), words.to_owned())
        }
        Parameter::Format => {
            let names: Vec<&str> = Format::offered(has_table).iter().map(|format| format.name()).collect();
            (words(&names), "In which format; goes before `Accept`, which must not rule it out.".to_owned())
        }
    };
    let description = format!("{words} It is {}.", parameter.expected());
    ParameterBuilder::new()
        .name(parameter.name())
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn words_of_forms() -> Schema {
    words(&Form::OF_ITS_OWN.map(Form::name))
}

/// As [`crate::report::Period`] is written.
const REPORT_TIME_PATTERN: &str =
    "^[0-9]{4}-(W[0-9]{2}|[0-9]{2}|Q[1-4]|[0-9]{2}-[0-9]{2}\\.\\.[0-9]{4}-[0-9]{2}-[0-9]{2})$";

/// RFC 3339 in UTC, in the years that can be asked for.
const TIME_PATTERN: &str = "^(17|18|19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$";

/// Serves the description.
pub(super) fn answer(description: &Document, headers: &HeaderMap) -> Response {
    let mut response = description.answer(headers);
    response.headers_mut().insert(header::VARY, VARY);
    response
}
