//! The view that a slot holds.

use std::path::Path;
use std::sync::Arc;

use lethe_flight::message::dataset::DataSpec;
use lethe_flight::{Error, Result};

use super::Host;
use crate::disk::InUse;
use crate::view::Built;

/// How often a view is built that is evicted at once, for the room of others.
const VIEWS: u32 = 3;

/// A view that stays as long as this is held.
pub struct Held {
    /// Of all columns.
    pub data: DataSpec,
    pub built: Arc<Built>,
    _in_use: InUse,
}

/// The view of these data: the one that is there, or built now.
///
/// # Errors
/// [`Error::Lost`] if partitions are held by nobody any more; if it cannot be built, or there is no room to keep it.
pub async fn view(host: &Host, data: &DataSpec) -> Result<Held> {
    let Host { views, store, driver, .. } = host;
    for _ in 0..VIEWS {
        let built = views.get(store, driver, data).await?;
        if let Some(in_use) = store.disk().use_view(Path::new(&built.view.path)) {
            let data = DataSpec { without: Vec::new(), ..data.clone() };
            return Ok(Held { data, built, _in_use: in_use });
        }
    }
    Err(Error::Exhausted(format!(
        "the view of {} was evicted {VIEWS} times before this slot could use it: raise disk_limit in lethe.Settings",
        data.dataset
    )))
}
