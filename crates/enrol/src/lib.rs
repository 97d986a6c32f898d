//! Enrolment: how a sensor gets a certificate, and what collector and sensor say to each other for it.
//!
//! ```text
//! collector                                   sensor
//! Token::new --one line, by the operator's hand--> Token
//!                                             request: a key that stays there, and a request for it
//!             <------ Request, over TLS ------   (Pin: a collector whose chain has the CA of the token)
//! Authority::issue
//!             ------- Answer ---------------->   certificate, authorities
//! ```
//!
//! Nothing here reads a clock, a file or a socket. docs/wire.md specifies the messages, docs/enrolment.md tells operators.

mod authority;
mod certificate;
mod key;
mod life;
mod message;
mod pin;
mod token;

pub use authority::{Authority, AuthorityError, IssuedCertificate};
pub use certificate::{Facts, Serial, facts};
pub use key::{KeyRequest, request};
pub use life::{Life, LifeError};
pub use message::{
    Answer, Enrolled, LENGTH_BYTES, LONGEST_MESSAGE, MessageError, Refusal, Request, decode_answer, decode_request,
    encode_answer, encode_request, message_length,
};
pub use pin::Pin;
pub use token::{Fingerprint, Secret, Token, TokenError, fingerprint};

/// The application protocol (RFC 7301) of enrolment, on the port on which sensors call.
pub const ALPN_ENROL: &[u8] = b"martlet-enrol/1";
/// The application protocol of docs/wire.md. One who names none speaks it, too: sensors before it had a name.
pub const ALPN_INGEST: &[u8] = b"martlet/1";
/// Certificates begin so many seconds before they are issued, so that a peer whose clock is behind takes them.
pub const BACKDATE_SECONDS: i64 = 2 * 86_400;
