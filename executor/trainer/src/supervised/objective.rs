//! The loss of a batch: a named loss function on the module's output, or the module's own steps.

use std::ffi::{CStr, CString};

use lethe_flight::message::training::Loss;
use tch::{Kind, Reduction, Tensor};

use crate::data::{Batch, Batches, Labels, MappedView};
use crate::error::{Error, Result};
use crate::torch::Program;

/// Keys of the batch that a module's own steps get, beside the inputs' names.
const LABEL: &CStr = c"label";
const WEIGHT: &CStr = c"weight";

/// How the loss of a trial is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Objective {
    Named {
        loss: Loss,
        classes: Option<(i64, i64)>,
    },
    /// `training_step(batch)`, and `validation_step(batch)` if the module has one.
    Own {
        validates: bool,
        /// Names of the inputs.
        keys: Vec<CString>,
    },
}

impl Objective {
    /// # Errors
    /// If the module lacks the method that is needed, or the labels do not suit the loss.
    pub fn new(loss: Option<Loss>, program: &Program, view: &MappedView) -> Result<Self> {
        let methods = program.methods()?;
        let has = |name: &str| methods.iter().any(|m| m == name);
        let Some(loss) = loss else {
            if !has("training_step") {
                return Err(Error::trial(
                    "Supervised has no loss and the module no training_step: name a loss, or decorate \
                     training_step with @torch.jit.export",
                ));
            }
            return Ok(Self::Own { validates: has("validation_step"), keys: keys(view)? });
        };
        match (loss, view.labels()) {
            (_, None) => {
                Err(Error::trial("the dataset has no label: name one, or give the module a training_step"))
            }
            (Loss::CrossEntropy, Some(Labels::Value(_))) => Err(Error::trial(
                "the loss cross_entropy needs integer labels from 0; the label column holds floats",
            )),
            (loss, Some(labels)) => {
                if loss == Loss::BinaryCrossEntropy
                    && let Labels::Value(labels) = labels
                    && let Some(wrong) = labels.iter().find(|label| !(0.0..=1.0).contains(*label))
                {
                    return Err(Error::trial(format!(
                        "the loss binary_cross_entropy needs labels from 0 to 1; there is a {wrong}"
                    )));
                }
                Ok(Self::Named { loss, classes: view.classes() })
            }
        }
    }

    /// The mean loss of a batch, a tensor to call backward on. With weights `w` and the losses `l` of its rows it is
    /// `sum(w l) / sum(w)`, and 0 where all weights are; what the module's own step does with them is its own affair.
    pub fn loss(&self, program: &mut Program, batch: &Batch) -> Result<Tensor> {
        match self {
            Self::Named { .. } => {
                let output = program.forward(&batch.inputs)?;
                self.of_output(&output, batch)
            }
            Self::Own { keys, .. } => {
                let entries = own_step(program, "training_step", keys, batch)?;
                let names: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
                entries.into_iter().find(|(name, _)| name.is_empty() || name == "loss").map(|(_, t)| t).ok_or_else(
                    || {
                        Error::trial(format!(
                            "training_step must return a loss, or a Dict[str, Tensor] with \"loss\"; it returned {names:?}"
                        ))
                    },
                )
            }
        }
    }

    /// What the mean loss of a batch counts in that of an epoch: its rows, or where the loss is ours the sum of their
    /// weights.
    pub fn counts(&self, batch: &Batch) -> f64 {
        match self {
            Self::Named { .. } => batch.weight,
            Self::Own { .. } => batch.rows as f64,
        }
    }

    /// What these rows together count.
    pub fn counts_of(&self, batches: &Batches, rows: &[u32]) -> f64 {
        match self {
            Self::Named { .. } => batches.weight_of(rows),
            Self::Own { .. } => rows.len() as f64,
        }
    }

    /// Whether rows count otherwise than one each.
    pub fn is_weighted(&self, batches: &Batches) -> bool {
        matches!(self, Self::Named { .. }) && batches.is_weighted()
    }

