//! Validation: loss and metrics over the whole validation set.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use lethe_flight::message::dataset::Part;
use lethe_flight::message::training::{Metric as Name, Metrics};
use tch::{Device, Kind, Tensor};

use super::objective::{Objective, own_step};
use crate::data::{Batch, Batches, Labels, MappedView, Paging};
use crate::error::{Error, Result};
use crate::gang::Gang;
use crate::metrics::{self, MeanLoss, Metric, Outputs};
use crate::torch::{Program, scalar};

/// Computes the validation metrics: `loss`, those asked for, and those of the module's own `validation_step`, which are
/// averaged with the rows as weights. Where rows have weights, `loss` is the mean by weight of their losses; the other
/// metrics count each row alike.
pub struct Validation<'a> {
    objective: &'a Objective,
    asked: &'a [Name],
    batches: Batches,
    /// Rows that this rank takes at once.
    capacity: usize,
    gang: Option<&'a Gang>,
}

type Computed = Vec<(&'static str, Box<dyn Metric>)>;

impl<'a> Validation<'a> {
    /// `capacity`: of `batches`.
    pub fn new(
        objective: &'a Objective,
        asked: &'a [Name],
        batches: Batches,
        capacity: usize,
        gang: Option<&'a Gang>,
    ) -> Self {
        Self { objective, asked, batches, capacity, gang }
    }

    /// Adds them to `report`. The module must be in evaluation mode. Of a gang each rank computes a part of the
    /// outputs; the values are those of all rows on rank 0, and only there.
    pub fn run(&mut self, program: &mut Program, report: &mut Metrics) -> Result<()> {
        let mut computed: Computed = self
            .asked
            .iter()
            .filter_map(|&name| match metrics::named(name) {
                (name, Some(metric)) => Some((name, metric)),
                (_, None) => None,
            })
            .collect();
        let mut means: BTreeMap<String, MeanLoss> = BTreeMap::new();
        let view = self.batches.view().clone();
        let chunks = Chunks::new(view.clone(), self.capacity, self.gang);
        let mut paging = Paging::sequential(view.clone(), Part::Validation, chunks.reads());
        let _no_grad = tch::no_grad_guard();
        for chunk in chunks.iter() {
            paging.reach(chunk.read.clone());
            let mine = &view.validation()[chunk.mine.clone()];
            // A rank without rows says which values there are.
            let stand_in = &view.some_rows()[..view.some_rows().len().min(2)];
            let batch = self.batches.gather(if mine.is_empty() { stand_in } else { mine })?;
            let counts = if mine.is_empty() { 0.0 } else { 1.0 };
            let output = self.means(program, &batch, counts, &mut means)?;
            if !computed.is_empty() {
                let output = match output {
                    Some(output) => output,
                    None => program.forward(&batch.inputs)?,
                };
                let output = outputs(&output, batch.rows)?.f_narrow(0, 0, mine.len() as i64)?;
                let labels = labels(&view, mine)?;
                let gathered = match self.gang {
                    None => Some((output, labels)),
                    Some(gang) => {
                        let outputs = gang.gather_rows(&output, &chunk.rows)?;
                        let labels = gang.gather_rows(&labels, &chunk.rows)?;
                        outputs.zip(labels)
                    }
                };
                if let Some((output, labels)) = gathered {
                    update(&mut computed, &output, &labels)?;
                }
            }
        }
        if let Some(gang) = self.gang {
            let mut hasher = std::hash::DefaultHasher::new();
            means.keys().for_each(|name| name.hash(&mut hasher));
            if !gang.same(hasher.finish() as i64)? {
                return Err(Error::trial(
                    "validation_step returns other names for some rows than for others: several workers need the same",
                ));
            }
            MeanLoss::share(means.values_mut(), gang)?;
        }
        report.extend(means.into_iter().map(|(name, mean)| (name, mean.value())));
        report.extend(computed.into_iter().map(|(name, metric)| (name.to_owned(), metric.value())));
        Ok(())
    }

    /// Adds what is averaged; the outputs, if they were computed on the way. `counts`: 1, or 0 for rows that do not
    /// count.
    fn means(
        &self,
        program: &mut Program,
        batch: &Batch,
        counts: f64,
        means: &mut BTreeMap<String, MeanLoss>,
    ) -> Result<Option<Tensor>> {
        let rows = batch.rows as f64 * counts;
        let mut add = |name: String, value: &Tensor, weight| -> Result<()> {
            means.entry(name).or_default().add(scalar(value)?, weight);
            Ok(())
        };
        match self.objective {
            Objective::Named { .. } => {
                let made = program.forward(&batch.inputs)?;
                add("loss".into(), &self.objective.of_output(&made, batch)?, batch.weight * counts)?;
                return Ok(Some(made));
            }
            Objective::Own { validates: true, keys } => {
                for (name, value) in own_step(program, "validation_step", keys, batch)? {
                    let name = if name.is_empty() { "loss".into() } else { name };
                    if value.numel() != 1 {
                        return Err(Error::trial(format!(
                            "validation_step returned {name} of shape {:?}; a metric is one number",
                            value.size()
                        )));
                    }
                    add(name, &value, rows)?;
                }
            }
            Objective::Own { validates: false, .. } => {
                add("loss".into(), &self.objective.loss(program, batch)?, rows)?;
            }
        }
        Ok(None)
    }
}

/// float32 `[rows, n]` on the CPU.
fn outputs(output: &Tensor, rows: usize) -> Result<Tensor> {
    let size = output.size();
    let columns = match size[..] {
        [_] => 1,
        [_, columns] => columns,
        _ => {
            return Err(Error::trial(format!(
                "metrics need outputs of shape [rows] or [rows, n]; the model's have shape {size:?}"
            )));
        }
    };
    if size[0] != rows as i64 {
        return Err(Error::trial(format!("the model made outputs of shape {size:?} from {rows} rows")));
    }
    Ok(output.f_to_kind(Kind::Float)?.f_to(Device::Cpu)?.f_reshape([rows as i64, columns])?)
}

/// float64 `[rows, 1]`.
fn labels(view: &MappedView, rows: &[u32]) -> Result<Tensor> {
    let labels: Vec<f64> = match view.labels() {
        None => return Err(Error::trial("metrics need a label: name the dataset's label column")),
        Some(Labels::Class(labels)) => rows.iter().map(|&row| labels[row as usize] as f64).collect(),
        Some(Labels::Value(labels)) => rows.iter().map(|&row| f64::from(labels[row as usize])).collect(),
    };
    Ok(Tensor::from_slice(&labels).f_reshape([-1, 1])?)
}

fn update(computed: &mut Computed, output: &Tensor, labels: &Tensor) -> Result<()> {
    let columns = output.size()[1] as usize;
    let values = Vec::<f32>::try_from(output.f_contiguous()?.f_reshape([-1])?)?;
    let labels = Vec::<f64>::try_from(labels.f_contiguous()?.f_reshape([-1])?)?;
    let outputs = Outputs { values: &values, columns, labels: &labels };
    computed.iter_mut().try_for_each(|(_, metric)| metric.update(&outputs))
}

/// The validation rows, some at a time: slices of the same rows for ranks that have all of them, else rows of each
/// rank's own.
struct Chunks<'a> {
    view: Arc<MappedView>,
    capacity: usize,
    gang: Option<&'a Gang>,
}

