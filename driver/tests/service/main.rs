//! The service over loopback: real Flight, real files; only the training is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod datasets;
mod external;
mod models;
mod refusals;
mod resume;
mod search;
mod slots;
mod stores;
