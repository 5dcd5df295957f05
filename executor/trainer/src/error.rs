//! What can go wrong in a trial or in the trainer itself.

const LOST: &str = "another rank of the gang was lost: ";
/// In what libtorch says of connections to other ranks.
const CONNECTIONS: [&str; 4] = ["gloo", "Gloo", "NCCL communicator", "ncclRemoteError"];

/// The first line names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The trial's own: a wrong hyperparameter, labels that do not fit the model, a loss that is not finite.
    #[error("{0}")]
    Trial(String),
    /// What libtorch said, with its first line first.
    #[error("{0}")]
    Torch(String),
    #[error("cannot read {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error(transparent)]
    Flight(#[from] lethe_flight::Error),
    /// Another rank of the gang has gone, or did not come.
    #[error("{LOST}{0}")]
    Gang(String),
    /// The executor did not keep to the protocol, or this process cannot work.
    #[error("{0}")]
    Worker(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn trial(text: impl Into<String>) -> Self {
        Self::Trial(text.into())
    }

    pub fn file(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::File { path: path.as_ref().display().to_string(), source }
    }

    /// Whether another attempt may go well: a file that could not be read or written, an executor that went.
    pub fn is_infrastructure(&self) -> bool {
        use lethe_flight::Error as Flight;
        match self {
            Self::File { .. } | Self::Worker(_) | Self::Gang(_) => true,
            Self::Flight(error) => {
                matches!(error, Flight::File { .. } | Flight::Unreachable(_) | Flight::Arrow(_))
            }
            Self::Trial(_) | Self::Torch(_) => false,
        }
    }

    /// Of a rank of a gang: what libtorch says of a connection is about another rank.
    pub fn of_gang(self) -> Self {
        match self {
            Self::Torch(text) if CONNECTIONS.iter().any(|name| text.contains(name)) => Self::Gang(text),
            // It came through a backward pass.
            Self::Torch(text) if text.contains(LOST) => {
                let of = text.split_once(LOST).map(|(_, of)| of.lines().next().unwrap_or(of).to_owned());
                Self::Gang(of.unwrap_or(text))
            }
            other => other,
        }
    }

    /// Says what was being done when libtorch failed.
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Torch(text) => Self::Torch(format!("{what}: {text}")),
            other => other,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        match error {
            tch::TchError::Torch(text) => Self::Torch(plain(&text)),
            other => Self::Torch(other.to_string()),
        }
    }
}

/// TorchScript puts its traceback first and the reason last; a reader wants the reason first.
pub(crate) fn plain(text: &str) -> String {
    let text = text.trim();
    let reason = text.lines().rev().find(|line| {
        line.split_once(": ").is_some_and(|(kind, _)| kind.ends_with("Error") && !kind.contains(' '))
    });
    match reason {
        Some(reason) if !text.starts_with(reason) => {
            let reason = reason.strip_prefix("RuntimeError: ").unwrap_or(reason);
            format!("{reason}\n{text}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_torchscript_error_comes_first() {
        let text = "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript:\n  \
                    File \"x.py\", line 3, in forward\nRuntimeError: mat1 and mat2 shapes cannot be multiplied\n";
        assert!(plain(text).starts_with("mat1 and mat2 shapes cannot be multiplied\n"));
        assert_eq!(plain(" a plain text "), "a plain text");
    }
}
