//! Columns whose type the values tell.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use lethe_flight::message::experiment::Domain;
use serde_json::Value;

/// The narrowest type that holds a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without a value so far.
    Nothing,
    Bool,
    Int,
    Float,
    Text,
    /// Anything, as JSON text.
    Json,
}

impl Kind {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    /// Of a parameter's values, before there are any.
    pub fn of_domain(domain: &Domain) -> Self {
        match domain {
            Domain::Uniform { .. } | Domain::LogUniform { .. } => Self::Float,
            Domain::Integer { .. } => Self::Int,
            Domain::Choice { values } | Domain::Ordinal { values } => {
                values.iter().map(Self::of).fold(Self::Nothing, Self::or)
            }
        }
    }

    /// That holds the values of both.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            (one, two) if one == two => one,
            _ => Self::Json,
        }
    }

    /// None is null.
    pub fn column<'a>(self, values: impl Iterator<Item = Option<&'a Value>>) -> ArrayRef {
        match self {
            Self::Bool => Arc::new(BooleanArray::from_iter(values.map(|v| v?.as_bool()))),
            Self::Int => Arc::new(Int64Array::from_iter(values.map(|v| v?.as_i64()))),
            Self::Float => Arc::new(Float64Array::from_iter(values.map(|v| v?.as_f64()))),
            Self::Text => Arc::new(StringArray::from_iter(values.map(|v| v?.as_str()))),
            Self::Json | Self::Nothing => {
                let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
                Arc::new(StringArray::from_iter(values.map(|v| text(v?))))
            }
        }
    }
}
