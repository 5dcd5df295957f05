//! The hash of a partition's rows, whatever batches they came in: a source that is computed again must give it again.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, GenericListArray, OffsetSizeTrait, RecordBatch,
};
use arrow::compute::{filter, is_not_null, take};
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Field, SchemaRef};
use arrow::row::{RowConverter, SortField};
use lethe_flight::Result;
use xxhash_rust::xxh3::Xxh3;

/// Takes the batches in order. A column's values, lengths and nulls are streams of their own, so that it does not
/// matter where a batch ends.
pub struct Content {
    rows: u64,
    columns: Vec<Column>,
}

struct Column {
    /// Its name and type.
    of: String,
    rows: u64,
    /// Bytes of the values that are there.
    values: Box<Xxh3>,
    /// Of strings and lists.
    lengths: Box<Xxh3>,
    /// Places without a value: what lies there is arbitrary.
    nulls: Box<Xxh3>,
    children: Vec<Column>,
}

impl Content {
    pub fn new(schema: &SchemaRef) -> Self {
        Self { rows: 0, columns: schema.fields().iter().map(|field| Column::new(field)).collect() }
    }

    /// # Errors
    /// If Arrow cannot read a column of this type.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.columns.iter_mut().zip(batch.columns()).try_for_each(|(column, array)| column.add(array))
    }

    /// 32 hexadecimal digits.
    pub fn finish(&self) -> String {
        let mut all = Xxh3::new();
        all.update(&self.rows.to_le_bytes());
        self.columns.iter().for_each(|column| column.finish(&mut all));
        format!("{:032x}", all.digest128())
    }
}

impl Column {
    fn new(field: &Field) -> Self {
        let children = match field.data_type() {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::Map(item, _) => vec![Self::new(item)],
            DataType::Struct(fields) => fields.iter().map(|field| Self::new(field)).collect(),
            _ => Vec::new(),
        };
        Self {
            of: format!("{}: {}", field.name(), field.data_type()),
            rows: 0,
            values: Box::default(),
            lengths: Box::default(),
            nulls: Box::default(),
            children,
        }
    }

