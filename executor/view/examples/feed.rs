//! Rows per second of shuffled batches gathered from a view, for benchmarks:
//!
//! ```text
//! feed VIEW.json BATCH_SIZE EPOCHS
//! ```
//!
//! VIEW.json is a view's description as `lethe_flight::message::dataset::View`. Maps it and, on one thread, does for
//! each epoch what the native loop does before a training step: makes the epoch's order and copies each batch's
//! rows into buffers that the next batch overwrites. Prints one line:
//! `{"open_s": …, "epoch_s": […], "order_s": […], "rows": …, "bytes": …}`; `epoch_s` has the order's time in it.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lethe_flight::message::dataset::{Section, View};
use lethe_flight::wire;
use lethe_view::gather::copy_rows;
use lethe_view::{EpochOrder, MappedView, Paging, Steps};

const SEED: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [view, batch_size, epochs] = &arguments[..] else {
        return Err("usage: feed VIEW.json BATCH_SIZE EPOCHS".into());
    };
    let view: View = wire::parse(&std::fs::read(view)?)?;
    let batch_size: usize = batch_size.parse()?;
    let epochs: u32 = epochs.parse()?;

    let begin = Instant::now();
    let view = Arc::new(MappedView::open(&view)?);
    let steps = Steps::new(view.train().len(), batch_size, false)?;
    let description = view.view();
    let sections = description.inputs.iter().chain(&description.label).chain(&description.weight);
    let mut buffers: Vec<(Section, Vec<u8>)> = sections
        .map(|section| (section.clone(), vec![0; steps.capacity() * section.row_bytes() as usize]))
        .collect();
    let orders = EpochOrder::new(view.clone(), SEED)?;
    let open_s = begin.elapsed().as_secs_f64();

    let mut order = Vec::new();
    let (mut epoch_s, mut order_s) = (Vec::new(), Vec::new());
    for epoch in 1..=epochs {
        let begin = Instant::now();
        let mut paging = Paging::new(view.clone(), orders.fill(epoch, &mut order));
        order_s.push(begin.elapsed().as_secs_f64());
        for step in steps.iter() {
            paging.reach(step.places.clone());
            let rows = &order[step.places];
            for (section, buffer) in &mut buffers {
                let row_bytes = section.row_bytes() as usize;
                copy_rows(view.section(section), row_bytes, rows, &mut buffer[..rows.len() * row_bytes]);
                black_box(&buffer);
            }
        }
        epoch_s.push(begin.elapsed().as_secs_f64());
    }
    let row_bytes: u64 = buffers.iter().map(|(section, _)| section.row_bytes()).sum();
    let rows = view.train().len() as u64;
    let bytes = rows * row_bytes;
    println!(
        r#"{{"open_s": {open_s}, "epoch_s": {epoch_s:?}, "order_s": {order_s:?}, "rows": {rows}, "bytes": {bytes}}}"#
    );
    Ok(())
}
