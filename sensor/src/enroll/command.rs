//! `martlet-sensor enroll`: from a token to a sensor that can be started.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use martlet_enrol::{
    ALPN_ENROL, Answer, AuthorityError, Enrolled, Facts, Pin, Request, Token, TokenError, facts, request,
};
use martlet_telemetry::counters::to_f64;
use martlet_telemetry::tls::{self, TlsFileError};
use rustls::ClientConfig;
use thiserror::Error;

use super::exchange::{ExchangeError, exchange, now, time};
use super::files::{TlsFiles, aside, replace};
use super::plan::{Plan, interfaces};
use crate::capture::live::own_addresses;
use crate::config;
use crate::run::observed;
use crate::status::age;
use crate::uplink::TlsSettingsError;
use crate::uplink::tls::called;

/// How far this clock may be from the collector's before it is said, in seconds.
const CLOCK_SECONDS: i64 = 300;
/// Longest token file, in bytes: a line, and room for white space.
const LONGEST_TOKEN: u64 = 4096;
/// The configuration that comes with Martlet.
const SAMPLE: &str = include_str!("../../../systemd/sensor.toml");
/// Where units of systemd are.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Behind the help of the command.
pub const HELP: &str = "\
The token is the line that `martlet-collector enroll create` prints; it works once. A key is made here and stays here. The collector \
is known by the fingerprint in the token.

Writes key, certificate and CA to tls/ in the state directory, and the configuration; says what the sensor will watch, and how it is \
started. Run it as root, or as the user who runs the sensor.";

/// `martlet-sensor enroll`
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Host and port of the collector
    #[arg(long, value_name = "HOST:PORT")]
    collector: String,
    /// File with the token; - is standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Configuration file to write
    #[arg(long, value_name = "FILE", default_value = "/etc/martlet/sensor.toml")]
    config: PathBuf,
    /// Directory of the sensor's state; made if missing
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/martlet/sensor")]
    state_dir: PathBuf,
    /// Name in the collector's certificate, if it is not the host that is called
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Interface to watch, or several [default: the one with the default route]
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Networks to watch, where nothing lives; or the word interface, for the interface's own addresses [default: interface]
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    observe: Vec<String>,
    /// How the watched addresses behave [default: rst for interface, silent for networks]
    #[arg(long, value_enum)]
    posture: Option<Posture>,
    /// Replace a configuration file that is there, and is not the package's
    #[arg(long, conflicts_with = "keep_config")]
    force: bool,
    /// Get a certificate only, and leave the configuration as it is
    #[arg(long, conflicts_with_all = ["interface", "observe", "posture"])]
    keep_config: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Posture {
    /// Nothing answers
    Silent,
    /// A kernel answers with RST and ICMP errors
    Rst,
    /// A service answers
    Reactive,
}

impl Posture {
    const fn name(self) -> &'static str {
        match self {
            Posture::Silent => "silent",
            Posture::Rst => "rst",
            Posture::Reactive => "reactive",
        }
    }
}