    /// The mean loss of outputs that have been computed. For [`Objective::Named`].
    pub fn of_output(&self, output: &Tensor, batch: &Batch) -> Result<Tensor> {
        let Self::Named { loss, classes } = *self else {
            return Err(Error::trial("a module with its own training_step has no loss function"));
        };
        let reduction = if batch.weights.is_some() { Reduction::None } else { Reduction::Mean };
        if loss == Loss::CrossEntropy {
            check_classes(output, batch, classes)?;
            let none = None::<Tensor>;
            return weighted(output.f_cross_entropy_loss(&batch.labels, none, reduction, -100, 0.0)?, batch);
        }
        let output = one_per_row(output, batch)?;
        let labels = match batch.labels.f_kind()? {
            Kind::Float => batch.labels.shallow_clone(),
            _ => batch.labels.f_to_kind(Kind::Float)?,
        };
        let none = None::<Tensor>;
        let losses = match loss {
            Loss::BinaryCrossEntropy => {
                check_binary(classes)?;
                output.f_binary_cross_entropy_with_logits(&labels, none.as_ref(), none.as_ref(), reduction)?
            }
            Loss::L1 => output.f_l1_loss(&labels, reduction)?,
            Loss::Huber => output.f_huber_loss(&labels, reduction, 1.0)?,
            Loss::Mse | Loss::CrossEntropy => output.f_mse_loss(&labels, reduction)?,
        };
        weighted(losses, batch)
    }
}

/// Calls one of the module's own steps with `{"features": …, "label": …, "weight": …}`: each input by its name, and
/// label and weight where there are.
pub fn own_step(
    program: &mut Program,
    method: &str,
    keys: &[CString],
    batch: &Batch,
) -> Result<Vec<(String, Tensor)>> {
    let mut entries: Vec<(&CStr, &Tensor)> = keys.iter().map(CString::as_c_str).zip(&batch.inputs).collect();
    if batch.labels.size().first().is_some_and(|&n| n > 0) {
        entries.push((LABEL, &batch.labels));
    }
    entries.extend(batch.weights.as_ref().map(|weights| (WEIGHT, weights)));
    program.step(method, &entries)
}

fn keys(view: &MappedView) -> Result<Vec<CString>> {
    let names = view.view().inputs.iter().map(|input| input.name.as_str());
    let key = |name: &str| match CString::new(name) {
        Ok(key) if key.as_c_str() != LABEL && key.as_c_str() != WEIGHT => Ok(key),
        _ => Err(Error::trial(format!(
            "the input {name:?} needs another name: training_step gets {LABEL:?} and {WEIGHT:?} under these keys"
        ))),
    };
    names.map(key).collect()
}

/// The mean by weight of the losses of each row; what it is given if there are no weights.
fn weighted(losses: Tensor, batch: &Batch) -> Result<Tensor> {
    let Some(weights) = &batch.weights else { return Ok(losses) };
    let sum = (losses.f_mul(weights)?).f_sum(losses.f_kind()?)?;
    let total = if batch.weight > 0.0 { batch.weight } else { 1.0 };
    Ok(sum.f_div_scalar(total)?)
}

fn check_classes(output: &Tensor, batch: &Batch, classes: Option<(i64, i64)>) -> Result<()> {
    let size = output.size();
    let [rows, outputs] = size[..] else {
        return Err(Error::trial(format!(
            "the loss cross_entropy needs outputs of shape [rows, classes]; the model's have shape {size:?}"
        )));
    };
    if rows != batch.rows as i64 {
        return Err(wrong_rows(&size, batch));
    }
    match classes {
        Some((least, _)) if least < 0 => {
            Err(Error::trial(format!("label {least} is out of range: classes count from 0")))
        }
        Some((_, most)) if most >= outputs => Err(Error::trial(format!(
            "label {most} is out of range: the model has {outputs} outputs, so labels must be 0 to {}",
            outputs - 1
        ))),
        _ => Ok(()),
    }
}

fn check_binary(classes: Option<(i64, i64)>) -> Result<()> {
    match classes {
        Some((least, most)) if least < 0 || most > 1 => Err(Error::trial(format!(
            "the loss binary_cross_entropy needs labels 0 and 1; there are labels from {least} to {most}"
        ))),
        _ => Ok(()),
    }
}

/// `[n]` of `[n]` or `[n, 1]`.
fn one_per_row(output: &Tensor, batch: &Batch) -> Result<Tensor> {
    let size = output.size();
    match size[..] {
        [rows] | [rows, 1] if rows != batch.rows as i64 => Err(wrong_rows(&size, batch)),
        [_] => Ok(output.shallow_clone()),
        [_, 1] => Ok(output.f_squeeze_dim(1)?),
        _ => Err(Error::trial(format!(
            "this loss needs one output a row, of shape [rows] or [rows, 1]; the model's have shape {size:?}"
        ))),
    }
}

