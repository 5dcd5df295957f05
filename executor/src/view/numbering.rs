//! The order of rows by a key, and ids of equal values: all by arrow's row format, which compares like the values.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::row::{RowConverter, Rows, SortField};
use lethe_flight::{Error, Result};

/// The values of a column that came in pieces.
pub fn joined(pieces: &[ArrayRef]) -> Result<ArrayRef> {
    let all: Vec<&dyn Array> = pieces.iter().map(|piece| &**piece).collect();
    Ok(concat(&all)?)
}

/// The values as bytes that compare like them.
pub fn comparable(values: &ArrayRef) -> Result<Rows> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    Ok(converter.convert_columns(std::slice::from_ref(values))?)
}

/// Places in the order of a key's values.
///
/// # Errors
/// If a value stands twice: the order of those two rows would be that of their partitions.
pub fn by_key(name: &str, values: &ArrayRef) -> Result<Vec<u32>> {
    let rows = comparable(values)?;
    let mut places: Vec<u32> = (0..values.len() as u32).collect();
    places.sort_by(|&a, &b| rows.row(a as usize).cmp(&rows.row(b as usize)));
    let twice =
        places.windows(2).filter(|pair| rows.row(pair[0] as usize) == rows.row(pair[1] as usize)).count();
    if twice > 0 {
        return Err(Error::Invalid(format!(
            "the key {name:?} has {twice} repeated values: name a column whose values are unique"
        )));
    }
    Ok(places)
}

/// Ids from 0 of equal values, in the order in which they first appear; `places` is the order of the rows.
pub fn ids(values: &ArrayRef, places: &[u32]) -> Result<(Vec<u32>, u32)> {
    let rows = comparable(values)?;
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let ids = places
        .iter()
        .map(|&place| {
            let next = known.len() as u32;
            *known.entry(rows.row(place as usize).data()).or_insert(next)
        })
        .collect();
    Ok((ids, known.len() as u32))
}
