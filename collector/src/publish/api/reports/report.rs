//! `/api/v1/reports/{time}`: the report of a time, as `martlet-collector report` makes it.

use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use martlet_report::{Report, STYLE_HASH};

use super::super::endpoint::{About, Api, describe, turn, unchanged};
use super::super::format::liked_best;
use super::super::parameter::Parameter;
use super::super::params::{Accepts, Params, Wanted as Given};
use super::super::validator::Validity;
use super::period;
use crate::events::Language;
use crate::publish::access::Caller;
use crate::publish::problem::{Kind, Problem};
use crate::publish::tag::Tag;
use crate::report::{Form, Period, ReportError, Stored, Wanted, wording};
use crate::tokens::Scope;

/// What there is to say of the path.
pub(in super::super) const ABOUT: About = About {
    name: "reports/{time}",
    summary: "The observation report of a week, a month, a quarter or any days",
    accepts: Accepts::without_range(&[
        Parameter::Class,
        Parameter::Group,
        Parameter::Lang,
        Parameter::Revision,
        Parameter::Compare,
        Parameter::ReportFormat,
    ]),
    scope: Scope::Read,
    validity: Validity::Answer,
    walks: true,
};

/// What a report can come as.
pub(in super::super) const MEDIA_TYPES: [&str; 3] = ["text/html", "application/json", "application/zip"];

/// Media type of a form.
const fn media_type(form: Form) -> &'static str {
    match form {
        Form::Html | Form::Pdf => MEDIA_TYPES[0],
        Form::Json => MEDIA_TYPES[1],
        Form::Md | Form::Csv => MEDIA_TYPES[2],
    }
}

/// The form of an answer: what the parameter says, if `Accept` does not rule it out; else the page, or numbers if these are liked better.
fn choose(given: Option<Form>, headers: &HeaderMap) -> Result<Form, Problem> {
    let [html, json, _] = MEDIA_TYPES;
    let found = match given {
        Some(form) => liked_best(headers, &[media_type(form)]).map(|_| form),
        None => liked_best(headers, &[html, json]).map(|found| if found == html { Form::Html } else { Form::Json }),
    };
    let refusal = || {
        let detail = "the header Accept has none of the formats that are asked for";
        Problem::new(Kind::NotAcceptable, detail).expecting(format!("one of {}", MEDIA_TYPES.join(", ")))
    };
    found.ok_or_else(refusal)
}

/// Makes a report, or takes the revision that is asked for.
pub(in super::super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    item: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.needs(ABOUT.scope)?;
    let params = Params::read(uri.query(), ABOUT.accepts)?;
    let given = params.wanted().clone();
    let (period, form) = (period(item)?, choose(given.form, &headers)?);
    if given.revision.is_some() && given.compare.is_some() {
        return Err(Problem::unfit(
            "compare",
            "left out with `revision`: what is kept is compared with the time before",
        ));
    }
    let (class, language) = (params.class(), given.language.unwrap_or(Language::English));
    let turn = turn(&api, &caller).await?;
    let work = move || -> Result<(Vec<u8>, String), Problem> {
        // The turn lasts as long as the work, also when the client has gone.
        let _turn = turn;
        let report = find(&api, class, period, &given)?;
        let body = wording(language).map_err(|error| error.to_string());
        let body = body.and_then(|words| form.bytes(&report, &words).map_err(|error| error.to_string()));
        let body = body.map_err(|error| {
            tracing::error!("cannot write a report: {error}");
            Problem::failed()
        })?;
        Ok((body, file_name(&report, form, language)))
    };
    let (body, name) = tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a report failed: {error}");
        Problem::failed()
    })??;
    // The same revision with the same notes is the same bytes, whenever the collector was started.
    let tag = Tag::new(0, 0, &body);
    if tag.is_known(&headers) {
        return Ok(unchanged(&tag));
    }
    Ok(respond(body, &tag, form, &name))
}

fn find(api: &Api, class: martlet_window::TrafficClass, period: Period, given: &Given) -> Result<Report, Problem> {
    let office = api.sources.reports.of_group(given.group.as_ref());
    if let Some(revision) = given.revision {
        return Ok(office.kept(class, &Stored { label: period.to_string(), revision })?);
    }
    let wanted = Wanted { class, period, compare: given.compare.unwrap_or(1) };
    let now = api.sources.clock.now();
    let deadline = Instant::now() + api.patience;
    let made = api.sources.history.ask(deadline, |history| office.make(history, &wanted, now));
    Ok(made.map_err(ReportError::from)??.report)
}

/// What it is called where it is saved.
fn file_name(report: &Report, form: Form, language: Language) -> String {
    let revision = report.revision.map_or("provisional".to_owned(), |revision| format!("r{revision}"));
    format!("{}.{revision}.{}.{}", report.period.label, language.name(), form.extension())
}

fn respond(body: Vec<u8>, tag: &Tag, form: Form, name: &str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    describe(headers, Some(tag));
    let content_type = if form == Form::Html { "text/html; charset=utf-8" } else { media_type(form) };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let place = if form == Form::Html { "inline" } else { "attachment" };
    // Times and languages are of letters that a header can have, and so is a hash.
    if let Ok(disposition) = HeaderValue::from_str(&format!("{place}; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if let Ok(policy) = HeaderValue::from_str(&format!(
        "default-src 'none'; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
