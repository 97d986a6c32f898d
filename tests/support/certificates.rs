//! Certificates for tests, made when they run. Included by the tests of several packages.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) file: PathBuf,
    folder: PathBuf,
    name: String,
}

/// Files of a certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new one, which keeps its files in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, file, folder: folder.to_owned(), name: name.to_owned() }
    }

    /// A certificate for a host name or address.
    pub(crate) fn sign(&self, subject: &str) -> Pair {
        self.sign_until(subject, 2100)
    }

    /// One that is valid up to the beginning of a year.
    pub(crate) fn sign_until(&self, subject: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new([subject.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |ending| self.folder.join(format!("{}-{subject}-{year}.{ending}", self.name));
        let pair = Pair { certificate: path("pem"), key: path("key") };
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        // As an operator should.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&pair.key, owner_only).unwrap();
        pair
    }
}
