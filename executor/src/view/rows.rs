//! Rows of a view as record batches, for whoever asks over Flight.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, BooleanArray, FixedSizeListArray, RecordBatch, make_array};
use arrow::buffer::{BooleanBuffer, MutableBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use lethe_flight::message::dataset::{Dtype, Epoch, Part, Sampling, Section, View};
use lethe_flight::wire::RowRange;
use lethe_flight::{Error, Result, ipc};
use lethe_view::{EpochOrder, MappedView, Paging, Steps};

use super::source::sliced;

/// Rows of one batch of a part at most.
const ROWS: usize = 8192;
/// Its bytes, about.
const BYTES: usize = 4 << 20;
/// Bytes of one training batch at most: it is gathered as a whole.
const BATCH_BYTES: usize = 512 << 20;

/// The schema and the batches of a part in order of row numbers. Maps the file, and so does the iterator read it:
/// both block on the disk.
pub fn batches(view: View, part: Part) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>>)> {
    let view = Arc::new(MappedView::open(&view)?);
    let columns = Columns::new(view.clone(), true)?;
    let size = (BYTES / columns.row_bytes().max(1)).clamp(1, ROWS);
    let mut paging = Paging::sequential(view.clone(), part, size);
    let rows = view.part(part).len();
    let schema = columns.schema.clone();
    let batches = (0..rows).step_by(size).map(move |start| {
        let places = start..rows.min(start + size);
        paging.reach(places.clone());
        columns.batch(&view.part(part)[places])
    });
    Ok((schema, batches))
}

/// The schema and rows of a partition that lies here. Blocks like [`batches`].
pub fn partition(
    path: &Path,
    rows: RowRange,
) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>> + Send + use<>)> {
    let file = ipc::map_file(path)?;
    let schema = file.schema().clone();
    Ok((schema, sliced(file.into_batches(), Some(rows))))
}

/// The schema and the training batches of an epoch, as the native loop gathers them; a rank without rows of a batch
/// gets an empty one in its place. Weights by which rows were sampled are not among the columns. Blocks like
/// [`batches`].
///
/// # Errors
/// If the epoch has no batch, or one is larger than half a gigabyte; if the view's order cannot be.
pub fn epoch_batches(
    view: View,
    epoch: Epoch,
) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>>)> {
    let view = Arc::new(MappedView::open(&view)?);
    let batch_size = epoch.batch_size as usize;
    let mut steps = match view.local() {
        None => Steps::new(view.train().len(), batch_size, epoch.drop_last)?,
        Some(rows) => Steps::of_rank(rows, batch_size)?,
    };
    if let Some(shard) = epoch.shard {
        steps = steps.sharded(shard)?;
    }
    let columns = Columns::new(view.clone(), view.view().order.sampling != Sampling::Weighted)?;
    let largest = steps.capacity().saturating_mul(columns.row_bytes());
    if largest > BATCH_BYTES {
        return Err(Error::Exhausted(format!(
            "a batch of {} rows has {largest} bytes, more than the {BATCH_BYTES} that are sent at once: choose a \
             smaller batch_size",
            steps.capacity()
        )));
    }
    let mut order = Vec::new();
    let windows = EpochOrder::new(view.clone(), epoch.seed)?.fill(epoch.epoch, &mut order);
    let mut paging = Paging::new(view, windows);
    let schema = columns.schema.clone();
    let places: Vec<_> = steps.iter().map(|step| step.places).collect();
    let batches = places.into_iter().map(move |places| {
        paging.reach(places.clone());
        columns.batch(&order[places])
    });
    Ok((schema, batches))
}

/// A view's sections as columns.
struct Columns {
    view: Arc<MappedView>,
    schema: SchemaRef,
    sections: Vec<Section>,
}

