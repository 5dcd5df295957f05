//! A view of one rank's rows: which of them train is decided by the numbers that they have among all rows, as in a view
//! of all.

use lethe_data::layout::Layout;
use lethe_flight::message::dataset::{DataSpec, LocalRows, LocalShard, Located, Piece};
use lethe_flight::{Error, Result};

use super::split::{Parts, Side, sides};

/// This rank's pieces.
///
/// # Errors
/// If they are not of this dataset as it is now.
pub fn pieces(shard: &LocalShard, located: &Located) -> Result<Vec<Piece>> {
    let now: Vec<u64> = located.partitions.iter().map(|partition| partition.rows).collect();
    if now != shard.partitions {
        return Err(Error::Precondition(format!(
            "the dataset {} has other partitions than when its rows were dealt out",
            located.dataset
        )));
    }
    let pieces = shard.shards.get(shard.rank as usize).cloned().unwrap_or_default();
    let fits = |piece: &Piece| {
        let end = piece.start.checked_add(piece.rows);
        now.get(piece.partition as usize).is_some_and(|&rows| end.is_some_and(|end| end <= rows))
    };
    // Those of other ranks are counted: they must fit as well.
    if !shard.shards.iter().flatten().all(fits) {
        return Err(Error::Precondition(format!(
            "the dataset {} has fewer rows in a partition than were dealt out",
            located.dataset
        )));
    }
    if pieces.is_empty() {
        return Err(Error::Invalid(format!(
            "rank {} of {} has no rows of the dataset {}: give it fewer workers, or more rows",
            shard.rank,
            shard.shards.len(),
            located.dataset
        )));
    }
    Ok(pieces)
}

/// # Errors
/// If the view is to be of one rank's rows: which files hold them is not known before they are read.
pub fn refuse_files(data: &DataSpec) -> Result<()> {
    match data.local {
        None => Ok(()),
        Some(_) => Err(refused("reads files, which have no place among the executors")),
    }
}

/// # Errors
/// If something about a row depends on rows that other ranks have.
pub fn check(data: &DataSpec, layout: &Layout, is_row_by_row: bool) -> Result<()> {
    if data.local.is_none() {
        return Ok(());
    }
    let what = data
        .needs_all_rows()
        .or((!layout.categories.is_empty()).then_some("has columns of strings"))
        .or((!is_row_by_row).then_some(GATHERS));
    what.map_or(Ok(()), |what| Err(refused(what)))
}

const GATHERS: &str = "has queries that leave out rows or gather them";

fn refused(what: &str) -> Error {
    Error::Invalid(format!(
        "order=\"local\": the dataset {what}, for which each worker needs all rows: do that before, in Spark, or take \
         order=\"global\""
    ))
}

/// Of a view of these pieces, of which `rows` were read: which places train and which are held out, and how many of
/// each rank's rows do.
///
/// # Errors
/// As [`super::split::split`]; if queries have left rows out.
pub fn split(data: &DataSpec, shard: &LocalShard, rows: u64) -> Result<(Parts, LocalRows)> {
    let own = |rank: usize| shard.shards[rank].iter().map(|piece| piece.rows).sum::<u64>();
    if own(shard.rank as usize) != rows {
        return Err(refused(GATHERS));
    }
    let starts: Vec<u64> = shard
        .partitions
        .iter()
        .scan(0, |next, rows| {
            let start = *next;
            *next += rows;
            Some(start)
        })
        .collect();
    let total: u64 = shard.partitions.iter().sum();
    let total = u32::try_from(total).map_err(|_| {
        Error::Exhausted(format!("a dataset of {total} rows: at most {} can be trained on", u32::MAX))
    })?;
    let sides = sides(&(0..total).collect::<Vec<_>>(), data.split.as_ref(), None)?;
    let sides_of = |rank: usize| {
        shard.shards[rank].iter().flat_map(|piece| {
            let start = (starts[piece.partition as usize] + piece.start) as usize;
            &sides[start..start + piece.rows as usize]
        })
    };
    let count = |side: Side| {
        let of = |rank| sides_of(rank).filter(|&&own| own == side).count() as u64;
        (0..shard.shards.len()).map(of).collect()
    };
    let places = |side: Side| {
        let sides = sides_of(shard.rank as usize).zip(0..);
        sides.filter(|(own, _)| **own == side).map(|(_, place)| place).collect()
    };
    let parts =
        Parts { train: places(Side::Train), validation: places(Side::Validation), test: places(Side::Test) };
    let counts =
        LocalRows { rank: shard.rank, train: count(Side::Train), validation: count(Side::Validation) };
    Ok((parts, counts))
}
