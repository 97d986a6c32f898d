//! The collector's own small CA: one key that signs sensors' certificates and the collector's.
//!
//! All of it is one text of PEM, so that a file with it is replaced as a whole: the key, the certificate that it belongs to, then
//! what is left of earlier ones. A new CA is signed by the one before it as well (a *cross certificate*, RFC 5280, 3.2): sensors that know
//! only the older one find a way from the collector's certificate to what they know, and learn of the new one when they renew.

use std::time::Duration;

use martlet_window::SensorName;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use time::OffsetDateTime;

use crate::BACKDATE_SECONDS;
use crate::certificate::{NAME_URI, Serial, facts};
use crate::life::Life;
use crate::token::{Fingerprint, fingerprint};

const CERTIFICATE: &str = "CERTIFICATE";
/// The last second that certificates can say: the end of the year 9999 (RFC 5280, 4.1.2.5).
const LAST_SECOND: i64 = 253_402_300_799;

/// Why a certificate cannot be made.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The library refuses.
    #[error("{0}")]
    Library(#[from] rcgen::Error),
    /// A request that is none, is not signed by its key, or is for a kind of key that is not taken.
    #[error("a request cannot be used: a key on P-256 or Ed25519, signed by itself, is wanted")]
    BadRequest,
    /// The text of a CA is damaged.
    #[error("the CA is damaged: {0}")]
    Damaged(&'static str),
    /// A name that cannot be in a certificate.
    #[error("{0:?} is neither a host name nor an address")]
    BadName(String),
}

/// The CA with its key.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    /// Newer ones of this CA signed by older ones, newest first.
    crosses: Vec<CertificateDer<'static>>,
    /// Earlier CAs, newest first.
    older: Vec<CertificateDer<'static>>,
}

/// A sensor's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// As PEM.
    pub pem: String,
    /// Until when it is valid, in seconds since the Unix epoch.
    pub not_after: i64,
}

