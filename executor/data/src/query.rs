//! Chains of queries over a table, and their rows in a fixed order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext, ident};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use lethe_flight::{Error, Result};

use crate::refused;
use crate::table::Table;

/// What the queries ask.
pub const TABLE: &str = "dataset";
/// One query, bytes.
const SQL_BYTES: usize = 64 << 10;
/// Queries of one chain.
const QUERIES: usize = 256;

/// What reading may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Memory of sorts and aggregates, bytes; more goes to temporary files.
    pub memory: usize,
    /// Rows of one record batch.
    pub batch_rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory: 256 << 20, batch_rows: 8192 }
    }
}

/// A chain of queries, planned.
pub struct Rows {
    context: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
    is_row_by_row: bool,
}

/// What a chain of queries answers: names and types.
pub async fn schema(table: &Table, queries: &[String]) -> Result<SchemaRef> {
    let chain = Chain::new(table, queries, false, Bounds::default()).await?;
    Ok(Arc::new(chain.plan.schema().as_arrow().clone()))
}

impl Rows {
    /// Plans the queries, and of their answer these columns, in this order.
    ///
    /// # Errors
    /// If a query is not one SELECT over the table `dataset`, would not give the same rows each time it is asked, or
    /// names what is not there.
    pub async fn plan(table: &Table, queries: &[String], columns: &[String], bounds: Bounds) -> Result<Self> {
        Self::of(table, queries, bounds, |chain| {
            LogicalPlanBuilder::from(chain).project(columns.iter().map(ident).collect::<Vec<_>>())?.build()
        })
        .await
    }

    /// The distinct values of a column that are there, in their order.
    pub async fn distinct(table: &Table, queries: &[String], column: &str, bounds: Bounds) -> Result<Self> {
        let quoted = column.replace('"', "\"\"");
        let mut queries = queries.to_vec();
        queries.push(format!(
            "select distinct \"{quoted}\" as value from {TABLE} where \"{quoted}\" is not null order by 1"
        ));
        Self::of(table, &queries, bounds, Ok).await
    }

    async fn of(
        table: &Table,
        queries: &[String],
        bounds: Bounds,
        finish: impl FnOnce(LogicalPlan) -> datafusion::error::Result<LogicalPlan>,
    ) -> Result<Self> {
        let chain = Chain::new(table, queries, false, bounds).await?;
        // A query that sorts or gathers rows reads them as one partition: only so they always come alike.
        let is_row_by_row = chain.is_row_by_row;
        let chain = if is_row_by_row { chain } else { Chain::new(table, queries, true, bounds).await? };
        let plan = finish(chain.plan).map_err(refused)?;
        let frame = DataFrame::new(chain.context.state(), plan);
        let plan = frame.create_physical_plan().await.map_err(refused)?;
        Ok(Self { context: chain.context, plan, is_row_by_row })
    }

    /// Whether each row is made of one row of the table, in the same order; some may be left out.
    pub fn is_row_by_row(&self) -> bool {
        self.is_row_by_row
    }

    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// Partitions whose rows, one after the other, are all rows in their order.
    pub fn partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    /// The first batch that has rows.
    pub async fn first(&self) -> Result<Option<RecordBatch>> {
        for partition in 0..self.partitions() {
            let mut batches = self.read(partition)?;
            while let Some(batch) = batches.try_next().await.map_err(refused)? {
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
            }
        }
        Ok(None)
    }

    pub fn read(&self, partition: usize) -> Result<SendableRecordBatchStream> {
        self.plan.execute(partition, self.context.task_ctx()).map_err(refused)
    }
}

struct Chain {
    context: SessionContext,
    plan: LogicalPlan,
    /// Whether each answer's row is made of one row, in the same order.
    is_row_by_row: bool,
}

impl Chain {
    async fn new(table: &Table, queries: &[String], whole: bool, bounds: Bounds) -> Result<Self> {
        if queries.len() > QUERIES {
            return Err(Error::Exhausted(format!(
                "{} queries follow each other; at most {QUERIES} may",
                queries.len()
            )));
        }
        let context = context(bounds)?;
        let mut provider = table.provider(&context, whole)?;
        let mut is_row_by_row = true;
        for query in queries {
            let plan = ask(&context, provider, query).await?;
            is_row_by_row &= row_by_row(&plan);
            provider = Arc::new(ViewTable::new(plan, None));
        }
        let scan = LogicalPlanBuilder::scan(TABLE, provider_as_source(provider), None)
            .and_then(LogicalPlanBuilder::build);
        Ok(Self { context, plan: scan.map_err(refused)?, is_row_by_row })
    }
}

fn context(bounds: Bounds) -> Result<SessionContext> {
    let mut config = SessionConfig::new()
        // Rows are handed to no other partition than their own: their order is that of the partitions.
        .with_target_partitions(1)
        .with_round_robin_repartition(false)
        .with_repartition_file_scans(false)
        .with_batch_size(bounds.batch_rows)
        .with_information_schema(false);
    config.options_mut().execution.parquet.schema_force_view_types = false;
    let env =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(bounds.memory))).build_arc();
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(env.map_err(refused)?)
        .with_default_features()
        .build();
    Ok(SessionContext::new_with_state(state))
}

async fn ask(context: &SessionContext, table: Arc<dyn TableProvider>, query: &str) -> Result<LogicalPlan> {
    if query.len() > SQL_BYTES {
        return Err(Error::Exhausted(format!("a query of {} bytes is more than {SQL_BYTES}", query.len())));
    }
    let wrong = |error: datafusion::error::DataFusionError| {
        Error::Invalid(format!("the query {query:?} is refused: {}", error.strip_backtrace()))
    };
    context.deregister_table(TABLE).map_err(wrong)?;
    context.register_table(TABLE, table).map_err(wrong)?;
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(query, &dialect).map_err(wrong)?;
    if !matches!(&statement, Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_))) {
        return Err(Error::Invalid(format!("{query:?} is not one SELECT over the table {TABLE}")));
    }
    let asked = state.resolve_table_references(&statement).map_err(wrong)?;
    if let Some(other) =
        asked.iter().find(|reference| reference.table() != TABLE || reference.schema().is_some())
    {
        return Err(Error::Invalid(format!(
            "the query {query:?} asks the table {other}; there is only {TABLE}"
        )));
    }
    let plan = state.statement_to_plan(statement).await.map_err(wrong)?;
    let allowed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed.verify_plan(&plan).map_err(wrong)?;
    if let Some(function) = unsteady(&plan).map_err(wrong)? {
        return Err(Error::Invalid(format!(
            "the query {query:?} calls {function}(), which answers otherwise each time: every executor must get the \
             same rows; compute that column before, or give the value"
        )));
    }
    Ok(plan)
}

/// A function of the plan that is none of its arguments alone.
fn unsteady(plan: &LogicalPlan) -> datafusion::error::Result<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(call.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn row_by_row(plan: &LogicalPlan) -> bool {
    let plain = plan.exists(|node| {
        let simple = matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::TableScan(_)
        );
        let mut subquery = false;
        node.apply_expressions(|expression| {
            subquery |= expression.exists(|inner| {
                Ok(matches!(inner, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)))
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(!simple || subquery)
    });
    // A plan that cannot be walked is read whole.
    !plain.unwrap_or(true)
}
