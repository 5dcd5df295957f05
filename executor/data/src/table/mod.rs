//! Files and partitions as tables whose partitions, read one after the other, give the rows in their order.

mod files;
mod partitions;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use lethe_flight::Result;

pub use files::FilesTable;
pub use partitions::Batches;

use crate::refused;
use partitions::Chained;

/// Where a dataset's rows come from.
#[derive(Debug, Clone)]
pub enum Table {
    Files(Arc<FilesTable>),
    /// In their order.
    Partitions {
        schema: SchemaRef,
        partitions: Vec<Arc<dyn PartitionStream>>,
    },
}

impl Table {
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Files(files) => files.schema(),
            Self::Partitions { schema, .. } => Arc::clone(schema),
        }
    }

    /// How many rows it has, where that is known without reading them.
    pub fn is_files(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// As the table that a query asks; `whole` makes one partition of it.
    pub(crate) fn provider(&self, context: &SessionContext, whole: bool) -> Result<Arc<dyn TableProvider>> {
        match self {
            Self::Files(files) => {
                files.register_store(context);
                Ok(if whole { Arc::new(files.whole()) } else { Arc::clone(files) as _ })
            }
            Self::Partitions { schema, partitions } => {
                let mut partitions = partitions.clone();
                if whole {
                    partitions = vec![Arc::new(Chained::new(Arc::clone(schema), partitions))];
                }
                Ok(Arc::new(StreamingTable::try_new(Arc::clone(schema), partitions).map_err(refused)?))
            }
        }
    }
}
