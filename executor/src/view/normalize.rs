//! Centres and scales elements by their mean and standard deviation over the training rows.
//!
//! Both are computed in float64 in one pass over the rows in the order of their numbers, so that they are the same to
//! the bit on every executor. SQL's aggregates could not: they know no elements of arrays, and no order.

use lethe_data::layout::{InputLayout, Layout};
use lethe_flight::message::dataset::Section;
use lethe_flight::{Error, Result};
use memmap2::MmapMut;

/// Of one element of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistic {
    pub column: String,
    /// Of the element in its column's array; 0 in a column of numbers.
    pub element: u32,
    pub mean: f64,
    /// Of the population; 1 where all values are equal.
    pub deviation: f64,
}

/// Normalizes what the layout says, in place.
///
/// # Errors
/// If a value is no finite number: it would make all others of its column none.
pub fn normalize(
    map: &mut MmapMut,
    sections: &[Section],
    layout: &Layout,
    rows: u64,
    train: &[u32],
) -> Result<Vec<Statistic>> {
    let mut found = Vec::new();
    for (section, input) in sections.iter().zip(&layout.inputs) {
        if input.pieces.iter().any(|piece| piece.normalized) {
            let start = section.offset as usize;
            let bytes = &mut map[start..start + (rows * section.row_bytes()) as usize];
            // SAFETY: every bit pattern is an f32; the map is page-aligned and sections begin at multiples of 64.
            let (_, values, _) = unsafe { bytes.align_to_mut::<f32>() };
            found.extend(one(values, section.width() as usize, input, layout, train)?);
        }
    }
    Ok(found)
}

fn one(
    values: &mut [f32],
    width: usize,
    input: &InputLayout,
    layout: &Layout,
    train: &[u32],
) -> Result<Vec<Statistic>> {
    let Some(first) = train.first().map(|&row| values[row as usize * width..][..width].to_vec()) else {
        return Ok(Vec::new());
    };
    // Sums of differences from the first row lose no digits to a large mean.
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for &row in train {
        let row = &values[row as usize * width..][..width];
        for ((value, first), (sum, square)) in row.iter().zip(&first).zip(sums.iter_mut().zip(&mut squares)) {
            let difference = f64::from(*value) - f64::from(*first);
            *sum += difference;
            *square += difference * difference;
        }
    }
    let count = train.len() as f64;
    let mut means = vec![0.0; width];
    let mut deviations = vec![1.0; width];
    let mut found = Vec::new();
    let mut offset = 0;
    for piece in &input.pieces {
        for element in 0..piece.width {
            let i = offset + element;
            if !piece.normalized {
                continue;
            }
            let mean = sums[i] / count;
            let variance = (squares[i] / count - mean * mean).max(0.0);
            let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
            means[i] = f64::from(first[i]) + mean;
            deviations[i] = deviation;
            let column = layout.columns[piece.column].clone();
            if !(means[i].is_finite() && deviation.is_finite()) {
                return Err(Error::Invalid(format!(
                    "column {column:?} has values that are no finite numbers (NaN or infinite) and cannot be normalized: \
                     filter or replace them"
                )));
            }
            found.push(Statistic { column, element: element as u32, mean: means[i], deviation });
        }
        offset += piece.width;
    }
    for row in values.chunks_exact_mut(width) {
        for ((value, mean), deviation) in row.iter_mut().zip(&means).zip(&deviations) {
            // Exactly as it was where the mean is 0 and the deviation 1.
            *value = ((f64::from(*value) - mean) / deviation) as f32;
        }
    }
    Ok(found)
}
