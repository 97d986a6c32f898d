//! `martlet-collector enroll`: which sensors may call.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use martlet_enrol::{Life, Serial, Token};
use martlet_window::SensorName;
use serde_json::json;

use super::place::{Place, print, table};
use super::{Failure, tell};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::enroll::{AuthorityFile, CertificateRecord, EnrollStore, Grant, TokenRecord, TokenState};
use crate::labels::{Group, Label, LabelError, Setting};

/// Let sensors enrol, list their certificates, revoke them, and make a new CA. The collector may run: it knows of a change within
/// seconds.
#[derive(Debug, Args)]
pub(super) struct EnrollArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token with which one sensor can enrol once, and print it. It cannot be shown again.
    #[command(after_help = CREATE_HELP)]
    Create {
        /// Name of the sensor. If a sensor of this name is enrolled, its certificates end when the token is used.
        #[arg(long)]
        name: SensorName,
        /// How long the token can be used, such as 1h or 30m.
        #[arg(long, value_name = "TIME", default_value = "1h")]
        ttl: Life,
        #[command(flatten)]
        labels: Box<LabelArguments>,
        #[command(flatten)]
        place: Place,
    },
    /// List tokens and certificates of the last months.
    List {
        /// Print JSON: an object with `tokens` and `certificates`; times are in seconds since the Unix epoch.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// End a sensor's certificates and tokens, or one certificate. Connections made with them end as well.
    Revoke {
        /// Name of the sensor.
        #[arg(required_unless_present = "serial", conflicts_with = "serial")]
        name: Option<SensorName>,
        /// Serial number of one certificate, as `enroll list` shows it.
        #[arg(long)]
        serial: Option<Serial>,
        #[command(flatten)]
        place: Place,
    },
    /// Make a new CA. Sensors of the one before are taken until their certificates end, and get new ones when they renew.
    RotateCa {
        /// Do not trust earlier CAs any more, from now on: every sensor has to enrol again. For a key that was stolen.
        #[arg(long)]
        distrust: bool,
        #[command(flatten)]
        place: Place,
    },
}

const CREATE_HELP: &str = "\
Hand the line to the sensor's machine, and there: martlet-sensor enroll --collector HOST:7460 --token-file FILE

The collector must have enroll.names set to the names under which sensors call.";

/// What is said of the sensor from its enrolment on, as by `sensor set`.
#[derive(Debug, Args)]
struct LabelArguments {
    /// Any group that you like.
    #[arg(long, value_parser = |text: &str| label(Label::Group, text))]
    group: Option<Setting>,
    /// ISO 3166-1 code of the economy it is in, such as JP.
    #[arg(long, value_parser = |text: &str| label(Label::Economy, text))]
    economy: Option<Setting>,
    /// domestic or overseas.
    #[arg(long, value_parser = |text: &str| label(Label::Position, text))]
    position: Option<Setting>,
    /// isp, cloud, academic, corporate, government or other.
    #[arg(long, value_parser = |text: &str| label(Label::Network, text))]
    network: Option<Setting>,
    /// static or dynamic.
    #[arg(long, value_parser = |text: &str| label(Label::Addressing, text))]
    addressing: Option<Setting>,
    /// Ports that are filtered before it, such as 25,135-139,tcp/445: they leave its exposure in reports.
    #[arg(long, value_name = "PORTS", value_parser = filtered)]
    filtered: Option<Setting>,
}

fn label(label: Label, text: &str) -> Result<Setting, String> {
    let value = Group::new(label, text).map_err(|error| error.to_string())?.value;
    Ok(Setting::Label(label, Some(value)))
}

fn filtered(text: &str) -> Result<Setting, String> {
    Ok(Setting::Filtered(Some(text.parse().map_err(|error: LabelError| error.to_string())?)))
}

/// Carries out a command.
pub(super) fn run(arguments: EnrollArguments) -> Result<(), Failure> {
    let now = SystemClock.now();
    match arguments.command {
        Command::Create { name, ttl, labels, place } => create(name, ttl, labels, &place, now),
        Command::List { json, place } => list(json, &place, now),
        Command::Revoke { name, serial, place } => revoke(name, serial, &place, now),
        Command::RotateCa { distrust, place } => rotate(distrust, &place, now),
    }
}

fn open(place: &Place) -> Result<(Config, EnrollStore), Failure> {
    let (config, location) = place.configured_store()?;
    Ok((config, EnrollStore::open(&location).map_err(Failure::failed)?))
}

