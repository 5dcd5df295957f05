//! A dataset's columns as numbers: DataFusion's expressions cast them, batch by batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionContext, cast, ident};
use lethe_flight::message::dataset::{DataSpec, Label as Label_, LabelKind};
use lethe_flight::{Error, Result};

/// One feature column of one batch.
pub enum Feature {
    Scalar(Float32Array),
    /// `width` values a row.
    Array {
        values: Float32Array,
        width: usize,
    },
}

impl Feature {
    pub fn width(&self) -> usize {
        match self {
            Self::Scalar(_) => 1,
            Self::Array { width, .. } => *width,
        }
    }
}

pub enum Label {
    Class(Int64Array),
    Value(Float32Array),
}

/// Casts the columns of a dataset's batches.
pub struct Columns {
    features: Vec<(String, Arc<dyn PhysicalExpr>)>,
    label: Option<(String, LabelKind, Arc<dyn PhysicalExpr>)>,
    nulls: Vec<(String, u64)>,
}

impl Columns {
    /// # Errors
    /// If a column does not exist, or its type is no number and no array of numbers; the error names it.
    pub fn new(data: &DataSpec, schema: &SchemaRef) -> Result<Self> {
        let context = SessionContext::new();
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(invalid)?;
        let expression = |name: &str, to: DataType| {
            context.create_physical_expr(cast(ident(name), to), &df_schema).map_err(invalid)
        };
        let mut features = Vec::new();
        for name in data.inputs.iter().flat_map(|input| &input.columns) {
            let to = match field(schema, name)?.data_type() {
                from if is_number(from) => DataType::Float32,
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                    if is_number(item.data_type()) =>
                {
                    DataType::List(Arc::new(Field::new("item", DataType::Float32, true)))
                }
                other => {
                    return Err(Error::Invalid(format!(
                        "column {name:?} has type {other}: a feature must be a number or an array of numbers; \
                         cast it, or leave it out of features"
                    )));
                }
            };
            features.push((name.clone(), expression(name, to)?));
        }
        let label = match &data.label {
            None => None,
            Some(Label_ { column: name, kind }) => {
                let from = field(schema, name)?.data_type();
                let to = match kind {
                    LabelKind::Class if from.is_integer() || *from == DataType::Boolean => DataType::Int64,
                    LabelKind::Value if is_number(from) => DataType::Float32,
                    LabelKind::Class => {
                        return Err(Error::Invalid(format!(
                            "label {name:?} has type {from}: classes must be integers from 0; cast the column"
                        )));
                    }
                    LabelKind::Value => {
                        return Err(Error::Invalid(format!(
                            "label {name:?} has type {from}: it must be a number; cast the column"
                        )));
                    }
                };
                Some((name.clone(), *kind, expression(name, to)?))
            }
        };
        Ok(Self { features, label, nulls: Vec::new() })
    }

    /// The numbers of one batch. Nulls are counted, and become zeros here: [`Columns::check_nulls`].
    pub fn cast(&mut self, batch: &RecordBatch) -> Result<(Vec<Feature>, Option<Label>)> {
        let mut features = Vec::with_capacity(self.features.len());
        for (name, expression) in &self.features {
            let array = evaluate(name, expression, batch)?;
            let mut nulls = array.null_count();
            features.push(match array.as_list_opt::<i32>() {
                None => Feature::Scalar(floats(name, &array)?.clone()),
                Some(list) => {
                    let offsets = list.value_offsets();
                    let (first, last) = (offsets[0] as usize, offsets[batch.num_rows()] as usize);
                    let values = floats(name, &list.values().slice(first, last - first))?.clone();
                    nulls += values.null_count();
                    let width = if batch.num_rows() == 0 { 0 } else { (offsets[1] - offsets[0]) as usize };
                    if nulls == 0 && offsets.windows(2).any(|w| (w[1] - w[0]) as usize != width) {
                        return Err(Error::Invalid(format!(
                            "column {name:?} has arrays of different lengths: each row must have as many \
                             elements; pad or filter them"
                        )));
                    }
                    if nulls == 0 && width == 0 && batch.num_rows() > 0 {
                        return Err(Error::Invalid(format!(
                            "column {name:?} has empty arrays: filter those rows, or leave it out of features"
                        )));
                    }
                    Feature::Array { values, width: width.max(1) }
                }
            });
            count(&mut self.nulls, name, nulls);
        }
        let label = match &self.label {
            None => None,
            Some((name, kind, expression)) => {
                let array = evaluate(name, expression, batch)?;
                count(&mut self.nulls, name, array.null_count());
                Some(match kind {
                    LabelKind::Value => Label::Value(floats(name, &array)?.clone()),
                    LabelKind::Class => {
                        let classes = array.as_primitive_opt::<Int64Type>().ok_or_else(|| not_cast(name))?;
                        if let Some(negative) = classes.iter().flatten().find(|&c| c < 0) {
                            return Err(Error::Invalid(format!(
                                "label {name:?} has the value {negative}: classes are integers from 0"
                            )));
                        }
                        Label::Class(classes.clone())
                    }
                })
            }
        };
        Ok((features, label))
    }

    pub fn has_nulls(&self) -> bool {
        self.nulls.iter().any(|(_, count)| *count > 0)
    }

    /// # Errors
    /// If there were nulls: names the first column that had any, and how many.
    pub fn check_nulls(&self) -> Result<()> {
        match self.nulls.iter().find(|(_, count)| *count > 0) {
            None => Ok(()),
            Some((name, count)) => Err(Error::Invalid(format!(
                "column {name:?} has {count} nulls: fill or drop them before (df.fillna, df.dropna)"
            ))),
        }
    }
}

fn count(nulls: &mut Vec<(String, u64)>, name: &str, more: usize) {
    match nulls.iter_mut().find(|(n, _)| n == name) {
        Some((_, count)) => *count += more as u64,
        None => nulls.push((name.into(), more as u64)),
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

fn field<'a>(schema: &'a SchemaRef, name: &str) -> Result<&'a Field> {
    schema.field_with_name(name).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        Error::Invalid(format!("the dataset has no column {name:?}: it has {}", names.join(", ")))
    })
}

fn evaluate(name: &str, expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    expression.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())).map_err(|e| {
        Error::Invalid(format!("column {name:?} cannot be read as numbers: {}", e.strip_backtrace()))
    })
}

fn floats<'a>(name: &str, array: &'a ArrayRef) -> Result<&'a Float32Array> {
    array.as_primitive_opt::<Float32Type>().ok_or_else(|| not_cast(name))
}

fn not_cast(name: &str) -> Error {
    Error::Invalid(format!("column {name:?} was not cast to numbers"))
}

fn invalid(error: datafusion::error::DataFusionError) -> Error {
    Error::Invalid(error.strip_backtrace())
}
