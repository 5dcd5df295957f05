//! Partitions, the executors that hold them, and slots whose data are lost.

use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lethe_flight::client::{self, Client, exchange};
use lethe_flight::message::dataset::{
    AnnouncePartition, CreateDataset, DataSpec, DropDataset, Input, LocateDataset, Located, Order,
    SealDataset,
};
use lethe_flight::message::experiment::{ReplaceData, TrialState, WatchEvent};
use lethe_flight::message::slot::{FromSlot, RegisterExecutor, ToExecutor, ToSlot};
use lethe_flight::message::training::Outcome;
use lethe_flight::wire::{Flight, Ticket, action};
use lethe_flight::{PROTOCOL, Result, VERSION, schema};
use serde::Serialize;

use crate::common::{Driver, Null, Slot, event, join, within};

struct Executor {
    orders: BoxStream<'static, Result<ToExecutor>>,
    _client: Client,
}

impl Executor {
    async fn register(driver: &Driver, name: &str) -> Self {
        let register = RegisterExecutor {
            protocol: PROTOCOL,
            version: VERSION.into(),
            executor: name.into(),
            address: format!("{name}:1"),
        };
        let mut client = driver.client().await;
        let orders =
            client::call_stream::<_, ToExecutor>(&mut client, action::REGISTER, &register).await.unwrap();
        let mut executor = Self { orders: orders.boxed(), _client: client };
        let hello = executor.next().await;
        assert!(matches!(hello, ToExecutor::Registered { protocol: PROTOCOL, .. }), "{hello:?}");
        executor
    }

    async fn next(&mut self) -> ToExecutor {
        within(self.orders.next()).await.unwrap().unwrap()
    }
}

async fn call(driver: &Driver, kind: &str, message: &impl Serialize) -> Result<Null> {
    client::call(&mut driver.client().await, kind, message).await
}

fn columns() -> Schema {
    Schema::new(vec![Field::new("n", DataType::Int64, false)])
}

async fn announce(driver: &Driver, dataset: &str, partition: u32, executor: &str) -> Result<Null> {
    let announce = AnnouncePartition {
        dataset: dataset.into(),
        partition,
        rows: 3,
        bytes: 24,
        hash: "0".repeat(32),
        schema: schema::render(&columns()).unwrap(),
        executor: executor.into(),
        address: format!("{executor}:1"),
    };
    call(driver, action::ANNOUNCE, &announce).await
}

/// A dataset of two partitions, on executor `x`.
async fn put(driver: &Driver, dataset: &str) {
    call(driver, action::CREATE_DATASET, &CreateDataset { dataset: dataset.into(), files: None })
        .await
        .unwrap();
    for partition in 0..2 {
        announce(driver, dataset, partition, "x").await.unwrap();
    }
    call(driver, action::SEAL, &SealDataset { dataset: dataset.into(), partitions: 2 }).await.unwrap();
}

async fn locate(driver: &Driver) -> Result<Located> {
    client::call(&mut driver.client().await, action::LOCATE, &LocateDataset { dataset: "d".into() }).await
}

