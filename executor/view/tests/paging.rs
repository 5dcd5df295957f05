//! How much of a view stays resident while it is read in blocks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod file;

use std::sync::Arc;

use file::{ViewFile, add_zeros};
use lethe_flight::message::dataset::{Part, Sampling, Shuffle, View};
use lethe_view::gather::copy_rows;
use lethe_view::{EpochOrder, MappedView, Paging, Steps};

const ROW: usize = 4096;
const ROWS: u32 = 16_384;
/// Blocks of 1 MB, windows of 4 MB.
const BLOCKS: Shuffle = Shuffle::Blocks { rows: 256, window: 4 };
const WINDOW: usize = 4 << 20;
/// Pages around a fault that the kernel maps with it, at the edges of blocks.
const EDGES: usize = 2 << 20;

fn view(folder: &std::path::Path, sampling: Sampling, shuffle: Shuffle) -> View {
    let mut file = ViewFile::new(ROWS + 2048).split(0..ROWS, ROWS..ROWS + 2048);
    file.classes((0..ROWS + 2048).map(|row| i64::from(row % 2)).collect());
    (file.view.order.sampling, file.view.order.shuffle) = (sampling, shuffle);
    let mut view = file.write(folder);
    add_zeros(&mut view, "features", &[ROW as u64 / 4]);
    view
}

/// Bytes of the view's file in this process's memory.
fn resident(view: &View) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let of_view = maps.split_inclusive("VmFlags").filter(|map| map.contains(&view.path));
    let rss = of_view.flat_map(|map| map.lines().filter(|line| line.starts_with("Rss:")));
    rss.map(|line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10).sum()
}

/// The most that was resident along an epoch, and what is after it.
fn read(view: &View) -> (usize, usize) {
    let mapped = Arc::new(MappedView::open(view).unwrap());
    let mut order = Vec::new();
    let windows = EpochOrder::new(mapped.clone(), 3).unwrap().fill(1, &mut order);
    let mut paging = Paging::new(mapped.clone(), windows);
    let mut most = 0;
    let mut batch = vec![0; 100 * ROW];
    for step in Steps::new(ROWS as usize, 100, false).unwrap().iter() {
        paging.reach(step.places.clone());
        copy_rows(mapped.section(&view.inputs[0]), ROW, &order[step.places], &mut batch);
        most = most.max(resident(view));
    }
    drop(paging);
    (most, resident(view))
}

#[test]
fn about_two_windows_stay_resident_in_block_order() {
    let folder = tempfile::tempdir().unwrap();
    for sampling in [Sampling::Each, Sampling::Balanced] {
        let (most, after) = read(&view(folder.path(), sampling, BLOCKS));
        assert!(most > WINDOW / 2, "{most}: nothing was read, or nothing is measured");
        assert!(most < 2 * WINDOW + EDGES, "{most} bytes of {}", ROWS as usize * ROW);
        assert!(after < EDGES, "{after} bytes stay after the epoch");
    }
    let (full, _) = read(&view(folder.path(), Sampling::Each, Shuffle::Full));
    assert!(full > 60 << 20, "{full}");
}

#[test]
fn a_part_that_is_read_in_order_gives_back_what_lies_behind() {
    let folder = tempfile::tempdir().unwrap();
    let view = view(folder.path(), Sampling::Each, BLOCKS);
    let mapped = Arc::new(MappedView::open(&view).unwrap());
    let rows = mapped.part(Part::Validation);
    let mut paging = Paging::sequential(mapped.clone(), Part::Validation, 256);
    let (mut seen, mut batch) = (0, vec![0; 256 * ROW]);
    for rows in rows.chunks(256) {
        paging.reach(seen..seen + rows.len());
        seen += rows.len();
        copy_rows(mapped.section(&view.inputs[0]), ROW, rows, &mut batch);
        let now = resident(&view);
        assert!(now < (2 << 20) + EDGES, "{now} bytes");
    }
}
