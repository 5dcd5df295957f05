//! Partitions that are read by a function, and several read as one.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

type Open = dyn Fn() -> BoxStream<'static, lethe_flight::Result<RecordBatch>> + Send + Sync;

/// A partition whose batches are opened anew each time that it is read.
pub struct Batches {
    schema: SchemaRef,
    open: Box<Open>,
}

impl Batches {
    pub fn new(
        schema: SchemaRef,
        open: impl Fn() -> BoxStream<'static, lethe_flight::Result<RecordBatch>> + Send + Sync + 'static,
    ) -> Self {
        Self { schema, open: Box::new(open) }
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Batches")
    }
}

impl PartitionStream for Batches {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = (self.open)().map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// Several partitions, one after the other.
#[derive(Debug)]
pub struct Chained {
    schema: SchemaRef,
    partitions: Vec<Arc<dyn PartitionStream>>,
}

impl Chained {
    pub fn new(schema: SchemaRef, partitions: Vec<Arc<dyn PartitionStream>>) -> Self {
        Self { schema, partitions }
    }
}

impl PartitionStream for Chained {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let partitions = self.partitions.clone();
        let all =
            futures::stream::iter(partitions).map(move |one| one.execute(Arc::clone(&context))).flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), all.map(Result::from)))
    }
}