/// Why a sensor cannot enrol.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// What was asked for cannot be done on this machine.
    #[error("{0}")]
    Misuse(String),
    /// The token file cannot be read.
    #[error("--token-file: {}: {source}", path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no token.
    #[error("--token-file: {0}")]
    Token(#[from] TokenError),
    /// There is a configuration already.
    #[error(
        "{} is there already, and the token was not used: --force replaces it, --keep-config gets a certificate for the sensor that it configures",
        .0.display()
    )]
    Configured(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; {used}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What became of the token.
        used: &'static str,
    },
    /// The collector gave no certificate.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] AuthorityError),
    /// The collector's name cannot be in a certificate.
    #[error("--collector: {0}")]
    Name(#[from] TlsSettingsError),
    /// What the collector gave is no certificate of our key.
    #[error("what the collector gave cannot be used: {0}")]
    Unusable(String),
    /// The configuration does not hold together with this environment.
    #[error("the sensor is enrolled and its configuration written, but it cannot be started like this: {0}")]
    Written(String),
    /// The runtime cannot be started.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}

impl EnrollError {
    /// Whether the command line is wrong, and not something that it led to.
    #[must_use]
    pub const fn is_misuse(&self) -> bool {
        matches!(
            self,
            EnrollError::Misuse(_) | EnrollError::Token(_) | EnrollError::Name(_) | EnrollError::Configured(_)
        )
    }
}

const NOT_USED: &str = "the token was not used";
const WAS_USED: &str = "the token is used: make a new one for the next attempt";

/// Enrols this machine's sensor; what comes back is for the operator.
///
/// # Errors
/// If something is missing, the collector refuses, or a file cannot be written. The message says whether the token is used.
pub fn run(args: &EnrollArgs) -> Result<String, EnrollError> {
    // All that can fail for reasons of this machine comes before the token is used.
    config::collector(&args.collector).map_err(|error| EnrollError::Misuse(error.to_string()))?;
    let token: Token = read_token(&args.token_file)?.parse()?;
    if !args.force && !args.keep_config && args.config.exists() && !is_sample(&args.config) {
        return Err(EnrollError::Configured(args.config.clone()));
    }
    let there = interfaces();
    let plan = if args.keep_config {
        None
    } else {
        let posture = args.posture.map(Posture::name);
        let plan = Plan::make(&args.interface, &args.observe, posture, &there).map_err(EnrollError::Misuse)?;
        try_to_write(&args.config)?;
        Some(plan)
    };
    let write = |path: &Path, used| {
        let path = path.to_owned();
        move |source| EnrollError::Write { path, source, used }
    };
    let files = TlsFiles::prepare(&args.state_dir).map_err(write(&args.state_dir, NOT_USED))?;
    let made = request()?;
    let answer = ask(args, &token, made.request)?;
    let clock = answer.time.saturating_sub(now());
    let enrolled = answer.outcome.map_err(ExchangeError::Refused)?;
    files
        .write(&format!("{}{}", made.key, enrolled.certificate), &enrolled.authorities)
        .map_err(write(files.directory(), WAS_USED))?;
    let own = check(&files, &enrolled)?;

    let mut report = format!(
        "{} is enrolled at {}{}; its certificate holds until {}, and renews itself.\n",
        enrolled.name,
        args.collector,
        if enrolled.labels.is_empty() { String::new() } else { format!(" ({})", enrolled.labels.join(", ")) },
        time(own.not_after)
    );
    if clock.abs() > CLOCK_SECONDS {
        report += &format!(
            "warning: this machine's clock is {} {} the collector's: set one of them, or counts land in the wrong time\n",
            age(Some(to_f64(clock.unsigned_abs()))),
            if clock > 0 { "behind" } else { "ahead of" }
        );
    }
    report += &match plan {
        None => format!("{} is as it was.\n", args.config.display()),
        Some(plan) => {
            let text = configuration(args, &plan, &enrolled, &files);
            replace(&args.config, &text, 0o644, None).map_err(write(&args.config, WAS_USED))?;
            format!("\n{}\n{}", plan.table(&there), watched(args, &plan)?)
        }
    };
    Ok(report + &format!("\nStart it with: {}\n", start(&args.config)))
}

/// Whether a configuration is the one that the package brings, in which nobody has said anything yet.
fn is_sample(config: &Path) -> bool {
    fs::read(config).is_ok_and(|text| text == SAMPLE.as_bytes())
}

fn read_token(path: &Path) -> Result<String, EnrollError> {
    let failed = |source| EnrollError::TokenFile { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().take(LONGEST_TOKEN).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(path).map_err(failed)?.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

/// Whether a file can be put there later.
fn try_to_write(path: &Path) -> Result<(), EnrollError> {
    let failed = |source| EnrollError::Write { path: path.to_owned(), source, used: NOT_USED };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let trial = aside(path);
    fs::write(&trial, "").map_err(failed)?;
    fs::remove_file(&trial).map_err(failed)
}

fn ask(args: &EnrollArgs, token: &Token, request: Vec<u8>) -> Result<Answer, EnrollError> {
    let name = called(args.server_name.as_deref(), &args.collector)?;
    let pin = Arc::new(Pin::new(token.authority, tls::provider()));
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_protocol_versions(tls::VERSIONS);
    let builder = builder.map_err(|error| EnrollError::Unusable(error.to_string()))?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(pin).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EnrollError::Runtime)?;
    let request = Request { secret: Some(token.secret.clone()), request };
    Ok(runtime.block_on(exchange(&args.collector, config, name, &request))?)
}

/// That key and certificate belong together, and are for the name that was told.
fn check(files: &TlsFiles, enrolled: &Enrolled) -> Result<Facts, EnrollError> {
    let unusable = |error: TlsFileError| EnrollError::Unusable(error.to_string());
    let identity = tls::identity(&files.identity, &files.identity).map_err(unusable)?;
    tls::roots(&files.authorities).map_err(unusable)?;
    let own = identity.cert.first().and_then(|certificate| facts(certificate));
    let own = own.filter(|own| own.name.as_ref() == Some(&enrolled.name));
    own.ok_or_else(|| EnrollError::Unusable("the certificate is for another name than the answer".to_owned()))
}

/// A configuration with what is not the default.
fn configuration(args: &EnrollArgs, plan: &Plan, enrolled: &Enrolled, files: &TlsFiles) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let path = |path: &Path| text(&path.to_string_lossy());
    let list = |list: &[String]| {
        toml::Value::Array(list.iter().map(|text| toml::Value::String(text.clone())).collect()).to_string()
    };
    let networks = plan.networks.as_deref().map_or_else(|| text("interface"), list);
    let user = files.other_user().map(|user| format!("user = {}\n", text(&user))).unwrap_or_default();
    let server_name =
        args.server_name.as_deref().map(|name| format!("server_name = {}\n", text(name))).unwrap_or_default();
    format!(
        "# Written by `martlet-sensor enroll`. The sensor.toml that comes with Martlet explains these and all other settings.\n\n\
         [sensor]\nname = {name}\nposture = {posture}\nstate_dir = {state}\n{user}\n\
         [capture]\ninterfaces = {interfaces}\n\n\
         [observe]\nnetworks = {networks}\n\n\
         [uplink]\ncollector = {collector}\n\n\
         [uplink.tls]\nca = {ca}\ncertificate = {identity}\nkey = {identity}\n{server_name}renew = true\n",
        name = text(enrolled.name.as_str()),
        posture = text(plan.posture),
        state = path(files.state_dir()),
        interfaces = list(&plan.interfaces),
        collector = text(&args.collector),
        ca = path(&files.authorities),
        identity = path(&files.identity),
    )
}

/// What the configuration that was written comes to.
fn watched(args: &EnrollArgs, plan: &Plan) -> Result<String, EnrollError> {
    let (_, config) = config::load(&args.config).map_err(|error| EnrollError::Written(error.to_string()))?;
    let addresses = observed(&config, &own_addresses(&config.interfaces));
    let (ipv4, ipv6) = (addresses.ipv4_addresses(), addresses.ipv6_prefixes());
    let what = match &plan.networks {
        None => "the addresses of the interface itself, followed when they change".to_owned(),
        Some(networks) => networks.join(", "),
    };
    let posture = match plan.posture {
        "rst" => "rst: the kernel answers closed ports",
        "reactive" => "reactive: a service answers",
        _ => "silent: nothing answers",
    };
    let better = if plan.networks.is_none() {
        format!(
            "Networks without hosts that are routed here are better: name them in observe.networks of {}.\n",
            args.config.display()
        )
    } else {
        String::new()
    };
    Ok(format!(
        "It will watch {what}: now {ipv4} IPv4 addresses and {ipv6} IPv6 /64 prefixes. Posture {posture}.\n{better}"
    ))
}

/// The command that starts the sensor.
fn start(config: &Path) -> String {
    let unit = UNITS.iter().any(|directory| Path::new(directory).join("martlet-sensor.service").exists());
    if unit && config == Path::new("/etc/martlet/sensor.toml") {
        "systemctl enable --now martlet-sensor".to_owned()
    } else {
        format!("martlet-sensor run --config {}", config.display())
    }
}
