//! `[events]`: how long events are kept, and who is told.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use axum::http::Uri;
use axum::http::uri::Scheme;
use martlet_window::TrafficClass;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::kinds::Severity;

/// Most webhooks.
const MOST_WEBHOOKS: usize = 16;
/// The target that Alertmanager is in deliveries and metrics; no webhook may have its name.
pub(super) const ALERTMANAGER: &str = "alertmanager";
/// Longest name of a webhook.
const LONGEST_NAME: usize = 32;
/// Most labels that are added to alerts.
const MOST_LABELS: usize = 16;
/// Where Debian and its like keep the certificates that a system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;
/// Longest time that events are kept, in days: a century.
const MOST_DAYS: u32 = 36_525;

/// `[events]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// Days after which events of severity info and low are forgotten that are over or resolved; 0 for never.
    pub keep_days: u32,
    /// Where readers find this collector's page, for links in what is told: `https://martlet.example.net/`.
    pub external_url: Option<String>,
    /// Certificates as PEM that receivers' certificates are checked against.
    pub ca_file: PathBuf,
    /// The Alertmanager that is told.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Others that are told. None is not written: `webhook = []` would be in the way of whoever adds a table below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhook: Vec<WebhookConfig>,
}

/// `[events.alertmanager]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Its address, without `/api/v2/alerts`. Empty is none.
    pub url: String,
    /// Labels that every alert gets.
    pub labels: BTreeMap<String, String>,
    /// The least severity that it is told of.
    pub min_severity: Severity,
    /// The classes of traffic that it is told of.
    pub classes: Vec<ClassName>,
}

/// `[[events.webhook]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What it is called in deliveries, metrics and the log.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// File with the secret that signs what is sent; line breaks at its end do not belong to it.
    pub secret_file: PathBuf,
    /// The least severity that it is told of.
    #[serde(default = "default_severity")]
    pub min_severity: Severity,
    /// The classes of traffic that it is told of.
    #[serde(default = "default_classes")]
    pub classes: Vec<ClassName>,
}

/// A class of traffic by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassName {
    /// Captured live.
    Real,
    /// From an exercise.
    Drill,
    /// From a capture file.
    Import,
}

impl From<ClassName> for TrafficClass {
    fn from(name: ClassName) -> TrafficClass {
        match name {
            ClassName::Real => TrafficClass::Real,
            ClassName::Drill => TrafficClass::Drill,
            ClassName::Import => TrafficClass::Import,
        }
    }
}

const fn default_severity() -> Severity {
    Severity::Medium
}

fn default_classes() -> Vec<ClassName> {
    vec![ClassName::Real]
}

impl Default for EventsConfig {
    fn default() -> EventsConfig {
        EventsConfig {
            keep_days: 400,
            external_url: None,
            ca_file: PathBuf::from(SYSTEM_ROOTS),
            alertmanager: None,
            webhook: Vec::new(),
        }
    }
}

impl Default for AlertmanagerConfig {
    fn default() -> AlertmanagerConfig {
        AlertmanagerConfig {
            url: String::new(),
            labels: BTreeMap::new(),
            min_severity: default_severity(),
            classes: default_classes(),
        }
    }
}

/// A setting of `[events]` that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key} = {value:?}: {rule}")]
pub struct EventsConfigError {
    key: String,
    value: String,
    rule: &'static str,
}

impl EventsConfig {
    /// The Alertmanager, if one is given.
    #[must_use]
    pub fn alertmanager(&self) -> Option<&AlertmanagerConfig> {
        self.alertmanager.as_ref().filter(|alertmanager| !alertmanager.url.is_empty())
    }

