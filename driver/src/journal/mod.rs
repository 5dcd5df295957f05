//! An experiment's journal: the append-only log of what was decided, from which the experiment goes on after its
//! driver was killed or its host was lost. Format and guarantees: `docs/journal.md`.
//!
//! A driver takes the experiment's folder ([`Folder::lock`]) and begins a [`Log`] there, or reads the one that is
//! there to its end and goes on with it ([`Recovery`]). [`Writer`] is a log whose writes happen on a thread.
//! With an object store, [`Mirror`] holds a copy of the folder: [`Mirror::begin`] or [`Mirror::restore`] come
//! before the log is opened, a [`Shipper`] follows it, and a [`Copier`] the files beside it.
//!
//! - [`line`](mod@line): a record as a line of text.
//! - [`record`]: what records say.
//! - [`batch`]: records on their way to the file.
//! - [`folder`]: one driver at a time.
//! - [`file`](mod@file), [`log`](mod@log), [`writer`], [`syncer`]: onto the local disk.
//! - [`reader`], [`recovery`]: back from there.
//! - [`store`], [`mirror`], [`retry`]: an object store; [`segments`], [`shipper`]: the journal's copy there;
//!   [`copies`], [`copier`]: that of the files beside it.

mod batch;
mod copier;
mod copies;
mod file;
mod folder;
mod line;
mod log;
mod mirror;
mod reader;
mod record;
mod recovery;
mod retry;
mod segments;
mod shipper;
mod store;
mod syncer;
#[cfg(test)]
mod tests;
mod writer;

pub use copier::Copier;
pub use copies::Copies;
pub use folder::{FILE, Folder};
pub use log::Log;
pub use mirror::Mirror;
pub use reader::{Reader, Torn};
pub use record::{Entry, FORMAT, Header, Record};
pub use recovery::Recovery;
pub use segments::Position;
pub use shipper::Shipper;
pub use writer::Writer;
