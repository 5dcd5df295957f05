//! Errors of the protocol, and how they map to gRPC's codes.

use tonic::{Code, Status};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between two of Lethe's processes. The first line of each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side sent something that this side cannot use.
    #[error("{0}")]
    Invalid(String),
    /// The request is fine, the state is not: a dataset not sealed, an experiment unknown, another protocol.
    #[error("{0}")]
    Precondition(String),
    /// A limit of [`crate::limits`], or of memory or disk.
    #[error("{0}")]
    Exhausted(String),
    /// Partitions are held by nobody any more: they must be put again.
    #[error(
        "{partitions} partitions of dataset {dataset} are lost: no executor holds them any more; run lagom again, which puts \
         them again"
    )]
    Lost { dataset: String, partitions: u32 },
    /// The other side could not be reached in time.
    #[error("{0}")]
    Unreachable(String),
    /// What the other side answered.
    #[error("{}", .0.message())]
    Remote(Box<Status>),
    #[error("cannot read or write {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("not a message of Lethe's protocol: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    pub fn file(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::File { path: path.as_ref().display().to_string(), source }
    }

    /// Whether another try on a new connection may help.
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Remote(status) => {
                matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
            }
            _ => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Remote(Box::new(status))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid(_) | Error::Json(_) => Self::invalid_argument(text),
            Error::Precondition(_) | Error::Lost { .. } => Self::failed_precondition(text),
            Error::Exhausted(_) => Self::resource_exhausted(text),
            Error::Unreachable(_) => Self::unavailable(text),
            Error::Remote(status) => *status,
            Error::File { .. } | Error::Arrow(_) => Self::internal(text),
        }
    }
}
