//! A connection that wants a certificate: one message, one answer.

use std::sync::Arc;

use martlet_enrol::{Facts, LENGTH_BYTES, encode_answer, message_length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};

use super::connection::Caller;
use super::counters::Violation;
use super::gate::Shared;
use super::tls::Decrypted;
use crate::enroll::{EnrolOutcome, Enroller};

/// How long the answer may take to be written: it is small, and awaited.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Serves it. The message must have come when a Hello would have to.
pub(super) async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut line: Decrypted<IO>,
    shown: Option<Facts>,
    enroller: Arc<Enroller>,
    caller: &Caller<'_>,
) {
    let asked = async {
        let message = read_message(&mut line).await?;
        let turn = shared.enrolling.acquire().await.ok()?;
        Some((message, turn))
    };
    let asked = tokio::select! {
        biased;
        () = caller.guest.shown_out() => return shared.end(caller.number, Violation::CrowdedOut, None),
        asked = timeout_at(caller.hello_by, asked) => asked,
    };
    let outcome = match asked {
        Ok(Some((message, turn))) => {
            // The store blocks. What was begun is finished, also if the peer leaves: a token may be used then.
            let answered = tokio::task::spawn_blocking(move || enroller.answer(&message, shown.as_ref())).await;
            drop(turn);
            match answered {
                Ok((answer, outcome)) => {
                    if let Ok(bytes) = encode_answer(&answer) {
                        let _ = timeout(PATIENCE, write_all(&mut line, &bytes)).await;
                    }
                    outcome
                }
                Err(_) => EnrolOutcome::Failed,
            }
        }
        Ok(None) | Err(_) => EnrolOutcome::Torn,
    };
    shared.counters.enrolments.increment(outcome);
    if !matches!(outcome, EnrolOutcome::Enrolled | EnrolOutcome::Renewed) {
        shared.complain_of_enrolment(caller.number, outcome);
    }
}

async fn read_message(line: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    line.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; message_length(length).ok()?];
    line.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write_all(line: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    line.write_all(bytes).await?;
    line.flush().await?;
    line.shutdown().await
}
