//! A driver and two executors, the processes themselves: partitions are copied, survive an executor, are dropped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use lethe_flight::client::{self, Client};
use lethe_flight::message::dataset::{
    CreateDataset, DataSpec, DropDataset, Input, Label, LabelKind, LocalShard, LocateDataset, Located, Order,
    Part, Piece, SealDataset,
};
use lethe_flight::process::{DriverConfig, ExecutorConfig, ExecutorInfo, Owner, Started};
use lethe_flight::wire::{Put, RowRange, Ticket, action};
use lethe_flight::{Error, Token, ipc, owner};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PARTITIONS: u32 = 3;

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn me() -> Owner {
    let pid = std::process::id();
    Owner { pid, started: owner::start_time(pid).unwrap() }
}

fn start(binary: &str, config: &impl serde::Serialize) -> Child {
    let mut child = Command::new(binary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{}", serde_json::to_string(config).unwrap()).unwrap();
    child
}

struct Cluster {
    folder: tempfile::TempDir,
    driver: String,
    client: Client,
    _process: Process,
}

struct Executor {
    process: Process,
    info: ExecutorInfo,
    store: PathBuf,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| folder.path().join(name).display().to_string();
        let config = DriverConfig {
            token: SECRET.into(),
            bind: "127.0.0.1".into(),
            port: 0,
            owner: me(),
            directory: text("driver"),
            log: text("driver.log"),
            copies: 2,
        };
        let mut child = start(env!("CARGO_BIN_EXE_lethe-driver"), &config);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Started::Ready { port, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        let driver = format!("127.0.0.1:{port}");
        let client = connect(&driver).await;
        Self { folder, driver, client, _process: Process(child) }
    }

    /// The executor of a Spark executor whose folder is `name`.
    async fn executor(&self, name: &str) -> Executor {
        let base = self.folder.path().join(name);
        std::fs::create_dir_all(&base).unwrap();
        let text = |name: &str| base.join(name).display().to_string();
        _ = std::fs::remove_file(base.join("info"));
        let config = ExecutorConfig {
            token: SECRET.into(),
            application: "app".into(),
            driver: self.driver.clone(),
            bind: "127.0.0.1".into(),
            ports: None,
            local_directory: base.display().to_string(),
            directory: text("store"),
            owner: me(),
            info: text("info"),
            log: text("log"),
            trainer: "/none".into(),
            python: "python3".into(),
            libtorch: None,
            memory_limit: None,
            disk_limit: None,
            threads: 1,
        };
        let process = Process(start(env!("CARGO_BIN_EXE_lethe-executor"), &config));
        let info = until("the executor starts", async || {
            let text = std::fs::read(base.join("info")).ok()?;
            serde_json::from_slice::<ExecutorInfo>(&text).ok()
        })
        .await;
        assert_eq!(info.error, None);
        Executor { process, info, store: base.join("store") }
    }

    async fn call(&mut self, kind: &str, message: &impl serde::Serialize) -> Result<(), Error> {
        client::call::<_, ()>(&mut self.client, kind, message).await
    }

    async fn locate(&self) -> Result<Located, Error> {
        let locate = LocateDataset { dataset: "d".into() };
        client::call(&mut self.client.clone(), action::LOCATE, &locate).await
    }

    /// Waits until each partition lies on so many executors.
    async fn held(&self, times: usize) -> Located {
        until("all partitions are held as often as they should be", async || {
            let located = self.locate().await.unwrap();
            located.partitions.iter().all(|info| info.locations.len() == times).then_some(located)
        })
        .await
    }
}

impl Executor {
    async fn put(&self, folder: &Path, partition: u32, rows: std::ops::Range<i64>) -> Result<(), Error> {
        let file = folder.join(format!("{partition}.arrow"));
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        ipc::write_file(&file, &batch.schema(), std::iter::once(batch.clone()), u64::MAX).unwrap();
        let put = Put::Partition { dataset: "d".into(), partition };
        client::put_file(&mut connect(&self.info.address).await, &put, file).await
    }

    async fn rows(&self, partition: u32) -> Result<Vec<i64>, Error> {
        self.some_rows(partition, None).await
    }

    async fn some_rows(&self, partition: u32, rows: Option<RowRange>) -> Result<Vec<i64>, Error> {
        let ticket = Ticket::Partition { dataset: "d".into(), partition, rows };
        let batches = client::get(&mut connect(&self.info.address).await, &ticket).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
        Ok(batches.iter().flat_map(|batch| numbers_of(batch.column(0))).collect())
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.store.join("partitions/d")).map_or(0, Iterator::count)
    }
}

fn numbers_of(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<Int64Type>().values().to_vec()
}

async fn connect(address: &str) -> Client {
    client::connect(address, &Token::new(SECRET).unwrap()).await.unwrap()
}

async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1500 {
        if let Some(found) = found().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 15 s")
}

fn numbers(partition: u32) -> std::ops::Range<i64> {
    let first = i64::from(partition) * 1000;
    first..first + 1000
}