    /// Whether anybody is told over TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        let webhooks = self.webhook.iter().map(|webhook| &webhook.url);
        webhooks.chain(self.alertmanager().map(|alertmanager| &alertmanager.url)).any(|url| {
            // As the client reads it: schemes are the same in capitals.
            url.parse::<Uri>().is_ok_and(|uri| uri.scheme() == Some(&Scheme::HTTPS))
        })
    }

    /// What an operator should know although it is allowed.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let exposed = self.webhook.iter().filter_map(|webhook| {
            let mode = std::fs::metadata(&webhook.secret_file).ok()?.permissions().mode() & 0o777;
            let told = || {
                let (name, path) = (&webhook.name, webhook.secret_file.display());
                format!(
                    "the secret of events.webhook {name:?} in {path} is open to others (mode {mode:04o}): chmod 600"
                )
            };
            (mode & OTHERS != 0).then(told)
        });
        exposed.collect()
    }

    /// Checks what can be checked without reading files.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), EventsConfigError> {
        let refuse = |key: String, value: &str, rule| {
            // An address may hold a password, but those that do are refused for just that, and not shown.
            let value = if value.contains('@') { "..." } else { value };
            Err(EventsConfigError { key, value: value.chars().take(100).collect(), rule })
        };
        if self.keep_days > MOST_DAYS {
            return refuse("events.keep_days".to_owned(), &self.keep_days.to_string(), "take a number from 0 to 36525");
        }
        const ADDRESS: &str =
            "take an address such as https://example.net/path, without a user, a password or a fragment";
        if let Some(url) = self.external_url.as_deref().filter(|url| !is_address(url)) {
            return refuse("events.external_url".to_owned(), url, ADDRESS);
        }
        if let Some(alertmanager) = self.alertmanager() {
            if !is_address(&alertmanager.url) {
                return refuse("events.alertmanager.url".to_owned(), &alertmanager.url, ADDRESS);
            }
            let bad = alertmanager.labels.keys().find(|name| !is_label(name));
            if let Some(name) = bad {
                const RULE: &str = "take names of a-z, A-Z, 0-9 and '_' that no alert of ours has already";
                return refuse("events.alertmanager.labels".to_owned(), name, RULE);
            }
            if alertmanager.labels.len() > MOST_LABELS {
                let count = alertmanager.labels.len().to_string();
                return refuse("events.alertmanager.labels".to_owned(), &count, "take 16 at most");
            }
        }
        if self.webhook.len() > MOST_WEBHOOKS {
            return refuse("events.webhook".to_owned(), &self.webhook.len().to_string(), "take 16 at most");
        }
        for (place, webhook) in self.webhook.iter().enumerate() {
            let key = |name: &str| format!("events.webhook[{place}].{name}");
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let is_taken = self.webhook.iter().take(place).any(|other| other.name == webhook.name);
            if !(1..=LONGEST_NAME).contains(&webhook.name.len())
                || !webhook.name.bytes().all(plain)
                || webhook.name == ALERTMANAGER
                || is_taken
            {
                const RULE: &str = "take 1 to 32 of a-z, 0-9 and '-' that no other target has, and not `alertmanager`";
                return refuse(key("name"), &webhook.name, RULE);
            }
            if !is_address(&webhook.url) {
                return refuse(key("url"), &webhook.url, ADDRESS);
            }
        }
        Ok(())
    }
}

/// Whether a text is an address of HTTP that can be called, and that holds no secret.
fn is_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    matches!(uri.scheme_str(), Some("http" | "https")) && has_host && !text.contains(['@', '#', ' '])
}

/// Labels that every alert has.
pub(super) const OWN_LABELS: [&str; 10] =
    ["alertname", "severity", "class", "type", "event", "ip", "protocol", "port", "mark", "service"];

fn is_label(name: &str) -> bool {
    let plain = |(place, b): (usize, u8)| b.is_ascii_alphabetic() || b == b'_' || (place > 0 && b.is_ascii_digit());
    !name.is_empty() && name.bytes().enumerate().all(plain) && !OWN_LABELS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(name: &str, url: &str) -> WebhookConfig {
        WebhookConfig {
            name: name.to_owned(),
            url: url.to_owned(),
            secret_file: PathBuf::from("/dev/null"),
            min_severity: Severity::Info,
            classes: default_classes(),
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_and_no_password_is_shown() {
        let good = webhook("csirt", "https://hooks.example.net/in?x=1");
        let config = EventsConfig { webhook: vec![good.clone()], ..EventsConfig::default() };
        assert_eq!(config.check(), Ok(()));
        assert!(config.uses_tls());
        for bad in [
            webhook("", &good.url),
            webhook("CSIRT", &good.url),
            webhook("alertmanager", &good.url),
            webhook("csirt", &good.url),
            webhook("x", "ftp://example.net/"),
            webhook("x", "example.net"),
            webhook("x", "/path"),
            webhook("x", "https://user:hunter2@example.net/"),
        ] {
            let config = EventsConfig { webhook: vec![good.clone(), bad.clone()], ..EventsConfig::default() };
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with("events.webhook[1].") && !error.contains("hunter2"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn toml_is_read_with_its_defaults() {
        let config: EventsConfig = toml::from_str(
            "external_url = 'https://m.example.net/'\n[alertmanager]\nurl = 'http://127.0.0.1:9093'\nlabels = {team = 'soc'}\n\
             [[webhook]]\nname = 'a'\nurl = 'http://127.0.0.1:1/'\nsecret_file = '/s'\nclasses = ['real', 'drill']\n",
        )
        .unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.webhook[0].min_severity, Severity::Medium);
        assert_eq!(config.webhook[0].classes, [ClassName::Real, ClassName::Drill]);
        let mut wrong = config.clone();
        wrong.alertmanager.as_mut().unwrap().labels.insert("severity".to_owned(), "page".to_owned());
        assert!(wrong.check().is_err());
    }
}
