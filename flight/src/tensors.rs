//! Weights as raw tensors in Arrow: one row a chunk, `name: utf8, dtype: utf8, shape: list<int64>,
//! data: large_binary`.
//!
//! Consecutive rows of the same name are one tensor's chunks; `data` is little-endian, row-major,
//! contiguous. `dtype` is PyTorch's name without `torch.`: `float32`, `bfloat16`, `int64`, …

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, LargeBinaryArray, ListArray, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::{Error, Result, ipc, limits};

pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("dtype", DataType::Utf8, false),
        Field::new("shape", DataType::List(item), false),
        Field::new("data", DataType::LargeBinary, false),
    ]))
});

/// One tensor, named as in the module's `state_dict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<i64>,
    /// Little-endian, row-major, contiguous.
    pub data: Vec<u8>,
}

/// Reads all tensors of a file. Blocks.
///
/// # Errors
/// If the file is not of this form, a tensor's bytes do not fit its dtype and shape, or they exceed
/// [`limits::WEIGHTS_BYTES`] together.
pub fn read_file(path: &Path) -> Result<Vec<NamedTensor>> {
    let mut tensors: Vec<NamedTensor> = Vec::new();
    let mut total = 0;
    for batch in ipc::read_file(path)? {
        let batch = batch?;
        if batch.schema().fields().iter().map(|f| f.name()).ne(SCHEMA.fields().iter().map(|f| f.name())) {
            return Err(Error::Invalid(format!("{} does not hold tensors", path.display())));
        }
        let malformed = || Error::Invalid(format!("{} does not hold tensors", path.display()));
        let names = batch.column(0).as_string_opt::<i32>().ok_or_else(malformed)?;
        let dtypes = batch.column(1).as_string_opt::<i32>().ok_or_else(malformed)?;
        let shapes = batch.column(2).as_list_opt::<i32>().ok_or_else(malformed)?;
        let data = batch.column(3).as_binary_opt::<i64>().ok_or_else(malformed)?;
        for row in 0..batch.num_rows() {
            let chunk = data.value(row);
            total += chunk.len() as u64;
            if total > limits::WEIGHTS_BYTES {
                return Err(Error::Exhausted(format!("weights exceed {} bytes", limits::WEIGHTS_BYTES)));
            }
            match tensors.last_mut() {
                Some(last) if last.name == names.value(row) => last.data.extend_from_slice(chunk),
                _ => {
                    let shape = shapes.value(row);
                    let shape = shape.as_primitive_opt::<Int64Type>().ok_or_else(malformed)?;
                    tensors.push(NamedTensor {
                        name: names.value(row).into(),
                        dtype: dtypes.value(row).into(),
                        shape: shape.values().to_vec(),
                        data: chunk.to_vec(),
                    });
                }
            }
        }
    }
    tensors.iter().try_for_each(check)?;
    Ok(tensors)
}

/// Writes tensors to a file, complete or not at all. Blocks.
pub fn write_file(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    tensors.iter().try_for_each(check)?;
    let rows = tensors.iter().flat_map(|tensor| {
        let empty: &[u8] = &[];
        let chunks = if tensor.data.is_empty() {
            vec![empty]
        } else {
            tensor.data.chunks(limits::CHUNK_BYTES).collect()
        };
        chunks.into_iter().map(move |chunk| (tensor, chunk))
    });
    let batches = rows.map(|(tensor, chunk)| batch(tensor, chunk)).collect::<Result<Vec<_>>>()?;
    ipc::write_file(path, &SCHEMA, batches.into_iter(), u64::MAX)?;
    Ok(())
}

fn batch(tensor: &NamedTensor, chunk: &[u8]) -> Result<RecordBatch> {
    let shape: ScalarBuffer<i64> = tensor.shape.clone().into();
    let shape = ListArray::try_new(
        Arc::new(Field::new("item", DataType::Int64, true)),
        OffsetBuffer::from_lengths([tensor.shape.len()]),
        Arc::new(arrow::array::Int64Array::new(shape, None)),
        None,
    )?;
    let data =
        LargeBinaryArray::try_new(OffsetBuffer::from_lengths([chunk.len()]), Buffer::from(chunk), None)?;
    Ok(RecordBatch::try_new(
        SCHEMA.clone(),
        vec![
            Arc::new(StringArray::from_iter_values([&tensor.name])),
            Arc::new(StringArray::from_iter_values([&tensor.dtype])),
            Arc::new(shape),
            Arc::new(data),
        ],
    )?)
}

/// Bytes of one element.
///
/// # Errors
/// If the dtype is not one that travels.
pub fn element_bytes(dtype: &str) -> Result<usize> {
    match dtype {
        "float64" | "int64" => Ok(8),
        "float32" | "int32" => Ok(4),
        "float16" | "bfloat16" | "int16" => Ok(2),
        "int8" | "uint8" | "bool" => Ok(1),
        other => Err(Error::Invalid(format!(
            "weights of dtype {other} cannot be sent; cast the parameter to float64, float32, float16 or bfloat16"
        ))),
    }
}

fn check(tensor: &NamedTensor) -> Result<()> {
    let elements = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    let expected = elements.and_then(|n| n.checked_mul(element_bytes(&tensor.dtype).ok()?));
    element_bytes(&tensor.dtype)?;
    if expected != Some(tensor.data.len()) {
        return Err(Error::Invalid(format!(
            "tensor {} of shape {:?} and dtype {} cannot have {} bytes",
            tensor.name,
            tensor.shape,
            tensor.dtype,
            tensor.data.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_the_file_in_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.arrow");
        let n = 3 * limits::CHUNK_BYTES / 4 + 1;
        let tensors = vec![
            NamedTensor {
                name: "a.weight".into(),
                dtype: "float32".into(),
                shape: vec![n as i64],
                data: (0..4 * n).map(|i| i as u8).collect(),
            },
            NamedTensor { name: "scalar".into(), dtype: "int64".into(), shape: vec![], data: vec![7; 8] },
            NamedTensor { name: "none".into(), dtype: "bool".into(), shape: vec![0, 3], data: vec![] },
        ];
        write_file(&path, &tensors).unwrap();
        assert_eq!(read_file(&path).unwrap(), tensors);
    }

    #[test]
    fn a_tensor_whose_bytes_do_not_fit_its_shape_is_refused() {
        let tensor =
            NamedTensor { name: "w".into(), dtype: "float32".into(), shape: vec![2, -1], data: vec![0; 8] };
        assert!(check(&tensor).unwrap_err().to_string().contains("tensor w of shape [2, -1]"));
        let overflow = NamedTensor { shape: vec![i64::MAX, i64::MAX], ..tensor };
        assert!(check(&overflow).is_err());
    }
}
