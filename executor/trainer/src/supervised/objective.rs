//! The loss of a batch: a named loss function on the module's output, or the module's own steps.

use std::ffi::CStr;

use lethe_flight::message::training::Loss;
use tch::{Kind, Reduction, Tensor};

use crate::data::{Batch, Labels, MappedView};
use crate::error::{Error, Result};
use crate::torch::Program;

/// Keys of the batch that a module's own steps get.
const FEATURES: &CStr = c"features";
const LABEL: &CStr = c"label";

/// How the loss of a trial is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    Named {
        loss: Loss,
        classes: Option<(i64, i64)>,
    },
    /// `training_step(batch)`, and `validation_step(batch)` if the module has one.
    Own {
        validates: bool,
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
            return Ok(Self::Own { validates: has("validation_step") });
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

    /// The mean loss of a batch, a tensor to call backward on.
    pub fn loss(&self, program: &mut Program, batch: &Batch) -> Result<Tensor> {
        match self {
            Self::Named { .. } => {
                let output = program.forward(&batch.features)?;
                self.of_output(&output, batch)
            }
            Self::Own { .. } => {
                let entries = own_step(program, "training_step", batch)?;
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

    /// The mean loss of outputs that have been computed. For [`Objective::Named`].
    pub fn of_output(&self, output: &Tensor, batch: &Batch) -> Result<Tensor> {
        let Self::Named { loss, classes } = *self else {
            return Err(Error::trial("a module with its own training_step has no loss function"));
        };
        if loss == Loss::CrossEntropy {
            check_classes(output, batch, classes)?;
            let none = None::<Tensor>;
            return Ok(output.f_cross_entropy_loss(&batch.labels, none, Reduction::Mean, -100, 0.0)?);
        }
        let output = one_per_row(output, batch)?;
        let labels = match batch.labels.f_kind()? {
            Kind::Float => batch.labels.shallow_clone(),
            _ => batch.labels.f_to_kind(Kind::Float)?,
        };
        let none = None::<Tensor>;
        Ok(match loss {
            Loss::BinaryCrossEntropy => {
                check_binary(classes)?;
                output.f_binary_cross_entropy_with_logits(
                    &labels,
                    none.as_ref(),
                    none.as_ref(),
                    Reduction::Mean,
                )?
            }
            Loss::L1 => output.f_l1_loss(&labels, Reduction::Mean)?,
            Loss::Huber => output.f_huber_loss(&labels, Reduction::Mean, 1.0)?,
            Loss::Mse | Loss::CrossEntropy => output.f_mse_loss(&labels, Reduction::Mean)?,
        })
    }
}

/// Calls one of the module's own steps with `{"features": …, "label": …}` (`label` only if there is one).
pub fn own_step(program: &mut Program, method: &str, batch: &Batch) -> Result<Vec<(String, Tensor)>> {
    let has_label = batch.labels.size().first().is_some_and(|&n| n > 0);
    let entries = [(FEATURES, &batch.features), (LABEL, &batch.labels)];
    program.step(method, &entries[..if has_label { 2 } else { 1 }])
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
        let batch = |labels| Batch { features: Tensor::new(), labels, rows: 4 };
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
}