fn wrong_rows(size: &[i64], batch: &Batch) -> Error {
    Error::trial(format!("the model made outputs of shape {size:?} from {} rows", batch.rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_pytorchs() {
        let fixture = include_str!("../../tests/fixtures/losses.json");
        let expected: std::collections::BTreeMap<String, f64> = serde_json::from_str(fixture).unwrap();
        let outputs = Tensor::from_slice(&[-2.0f32, 0.5, 1.5, -0.25]);
        let logits = Tensor::linspace(-1.0, 2.0, 12, (Kind::Float, tch::Device::Cpu)).reshape([4, 3]);
        let batch = |labels| Batch { inputs: Vec::new(), labels, weights: None, rows: 4, weight: 4.0 };
        let values = || batch(Tensor::from_slice(&[1.0f32, 0.0, 1.0, 0.0]));
        for (loss, name) in [
            (Loss::CrossEntropy, "cross_entropy"),
            (Loss::BinaryCrossEntropy, "binary_cross_entropy"),
            (Loss::Mse, "mse"),
            (Loss::L1, "l1"),
            (Loss::Huber, "huber"),
        ] {
            let objective = Objective::Named { loss, classes: None };
            let found = if loss == Loss::CrossEntropy {
                objective.of_output(&logits, &batch(Tensor::from_slice(&[0i64, 2, 1, 2])))
            } else {
                let flat = objective.of_output(&outputs, &values()).unwrap();
                // [n, 1] is [n], and integer labels are numbers; neither broadcasts to [n, n].
                let labels = batch(Tensor::from_slice(&[1i64, 0, 1, 0]));
                let column = objective.of_output(&outputs.reshape([4, 1]), &labels).unwrap();
                assert_eq!(flat, column);
                Ok(flat)
            };
            assert!((found.unwrap().double_value(&[]) - expected[name]).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn a_weighted_loss_is_the_mean_by_weight_of_the_rows_losses() {
        let logits = || Tensor::linspace(-1.0, 2.0, 12, (Kind::Float, tch::Device::Cpu)).reshape([4, 3]);
        let outputs = || Tensor::from_slice(&[-2.0f32, 0.5, 1.5, -0.25]);
        let part = |rows: &[i64], weights: Option<&[f32]>, classes: bool| {
            let index = Tensor::from_slice(rows);
            let labels = if classes {
                Tensor::from_slice(&[0i64, 2, 1, 2])
            } else {
                Tensor::from_slice(&[1.0f32, 0.0, 1.0, 0.0])
            };
            let outputs = if classes { logits() } else { outputs() };
            let batch = Batch {
                inputs: Vec::new(),
                labels: labels.index_select(0, &index),
                weights: weights.map(Tensor::from_slice),
                rows: rows.len(),
                weight: weights.map_or(rows.len() as f64, |w| w.iter().map(|&w| f64::from(w)).sum()),
            };
            (outputs.index_select(0, &index).set_requires_grad(true), batch)
        };
        for loss in [Loss::CrossEntropy, Loss::BinaryCrossEntropy, Loss::Mse, Loss::L1, Loss::Huber] {
            let classes = loss == Loss::CrossEntropy;
            let objective = Objective::Named { loss, classes: None };
            let value = |(outputs, batch): (Tensor, Batch)| {
                let loss = objective.of_output(&outputs, &batch).unwrap();
                loss.backward();
                let grad = outputs.grad().abs().sum(Kind::Double).double_value(&[]);
                (loss.double_value(&[]), grad)
            };
            // A row of weight 3 is that row three times, and one of weight 0 is not there.
            let (repeated, slope) = value(part(&[1, 1, 1, 3], None, classes));
            let (weighted, same_slope) = value(part(&[0, 1, 2, 3], Some(&[0.0, 3.0, 0.0, 1.0]), classes));
            assert!((repeated - weighted).abs() < 1e-6, "{loss:?}: {repeated} {weighted}");
            assert!((slope - same_slope).abs() < 1e-6, "{loss:?}: {slope} {same_slope}");
            assert_eq!(value(part(&[0, 1], Some(&[0.0, 0.0]), classes)), (0.0, 0.0), "{loss:?}");
        }
    }
}
