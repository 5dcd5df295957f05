//! The view that the last trial used: the trials of an experiment share one.

use std::sync::Arc;

use lethe_flight::message::dataset::View;
use lethe_view::MappedView;

use crate::error::Result;

#[derive(Debug, Default)]
pub struct ViewCache {
    last: Option<Arc<MappedView>>,
}

impl ViewCache {
    pub fn open(&mut self, view: &View) -> Result<Arc<MappedView>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.view() == view) {
            return Ok(last.clone());
        }
        let opened = Arc::new(MappedView::open(view)?);
        self.last = Some(opened.clone());
        Ok(opened)
    }
}
