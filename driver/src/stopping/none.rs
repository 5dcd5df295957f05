//! Every trial runs to its end.

use super::{StoppingRule, Verdict};

#[derive(Debug, Clone, Copy)]
pub struct NoStopping;

impl StoppingRule for NoStopping {
    fn rungs(&self, _: u32) -> Vec<u32> {
        Vec::new()
    }

    fn decide(&mut self, _: u32, _: u32, _: f64) -> Verdict {
        Verdict::GoOn
    }
}
