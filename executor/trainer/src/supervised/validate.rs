//! Validation: loss and metrics over the whole validation set.

use lethe_flight::message::dataset::Part;
use lethe_flight::message::training::{Metric as Name, Metrics};
use tch::{Device, Kind, Tensor};

use super::objective::{Objective, own_step};
use crate::data::{Batch, Batches, Paging};
use crate::error::{Error, Result};
use crate::metrics::{self, MeanLoss, Metric, Outputs};
use crate::torch::{Program, scalar};

/// Adds the validation metrics to `report`: `loss`, those asked for, and those of the module's own
/// `validation_step`, which are averaged with the rows as weights. Where rows have weights, `loss` is the mean by
/// weight of their losses; the other metrics count each row alike. The module must be in evaluation mode.
pub fn validate(
    program: &mut Program,
    objective: &Objective,
    asked: &[Name],
    batches: &mut Batches,
    capacity: usize,
    report: &mut Metrics,
) -> Result<()> {
    let mut computed: Vec<(&str, Box<dyn Metric>)> = asked
        .iter()
        .filter_map(|&name| match metrics::named(name) {
            (name, Some(metric)) => Some((name, metric)),
            (_, None) => None,
        })
        .collect();
    let mut means: std::collections::BTreeMap<String, MeanLoss> = Default::default();
    let view = batches.view().clone();
    let mut paging = Paging::sequential(view.clone(), Part::Validation, capacity);
    let mut seen = 0;
    let _no_grad = tch::no_grad_guard();
    for rows in view.validation().chunks(capacity) {
        paging.reach(seen..seen + rows.len());
        seen += rows.len();
        let batch = batches.gather(rows)?;
        let mut output = None;
        match objective {
            Objective::Named { .. } => {
                let made = program.forward(&batch.inputs)?;
                let loss = objective.of_output(&made, &batch)?;
                means.entry("loss".into()).or_default().add(scalar(&loss)?, batch.weight);
                output = Some(made);
            }
            Objective::Own { validates: true, keys } => {
                for (name, value) in own_step(program, "validation_step", keys, &batch)? {
                    let name = if name.is_empty() { "loss".into() } else { name };
                    if value.numel() != 1 {
                        return Err(Error::trial(format!(
                            "validation_step returned {name} of shape {:?}; a metric is one number",
                            value.size()
                        )));
                    }
                    means.entry(name).or_default().add(scalar(&value)?, batch.rows as f64);
                }
            }
            Objective::Own { validates: false, .. } => {
                let loss = objective.loss(program, &batch)?;
                means.entry("loss".into()).or_default().add(scalar(&loss)?, batch.rows as f64);
            }
        }
        if !computed.is_empty() {
            let output = match output {
                Some(output) => output,
                None => program.forward(&batch.inputs)?,
            };
            update(&mut computed, &output, &batch)?;
        }
    }
    report.extend(means.into_iter().map(|(name, mean)| (name, mean.value())));
    report.extend(computed.into_iter().map(|(name, metric)| (name.to_owned(), metric.value())));
    Ok(())
}

fn update(metrics: &mut [(&str, Box<dyn Metric>)], output: &Tensor, batch: &Batch) -> Result<()> {
    let size = output.size();
    let columns = match size[..] {
        [_] => 1,
        [_, columns] => columns as usize,
        _ => {
            return Err(Error::trial(format!(
                "metrics need outputs of shape [rows] or [rows, n]; the model's have shape {size:?}"
            )));
        }
    };
    if batch.labels.size() != [batch.rows as i64] {
        return Err(Error::trial("metrics need a label: name the dataset's label column"));
    }
    let host = |tensor: &Tensor, kind| tensor.f_to_kind(kind)?.f_to(Device::Cpu)?.f_contiguous();
    let values = Vec::<f32>::try_from(host(output, Kind::Float)?.f_reshape([-1])?)?;
    let labels = Vec::<f64>::try_from(host(&batch.labels, Kind::Double)?)?;
    if values.len() != labels.len() * columns {
        return Err(Error::trial(format!(
            "the model made outputs of shape {size:?} from {} rows",
            batch.rows
        )));
    }
    let outputs = Outputs { values: &values, columns, labels: &labels };
    metrics.iter_mut().try_for_each(|(_, metric)| metric.update(&outputs))
}