struct Chunk {
    /// Places among the validation rows that are read here.
    read: Range<usize>,
    /// Those that are this rank's.
    mine: Range<usize>,
    /// How many each rank has.
    rows: Vec<usize>,
}

impl<'a> Chunks<'a> {
    fn new(view: Arc<MappedView>, capacity: usize, gang: Option<&'a Gang>) -> Self {
        Self { view, capacity, gang }
    }

    fn world(&self) -> usize {
        self.gang.map_or(1, |gang| gang.rank().world as usize)
    }

    /// Rows that are read at a time.
    fn reads(&self) -> usize {
        if self.view.local().is_some() { self.capacity } else { self.capacity * self.world() }
    }

    /// As many on each rank.
    fn iter(&self) -> impl Iterator<Item = Chunk> + '_ {
        let size = self.reads();
        let of = move |rows: usize, start: usize| start.min(rows)..(start + size).min(rows);
        let most = match self.view.local() {
            None => self.view.validation().len(),
            Some(rows) => rows.validation.iter().copied().max().unwrap_or(0) as usize,
        };
        (0..most).step_by(size).map(move |start| {
            let read = of(self.view.validation().len(), start);
            match (self.view.local(), self.gang) {
                (Some(all), _) => {
                    let rows = all.validation.iter().map(|&rows| of(rows as usize, start).len()).collect();
                    Chunk { mine: read.clone(), read, rows }
                }
                (None, None) => Chunk { mine: read.clone(), rows: vec![read.len()], read },
                (None, Some(gang)) => {
                    let rows = gang.slices(read.clone()).map(|slice| slice.len()).collect();
                    Chunk { mine: gang.slice(read.clone()), read, rows }
                }
            }
        })
    }
}
