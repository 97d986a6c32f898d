//! Certificates of the small CA, checked as rustls checks them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use martlet_enrol::{Authority, AuthorityError, BACKDATE_SECONDS, Life, Pin, Serial, facts, fingerprint, request};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const YEAR: Life = Life::of_days(365);

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.cast_unsigned()))
}

fn store<'a>(roots: impl Iterator<Item = &'a CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    roots.for_each(|root| store.add(root.clone()).unwrap());
    Arc::new(store)
}

fn calls(verifier: &dyn ServerCertVerifier, chain: &[CertificateDer<'_>], name: &str, now: i64) -> Result<(), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at(now)).map(drop)
}

fn shows(roots: Arc<RootCertStore>, certificate: &CertificateDer<'_>, now: i64) -> Result<(), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
    verifier.verify_client_cert(certificate, &[], at(now)).map(drop)
}

fn issue(authority: &Authority, name: &str, now: i64, life: Life) -> CertificateDer<'static> {
    let issued =
        authority.issue(&request().unwrap().request, &name.parse().unwrap(), &Serial::new(), now, life).unwrap();
    CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap()
}

#[test]
fn a_sensors_certificate_says_its_name_and_is_valid_for_its_time() {
    let authority = Authority::make(NOW, YEAR).unwrap();
    let (made, serial) = (request().unwrap(), Serial::new());
    let issued = authority.issue(&made.request, &"tokyo-1".parse().unwrap(), &serial, NOW, Life::of_days(90)).unwrap();
    let certificate = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
    let said = facts(&certificate).unwrap();
    assert_eq!(said.name.unwrap().as_str(), "tokyo-1");
    assert_eq!((said.serial, said.is_root, said.host_names), (serial, false, Vec::new()));
    assert_eq!((said.not_before, said.not_after), (NOW - BACKDATE_SECONDS, NOW + 90 * DAY));
    assert_eq!(issued.not_after, said.not_after);
    let roots = || store(authority.roots());
    assert_eq!(shows(roots(), &certificate, NOW), Ok(()));
    // A peer that is a day behind, and the end.
    assert_eq!(shows(roots(), &certificate, NOW - DAY), Ok(()));
    assert!(shows(roots(), &certificate, NOW + 90 * DAY + 1).is_err());
    let other = Authority::make(NOW, YEAR).unwrap();
    assert_eq!(
        shows(store(other.roots()), &certificate, NOW),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    );
    // It is no collector's, and nothing outlives the CA.
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(), provider()).build().unwrap();
    assert!(calls(&*verifier, &[certificate], "tokyo-1", NOW).is_err());
    let long = issue(&authority, "a", NOW, Life::of_days(4000));
    assert_eq!(facts(&long).unwrap().not_after, authority.not_after());
}

#[test]
fn a_request_counts_only_with_a_key_that_signed_it() {
    let authority = Authority::make(NOW, YEAR).unwrap();
    let issue = |request: &[u8]| authority.issue(request, &"a".parse().unwrap(), &Serial::new(), NOW, YEAR);
    let good = request().unwrap().request;
    assert!(issue(&good).is_ok());
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    for wrong in [&forged[..], &good[..good.len() - 1], b""] {
        assert!(matches!(issue(wrong), Err(AuthorityError::BadRequest)));
    }
    // What a request says of itself is not asked for.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::new(["urn:martlet:sensor:b".to_owned()]).unwrap();
    let issued = issue(params.serialize_request(&key).unwrap().der()).unwrap();
    let said = facts(&CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap()).unwrap();
    assert_eq!((said.name.unwrap().as_str(), said.host_names.len()), ("a", 0));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    assert!(matches!(issue(request.der()), Err(AuthorityError::BadRequest)));
}

