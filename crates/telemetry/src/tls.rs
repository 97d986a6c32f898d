//! Certificates and keys from PEM files, with errors that name the file and what is wrong with it.
//!
//! What is the same at both ends of a connection is here. How a collector accepts and how a sensor calls is with them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, SupportedProtocolVersion};
use thiserror::Error;

/// What is spoken: nothing older than TLS 1.3.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// Why a file cannot be used for TLS.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TlsFileProblem,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum TlsFileProblem {
    /// It is missing, or may not be read.
    #[error("it cannot be read: {0}; check the path and its permissions")]
    Unreadable(io::Error),
    /// It has no certificate.
    #[error("there is no certificate in it: a PEM file with BEGIN CERTIFICATE is wanted")]
    NoCertificate,
    /// It has no key that can be read without a passphrase.
    #[error("there is no private key in it: a PEM file with BEGIN PRIVATE KEY is wanted, without a passphrase")]
    NoKey,
    /// It is no whole PEM.
    #[error("its PEM is damaged: {0}")]
    Damaged(&'static str),
    /// A certificate in it is none.
    #[error("certificate {number} in it cannot be used: {source}")]
    BadCertificate {
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: rustls::Error,
    },
    /// The key is of a kind that is not known, or broken.
    #[error("the private key in it cannot be used: {0}")]
    BadKey(rustls::Error),
    /// The key is another certificate's.
    #[error("the private key in it does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
}

impl TlsFileProblem {
    fn of(self, path: &Path) -> TlsFileError {
        TlsFileError { path: path.to_owned(), problem: self }
    }
}

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM file, as roots to trust.
///
/// # Errors
/// If the file cannot be read, or has no certificate or one that cannot be used.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for (place, certificate) in certificates(path)?.into_iter().enumerate() {
        let bad = |source| TlsFileProblem::BadCertificate { number: place + 1, source }.of(path);
        roots.add(certificate).map_err(bad)?;
    }
    Ok(roots)
}

/// A certificate with its chain, and its key, from two PEM files, which may be one and the same.
///
/// # Errors
/// If a file cannot be read or used, or the two do not belong together.
pub fn identity(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsFileError> {
    let chain = certificates(certificate)?;
    let signer = provider().key_provider.load_private_key(private_key(key)?);
    let signer = signer.map_err(|error| TlsFileProblem::BadKey(error).of(key))?;
    let identity = CertifiedKey::new(chain, signer);
    match identity.keys_match() {
        // A kind of key that does not tell its public half is found out by the first peer.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsFileProblem::OtherKey(certificate.to_owned()).of(key)),
        Err(source) => Err(TlsFileProblem::BadCertificate { number: 1, source }.of(certificate)),
    }
}

/// What to tell of a key file that others than its owner may use; `None` if there is nothing to tell.
#[must_use]
pub fn exposed_key(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let told = || format!("the private key in {} is open to others (mode {mode:04o}): chmod 600", path.display());
    (mode & OTHERS != 0).then(told)
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsFileProblem::NoCertificate.of(path)),
        Ok(found) => Ok(found),
        Err(error) => Err(damaged(&error).of(path)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFileProblem::NoKey.of(path),
        error => damaged(&error).of(path),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(path).map_err(|error| TlsFileProblem::Unreadable(error).of(path))
}

/// The parser's own words show bytes as numbers, and might show some of a key.
fn damaged(error: &pem::Error) -> TlsFileProblem {
    TlsFileProblem::Damaged(match error {
        pem::Error::MissingSectionEnd { .. } => "a line with END is missing",
        pem::Error::IllegalSectionStart { .. } => "a line with BEGIN is not in order",
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is no base64",
        _ => "it cannot be taken apart",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            Files(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    fn made() -> (String, String) {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_taken_from_two_files_or_one() {
        let files = Files::new();
        let (certificate, key) = made();
        let both = files.put("both", &format!("{key}{certificate}"));
        assert_eq!(identity(&both, &both).unwrap().cert.len(), 1);
        assert!(identity(&files.put("c", &certificate), &files.put("k", &key)).is_ok());
        assert_eq!(roots(&files.put("two", &format!("{certificate}{}", made().0))).unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let files = Files::new();
        let (certificate, key) = made();
        let good = (files.put("good.pem", &certificate), files.put("good.key", &key));
        let absent = files.0.path().join("absent");
        let torn: String = certificate.lines().take(4).map(|line| format!("{line}\n")).collect();
        let letters = certificate.replace("MII", "!!!");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let cases = [
            (identity(&absent, &good.1), "absent", "cannot be read"),
            (identity(&good.0, &absent), "absent", "cannot be read"),
            (identity(files.0.path(), &good.1), "", "cannot be read"),
            (identity(&good.1, &good.1), "good.key", "no certificate"),
            (identity(&good.0, &good.0), "good.pem", "no private key"),
            (identity(&good.0, &files.put("empty", "")), "empty", "no private key"),
            (identity(&files.put("torn", &torn), &good.1), "torn", "END is missing"),
            (identity(&files.put("letters", &letters), &good.1), "letters", "base64"),
            (identity(&files.put("nonsense", nonsense), &good.1), "nonsense", "certificate 1"),
            (identity(&good.0, &files.put("badkey", bad_key)), "badkey", "cannot be used"),
            (identity(&good.0, &files.put("other.key", &made().1)), "other.key", "does not belong"),
        ];
        for (outcome, file, what) in cases {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(file) && message.contains(what), "{file}: {message}");
        }
        let two = files.put("two", &format!("{certificate}{nonsense}"));
        assert!(roots(&two).unwrap_err().to_string().contains("certificate 2"));
    }

    #[test]
    fn a_key_that_others_can_read_is_told() {
        let files = Files::new();
        let key = files.put("key", "");
        let mode = |mode| {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            exposed_key(&key)
        };
        assert_eq!(mode(0o600), None);
        assert!(mode(0o640).unwrap().contains("0640"));
        assert!(mode(0o604).is_some());
    }
}
