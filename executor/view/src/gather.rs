//! Rows of a matrix, copied one after the other.

/// Rows ahead of the copy whose memory is asked for: a gathered row is rarely in the cache.
const AHEAD: usize = 8;

/// Copies the chosen rows of a row-major matrix of `row_bytes` bytes a row.
///
/// # Panics
/// If a row lies beyond the matrix; a mapped view's rows have been checked.
pub fn copy_rows(matrix: &[u8], row_bytes: usize, rows: &[u32], out: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    for (i, (&row, out)) in rows.iter().zip(out.chunks_exact_mut(row_bytes)).enumerate() {
        if let Some(&next) = rows.get(i + AHEAD) {
            prefetch(matrix, next as usize * row_bytes);
        }
        let start = row as usize * row_bytes;
        out.copy_from_slice(&matrix[start..start + row_bytes]);
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
    fn rows_are_copied_in_the_order_asked() {
        let matrix: Vec<u8> = (0..60).collect();
        let rows = [19, 0, 7, 7, 3, 18, 1, 2, 4, 5, 6];
        let mut out = vec![0; rows.len() * 3];
        copy_rows(&matrix, 3, &rows, &mut out);
        for (row, copied) in rows.iter().zip(out.chunks(3)) {
            let first = *row as u8 * 3;
            assert_eq!(copied, [first, first + 1, first + 2]);
        }
    }
}
