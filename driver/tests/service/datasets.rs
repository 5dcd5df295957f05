//! Partitions and the executors that hold them.

use std::time::Duration;

use futures::StreamExt;
use lethe_flight::message::dataset::{AnnouncePartition, CreateDataset, LocateDataset, Located, SealDataset};
use lethe_flight::message::slot::{RegisterExecutor, ToExecutor};
use lethe_flight::wire::action;
use lethe_flight::{PROTOCOL, VERSION, client};

use crate::common::{Driver, Null, within};

#[tokio::test]
async fn an_executor_that_goes_takes_its_partitions_out_of_the_catalog() {
    let driver = Driver::start().await;
    let mut client = driver.client().await;
    let create = CreateDataset { dataset: "d".into(), files: None };
    let _: Null = client::call(&mut client, action::CREATE_DATASET, &create).await.unwrap();
    let register = RegisterExecutor {
        protocol: PROTOCOL,
        version: VERSION.into(),
        executor: "x".into(),
        address: "h:1".into(),
    };
    let mut other = driver.client().await;
    let mut registered =
        client::call_stream::<_, ToExecutor>(&mut other, action::REGISTER, &register).await.unwrap();
    let hello = within(registered.next()).await.unwrap().unwrap();
    assert!(matches!(hello, ToExecutor::Registered { protocol: PROTOCOL, .. }), "{hello:?}");
    let announce = AnnouncePartition {
        dataset: "d".into(),
        partition: 0,
        rows: 3,
        bytes: 24,
        hash: "0".repeat(32),
        executor: "x".into(),
        address: "h:1".into(),
    };
    let _: Null = client::call(&mut client, action::ANNOUNCE, &announce).await.unwrap();
    let seal = SealDataset { dataset: "d".into(), partitions: 1 };
    let _: Null = client::call(&mut client, action::SEAL, &seal).await.unwrap();
    let locate = LocateDataset { dataset: "d".into() };
    let located: Located = client::call(&mut client, action::LOCATE, &locate).await.unwrap();
    assert_eq!(located.partitions[0].locations[0].address, "h:1");
    drop((registered, other));
    within(async {
        loop {
            let located: Located = client::call(&mut client, action::LOCATE, &locate).await.unwrap();
            if located.partitions[0].locations.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