impl Authority {
    /// A new one, whose certificate is valid from `now` on. Times are in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn make(now: i64, life: Life) -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = params_of_authority(&key, now, life).self_signed(&key)?.der().clone();
        Ok(Authority { key, certificate, crosses: Vec::new(), older: Vec::new() })
    }

    /// One that takes its place: this one is trusted beside it, and signs it, too.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn succeed(&self, now: i64, life: Life) -> Result<Authority, AuthorityError> {
        let mut next = Authority::make(now, life)?;
        let mut params = params_of_authority(&next.key, now, life);
        // It is of use for as long as this one is.
        if let Some(ours) = facts(&self.certificate) {
            params.not_after = params.not_after.min(time(ours.not_after));
        }
        let cross = params.signed_by(&next.key, &self.issuer()?)?.der().clone();
        next.crosses = std::iter::once(cross).chain(self.crosses.iter().cloned()).collect();
        next.older = std::iter::once(&self.certificate).chain(&self.older).cloned().collect();
        Ok(next)
    }

    /// The same without earlier ones: who knows only those is not taken any more, and does not take us.
    #[must_use]
    pub fn alone(self) -> Authority {
        Authority { crosses: Vec::new(), older: Vec::new(), ..self }
    }

    /// Reads what [`Authority::to_pem`] writes.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_pem(text: &str) -> Result<Authority, AuthorityError> {
        let blocks = pem::parse_many(text).map_err(|_| AuthorityError::Damaged("it is no PEM"))?;
        let is_certificate = |block: &&Pem| block.tag() == CERTIFICATE;
        let key = blocks.iter().find(|block| !is_certificate(block));
        let key = key.ok_or(AuthorityError::Damaged("it has no private key"))?;
        let key = PrivatePkcs8KeyDer::from(key.contents().to_vec());
        let key = KeyPair::try_from(&key).map_err(|_| AuthorityError::Damaged("its private key cannot be used"))?;
        let mut certificates =
            blocks.iter().filter(is_certificate).map(|block| CertificateDer::from(block.contents().to_vec()));
        let certificate = certificates.next().ok_or(AuthorityError::Damaged("it has no certificate"))?;
        let (mut crosses, mut older) = (Vec::new(), Vec::new());
        for other in certificates {
            match facts(&other) {
                Some(facts) if facts.is_root => older.push(other),
                Some(_) => crosses.push(other),
                None => return Err(AuthorityError::Damaged("one of its certificates is none")),
            }
        }
        let authority = Authority { key, certificate, crosses, older };
        let (_, parsed) = x509_parser::parse_x509_certificate(&authority.certificate)
            .map_err(|_| AuthorityError::Damaged("its certificate is none"))?;
        if parsed.public_key().raw != authority.key.subject_public_key_info() {
            return Err(AuthorityError::Damaged("its private key is not that of its certificate"));
        }
        Ok(authority)
    }

    /// All of it, the key included.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let certificates = std::iter::once(&self.certificate).chain(&self.crosses).chain(&self.older);
        self.key.serialize_pem() + &to_pem(certificates)
    }

    /// The certificates to trust, newest first.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.certificate).chain(&self.older)
    }

    /// Its own certificate as PEM, for sensors: they need none of the earlier ones any more.
    #[must_use]
    pub fn root_pem(&self) -> String {
        to_pem([&self.certificate])
    }

    /// By what a token names it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certificate)
    }

    /// Until when its certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        facts(&self.certificate).map_or(i64::MIN, |facts| facts.not_after)
    }

    /// Signs a sensor's certificate: the key is the request's, all else is said here.
    ///
    /// # Errors
    /// If the request cannot be used.
    pub fn issue(
        &self,
        request: &[u8],
        name: &SensorName,
        serial: &Serial,
        now: i64,
        life: Life,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(|_| AuthorityError::BadRequest)?;
        let algorithm = request.public_key.algorithm();
        if algorithm != &rcgen::PKCS_ECDSA_P256_SHA256 && algorithm != &rcgen::PKCS_ED25519 {
            return Err(AuthorityError::BadRequest);
        }
        let mut params = params_of_peer(name.as_str(), now, life, self.not_after());
        params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
        params.subject_alt_names = vec![SanType::URI(format!("{NAME_URI}{name}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.public_key, &self.issuer()?)?;
        let not_after = facts(certificate.der()).map_or(i64::MIN, |facts| facts.not_after);
        Ok(IssuedCertificate { pem: to_pem([certificate.der()]), not_after })
    }

    /// A certificate of the collector itself for these names, with the chain to everything that a sensor may trust, and its key,
    /// which is new.
    ///
    /// # Errors
    /// If a name cannot be in a certificate.
    pub fn serve(
        &self,
        names: &[String],
        now: i64,
        life: Life,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = params_of_peer("martlet-collector", now, life, self.not_after());
        params.subject_alt_names = host_names(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer()?)?.der().clone();
        // Roots are sent as well, since a sensor that enrols knows only the fingerprint of one.
        let chain = std::iter::once(&leaf).chain(&self.crosses).chain(self.roots()).cloned().collect();
        Ok((chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    }

    /// Checks that names can be in a certificate.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check_names(names: &[String]) -> Result<(), AuthorityError> {
        host_names(names).map(drop)
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, AuthorityError> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, &self.key)?)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Authority").field(&self.fingerprint()).finish()
    }
}

fn host_names(names: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    let name = |name: &String| {
        let bad = || AuthorityError::BadName(name.chars().take(80).collect());
        match rustls::pki_types::ServerName::try_from(name.as_str()).map_err(|_| bad())? {
            rustls::pki_types::ServerName::IpAddress(address) => {
                Ok(SanType::IpAddress(std::net::IpAddr::from(address)))
            }
            _ => Ok(SanType::DnsName(name.clone().try_into().map_err(|_| bad())?)),
        }
    };
    names.iter().map(name).collect()
}

/// Each CA has a name of its own, by its key, so that chains are found by names.
fn params_of_authority(key: &KeyPair, now: i64, life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digits = fingerprint(&key.subject_public_key_info()).to_string();
    params.distinguished_name = common_name(&format!("Martlet collector CA {}", &digits[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(Serial::new().bytes()));
    params.not_before = time(now - BACKDATE_SECONDS);
    params.not_after = time(now.saturating_add(life.seconds()));
    params
}

fn params_of_peer(name: &str, now: i64, life: Life, last: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(SerialNumber::from_slice(Serial::new().bytes()));
    params.not_before = time(now - BACKDATE_SECONDS);
    // Nothing is trusted beyond the CA that signed it.
    params.not_after = time(now.saturating_add(life.seconds()).min(last));
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Seconds since the Unix epoch as certificates say them; what lies outside the years 1970 to 9999 becomes the nearest.
fn time(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds.clamp(0, LAST_SECOND).cast_unsigned())
}

fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let encode = |der: &CertificateDer<'_>| pem::encode_config(&Pem::new(CERTIFICATE, der.to_vec()), config);
    certificates.into_iter().map(encode).collect()
}
