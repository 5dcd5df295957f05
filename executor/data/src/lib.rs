//! Datasets as DataFusion sees them.