impl Columns {
    fn new(view: Arc<MappedView>, weight: bool) -> Result<Self> {
        let View { inputs, label, weight: weights, .. } = view.view();
        let mut fields = Vec::new();
        for input in inputs {
            let width = i32::try_from(input.width())
                .map_err(|_| Error::Exhausted(format!("the input {} is too wide to be sent", input.name)))?;
            let item = Arc::new(Field::new("item", arrow_type(input.dtype), false));
            fields.push(Field::new(&input.name, DataType::FixedSizeList(item, width), false));
        }
        let weights = weights.as_ref().filter(|_| weight);
        let scalars = label.iter().map(|label| ("label", label)).chain(weights.map(|w| ("weight", w)));
        fields.extend(scalars.map(|(name, section)| Field::new(name, arrow_type(section.dtype), false)));
        let sections = inputs.iter().chain(label).chain(weights).cloned().collect();
        Ok(Self { schema: Arc::new(Schema::new(fields)), sections, view })
    }

    fn row_bytes(&self) -> usize {
        self.sections.iter().map(|section| section.row_bytes() as usize).sum()
    }

    fn batch(&self, rows: &[u32]) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().zip(&self.sections).map(|(field, section)| {
            let elements = elements(&self.view, section, rows)?;
            match field.data_type() {
                DataType::FixedSizeList(item, width) => list(item, *width, elements),
                _ => Ok(elements),
            }
        });
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_>>()?)?)
    }
}

fn list(item: &FieldRef, width: i32, elements: ArrayRef) -> Result<ArrayRef> {
    Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), width, elements, None)?))
}

/// All elements of these rows, row by row.
fn elements(view: &MappedView, section: &Section, rows: &[u32]) -> Result<ArrayRef> {
    let row_bytes = section.row_bytes() as usize;
    let mut bytes = MutableBuffer::from_len_zeroed(rows.len() * row_bytes);
    view.gather(section, rows, bytes.as_slice_mut());
    if section.dtype == Dtype::Bool {
        let bits = BooleanBuffer::collect_bool(bytes.len(), |i| bytes[i] != 0);
        return Ok(Arc::new(BooleanArray::new(bits, None)));
    }
    let count = rows.len() * section.width() as usize;
    let data = ArrayData::builder(arrow_type(section.dtype)).len(count).add_buffer(bytes.into()).build()?;
    Ok(make_array(data))
}

fn arrow_type(dtype: Dtype) -> DataType {
    match dtype {
        Dtype::Float32 => DataType::Float32,
        Dtype::Float64 => DataType::Float64,
        Dtype::Int8 => DataType::Int8,
        Dtype::Int16 => DataType::Int16,
        Dtype::Int32 => DataType::Int32,
        Dtype::Int64 => DataType::Int64,
        Dtype::Uint8 => DataType::UInt8,
        Dtype::Bool => DataType::Boolean,
    }
}

#[cfg(test)]
#[path = "../../view/tests/file/mod.rs"]
mod file;

