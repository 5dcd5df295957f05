//! Where queries run, and with what: the driver's decisions come first.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use futures::{Stream, StreamExt};
use lethe_flight::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{SnapshotRows, query};

/// For the sorts, groups and joins of all queries together.
pub const MEMORY_BYTES: usize = 256 << 20;
/// Queries at once; each has a thread.
const QUERIES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
/// Of computing, not of waiting for whoever reads the rows.
const TIME: Duration = Duration::from_secs(120);
/// Batches that wait to be read.
const AHEAD: usize = 2;
/// How long they wait before the query gives its place to another.
const READING: Duration = Duration::from_secs(60);

/// What the queries of one experiment share.
#[derive(Clone)]
pub struct Limits {
    env: Arc<RuntimeEnv>,
    queries: Arc<Semaphore>,
    /// How long a query waits for one of them to end.
    pub(super) patience: Duration,
    /// How long a query's rows wait to be read.
    pub(super) reading: Duration,
}

impl Limits {
    pub fn new() -> Result<Self> {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY_BYTES)))
            .with_disk_manager_builder(disk)
            .build_arc();
        let env = env.map_err(|e| query::failed(&e))?;
        Ok(Self { env, queries: Arc::new(Semaphore::new(QUERIES)), patience: PATIENCE, reading: READING })
    }
}

/// What a query answers.
pub struct Answer {
    pub schema: SchemaRef,
    pub rows: Rows,
}

/// Batches, each of few thousand rows. Ends after an error. Dropping it ends the query.
pub struct Rows {
    batches: mpsc::Receiver<Message>,
    /// They were not read for so long that the query was broken off.
    pub(super) unread: Arc<OnceLock<Duration>>,
    over: bool,
}

enum Message {
    Batch(RecordBatch),
    Failed(Error),
    /// Without it the thread has died.
    End,
}

pub async fn answer(rows: Arc<SnapshotRows>, limits: &Limits, sql: String) -> Result<Answer> {
    let waited = timeout(limits.patience, Arc::clone(&limits.queries).acquire_owned()).await;
    let Ok(Ok(permit)) = waited else {
        return Err(Error::Exhausted(format!(
            "{QUERIES} queries run already, which is the most at once: try again when one has ended"
        )));
    };
    let env = Arc::clone(&limits.env);
    let (planned, schema) = oneshot::channel();
    let (send, batches) = mpsc::channel(AHEAD);
    let unread = Arc::new(OnceLock::new());
    let (reading, broken_off) = (limits.reading, Arc::clone(&unread));
    let run = move || {
        let query = Query { env, sql: &sql, reading, unread: &broken_off };
        carry_out(&rows, query, planned, &send, permit);
    };
    let spawned = thread::Builder::new().name("lethe-query".to_owned()).spawn(run);
    spawned.map_err(|e| Error::Exhausted(format!("cannot start a thread for a query: {e}")))?;
    let schema = schema.await.map_err(|_| broken())??;
    Ok(Answer { schema, rows: Rows { batches, unread, over: false } })
}

struct Query<'a> {
    env: Arc<RuntimeEnv>,
    sql: &'a str,
    reading: Duration,
    unread: &'a OnceLock<Duration>,
}

fn carry_out(
    rows: &SnapshotRows,
    query: Query<'_>,
    planned: oneshot::Sender<Result<SchemaRef>>,
    send: &mpsc::Sender<Message>,
    _permit: OwnedSemaphorePermit,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            _ = planned.send(Err(Error::Exhausted(format!("cannot start a query: {error}"))));
            return;
        }
    };
    let work = async {
        let mut left = TIME;
        let mut stream = match bounded(&mut left, query::begin(rows, query.env, query.sql)).await.flatten() {
            Ok(stream) => stream,
            Err(error) => {
                _ = planned.send(Err(error));
                return;
            }
        };
        _ = planned.send(Ok(stream.schema()));
        let end = loop {
            match bounded(&mut left, stream.next()).await {
                Ok(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Ok(Some(Ok(batch))) => match timeout(query.reading, send.send(Message::Batch(batch))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        _ = query.unread.set(query.reading);
                        return;
                    }
                },
                Ok(Some(Err(error))) => break Message::Failed(query::failed(&error)),
                Ok(None) => break Message::End,
                Err(error) => break Message::Failed(error),
            }
        };
        if timeout(query.reading, send.send(end)).await.is_err() {
            _ = query.unread.set(query.reading);
        }
    };
    runtime.block_on(async {
        tokio::select! {
            () = work => {}
            // Nobody waits for the rest.
            () = send.closed() => {}
        }
    });
}

/// Within the query's time, of which what it took is gone.
async fn bounded<T>(left: &mut Duration, work: impl Future<Output = T>) -> Result<T> {
    let begin = Instant::now();
    let done = timeout(*left, work).await;
    *left = left.saturating_sub(begin.elapsed());
    done.map_err(|_| {
        Error::Exhausted(format!("the query took more than {} s and was broken off", TIME.as_secs()))
    })
}

fn broken() -> Error {
    Error::Precondition("the query broke off: the driver's log says why".into())
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let message = std::task::ready!(self.batches.poll_recv(cx));
        self.over = !matches!(message, Some(Message::Batch(_)));
        Poll::Ready(match message {
            Some(Message::Batch(batch)) => Some(Ok(batch)),
            Some(Message::Failed(error)) => Some(Err(error)),
            Some(Message::End) => None,
            None => Some(Err(self.unread.get().map_or_else(broken, |reading| {
                Error::Exhausted(format!(
                    "the query's rows were not read for {reading:?}, and it was broken off: read them as they come, \
                     or select fewer"
                ))
            }))),
        })
    }
}
