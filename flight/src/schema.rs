//! An Arrow schema within a message: an encapsulated IPC message, base64.

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, Result};

/// # Errors
/// If Arrow cannot write it.
pub fn render(schema: &Schema) -> Result<String> {
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into()?;
    Ok(STANDARD.encode(bytes))
}

/// # Errors
/// If the text is no schema.
pub fn parse(text: &str) -> Result<Schema> {
    let bytes = STANDARD.decode(text).map_err(|e| Error::Invalid(format!("a schema is not base64: {e}")))?;
    Ok(Schema::try_from(IpcMessage(bytes.into()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn a_schema_survives_its_text() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, false)]);
        assert_eq!(parse(&render(&schema).unwrap()).unwrap(), schema);
        assert!(parse("%%").is_err());
        assert!(parse("").is_err());
    }
}