#[cfg(test)]
mod tests {
    use super::file::ViewFile;
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, Int16Type, Int64Type};
    use lethe_flight::message::dataset::{Order, Shard, Shuffle};

    /// Rows 30..130 of 150 train: `image [2, 3]` of int16 `10 row + i`, `flag [1]` of bool, label `row`, weight.
    fn view(folder: &std::path::Path, order: Order) -> View {
        let mut file = ViewFile::new(150).split(30..130, 0..30);
        let image: Vec<u8> =
            (0..150i16).flat_map(|row| (0..6).flat_map(move |i| (10 * row + i).to_le_bytes())).collect();
        file.input("image", Dtype::Int16, &[2, 3], &image);
        let flags: Vec<u8> = (0..150).map(|row| u8::from(row % 3 == 0)).collect();
        file.input("flag", Dtype::Bool, &[1], &flags);
        file.classes((0..150).collect());
        file.weights((0..150).map(|row| row as f32 / 2.0).collect());
        file.view.order = order;
        file.write(folder)
    }

    fn epoch(batch_size: u32) -> Epoch {
        Epoch { seed: 7, epoch: 2, batch_size, drop_last: false, shard: None }
    }

    fn streamed(view: &View, epoch: Epoch) -> Vec<RecordBatch> {
        epoch_batches(view.clone(), epoch).unwrap().1.map(Result::unwrap).collect()
    }

    /// The rows' numbers, which are their labels; all else must be as they say.
    fn numbers(batch: &RecordBatch) -> Vec<u32> {
        let labels = batch["label"].as_primitive::<Int64Type>().values().to_vec();
        for (i, &row) in labels.iter().enumerate() {
            let image = batch["image"].as_fixed_size_list().value(i);
            let expected: Vec<i16> = (0..6).map(|i| 10 * row as i16 + i).collect();
            assert_eq!(image.as_primitive::<Int16Type>().values(), &expected[..]);
            let flag = batch["flag"].as_fixed_size_list().value(i);
            assert_eq!((flag.len(), flag.as_boolean().value(0)), (1, row % 3 == 0));
            if let Some(weights) = batch.column_by_name("weight") {
                assert_eq!(weights.as_primitive::<Float32Type>().value(i), row as f32 / 2.0);
            }
        }
        labels.into_iter().map(|row| row as u32).collect()
    }

    #[test]
    fn each_column_has_its_type_and_a_part_comes_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let view = view(folder.path(), Order::default());
        for (part, expected) in [(Part::Train, 30..130), (Part::Validation, 0..30), (Part::Test, 0..0)] {
            let (schema, rows) = batches(view.clone(), part).unwrap();
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, ["image", "flag", "label", "weight"]);
            let found: Vec<u32> = rows.flat_map(|batch| numbers(&batch.unwrap())).collect();
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn batches_of_an_epoch_are_those_of_its_order() {
        let folder = tempfile::tempdir().unwrap();
        for sampling in [Sampling::Each, Sampling::Weighted] {
            for shuffle in [Shuffle::Full, Shuffle::Blocks { rows: 8, window: 2 }, Shuffle::Off] {
                let view = view(folder.path(), Order { sampling, shuffle });
                let mapped = Arc::new(MappedView::open(&view).unwrap());
                let mut order = Vec::new();
                EpochOrder::new(mapped, 7).unwrap().fill(2, &mut order);
                let found: Vec<Vec<u32>> = streamed(&view, epoch(32)).iter().map(numbers).collect();
                let expected: Vec<Vec<u32>> = order.chunks(32).map(<[u32]>::to_vec).collect();
                assert_eq!(found, expected, "{sampling:?} {shuffle:?}");
                let weighted = streamed(&view, epoch(32))[0].column_by_name("weight").is_some();
                assert_eq!(weighted, sampling == Sampling::Each);
                let dropped = streamed(&view, Epoch { drop_last: true, ..epoch(32) });
                assert_eq!(dropped.iter().map(numbers).collect::<Vec<_>>(), expected[..3]);
            }
        }
    }

    #[test]
    fn ranks_get_slices_of_each_batch_and_a_rank_without_rows_an_empty_batch() {
        let folder = tempfile::tempdir().unwrap();
        let view = view(folder.path(), Order::default());
        let whole = streamed(&view, epoch(33));
        let ranks: Vec<_> = (0..3)
            .map(|rank| streamed(&view, Epoch { shard: Some(Shard { rank, world: 3 }), ..epoch(33) }))
            .collect();
        assert!(ranks.iter().all(|rank| rank.len() == 4));
        for (step, batch) in whole.iter().enumerate() {
            let parts: Vec<u32> = ranks.iter().flat_map(|rank| numbers(&rank[step])).collect();
            assert_eq!(parts, numbers(batch));
        }
        // The last batch has one row.
        assert_eq!(ranks.iter().map(|rank| rank[3].num_rows()).collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let view = view(folder.path(), Order::default());
        let refused = |epoch: Epoch| match epoch_batches(view.clone(), epoch) {
            Ok(_) => panic!("{epoch:?} was taken"),
            Err(error) => error.to_string(),
        };
        assert!(refused(Epoch { drop_last: true, ..epoch(101) }).starts_with("batch_size=101 is more than"));
        assert!(refused(epoch(0)).starts_with("batch_size must be"));
        let shard = Some(Shard { rank: 1, world: 1 });
        assert!(refused(Epoch { shard, ..epoch(9) }).starts_with("rank 1 of a world of 1"));
    }
}
