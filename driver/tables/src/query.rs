//! The SQL that is answered: one SELECT over the experiment's tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, SchemaError, TableReference};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use lethe_flight::{Error, Result};

use super::{SnapshotRows, events, metrics, slots, trials};

/// One query, bytes.
const SQL_BYTES: usize = 64 << 10;

const TABLES: [&str; 4] = ["trials", "metrics", "slots", "events"];

/// Plans the query and begins to carry it out.
///
/// # Errors
/// If it is not one SELECT over the tables.
pub async fn begin(
    rows: &SnapshotRows,
    env: Arc<RuntimeEnv>,
    sql: &str,
) -> Result<SendableRecordBatchStream> {
    if sql.len() > SQL_BYTES {
        return Err(Error::Invalid(format!("a query of {} bytes is more than {SQL_BYTES}", sql.len())));
    }
    // One partition: the thread that calls does all the work, and the driver's decisions keep their cores.
    let config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let state =
        SessionStateBuilder::new().with_config(config).with_runtime_env(env).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(|e| Error::Invalid(not_sql(&e)))?;
    if !is_select(&statement) {
        return Err(Error::Invalid(format!(
            "only a SELECT is answered, over the tables {}",
            TABLES.join(", ")
        )));
    }
    let asked = state.resolve_table_references(&statement).map_err(|e| Error::Invalid(not_sql(&e)))?;
    let mut schemas = Vec::new();
    for name in tables(&asked)? {
        let (schema, table) = table(rows, name)?;
        schemas.push((name, schema));
        let registered = context.register_table(name, Arc::new(table));
        registered.map_err(|e| Error::Invalid(words(&e, &schemas)))?;
    }
    let planned = async {
        let plan = state.statement_to_plan(statement).await?;
        let allowed =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        allowed.verify_plan(&plan)?;
        DataFrame::new(state, plan).execute_stream().await
    };
    planned.await.map_err(|error| match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => failed(&error),
        _ => Error::Invalid(words(&error, &schemas)),
    })
}

fn is_select(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)))
}

/// Those of the experiment's that are asked; everything else is refused by name, table functions too.
fn tables(asked: &[TableReference]) -> Result<Vec<&'static str>> {
    let known = |reference: &TableReference| {
        let own = TABLES.into_iter().find(|table| *table == reference.table());
        own.filter(|_| reference.schema().is_none()).ok_or_else(|| {
            Error::Invalid(format!("there is no table {reference}; there are {}", TABLES.join(", ")))
        })
    };
    asked.iter().map(known).collect()
}

fn table(rows: &SnapshotRows, name: &str) -> Result<(SchemaRef, MemTable)> {
    let (schema, batches) = match name {
        "metrics" => (metrics::schema(), rows.metrics.clone()),
        "events" => (events::schema(), rows.events.clone()),
        "slots" => {
            let batch = slots::batch(&rows.slots)?;
            (batch.schema(), vec![batch])
        }
        _ => {
            let trials: Vec<_> = rows.trials.iter().flat_map(|chunk| chunk.iter()).collect();
            let batch = trials::batch(&rows.known, &trials)?;
            (batch.schema(), vec![batch])
        }
    };
    let table = MemTable::try_new(Arc::clone(&schema), vec![batches]).map_err(|e| failed(&e))?;
    Ok((schema, table))
}

fn not_sql(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    format!("this is not SQL that can be answered: {}", one_line(&text))
}

/// What is wrong, and the columns of the tables that are asked.
fn words(error: &DataFusionError, schemas: &[(&str, SchemaRef)]) -> String {
    let columns = || schemas.iter().flat_map(|(_, schema)| schema.fields().iter().map(|field| field.name()));
    let what = match error.find_root() {
        DataFusionError::SchemaError(wrong, _) => match &**wrong {
            SchemaError::FieldNotFound { field, .. } => {
                // Without quotes SQL makes names lower case.
                let meant = columns().find(|name| name.eq_ignore_ascii_case(&field.name));
                match meant
                    .or_else(|| columns().find(|name| name.split('.').next_back() == Some(&field.name)))
                {
                    Some(name) => format!("there is no column {field}; write \"{name}\", with the quotes"),
                    None => format!("there is no column {field}"),
                }
            }
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    };
    let mut text = one_line(&what);
    for (name, schema) in schemas {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        text.push_str(&format!("; {name} has {}", names.join(", ")));
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What broke a query off.
pub fn failed(error: &DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::Exhausted(format!(
            "the query needs more memory than queries have ({} MiB): aggregate, select fewer columns or rows, or \
             sort fewer",
            super::run::MEMORY_BYTES >> 20
        )),
        other => Error::Invalid(format!("the query failed: {}", one_line(&other.strip_backtrace()))),
    }
}
