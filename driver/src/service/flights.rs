//! Datasets as Flight names them: what any Flight client can find and read.

use arrow::datatypes::Schema;
use arrow_flight::{FlightEndpoint, FlightInfo};
use lethe_flight::message::dataset::{Located, PartitionInfo};
use lethe_flight::wire::{Flight, Ticket};
use lethe_flight::{Error, Result, schema};

use super::{DriverService, describe, lock};

impl DriverService {
    /// All datasets that can be read.
    pub(super) fn flights(&self) -> Vec<Result<FlightInfo>> {
        let names = lock(&self.0.catalog).names();
        names.iter().map(|name| self.flight(name)).collect()
    }

    /// A dataset's schema and rows, and an endpoint for each of its partitions, in their order. One of files has no
    /// endpoints: whoever reads it reads the files.
    pub(super) fn flight(&self, dataset: &str) -> Result<FlightInfo> {
        let (located, schema) = {
            let catalog = lock(&self.0.catalog);
            (catalog.locate(dataset)?, catalog.schema(dataset)?.to_owned())
        };
        info(&located, &schema::parse(&schema)?)
    }

    /// # Errors
    /// If the dataset cannot be read.
    pub(super) async fn dataset_schema(&self, dataset: &str) -> Result<Schema> {
        let (files, text) = {
            let catalog = lock(&self.0.catalog);
            let text = catalog.schema(dataset)?.to_owned();
            (catalog.locate(dataset).is_ok_and(|located| located.files.is_some()), text)
        };
        // The folders of files give columns too.
        if files { self.query_schema(dataset, &[]).await } else { schema::parse(&text) }
    }

    /// What a chain of queries finds in it.
    pub(super) async fn query_schema(&self, dataset: &str, queries: &[String]) -> Result<Schema> {
        let located = lock(&self.0.catalog).locate(dataset)?;
        Ok(describe::schema(&located, &self.0.token, queries).await?.as_ref().clone())
    }
}

fn info(located: &Located, schema: &Schema) -> Result<FlightInfo> {
    let dataset = &located.dataset;
    let mut info = FlightInfo::new()
        .try_with_schema(schema)?
        .with_descriptor(Flight::Dataset { dataset: dataset.clone() }.render()?)
        .with_ordered(true);
    for partition in &located.partitions {
        info = info.with_endpoint(endpoint(dataset, partition)?);
    }
    if located.files.is_some() {
        return Ok(info.with_total_records(-1).with_total_bytes(-1));
    }
    let bytes: u64 = located.partitions.iter().map(|partition| partition.bytes).sum();
    Ok(info.with_total_records(number(located.rows)?).with_total_bytes(number(bytes)?))
}

fn endpoint(dataset: &str, partition: &PartitionInfo) -> Result<FlightEndpoint> {
    let ticket = Ticket::Partition { dataset: dataset.into(), partition: partition.partition, rows: None };
    let endpoint = FlightEndpoint::new().with_ticket(ticket.render()?);
    Ok(partition.locations.iter().fold(endpoint, |endpoint, location| {
        endpoint.with_location(format!("grpc+tcp://{}", location.address))
    }))
}

fn number(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::Invalid(format!("{number} is more than Flight can say")))
}
