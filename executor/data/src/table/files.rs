//! Files in a store, each partition a run of them in the order of their paths.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use lethe_flight::message::dataset::{FileFormat, ListedFiles};
use lethe_flight::{Error, Result, schema};
use object_store::ObjectStore;

use crate::listing::{NO_VALUE, check, folder_values, handler};
use crate::store;

/// Bytes of a Parquet file that one partition reads: row groups that begin in them.
const PIECE: u64 = 8 << 20;

#[derive(Debug, Clone)]
pub struct FilesTable {
    store: Arc<dyn ObjectStore>,
    address: ObjectStoreUrl,
    format: Arc<dyn Format>,
    schema: TableSchema,
    groups: Vec<FileGroup>,
}

impl FilesTable {
    /// # Errors
    /// If the store cannot be opened, or a file has changed since it was listed.
    pub async fn open(listed: &ListedFiles) -> Result<Self> {
        let first = listed.files.first().ok_or_else(|| Error::Invalid("the dataset has no files".into()))?;
        let (store, _) = store::open(&first.url, &listed.options)?;
        let metas = check(&store, &listed.files).await?;
        let mut values = Vec::with_capacity(metas.len());
        for file in &listed.files {
            values.push(folder_values(&file.url, &listed.folders)?);
        }
        let fields: Vec<FieldRef> = listed
            .folders
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let kind = kind_of(values.iter().map(|row| row[i].as_str()));
                Arc::new(Field::new(name, kind, true))
            })
            .collect();
        let mut groups = Vec::new();
        for (meta, values) in metas.into_iter().zip(values) {
            let scalars = values.iter().zip(&fields).map(|(value, field)| scalar(value, field.data_type()));
            let file = PartitionedFile::new_from_meta(meta).with_partition_values(scalars.collect());
            groups.extend(pieces(file, listed.format));
        }
        let url = url::Url::parse(&first.url)
            .map_err(|e| Error::Invalid(format!("{:?} is no address: {e}", first.url)))?;
        let address = ObjectStoreUrl::parse(&url[..url::Position::BeforePath]).map_err(crate::refused)?;
        Ok(Self {
            store,
            address,
            format: handler(listed.format),
            schema: TableSchema::builder(Arc::new(schema::parse(&listed.schema)?))
                .with_table_partition_cols(fields)
                .build(),
            groups,
        })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    pub(super) fn register_store(&self, context: &SessionContext) {
        let url: &url::Url = self.address.as_ref();
        context.register_object_store(url, Arc::clone(&self.store));
    }

    /// All files as one partition.
    pub(super) fn whole(&self) -> Self {
        let all = self.groups.iter().flat_map(FileGroup::iter).cloned().collect();
        Self { groups: vec![FileGroup::new(all)], ..self.clone() }
    }
}

/// A Parquet file's row groups can be read apart; of the other formats a partition reads the file.
fn pieces(file: PartitionedFile, format: FileFormat) -> Vec<FileGroup> {
    let bytes = file.object_meta.size;
    if format != FileFormat::Parquet || bytes <= PIECE {
        return vec![FileGroup::new(vec![file])];
    }
    let starts = (0..bytes).step_by(PIECE as usize);
    let piece = |start: u64| file.clone().with_range(start as i64, bytes.min(start + PIECE) as i64);
    starts.map(|start| FileGroup::new(vec![piece(start)])).collect()
}

/// Folders' values are whole numbers if all of them are.
fn kind_of<'a>(values: impl Iterator<Item = &'a str>) -> DataType {
    let mut values = values.filter(|value| *value != NO_VALUE);
    if values.all(|value| value.parse::<i64>().is_ok()) { DataType::Int64 } else { DataType::Utf8 }
}

fn scalar(value: &str, kind: &DataType) -> ScalarValue {
    let known = (value != NO_VALUE).then_some(value);
    match kind {
        DataType::Int64 => ScalarValue::Int64(known.and_then(|value| value.parse().ok())),
        _ => ScalarValue::Utf8(known.map(str::to_owned)),
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Self::schema(self)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.address.clone(), source)
            .with_file_groups(self.groups.clone())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            // Else an idle partition takes a file of another, and the rows lose their order.
            .with_preserve_order(true)
            .build();
        self.format.create_physical_plan(state, config).await
    }

    /// Parquet leaves out row groups by them; the rest is filtered again.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
