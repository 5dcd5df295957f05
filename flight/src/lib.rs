//! Lethe's protocol: Arrow Flight between the PySpark shim, the driver, the executors and the slots' workers.
//!
//! - [`message`]: what is said, as serde types; `docs/protocol.md` shows a recorded example of each.
//! - [`wire`]: how a message travels in Flight's actions, tickets, descriptors and exchange streams.
//! - [`tensors`], [`blob`]: weights and programs as Arrow record batches.
//! - [`ipc`]: Arrow files at rest and on their way; [`schema`]: a schema within a message.
//! - [`auth`]: the application's token, which every call carries.
//! - [`exchange`]: the two ends of a conversation.
//! - [`process`], [`owner`]: what a process is told when it is started, and whose end ends it.
//! - [`client`], [`server`]: connections with the token, time-outs and size limits in place; `lending` answers DoGet.
//!
//! This crate knows neither libtorch nor Spark.

pub mod auth;
pub mod blob;
pub mod client;
pub mod error;
pub mod exchange;
pub mod ipc;
mod lending;
pub mod limits;
pub mod message;
pub mod owner;
pub mod process;
pub mod schema;
pub mod server;
pub mod tensors;
pub mod wire;

pub use auth::Token;
pub use error::{Error, Result};

/// The version of the protocol. Peers of different versions refuse each other at registration.
pub const PROTOCOL: u32 = 6;

/// The version of this build: the crates and the Python package share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
