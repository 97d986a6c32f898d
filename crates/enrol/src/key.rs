//! A sensor's key, and the request for a certificate of it.

use rcgen::{CertificateParams, KeyPair};

use crate::authority::AuthorityError;

/// A new key and a request for it.
pub struct KeyRequest {
    /// The private key as PEM (PKCS#8). It stays where it was made.
    pub key: String,
    /// A PKCS#10 request as DER, signed by that key.
    pub request: Vec<u8>,
}

/// Makes a key on P-256, which every library of TLS takes, and a request. The request says nothing but the key: the name is the
/// collector's to say.
///
/// # Errors
/// If the system has no random numbers.
pub fn request() -> Result<KeyRequest, AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok(KeyRequest { key: key.serialize_pem(), request: request.der().to_vec() })
}