/// Three partitions, put into the first of two executors.
async fn put() -> (Cluster, Executor, Executor) {
    let mut cluster = Cluster::start().await;
    let (first, second) = (cluster.executor("a").await, cluster.executor("b").await);
    cluster.call(action::CREATE_DATASET, &CreateDataset { dataset: "d".into(), files: None }).await.unwrap();
    for partition in 0..PARTITIONS {
        first.put(cluster.folder.path(), partition, numbers(partition)).await.unwrap();
    }
    let seal = SealDataset { dataset: "d".into(), partitions: PARTITIONS };
    cluster.call(action::SEAL, &seal).await.unwrap();
    (cluster, first, second)
}

#[tokio::test]
async fn a_second_copy_survives_a_killed_executor_and_is_copied_again() {
    let (cluster, first, second) = put().await;
    cluster.held(2).await;
    drop(first.process);
    cluster.held(1).await;
    for partition in 0..PARTITIONS {
        assert_eq!(second.rows(partition).await.unwrap(), numbers(partition).collect::<Vec<_>>());
    }
    let third = cluster.executor("c").await;
    cluster.held(2).await;
    assert_eq!(third.rows(2).await.unwrap(), numbers(2).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_executor_that_is_started_again_in_its_folder_says_what_lies_there() {
    let (cluster, first, second) = put().await;
    let before = cluster.held(2).await;
    drop((first.process, second.process));
    cluster.held(0).await;
    let again = cluster.executor("a").await;
    let after = cluster.held(1).await;
    assert_eq!(after.rows, before.rows);
    assert_eq!(again.rows(1).await.unwrap(), numbers(1).collect::<Vec<_>>());
    // What is computed again must be what it was.
    drop(again.process);
    cluster.held(0).await;
    let other = cluster.executor("z").await;
    let error = other.put(cluster.folder.path(), 0, 5..1005).await.unwrap_err().to_string();
    assert!(error.contains("not deterministic"), "{error}");
    assert_eq!(other.rows(0).await.map_err(|_| ()), Err(()), "it is not kept");
}

#[tokio::test]
async fn rows_of_a_rank_come_from_those_that_hold_them_and_nothing_else_does() {
    let (cluster, first, _second) = put().await;
    cluster.held(2).await;
    let some = Some(RowRange { start: 998, rows: 10 });
    assert_eq!(first.some_rows(1, some).await.unwrap(), [1998, 1999], "as far as there are");
    let third = cluster.executor("c").await;
    let piece = |partition, start, rows| Piece { partition, start, rows };
    let shards = vec![
        vec![piece(0, 0, 990), piece(1, 0, 1000), piece(2, 5, 995)],
        vec![piece(0, 990, 10), piece(2, 0, 5)],
    ];
    let local = LocalShard { rank: 1, partitions: vec![1000; 3], shards };
    let label = Label { column: "n".into(), kind: LabelKind::Class };
    let input = Input {
        name: "features".into(),
        columns: vec!["n".into()],
        dtype: None,
        shape: None,
        normalize: Vec::new(),
    };
    let data = DataSpec {
        dataset: "d".into(),
        queries: Vec::new(),
        inputs: vec![input],
        label: Some(label),
        weight: None,
        key: None,
        split: None,
        order: Order::default(),
        without: Vec::new(),
        local: Some(local.clone()),
    };
    let ask = async |data: &DataSpec| {
        let ticket = Ticket::Rows { data: data.clone(), part: Part::Train };
        let batches = client::get(&mut connect(&third.info.address).await, &ticket).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(ipc::from_flight)?;
        Ok::<_, Error>(batches.iter().flat_map(|batch| numbers_of(&batch["label"])).collect::<Vec<_>>())
    };
    let expected: Vec<i64> = (990..1000).chain(2000..2005).collect();
    assert_eq!(ask(&data).await.unwrap(), expected);
    assert_eq!(third.files(), 0, "no partition came");
    let views: Vec<_> = std::fs::read_dir(third.store.join("views")).unwrap().collect();
    assert_eq!(views.len(), 1, "what was fetched has gone: {views:?}");
    let other = LocalShard { partitions: vec![1000, 1000, 999], ..local };
    let error = ask(&DataSpec { local: Some(other), ..data }).await.unwrap_err().to_string();
    assert!(error.contains("other partitions than when its rows were dealt out"), "{error}");
}

#[tokio::test]
async fn a_dropped_dataset_leaves_the_disks() {
    let (mut cluster, first, second) = put().await;
    cluster.held(2).await;
    assert_eq!((first.files(), second.files()), (3, 3));
    cluster.call(action::DROP, &DropDataset { dataset: "d".into() }).await.unwrap();
    let error = cluster.locate().await.unwrap_err().to_string();
    assert!(error.contains("unpersisted"), "{error}");
    until("its files are removed", async || (first.files() + second.files() == 0).then_some(())).await;
    let late = first.put(cluster.folder.path(), 0, numbers(0)).await.unwrap_err().to_string();
    assert!(late.contains("unpersisted"), "{late}");
    assert_eq!(first.files(), 0);
}
