//! The calls of Flight, dispatched to the parts.

use arrow::datatypes::Schema;
use arrow_flight::{FlightData, FlightInfo, Result as ActionResult};
use futures::{StreamExt, stream};
use lethe_flight::message::dataset::{
    AnnouncePartition, CreateDataset, DescribeDataset, DropDataset, LocateDataset, SealDataset,
};
use lethe_flight::message::experiment::{
    Cancel, Checked, Created, ExperimentRef, Hello, Plan, Prepared, ReplaceData, Suggested,
};
use lethe_flight::message::gang::StoreCall;
use lethe_flight::message::slot::RegisterExecutor;
use lethe_flight::server::{Outgoing, Service, answer, answers};
use lethe_flight::wire::{Flight, Put, Ticket, action, parse};
use lethe_flight::{Error, PROTOCOL, Result, VERSION, blob, ipc};
use tonic::{Status, Streaming};

use super::pages::pages;
use super::{DriverService, describe, feed, lock, slot, sql};

#[tonic::async_trait]
impl Service for DriverService {
    async fn action(&self, kind: &str, body: &[u8]) -> Result<Outgoing<ActionResult>> {
        let experiments = &self.0.experiments;
        match kind {
            action::HELLO => answer(&Hello { protocol: PROTOCOL, version: VERSION.into() }),
            action::REGISTER => {
                let request: RegisterExecutor = parse(body)?;
                Ok(answers(self.0.executors.register(&request)?))
            }
            action::EXECUTOR_LOG => {
                self.0.executor_logs.append(parse(body)?).await?;
                answer(&())
            }
            action::CREATE_EXPERIMENT => {
                let plan: Plan = parse(body)?;
                let experiment = plan.experiment.clone();
                experiments.create(plan).await?;
                answer(&Created { experiment })
            }
            action::WATCH => {
                let experiment: ExperimentRef = parse(body)?;
                Ok(answers(feed::watch(experiments.get(&experiment.experiment)?.feed)))
            }
            action::PREPARED => {
                let prepared: Prepared = parse(body)?;
                let experiment = experiments.get(&prepared.experiment)?;
                experiment.prepared(prepared, &self.0.programs).await?;
                answer(&())
            }
            action::SUGGESTED => {
                let suggested: Suggested = parse(body)?;
                experiments.get(&suggested.experiment)?.suggested(suggested).await?;
                answer(&())
            }
            action::CHECKED => {
                let checked: Checked = parse(body)?;
                experiments.get(&checked.experiment)?.checked(checked).await?;
                answer(&())
            }
            action::CANCEL => {
                let cancel: Cancel = parse(body)?;
                experiments.get(&cancel.experiment)?.cancel(cancel.reason).await?;
                answer(&())
            }
            action::RESULT => {
                let experiment: ExperimentRef = parse(body)?;
                Ok(answers(stream::iter(pages(experiments.get(&experiment.experiment)?.result().await?))))
            }
            action::REPLACE_DATA => {
                let replace: ReplaceData = parse(body)?;
                // It is put: slots that join find it.
                lock(&self.0.catalog).locate(&replace.dataset)?;
                experiments.replace_data(&replace.experiment, &replace.dataset).await?;
                answer(&())
            }
            action::STORE => {
                let call: StoreCall = parse(body)?;
                answer(&experiments.get(&call.experiment)?.gangs.call(call).await?)
            }
            action::CREATE_DATASET => {
                let create: CreateDataset = parse(body)?;
                match &create.files {
                    None => lock(&self.0.catalog).create(&create)?,
                    Some(files) => {
                        let listed = lethe_data::listing::list(files).await?;
                        lock(&self.0.catalog).add_files(&create.dataset, listed)?;
                    }
                }
                answer(&())
            }
            action::ANNOUNCE => {
                let announced = lock(&self.0.catalog).announce(parse::<AnnouncePartition>(body)?);
                self.0.executors.notify();
                announced?;
                answer(&())
            }
            action::SEAL => {
                lock(&self.0.catalog).seal(&parse::<SealDataset>(body)?)?;
                self.0.executors.notify();
                answer(&())
            }
            action::DROP => {
                lock(&self.0.catalog).drop_dataset(&parse::<DropDataset>(body)?.dataset)?;
                self.0.executors.notify();
                answer(&())
            }
            action::DESCRIBE => {
                let DescribeDataset { data } = parse(body)?;
                let located = lock(&self.0.catalog).locate(&data.dataset)?;
                answer(&describe::describe(&located, &self.0.token, &data).await?)
            }
            action::LOCATE => {
                let located = lock(&self.0.catalog).locate(&parse::<LocateDataset>(body)?.dataset)?;
                answer(&located)
            }
            other => Err(Error::Invalid(format!(
                "the driver has no action {:?}",
                other.chars().take(100).collect::<String>()
            ))),
        }
    }

