//! What an executor streams of an epoch is what its trainers gather of it, to the bit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../executor/view/tests/file/mod.rs"]
mod file;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int16Type, Int64Type};
use file::ViewFile;
use lethe_executor::view;
use lethe_flight::message::dataset::{Dtype, Epoch, Order, Sampling, Shuffle, View};
use lethe_trainer::data::{Batch, Batches, EpochOrder, MappedView, Steps};
use tch::{Device, Tensor};

fn of(folder: &Path, order: Order) -> View {
    let mut file = ViewFile::new(500).split(100..500, 0..100);
    let values: Vec<f32> = (0..500 * 3).map(|i| (i as f32).sin()).collect();
    file.floats("features", &[3], &values);
    let image: Vec<u8> = (0..500 * 4).flat_map(|i: i16| i.wrapping_mul(31).to_le_bytes()).collect();
    file.input("image", Dtype::Int16, &[2, 2], &image);
    file.input("flag", Dtype::Bool, &[1], &(0..500).map(|row| u8::from(row % 7 < 3)).collect::<Vec<_>>());
    file.classes((0..500).map(|row| row % 3).collect());
    file.weights((0..500).map(|row| (row % 5) as f32).collect());
    file.view.order = order;
    file.write(folder)
}

fn bits<T: tch::kind::Element + Copy>(tensor: &Tensor) -> Vec<T> {
    Vec::try_from(&tensor.reshape([-1])).unwrap()
}

fn assert_same(gathered: &Batch, streamed: &RecordBatch) {
    let elements = |name: &str| streamed[name].as_fixed_size_list().values().clone();
    assert_eq!(
        bits::<f32>(&gathered.inputs[0]),
        *elements("features").as_primitive::<Float32Type>().values()
    );
    assert_eq!(bits::<i16>(&gathered.inputs[1]), *elements("image").as_primitive::<Int16Type>().values());
    let flags: Vec<bool> = elements("flag").as_boolean().values().iter().collect();
    assert_eq!(bits::<bool>(&gathered.inputs[2]), flags);
    assert_eq!(bits::<i64>(&gathered.labels), *streamed["label"].as_primitive::<Int64Type>().values());
    let weights =
        streamed.column_by_name("weight").map(|w| w.as_primitive::<Float32Type>().values().to_vec());
    assert_eq!(gathered.weights.as_ref().map(bits::<f32>), weights);
}

#[test]
fn what_is_streamed_is_what_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    for sampling in [Sampling::Each, Sampling::Balanced, Sampling::Weighted] {
        for shuffle in [Shuffle::Full, Shuffle::Blocks { rows: 32, window: 3 }, Shuffle::Off] {
            for drop_last in [false, true] {
                let view = of(folder.path(), Order { sampling, shuffle });
                let epoch = Epoch { seed: 11, epoch: 3, batch_size: 64, drop_last, shard: None };
                let streamed: Vec<_> =
                    view::epoch_batches(view.clone(), epoch).unwrap().1.map(Result::unwrap).collect();

                let mapped = Arc::new(MappedView::open(&view).unwrap());
                let steps = Steps::new(mapped.train().len(), 64, drop_last).unwrap();
                let mut batches = Batches::new(mapped.clone(), steps.capacity(), Device::Cpu).unwrap();
                let mut order = Vec::new();
                EpochOrder::new(mapped, 11).unwrap().fill(3, &mut order);
                assert_eq!(streamed.len(), steps.count());
                for (step, streamed) in steps.iter().zip(&streamed) {
                    assert_same(&batches.gather(&order[step.places]).unwrap(), streamed);
                }
            }
        }
    }
}
