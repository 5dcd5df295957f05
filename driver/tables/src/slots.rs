//! The table `slots`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use lethe_flight::Result;
use lethe_flight::message::experiment::SlotResult;

use super::chunks::int;

pub fn batch(slots: &[SlotResult]) -> Result<RecordBatch> {
    let ints = |get: fn(&SlotResult) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(slots.iter().map(|slot| int(get(slot)))))
    };
    let texts = |get: fn(&SlotResult) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(slots.iter().map(get)))
    };
    let seconds = |get: fn(&SlotResult) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter(slots.iter().map(|slot| Some(get(slot)).filter(|s| s.is_finite()))))
    };
    let pids = Int64Array::from_iter_values(slots.iter().map(|slot| i64::from(slot.worker_pid)));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("slot", ints(|slot| slot.slot), false),
        ("executor", texts(|slot| &slot.executor), false),
        ("device", texts(|slot| &slot.device), false),
        ("worker_pid", Arc::new(pids) as ArrayRef, false),
        ("trials", ints(|slot| slot.trials), false),
        ("held_s", seconds(|slot| slot.held_s), true),
        ("train_s", seconds(|slot| slot.train_s), true),
    ])?)
}
