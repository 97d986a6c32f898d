//! Enrolment: how sensors get certificates of the collector's own CA, and how these end.
//!
//! ```text
//! `enroll create` -> EnrollStore: hash of a token --\
//! sensor, over TLS -> gate -> Enroller: redeem or renew, one transaction -> certificate, signed by the Authority in ca/authority.pem
//! `enroll revoke` -> EnrollStore --every second--> Keeper -> Peers: looked at by each handshake, and by open connections
//! `enroll rotate-ca` -> ca/authority.pem ----------/     \-> server certificate, roots: the ServerConfigs that the gate uses
//! ```
//!
//! A token is used in the transaction that writes down its certificate, before the certificate is handed over: of two that come with
//! one token one gets a certificate, and one whose answer is lost needs a new token. docs/enrolment.md tells operators.

mod config;
mod file;
mod keeper;
mod lives;
mod office;
mod peers;
mod store;
mod tls;

pub use config::{EnrollConfig, EnrollConfigError};
pub use file::{AuthorityFile, AuthorityFileError};
pub use keeper::{Keeper, POLL_INTERVAL};
pub use lives::{BySensor, Life, Lives};
pub use office::{EnrolOutcome, Enroller};
pub use peers::{Peer, Peers, Watched};
pub use store::{CertificateRecord, EnrollStore, EnrollStoreError, Grant, TokenRecord, TokenState};
pub use tls::{Configs, EnrollTls, EnrollTlsError};
