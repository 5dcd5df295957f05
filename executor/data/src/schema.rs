//! Schemas as text: an encapsulated Arrow IPC message in base64.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lethe_flight::{Error, Result};

pub fn render(schema: &SchemaRef) -> Result<String> {
    let writer = StreamWriter::try_new(Vec::new(), schema)?;
    Ok(STANDARD.encode(writer.into_inner()?))
}

/// # Errors
/// If the text is not a schema.
pub fn parse(text: &str) -> Result<SchemaRef> {
    let bytes = STANDARD.decode(text).map_err(|e| Error::Invalid(format!("not a schema in base64: {e}")))?;
    let reader = StreamReader::try_new(bytes.as_slice(), None)?;
    Ok(Arc::clone(&reader.schema()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn a_schema_comes_back_as_it_was() {
        let fields = vec![Field::new("a", DataType::Utf8View, true), Field::new("b", DataType::Int8, false)];
        let schema = Arc::new(Schema::new(fields));
        assert_eq!(parse(&render(&schema).unwrap()).unwrap(), schema);
        assert!(parse("///=").is_err());
    }
}
