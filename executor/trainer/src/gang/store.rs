//! Where the ranks of a gang find each other.

use std::time::Duration;

use crate::error::Result;

/// Keys and values that all ranks of one attempt see (a `c10d::Store`). Its calls block.
pub trait Store: Send + Sync {
    fn set(&self, key: &str, value: &[u8]) -> Result<()>;

    /// The value, once it is there; None if that takes longer than `wait`.
    ///
    /// # Errors
    /// If the store cannot be asked, or the attempt is to end meanwhile.
    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>>;

    /// Adds to the number under the key, which begins at 0; the sum.
    fn add(&self, key: &str, amount: i64) -> Result<i64>;

    /// Whether the key was there.
    fn remove(&self, key: &str) -> Result<bool>;
}

/// How a rank comes to its gang.
pub trait Meeting: Send + Sync {
    /// The address of this machine that the others reach it at.
    fn host(&self) -> &str;

    /// The store of the attempt.
    fn store(&self, attempt: &Attempt) -> Box<dyn Store>;
}

/// Which attempt, and what ends its waiting.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub experiment: String,
    pub trial: u32,
    pub attempt: u32,
    pub interrupter: crate::function::Interrupter,
}