    async fn get(&self, ticket: Ticket) -> Result<Outgoing<FlightData>> {
        match ticket {
            Ticket::Program { hash } => blob::send(self.0.programs.find(&hash)?).await,
            Ticket::Initial { experiment, trial } => {
                ipc::send(self.0.experiments.get(&experiment)?.files.initial(trial)?).await
            }
            Ticket::Weights { experiment, trial } => {
                ipc::send(self.0.experiments.get(&experiment)?.files.weights(trial)?).await
            }
            Ticket::Checkpoint { experiment, checkpoint } => {
                ipc::send(self.0.experiments.get(&experiment)?.files.checkpoint(checkpoint)?).await
            }
            Ticket::Sql { experiment, query } => {
                let snapshot = self.0.experiments.get(&experiment)?.snapshot().await?;
                Ok(sql::send(snapshot.query(&query).await?))
            }
            Ticket::Partition { .. }
            | Ticket::Rows { .. }
            | Ticket::Batches { .. }
            | Ticket::Preprocessing { .. } => Err(Error::Invalid(
                "the driver holds no rows; ask an executor that dataset.locate names".into(),
            )),
        }
    }

    async fn put(&self, put: Put, frames: Outgoing<FlightData>) -> Result<()> {
        match put {
            Put::Program { hash } => self.0.programs.receive(frames, hash).await,
            Put::Initial { experiment, trial } => {
                self.0.experiments.get(&experiment)?.files.receive_initial(frames, trial).await
            }
            Put::Weights { experiment, trial, attempt } => {
                self.0.experiments.get(&experiment)?.files.receive_weights(frames, trial, attempt).await
            }
            Put::Checkpoint { experiment, checkpoint } => {
                self.0.experiments.get(&experiment)?.files.receive_checkpoint(frames, checkpoint).await
            }
            Put::Partition { .. } => {
                Err(Error::Invalid("the driver holds no rows; put partitions to an executor".into()))
            }
        }
    }

    async fn list(&self) -> Result<Outgoing<FlightInfo>> {
        Ok(stream::iter(self.flights()).map(|info| info.map_err(Status::from)).boxed())
    }

    async fn info(&self, flight: Flight) -> Result<FlightInfo> {
        match flight {
            Flight::Dataset { dataset } => self.flight(&dataset),
            Flight::Query { .. } => Err(Error::Invalid(
                "a query's rows are read from an executor; ask for its schema, or for the dataset".into(),
            )),
        }
    }

    async fn schema(&self, flight: Flight) -> Result<Schema> {
        match flight {
            Flight::Dataset { dataset } => self.dataset_schema(&dataset).await,
            Flight::Query { dataset, queries } => self.query_schema(&dataset, &queries).await,
        }
    }

    async fn exchange(&self, frames: Streaming<FlightData>) -> Result<Outgoing<FlightData>> {
        Ok(slot::open(&self.0.experiments, frames).await?.map(|frame: Result<_, Status>| frame).boxed())
    }
}