#[test]
fn who_knows_only_the_fingerprint_takes_the_right_collector_alone() {
    let authority = Authority::make(NOW, YEAR).unwrap();
    let names = ["collector.example".to_owned(), "192.0.2.10".to_owned(), "2001:db8::1".to_owned()];
    let (chain, _) = authority.serve(&names, NOW, Life::of_days(30)).unwrap();
    let pin = Pin::new(authority.fingerprint(), provider());
    for name in &names {
        assert_eq!(calls(&pin, &chain, name, NOW - DAY), Ok(()), "{name}");
    }
    assert!(calls(&pin, &chain, "other.example", NOW).is_err());
    assert!(calls(&pin, &chain, "collector.example", NOW + 31 * DAY).is_err());
    let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let other = Pin::new(fingerprint(b"another"), provider());
    assert_eq!(calls(&other, &chain, "collector.example", NOW), unknown);
    // The right CA beside a certificate of another one.
    let (mut forged, _) = Authority::make(NOW, YEAR).unwrap().serve(&names, NOW, YEAR).unwrap();
    forged.push(chain.last().unwrap().clone());
    assert_eq!(calls(&pin, &forged, "collector.example", NOW), unknown);
    assert!(matches!(authority.serve(&["not a name".to_owned()], NOW, YEAR), Err(AuthorityError::BadName(_))));
}

#[test]
fn it_is_read_as_it_is_written_and_damage_is_named() {
    let authority = Authority::make(NOW, YEAR).unwrap().succeed(NOW, YEAR).unwrap();
    let text = authority.to_pem();
    let read = Authority::from_pem(&text).unwrap();
    assert_eq!((read.to_pem(), read.fingerprint()), (text.clone(), authority.fingerprint()));
    assert!(!read.root_pem().contains("PRIVATE"));
    let (key, certificates) = text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap());
    let other = Authority::make(NOW, YEAR).unwrap().to_pem();
    let cases = [
        (certificates.to_owned(), "no private key"),
        (key.to_owned(), "no certificate"),
        (other[..key.len()].to_owned() + certificates, "not that of its certificate"),
        (text.replace("PRIVATE KEY-----\nM", "PRIVATE KEY-----\nA"), "cannot be used"),
        (text[..text.len() - 40].to_owned(), ""),
    ];
    for (text, words) in cases {
        let told = Authority::from_pem(&text).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
        assert!(told.contains(words) && !told.is_empty() || words.is_empty(), "{words}: {told}");
    }
}

#[test]
fn a_successor_is_taken_by_who_knows_the_older_and_the_older_ends_when_it_is_left_out() {
    let first = Authority::make(NOW, YEAR).unwrap();
    let early = issue(&first, "a", NOW, Life::of_days(90));
    let second = first.succeed(NOW, Life::of_days(3650)).unwrap();
    let third = second.succeed(NOW, Life::of_days(3650)).unwrap();
    let names = ["collector.example".to_owned()];
    for newest in [&second, &third] {
        let (chain, _) = newest.serve(&names, NOW, Life::of_days(30)).unwrap();
        for known in [&first, newest] {
            let roots = store(known.roots().take(1));
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build().unwrap();
            assert_eq!(calls(&*verifier, &chain, "collector.example", NOW), Ok(()), "{known:?}");
        }
        // With a token from before as well.
        for named in [&first, newest] {
            let pin = Pin::new(named.fingerprint(), provider());
            assert_eq!(calls(&pin, &chain, "collector.example", NOW), Ok(()), "{named:?}");
        }
        assert_eq!(shows(store(newest.roots()), &early, NOW), Ok(()));
        assert_eq!(shows(store(newest.roots()), &issue(newest, "a", NOW, YEAR), NOW), Ok(()));
    }
    let alone = third.alone();
    assert!(shows(store(alone.roots()), &early, NOW).is_err());
    let (chain, _) = alone.serve(&names, NOW, Life::of_days(30)).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(store(first.roots()), provider()).build().unwrap();
    assert!(calls(&*verifier, &chain, "collector.example", NOW).is_err());
}
