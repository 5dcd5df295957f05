//! Constraints over parameters: SQL expressions, evaluated by DataFusion on many suggestions at once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, cast::as_boolean_array};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter};
use lethe_flight::{Error, Result};
use serde_json::Value;

/// All constraints of a space, ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Constraints {
    schema: Arc<Schema>,
    texts: Vec<String>,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
}

impl Constraints {
    /// # Errors
    /// If one is not SQL, names something that is no parameter, or is not true or false; says which.
    pub fn new(parameters: &[Parameter], texts: &[String]) -> Result<Self> {
        let fields: Vec<_> =
            parameters.iter().map(|p| Field::new(&p.name, column(&p.domain), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        if texts.is_empty() {
            return Ok(Self { schema, texts: Vec::new(), expressions: Vec::new() });
        }
        // Names of parameters keep their capitals.
        let config = SessionConfig::new().set_bool("datafusion.sql_parser.enable_ident_normalization", false);
        let context = SessionContext::new_with_config(config);
        let expressions =
            texts.iter().map(|text| expression(&context, &schema, text)).collect::<Result<_>>()?;
        Ok(Self { schema, texts: texts.to_vec(), expressions })
    }

    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// As they were given.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The first constraint that the point does not fulfil.
    pub fn violated(&self, point: &Hparams) -> Option<&str> {
        let points = std::slice::from_ref(point);
        let violates = |expression: &Arc<dyn PhysicalExpr>| {
            !self.evaluate(std::slice::from_ref(expression), points).is_ok_and(|fulfilled| fulfilled[0])
        };
        let place = self.expressions.iter().position(violates)?;
        self.texts.get(place).map(String::as_str)
    }

    /// Of each point, whether it fulfils all. What is unknown counts as fulfilled, what cannot be computed
    /// (a division by zero) does not.
    pub fn fulfilled(&self, points: &[Hparams]) -> Vec<bool> {
        if self.is_empty() || points.is_empty() {
            return vec![true; points.len()];
        }
        match self.evaluate(&self.expressions, points) {
            Ok(fulfilled) => fulfilled,
            Err(_) if points.len() > 1 => {
                points.iter().map(|point| self.fulfilled(std::slice::from_ref(point))[0]).collect()
            }
            Err(_) => vec![false],
        }
    }

    fn evaluate(
        &self,
        expressions: &[Arc<dyn PhysicalExpr>],
        points: &[Hparams],
    ) -> datafusion::error::Result<Vec<bool>> {
        let columns = self.schema.fields().iter().map(|field| array(field, points)).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(points.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)?;
        let mut all = vec![true; points.len()];
        for expression in expressions {
            let found = expression.evaluate(&batch)?.into_array(points.len())?;
            let found = as_boolean_array(&found)?;
            for (row, all) in all.iter_mut().enumerate() {
                *all &= found.is_null(row) || found.value(row);
            }
        }
        Ok(all)
    }
}

fn expression(context: &SessionContext, schema: &Arc<Schema>, text: &str) -> Result<Arc<dyn PhysicalExpr>> {
    let refuse = |fault: String| Error::Invalid(format!("the constraint {text:?}: {fault}"));
    let fault = |error: datafusion::error::DataFusionError| refuse(error.strip_backtrace());
    let known = DFSchema::try_from(Arc::clone(schema)).map_err(fault)?;
    let parsed = context.parse_sql_expr(text, &known).map_err(fault)?;
    if parsed.is_volatile() {
        return Err(refuse("it would not always be the same".into()));
    }
    let names = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
    if let Some(other) = parsed.column_refs().iter().find(|c| schema.index_of(&c.name).is_err()) {
        return Err(refuse(format!("{:?} is no parameter; there are {}", other.name, names())));
    }
    let planned = context.create_physical_expr(parsed, &known).map_err(fault)?;
    match planned.data_type(schema).map_err(fault)? {
        DataType::Boolean => Ok(planned),
        other => Err(refuse(format!("it is of type {other}, not true or false"))),
    }
}

/// A choice of other or of mixed values is a column of text: strings as they are, else JSON.
fn column(domain: &Domain) -> DataType {
    match domain {
        Domain::Uniform { .. } | Domain::LogUniform { .. } => DataType::Float64,
        Domain::Integer { .. } => DataType::Int64,
        Domain::Choice { values } | Domain::Ordinal { values } => {
            if values.iter().all(Value::is_boolean) {
                DataType::Boolean
            } else if values.iter().all(Value::is_i64) {
                DataType::Int64
            } else if values.iter().all(Value::is_number) {
                DataType::Float64
            } else {
                DataType::Utf8
            }
        }
    }
}

fn array(field: &Field, points: &[Hparams]) -> ArrayRef {
    let values = points.iter().map(|point| point.get(field.name()));
    match field.data_type() {
        DataType::Float64 => Arc::new(values.map(|v| v?.as_f64()).collect::<Float64Array>()),
        DataType::Int64 => Arc::new(values.map(|v| v?.as_i64()).collect::<Int64Array>()),
        DataType::Boolean => Arc::new(values.map(|v| v?.as_bool()).collect::<BooleanArray>()),
        _ => Arc::new(values.map(|v| v.map(text)).collect::<StringArray>()),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn constraints(texts: &[&str]) -> Result<Constraints> {
        let parameter = |name: &str, domain| Parameter { name: name.into(), domain, condition: None };
        let integer = || Domain::Integer { low: 0, high: 100, step: None, log: false };
        let parameters = [
            parameter("nLayers", integer()),
            parameter("width", integer()),
            parameter("kind", Domain::Choice { values: vec!["a".into(), "b".into()] }),
        ];
        Constraints::new(&parameters, &texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
    }

    fn point(value: Value) -> Hparams {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_unknown_is_fulfilled_and_what_cannot_be_computed_is_not() {
        let constraints =
            constraints(&["nLayers * width < 100", "kind <> 'b' OR width / nLayers > 1"]).unwrap();
        let points = [
            point(json!({"nLayers": 3, "width": 30, "kind": "a"})),
            point(json!({"nLayers": 5, "width": 30, "kind": "a"})),
            point(json!({"width": 30, "kind": "b"})),
            point(json!({"nLayers": 30, "width": 3, "kind": "b"})),
            point(json!({"nLayers": 0, "width": 3, "kind": "b"})),
        ];
        assert_eq!(constraints.fulfilled(&points), [true, false, true, false, false]);
        let first = "nLayers * width < 100";
        let second = "kind <> 'b' OR width / nLayers > 1";
        let violated = points.each_ref().map(|point| constraints.violated(point));
        assert_eq!(violated, [None, Some(first), None, Some(second), Some(second)]);
    }

    #[test]
    fn what_is_no_condition_over_the_parameters_is_refused_with_its_text() {
        for text in ["width <", "depth < 3", "width + 1", "kind < 3 AND (", "count(*) > 1"] {
            let refusal = constraints(&[text]).unwrap_err().to_string();
            assert!(refusal.contains(text), "{refusal}");
        }
        assert!(constraints(&["depth < 3"]).unwrap_err().to_string().contains("depth"));
    }
}
