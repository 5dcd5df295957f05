//! Validation metrics over a whole validation set, one a file. Sums are kept in f64.

mod accuracy;
mod loss;
mod mae;
mod mse;
mod r2;
mod roc_auc;

pub use accuracy::Accuracy;
pub use loss::MeanLoss;
pub use mae::Mae;
pub use mse::Mse;
pub use r2::R2;
pub use roc_auc::RocAuc;

use lethe_flight::message::training::Metric as Name;

use crate::error::{Error, Result};

/// A model's outputs and the labels for some rows.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// Row-major, `labels.len() * columns` values.
    pub values: &'a [f32],
    /// Outputs of one row.
    pub columns: usize,
    /// Classes as whole numbers, or values.
    pub labels: &'a [f64],
}

impl Outputs<'_> {
    /// Pairs of output and label, where there is one output a row.
    fn pairs(&self, metric: &str) -> Result<impl Iterator<Item = (f64, f64)>> {
        if self.columns != 1 {
            return Err(Error::trial(format!(
                "the metric {metric} needs one output a row; the model has {}",
                self.columns
            )));
        }
        Ok(self.values.iter().map(|&v| f64::from(v)).zip(self.labels.iter().copied()))
    }
}

/// A metric that sees the validation set part by part.
pub trait Metric {
    /// # Errors
    /// If the outputs' shape or the labels do not suit the metric.
    fn update(&mut self, outputs: &Outputs) -> Result<()>;

    /// NaN where it is not defined: without rows, or AUC with one class only.
    fn value(&self) -> f64;
}

/// The metric of that name, as it is reported, and its computation; None for the loss, which is measured
/// with the loss function itself.
pub fn named(name: Name) -> (&'static str, Option<Box<dyn Metric>>) {
    match name {
        Name::Accuracy => ("accuracy", Some(Box::new(Accuracy::default()))),
        Name::Loss => ("loss", None),
        Name::Mae => ("mae", Some(Box::new(Mae::default()))),
        Name::Mse => ("mse", Some(Box::new(Mse::default()))),
        Name::R2 => ("r2", Some(Box::new(R2::default()))),
        Name::RocAuc => ("roc_auc", Some(Box::new(RocAuc::default()))),
    }
}
