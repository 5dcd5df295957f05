//! Rows of a matrix, copied one after the other.

use std::ops::Range;

/// Rows ahead of the copy whose memory is asked for: a gathered row is rarely in the cache.
const AHEAD: usize = 16;

/// Copies the chosen rows of a row-major matrix of `row_bytes` bytes a row.
///
/// # Panics
/// If a row lies beyond the matrix; a mapped view's rows have been checked.
pub fn copy_rows(matrix: &[u8], row_bytes: usize, rows: &[u32], out: &mut [u8]) {
    match row_bytes {
        0 => {}
        // Of one element: no call for each.
        1 => copy_elements::<1>(matrix, rows, out),
        2 => copy_elements::<2>(matrix, rows, out),
        4 => copy_elements::<4>(matrix, rows, out),
        8 => copy_elements::<8>(matrix, rows, out),
        _ => copy_wide(matrix, row_bytes, rows, out),
    }
}

fn copy_elements<const N: usize>(matrix: &[u8], rows: &[u32], out: &mut [u8]) {
    let (matrix, _) = matrix.as_chunks::<N>();
    let (out, _) = out.as_chunks_mut::<N>();
    rows.iter().zip(out).for_each(|(&row, out)| *out = matrix[row as usize]);
}

fn copy_wide(matrix: &[u8], row_bytes: usize, rows: &[u32], out: &mut [u8]) {
    for (i, (&row, out)) in rows.iter().zip(out.chunks_exact_mut(row_bytes)).enumerate() {
        if let Some(&next) = rows.get(i + AHEAD) {
            prefetch(matrix, next as usize * row_bytes);
        }
        let start = row as usize * row_bytes;
        out.copy_from_slice(&matrix[start..start + row_bytes]);
    }
}

/// Copies runs of bytes of each of the chosen rows; runs ascend.
///
/// # Panics
/// Like [`copy_rows`], or if a run lies beyond a row.
pub fn copy_runs(matrix: &[u8], row_bytes: usize, runs: &[Range<usize>], rows: &[u32], out: &mut [u8]) {
    let width = runs.iter().map(Range::len).sum::<usize>();
    if width == 0 {
        return;
    }
    for (i, (&row, mut out)) in rows.iter().zip(out.chunks_exact_mut(width)).enumerate() {
        if let Some(&next) = rows.get(i + AHEAD) {
            prefetch(matrix, next as usize * row_bytes);
        }
        let row = &matrix[row as usize * row_bytes..][..row_bytes];
        for run in runs {
            let (taken, rest) = out.split_at_mut(run.len());
            taken.copy_from_slice(&row[run.clone()]);
            out = rest;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch(matrix: &[u8], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    if let Some(value) = matrix.get(at) {
        // SAFETY: a prefetch reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: &[u8], _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_rows_are_copied_side_by_side() {
        let matrix: Vec<u8> = (0..60).collect();
        let mut out = vec![0; 9];
        copy_runs(&matrix, 6, &[0..1, 3..5], &[9, 0, 2], &mut out);
        assert_eq!(out, [54, 57, 58, 0, 3, 4, 12, 15, 16]);
    }

    #[test]
    fn rows_are_copied_in_the_order_asked() {
        let rows = [19, 0, 7, 7, 3, 18, 1, 2, 4, 5, 6];
        for width in [0, 1, 2, 3, 4, 7, 8, 12] {
            let matrix: Vec<u8> = (0..20 * width as u8).collect();
            let mut out = vec![0; rows.len() * width];
            copy_rows(&matrix, width, &rows, &mut out);
            let expected = rows.iter().flat_map(|&row| &matrix[row as usize * width..][..width]);
            assert!(out.iter().eq(expected), "{width}");
        }
    }
}
