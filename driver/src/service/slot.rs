//! A slot's exchange: the executor's messages go to the experiment, the experiment's to the executor.

use std::time::Duration;

use arrow_flight::FlightData;
use futures::Stream;
use lethe_flight::exchange::Receiver;
use lethe_flight::message::experiment::Report;
use lethe_flight::message::slot::{FromSlot, ToSlot};
use lethe_flight::message::training::Outcome;
use lethe_flight::{Error, Result, limits, wire};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::actor::{Command, Join};
use super::check;
use super::registry::{Handle, Registry};
use crate::experiment::{Event, SlotKey};

/// For the first message.
const JOIN: Duration = Duration::from_secs(10);
/// Messages that a slot may leave unread. It is sent one or two for each of its own, so that one that leaves so
/// many has stopped reading.
const QUEUE: usize = 64;
/// What is kept of one error.
const ERROR_BYTES: usize = 64 << 10;

/// # Errors
/// If the first message is not a `join` of a known experiment in this protocol.
pub async fn open(
    experiments: &Registry,
    frames: Streaming<FlightData>,
) -> Result<impl Stream<Item = Result<FlightData, Status>> + Send + 'static> {
    let mut incoming = Receiver::<FromSlot>::new(frames);
    let first = tokio::time::timeout(JOIN, incoming.next())
        .await
        .map_err(|_| Error::Invalid(format!("a slot did not join within {} s", JOIN.as_secs())))?;
    let Some(FromSlot::Join { protocol, version, experiment, slot, executor }) = first.transpose()? else {
        return Err(Error::Invalid("a slot's first message must be join".into()));
    };
    check::protocol("the executor", protocol, &version)?;
    wire::check_name("an executor", &executor)?;
    let handle = experiments.get(&experiment)?;
    let (outgoing, queue) = mpsc::channel(QUEUE);
    // Before the experiment knows the slot, so that nothing comes before it.
    _ = outgoing.try_send(Ok(wire::frame(&ToSlot::Joined { data: handle.data().map(Box::new) })?));
    let weak = outgoing.downgrade();
    let (answer, key) = oneshot::channel();
    handle.send(Command::Join(Join { number: slot, executor, outgoing, answer })).await?;
    let key = key.await.map_err(|_| Error::Precondition("the experiment's task has ended".into()))?;
    tokio::spawn(async move {
        let reason = match read(&handle, key, &mut incoming).await {
            Ok(()) => format!("the connection of slot {slot} has ended"),
            Err(error) => {
                let reason = format!("the connection of slot {slot} broke: {error}");
                if !error.is_disconnect() {
                    refuse(&weak, error);
                }
                reason
            }
        };
        _ = handle.send(Command::Event(Event::SlotLeft { slot: key, reason })).await;
    });
    Ok(ReceiverStream::new(queue))
}

async fn read(handle: &Handle, slot: SlotKey, incoming: &mut Receiver<FromSlot>) -> Result<()> {
    while let Some(message) = incoming.next().await {
        let command = match message? {
            FromSlot::Join { .. } => {
                return Err(Error::Invalid("a slot has joined twice on one exchange".into()));
            }
            FromSlot::Ready { worker_pid, device } => Command::Ready { slot, worker_pid, device },
            FromSlot::Report { trial, attempt, epoch, metrics } => {
                Command::Event(Event::Report { slot, trial, attempt, epoch, metrics })
            }
            FromSlot::Reports { trial, attempt, reports } => {
                if reports.len() > limits::REPORTS {
                    return Err(Error::Exhausted(format!(
                        "{} reports in one message; at most {} are allowed",
                        reports.len(),
                        limits::REPORTS
                    )));
                }
                let event =
                    |Report { epoch, metrics }| Event::Report { slot, trial, attempt, epoch, metrics };
                Command::Events(reports.into_iter().map(event).collect())
            }
            FromSlot::Log { trial, attempt, mut text } => {
                text.truncate(text.floor_char_boundary(limits::LOG_BYTES));
                Command::Log { slot, trial, attempt, text }
            }
            FromSlot::Checkpointed { trial, attempt, epoch } => {
                Command::Event(Event::Checkpointed { slot, trial, attempt, epoch })
            }
            FromSlot::Ended { trial, attempt, mut outcome, timing } => {
                if let Outcome::Failed { error } | Outcome::Lost { error } = &mut outcome {
                    shorten(error);
                }
                Command::Event(Event::Ended { slot, trial, attempt, outcome, timing })
            }
            FromSlot::Lacks { dataset, partitions } => Command::Lacks { slot, dataset, partitions },
            FromSlot::Failed { mut error, fatal } => {
                shorten(&mut error);
                Command::Event(Event::SlotFailed { slot, error, fatal })
            }
        };
        handle.send(command).await?;
    }
    Ok(())
}

/// An error is journalled, shown and kept with its trial: of a very long one its beginning and its end.
pub fn shorten(error: &mut String) {
    if error.len() > ERROR_BYTES {
        let beginning = error.floor_char_boundary(ERROR_BYTES / 2);
        let end = error.ceil_char_boundary(error.len() - ERROR_BYTES / 2);
        *error =
            format!("{}\n… {} bytes are left out …\n{}", &error[..beginning], end - beginning, &error[end..]);
    }
}

/// Tells the executor what it has done wrong; the exchange ends with it.
fn refuse(outgoing: &mpsc::WeakSender<Result<FlightData, Status>>, error: Error) {
    if let Some(outgoing) = outgoing.upgrade() {
        _ = outgoing.try_send(Err(error.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_keeps_its_beginning_and_its_end() {
        let mut error = format!("first{}last", "é".repeat(ERROR_BYTES));
        shorten(&mut error);
        assert!(
            error.starts_with("firsté") && error.ends_with("élast") && error.contains("bytes are left out")
        );
        assert!(error.len() < ERROR_BYTES + 100);
        let mut short = "é".repeat(9);
        shorten(&mut short);
        assert_eq!(short, "é".repeat(9));
    }
}