#[tokio::test]
async fn an_executor_that_goes_takes_its_partitions_out_of_the_catalog() {
    let driver = Driver::start().await;
    let executor = Executor::register(&driver, "x").await;
    put(&driver, "d").await;
    assert_eq!(locate(&driver).await.unwrap().partitions[0].locations[0].address, "x:1");
    drop(executor);
    within(async {
        while !locate(&driver).await.unwrap().partitions[0].locations.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn executors_are_told_what_to_copy_and_what_to_drop() {
    let driver = Driver::start().await;
    let mut first = Executor::register(&driver, "x").await;
    put(&driver, "d").await;
    let mut second = Executor::register(&driver, "y").await;
    for number in 0..2 {
        let ToExecutor::Copy { dataset, partition, locations } = second.next().await else {
            panic!("no copy")
        };
        assert_eq!((dataset.as_str(), partition), ("d", number));
        assert_eq!(locations.iter().map(|place| place.address.as_str()).collect::<Vec<_>>(), ["x:1"]);
    }
    call(&driver, action::DROP, &DropDataset { dataset: "d".into() }).await.unwrap();
    for executor in [&mut first, &mut second] {
        assert_eq!(executor.next().await, ToExecutor::Drop { dataset: "d".into() });
    }
    assert!(locate(&driver).await.unwrap_err().to_string().contains("unpersisted"));
}

#[tokio::test]
async fn flight_lists_datasets_with_an_endpoint_for_each_partition() {
    let driver = Driver::start().await;
    let _executor = Executor::register(&driver, "x").await;
    put(&driver, "d").await;
    let unsealed = CreateDataset { dataset: "unsealed".into(), files: None };
    call(&driver, action::CREATE_DATASET, &unsealed).await.unwrap();
    let mut client = driver.client().await;
    let listed: Vec<_> = client
        .list_flights(arrow_flight::Criteria::default())
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    let named = Flight::Dataset { dataset: "d".into() }.render().unwrap();
    let info = client.get_flight_info(named.clone()).await.unwrap().into_inner();
    assert_eq!((info.total_records, info.total_bytes), (6, 48));
    assert_eq!(info.flight_descriptor, Some(named.clone()));
    assert_eq!(info.clone().try_decode_schema().unwrap(), columns());
    for (number, endpoint) in info.endpoint.iter().enumerate() {
        let ticket = Ticket::parse(endpoint.ticket.as_ref().unwrap()).unwrap();
        assert_eq!(ticket, Ticket::Partition { dataset: "d".into(), partition: number as u32, rows: None });
        assert_eq!(endpoint.location[0].uri, "grpc+tcp://x:1");
    }
    let found: Schema = (&client.get_schema(named).await.unwrap().into_inner()).try_into().unwrap();
    assert_eq!(found, columns());
    let unknown = Flight::Dataset { dataset: "unsealed".into() }.render().unwrap();
    assert!(client.get_flight_info(unknown).await.unwrap_err().message().contains("unsealed"));
}

fn data(dataset: &str) -> DataSpec {
    let input = Input {
        name: "n".into(),
        columns: vec!["n".into()],
        dtype: None,
        shape: None,
        normalize: Vec::new(),
    };
    DataSpec {
        dataset: dataset.into(),
        queries: Vec::new(),
        inputs: vec![input],
        label: None,
        weight: None,
        key: None,
        split: None,
        order: Order::default(),
        without: Vec::new(),
        local: None,
    }
}

#[tokio::test]
async fn a_slot_without_its_data_leaves_and_nothing_counts_against_a_trial() {
    let driver = Driver::start().await;
    let mut plan = driver.plan(2, 2);
    plan.data = Some(data("d"));
    driver.create(&plan).await.unwrap();
    let mut watch = driver.watch().await;
    let mut going = Slot::open(&driver, 0).await;
    let spec = going.assigned().await;
    let (sender, mut receiver) = exchange::<_, ToSlot>(&mut driver.client().await, &join(1)).await.unwrap();
    assert!(matches!(within(receiver.next()).await, Some(Ok(ToSlot::Joined { data: Some(_) }))));
    sender.send(&FromSlot::Lacks { dataset: "d".into(), partitions: 1 }).await.unwrap();
    assert_eq!(event(&mut watch).await, WatchEvent::Lacks { dataset: "d".into(), slot: 1 });
    assert!(within(receiver.next()).await.is_none(), "it has left");
    going.end(&spec, Outcome::Finished).await;
    going.work().await;
    let result = driver.result().await;
    assert!(result.trials.iter().all(|trial| (trial.state, trial.attempts) == (TrialState::Finished, 1)));
}

#[tokio::test]
async fn data_that_were_put_anew_reach_slots_that_join_and_the_others_are_released() {
    let driver = Driver::start().await;
    let _executor = Executor::register(&driver, "x").await;
    let mut plan = driver.plan(2, 2);
    plan.data = Some(data("d"));
    driver.create(&plan).await.unwrap();
    let mut busy = Slot::open(&driver, 0).await;
    let spec = busy.assigned().await;
    assert_eq!(spec.data.as_ref().unwrap().dataset, "d");
    let replace = ReplaceData { experiment: "e".into(), dataset: "e-1".into() };
    let early = call(&driver, action::REPLACE_DATA, &replace).await.unwrap_err();
    assert!(early.to_string().contains("e-1"), "{early}");
    put(&driver, "e-1").await;
    call(&driver, action::REPLACE_DATA, &replace).await.unwrap();
    assert_eq!(busy.next().await, Some(ToSlot::Release));
    assert_eq!(busy.next().await, None);
    let mut client = driver.client().await;
    let (sender, mut receiver) = exchange::<_, ToSlot>(&mut client, &join(0)).await.unwrap();
    let Some(Ok(ToSlot::Joined { data: Some(joined) })) = within(receiver.next()).await else {
        panic!("no data")
    };
    assert_eq!(joined.dataset, "e-1");
    sender.send(&FromSlot::Ready { worker_pid: 1, device: "cpu".into() }).await.unwrap();
    let mut again = Slot { client, sender, receiver };
    let spec = again.assigned().await;
    assert_eq!((spec.attempt, spec.data.as_ref().unwrap().dataset.as_str()), (2, "e-1"));
    again.end(&spec, Outcome::Finished).await;
    again.work().await;
    assert!(driver.result().await.trials.iter().all(|trial| trial.state == TrialState::Finished));
}