    fn add(&mut self, array: &ArrayRef) -> Result<()> {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            return self.add(&take(dictionary.values(), dictionary.keys(), None)?);
        }
        let before = self.rows;
        self.rows += array.len() as u64;
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.dense(array),
            Some(nulls) => {
                for (row, _) in nulls.iter().enumerate().filter(|(_, valid)| !valid) {
                    self.nulls.update(&(before + row as u64).to_le_bytes());
                }
                self.dense(&filter(array, &is_not_null(array)?)?)
            }
        }
    }

    /// An array without nulls.
    fn dense(&mut self, array: &ArrayRef) -> Result<()> {
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.booleans(array.as_boolean()),
            DataType::Utf8 => self.bytes(array.as_string::<i32>()),
            DataType::LargeUtf8 => self.bytes(array.as_string::<i64>()),
            DataType::Binary => self.bytes(array.as_binary::<i32>()),
            DataType::LargeBinary => self.bytes(array.as_binary::<i64>()),
            DataType::List(_) => return self.lists(array.as_list::<i32>()),
            DataType::LargeList(_) => return self.lists(array.as_list::<i64>()),
            DataType::FixedSizeList(..) => return self.child(0, array.as_fixed_size_list().values()),
            DataType::Struct(_) => {
                let columns = array.as_struct().columns();
                return columns.iter().enumerate().try_for_each(|(n, column)| self.child(n, column));
            }
            other => match other.primitive_width() {
                Some(width) => {
                    let data = array.to_data();
                    let (start, end) = (data.offset() * width, (data.offset() + data.len()) * width);
                    self.values.update(&data.buffers()[0].as_slice()[start..end]);
                }
                None => return self.rows(array),
            },
        }
        Ok(())
    }

    fn booleans(&mut self, array: &BooleanArray) {
        let bytes: Vec<u8> = array.values().iter().map(u8::from).collect();
        self.values.update(&bytes);
    }

    fn bytes<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>) {
        self.lengths(array.value_offsets());
        let [first, .., last] = array.value_offsets() else { return };
        self.values.update(&array.value_data()[first.as_usize()..last.as_usize()]);
    }

    fn lists<O: OffsetSizeTrait>(&mut self, array: &GenericListArray<O>) -> Result<()> {
        self.lengths(array.value_offsets());
        let [first, .., last] = array.value_offsets() else { return Ok(()) };
        let (first, last) = (first.as_usize(), last.as_usize());
        self.child(0, &array.values().slice(first, last - first))
    }

    fn lengths<O: OffsetSizeTrait>(&mut self, offsets: &[O]) {
        let lengths = offsets.windows(2).map(|pair| (pair[1].as_usize() - pair[0].as_usize()) as u64);
        let bytes: Vec<u8> = lengths.flat_map(u64::to_le_bytes).collect();
        self.lengths.update(&bytes);
    }

    fn child(&mut self, n: usize, array: &ArrayRef) -> Result<()> {
        self.children.get_mut(n).map_or(Ok(()), |child| child.add(array))
    }

    /// Of the types that are rare in a DataFrame.
    fn rows(&mut self, array: &ArrayRef) -> Result<()> {
        let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
        for row in &converter.convert_columns(std::slice::from_ref(array))? {
            self.lengths.update(&(row.as_ref().len() as u64).to_le_bytes());
            self.values.update(row.as_ref());
        }
        Ok(())
    }

    fn finish(&self, all: &mut Xxh3) {
        all.update(&(self.of.len() as u64).to_le_bytes());
        all.update(self.of.as_bytes());
        for part in [&self.values, &self.lengths, &self.nulls] {
            all.update(&part.digest128().to_le_bytes());
        }
        self.children.iter().for_each(|child| child.finish(all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, DictionaryArray, FixedSizeListBuilder, Float32Builder, Int64Array, ListBuilder,
        StringArray, StringBuilder, StructArray,
    };
    use arrow::datatypes::{Int8Type, Schema};
    use std::sync::Arc;

    const ROWS: usize = 9;

    fn rows() -> RecordBatch {
        let numbers: Int64Array = (0..ROWS as i64).map(|n| (n % 4 != 1).then_some(n * 7)).collect();
        let flags: BooleanArray = (0..ROWS).map(|n| (n % 5 != 2).then_some(n % 2 == 0)).collect();
        let words: StringArray = (0..ROWS).map(|n| (n % 3 != 0).then(|| "x".repeat(n))).collect();
        let codes: DictionaryArray<Int8Type> =
            (0..ROWS).map(|n| (n % 4 != 0).then_some(["a", "b"][n % 2])).collect();
        let mut lists = ListBuilder::new(StringBuilder::new());
        let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), 2);
        for n in 0..ROWS {
            vectors.values().append_slice(&[n as f32, 0.5]);
            vectors.append(n % 6 != 3);
            match n % 3 {
                0 => lists.append_null(),
                _ => lists.append_value((0..n).map(|k| (k % 2 == 0).then_some("y"))),
            }
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(numbers.clone())),
            ("f", Arc::new(flags)),
            ("w", Arc::new(words)),
            ("c", Arc::new(codes)),
            ("l", Arc::new(lists.finish())),
            ("v", Arc::new(vectors.finish())),
        ];
        let inner = Arc::new(Field::new("i", DataType::Int64, true));
        let nested = StructArray::from(vec![(inner, Arc::new(numbers) as ArrayRef)]);
        RecordBatch::try_from_iter(columns.into_iter().chain([("s", Arc::new(nested) as ArrayRef)])).unwrap()
    }

    fn hash(batches: &[RecordBatch]) -> String {
        let mut content = Content::new(&batches[0].schema());
        batches.iter().for_each(|batch| content.add(batch).unwrap());
        content.finish()
    }

    #[test]
    fn it_does_not_depend_on_batches() {
        let whole = rows();
        let expected = hash(std::slice::from_ref(&whole));
        assert_eq!(expected.len(), 32);
        for cut in 0..=ROWS {
            let parts = [whole.slice(0, cut), whole.slice(cut, ROWS - cut)];
            assert_eq!(hash(&parts), expected, "cut at {cut}");
        }
    }

    #[test]
    fn it_tells_rows_their_order_and_the_columns_apart() {
        let whole = rows();
        let expected = hash(std::slice::from_ref(&whole));
        assert_ne!(hash(&[whole.slice(1, ROWS - 1), whole.slice(0, 1)]), expected);
        assert_ne!(hash(&[whole.slice(0, ROWS - 1)]), expected);
        for column in 0..whole.num_columns() {
            let mut kept: Vec<usize> = (0..whole.num_columns()).collect();
            kept.remove(column);
            let fewer = whole.project(&kept).unwrap();
            assert_ne!(hash(&[fewer]), expected);
        }
        // "ab", "c" is not "a", "bc"; a null is not an empty text.
        let words = |words: &[Option<&str>]| {
            let schema = Arc::new(Schema::new(vec![Field::new("w", DataType::Utf8, true)]));
            hash(&[RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(words.to_vec()))]).unwrap()])
        };
        assert_ne!(words(&[Some("ab"), Some("c")]), words(&[Some("a"), Some("bc")]));
        assert_ne!(words(&[Some(""), Some("a")]), words(&[None, Some("a")]));
        assert_ne!(words(&[None, Some("a")]), words(&[Some("a"), None]));
    }

    #[test]
    fn what_lies_at_a_null_does_not_count() {
        let nulls = arrow::buffer::NullBuffer::from(vec![true, false, true]);
        let column = |hidden: i64| {
            let values = Int64Array::new(vec![1, hidden, 3].into(), Some(nulls.clone()));
            RecordBatch::try_from_iter([("n", Arc::new(values) as ArrayRef)]).unwrap()
        };
        assert_eq!(hash(&[column(2)]), hash(&[column(7)]));
    }
}
