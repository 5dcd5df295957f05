//! One end of an exchange: messages out, messages in.

use std::marker::PhantomData;

use arrow_flight::FlightData;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Error, Result, wire};

/// Messages that may wait to be sent before the sender waits.
const QUEUE: usize = 64;

/// A sender, and the frames that it makes. The exchange's outgoing half ends when all senders are dropped.
pub fn outgoing<Out>() -> (Sender<Out>, ReceiverStream<FlightData>) {
    let (frames, queue) = mpsc::channel(QUEUE);
    (Sender { frames, message: PhantomData }, ReceiverStream::new(queue))
}

/// Sends messages; waits while the other side does not read.
pub struct Sender<Out> {
    frames: mpsc::Sender<FlightData>,
    message: PhantomData<fn(Out)>,
}

impl<Out> Clone for Sender<Out> {
    fn clone(&self) -> Self {
        Self { frames: self.frames.clone(), message: PhantomData }
    }
}

impl<Out: Serialize> Sender<Out> {
    pub async fn send(&self, message: &Out) -> Result<()> {
        let frame = wire::frame(message)?;
        self.frames.send(frame).await.map_err(|_| ended())
    }

    /// For threads outside the runtime.
    pub fn blocking_send(&self, message: &Out) -> Result<()> {
        let frame = wire::frame(message)?;
        self.frames.blocking_send(frame).map_err(|_| ended())
    }

    /// Ready when the other side has gone.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }
}

fn ended() -> Error {
    Error::Unreachable("the exchange has ended".into())
}

/// Receives messages.
pub struct Receiver<In> {
    frames: Streaming<FlightData>,
    message: PhantomData<fn() -> In>,
}

impl<In: DeserializeOwned> Receiver<In> {
    pub fn new(frames: Streaming<FlightData>) -> Self {
        Self { frames, message: PhantomData }
    }

    /// The next message; None when the other side has ended the exchange. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<In>> {
        loop {
            match self.frames.message().await {
                Err(status) => return Some(Err(status.into())),
                Ok(None) => return None,
                Ok(Some(frame)) => {
                    if let Some(message) = wire::unframe(&frame).transpose() {
                        return Some(message);
                    }
                }
            }
        }
    }
}
