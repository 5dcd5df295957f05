//! What will come of a dataset: the columns of its queries, the shapes of its inputs.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use lethe_data::layout::{self, Layout};
use lethe_data::query::{self, Bounds, Rows};
use lethe_data::table::{Batches, FilesTable, Table};
use lethe_flight::message::dataset::{DataSpec, Described, Located, Location, Section};
use lethe_flight::wire::Ticket;
use lethe_flight::{Error, Result, Token, client, ipc};

/// Rows from which shapes are learned.
const BOUNDS: Bounds = Bounds { memory: 64 << 20, batch_rows: 64 };

/// Learned from the first row that the queries leave.
///
/// # Errors
/// If a query or a column is refused, or there is no row.
pub async fn describe(located: &Located, token: &Token, data: &DataSpec) -> Result<Described> {
    let table = table(located, token).await?;
    let schema = query::schema(&table, &data.queries).await?;
    let rows = Rows::plan(&table, &data.queries, &layout::columns(data), BOUNDS).await?;
    let first = rows.first().await?.ok_or_else(|| {
        Error::Invalid(format!("the dataset {} has no rows: check the filters that made it", located.dataset))
    })?;
    let layout = Layout::new(data, &first)?;
    let inputs: Vec<Section> = layout.inputs.iter().map(|input| input.section.clone()).collect();
    let inputs = layout.without(&inputs, &data.without)?;
    Ok(Described {
        columns: schema.fields().iter().map(|f| (f.name().clone(), f.data_type().to_string())).collect(),
        inputs: inputs.into_iter().map(|section| Section { taken: None, ..section }).collect(),
        rows: (located.files.is_none() && data.queries.is_empty()).then_some(located.rows),
    })
}

/// The columns that a chain of queries answers.
pub async fn schema(located: &Located, token: &Token, queries: &[String]) -> Result<SchemaRef> {
    query::schema(&table(located, token).await?, queries).await
}

async fn table(located: &Located, token: &Token) -> Result<Table> {
    if let Some(files) = &located.files {
        return Ok(Table::Files(Arc::new(FilesTable::open(files).await?)));
    }
    let filled = located.partitions.iter().filter(|partition| partition.rows > 0);
    // Those that are lost will be put again; any row tells the shapes.
    let (filled, lost): (Vec<_>, Vec<_>) = filled.partition(|partition| !partition.locations.is_empty());
    let first = filled.first().ok_or_else(|| match lost.len() {
        0 => Error::Invalid(format!(
            "the dataset {} has no rows: check the filters that made it",
            located.dataset
        )),
        lost => Error::Unreachable(format!(
            "all {lost} partitions of the dataset {} are lost with their executors; run lagom again, which puts them",
            located.dataset
        )),
    })?;
    let ticket =
        |partition: u32| Ticket::Partition { dataset: located.dataset.clone(), partition, rows: None };
    let mut batches = fetch(first.locations.clone(), token.clone(), ticket(first.partition)).await?;
    let schema = match batches.try_next().await.map_err(ipc::from_flight)? {
        Some(batch) => batch.schema(),
        None => return Err(Error::Invalid(format!("partition {} sent no rows", first.partition))),
    };
    let partitions = filled.iter().map(|partition| {
        let (locations, token, ticket) =
            (partition.locations.clone(), token.clone(), ticket(partition.partition));
        let open = move || {
            let fetched = fetch(locations.clone(), token.clone(), ticket.clone());
            let batches = futures::stream::once(fetched)
                .map_ok(|batches| batches.map_err(ipc::from_flight))
                .try_flatten();
            batches.boxed()
        };
        Arc::new(Batches::new(Arc::clone(&schema), open)) as _
    });
    Ok(Table::Partitions { partitions: partitions.collect(), schema: Arc::clone(&schema) })
}

/// A partition from whichever of its holders answers.
async fn fetch(
    locations: Vec<Location>,
    token: Token,
    ticket: Ticket,
) -> Result<arrow_flight::decode::FlightRecordBatchStream> {
    let mut last = None;
    for location in &locations {
        let fetched =
            async { client::get(&mut client::connect(&location.address, &token).await?, &ticket).await };
        match fetched.await {
            Ok(batches) => return Ok(batches),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        Error::Unreachable("a partition of the dataset is held by nobody; run lagom again".into())
    }))
}
