//! Record batches as Flight frames, one each: the encoder of arrow-flight leaves out empty batches and cuts large
//! ones, and here a batch is a step.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, SchemaAsIpc};
use lethe_flight::Result;

/// The schema's frame, then one for each batch. No column may be a dictionary. Does the work of the batches'
/// iterator, and copies each.
pub fn frames(
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> impl Iterator<Item = Result<FlightData>> {
    let options = IpcWriteOptions::default();
    let first = FlightData::from(SchemaAsIpc::new(schema, &options));
    let (generator, mut dictionaries) = (IpcDataGenerator::default(), DictionaryTracker::new(true));
    let mut context = IpcWriteContext::default();
    let frames = batches.map(move |batch| {
        let (_, batch) = generator.encode(&batch?, &mut dictionaries, &options, &mut context)?;
        Ok(FlightData::from(batch))
    });
    std::iter::once(Ok(first)).chain(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field};
    use futures::TryStreamExt;
    use lethe_flight::ipc;

    #[tokio::test]
    async fn empty_and_large_batches_arrive_as_one_each() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let sizes = [3, 0, 3 << 20, 1];
        let batches = sizes.map(|n| {
            RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from_iter_values(0..n))])
        });
        let frames: Vec<_> = frames(&schema, batches.into_iter().map(|b| Ok(b?))).collect();
        let frames = futures::stream::iter(frames).map_err(Into::into);
        let back: Vec<RecordBatch> = ipc::decode(frames).try_collect().await.unwrap();
        assert_eq!(back.iter().map(|batch| batch.num_rows() as i64).collect::<Vec<_>>(), sizes);
    }
}