fn create(name: SensorName, ttl: Life, labels: Box<LabelArguments>, place: &Place, now: i64) -> Result<(), Failure> {
    let LabelArguments { group, economy, position, network, addressing, filtered } = *labels;
    let labels = [group, economy, position, network, addressing, filtered].into_iter().flatten().collect();
    let (config, mut store) = open(place)?;
    let file = AuthorityFile::in_directory(&config.store.data_dir);
    let authority = file.load_or_make(now, config.enroll.ca_life).map_err(Failure::failed)?.fingerprint();
    let grant = Grant { sensor: name.clone(), labels, expires: now.saturating_add(ttl.seconds()) };
    let secret = store.create(&grant, now).map_err(Failure::failed)?;
    print(&format!("{}\n", Token { secret, authority }.reveal()))?;
    tell(&format!(
        "{name} can enrol with it once, within {ttl}: martlet-sensor enroll --collector HOST:PORT --token-file FILE. Only its \
         hash is stored, so it cannot be shown again"
    ));
    Ok(())
}

fn list(json: bool, place: &Place, now: i64) -> Result<(), Failure> {
    let (_, store) = open(place)?;
    let tokens = store.tokens(now).map_err(Failure::failed)?;
    let certificates = store.certificates().map_err(Failure::failed)?;
    if json {
        let tokens = tokens.iter().map(
            |TokenRecord { sensor, created, expires, state }| json!({ "sensor": sensor, "created": created, "expires": expires, "state": state.name() }),
        );
        let certificates = certificates.iter().map(|of| {
            json!({
                "sensor": of.sensor, "serial": of.serial.to_string(), "issued": of.issued, "not_after": of.not_after,
                "revoked": of.revoked, "state": state(of, now),
            })
        });
        let all = json!({ "tokens": tokens.collect::<Vec<_>>(), "certificates": certificates.collect::<Vec<_>>() });
        let text = serde_json::to_string_pretty(&all).map_err(Failure::failed)?;
        return print(&format!("{text}\n"));
    }
    let rows = certificates.iter().map(|of| {
        let ended = of.revoked.unwrap_or(of.not_after);
        [of.sensor.clone(), of.serial.to_string(), state(of, now).to_owned(), time(of.issued), time(ended)]
    });
    print(&table(["SENSOR", "CERTIFICATE", "STATE", "ISSUED", "ENDS"], rows))?;
    let open: Vec<_> = tokens.iter().filter(|token| token.state != TokenState::Used).collect();
    if !open.is_empty() {
        let rows = open.iter().map(|token| [token.sensor.clone(), token.state.name().to_owned(), time(token.expires)]);
        print(&format!("\n{}", table(["TOKEN FOR", "STATE", "ENDS"], rows)))?;
    }
    Ok(())
}

fn revoke(name: Option<SensorName>, serial: Option<Serial>, place: &Place, now: i64) -> Result<(), Failure> {
    let (_, mut store) = open(place)?;
    let what = match (name, serial) {
        (Some(name), _) => {
            let (certificates, tokens) = store.revoke(&name, now).map_err(Failure::failed)?;
            format!("{certificates} certificates and {tokens} tokens of {name} are revoked")
        }
        (None, Some(serial)) => {
            store.revoke_serial(&serial, now).map_err(Failure::failed)?;
            format!("certificate {serial} is revoked")
        }
        (None, None) => return Err(Failure::misuse("a name or --serial is wanted")),
    };
    tell(&format!("{what}; a collector that runs refuses them, and ends their connections, within two seconds"));
    Ok(())
}

fn rotate(distrust: bool, place: &Place, now: i64) -> Result<(), Failure> {
    let (config, _) = open(place)?;
    let file = AuthorityFile::in_directory(&config.store.data_dir);
    let next = file.rotate(now, config.enroll.ca_life, distrust).map_err(Failure::failed)?;
    let fate = if distrust {
        "no sensor is taken any more before it has enrolled again, with a token that is made from now on"
    } else {
        "sensors go on, and get certificates of it when they renew"
    };
    tell(&format!(
        "the CA has the fingerprint {} now, which a collector that runs uses within two seconds; {fate}",
        next.fingerprint()
    ));
    Ok(())
}

fn state(of: &CertificateRecord, now: i64) -> &'static str {
    match of.revoked {
        Some(_) => "revoked",
        None if of.not_after < now => "expired",
        None => "valid",
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
