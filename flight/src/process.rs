//! How processes are started: their configuration, one line of JSON on stdin, and what they answer.
//! The token is never in argv, in Spark's configuration, or in a log.

use serde::{Deserialize, Serialize};

/// A process whose end ends ours: pid and start time (field 22 of `/proc/<pid>/stat`), so that a reused
/// pid is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    pub pid: u32,
    pub started: u64,
}

/// For `lethe-driver`, from the shim. It answers with [`DriverStarted`], one line on stdout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverConfig {
    pub token: String,
    /// The address to listen on.
    pub bind: String,
    /// 0 for any free port.
    pub port: u16,
    /// The user's Python process.
    pub owner: Owner,
    /// For datasets' catalog, programs and initial weights; removed at the end.
    pub directory: String,
    /// The log file.
    pub log: String,
    /// Executors that hold each partition that was put, where there are so many.
    #[serde(default = "copies")]
    pub copies: u32,
}

fn copies() -> u32 {
    2
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Started {
    Ready { protocol: u32, version: String, pid: u32, port: u16 },
    Failed { error: String },
}

/// For `lethe-executor`, from the first Spark task that needs it. It answers by writing
/// [`ExecutorInfo`] to `info` (a rename).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    pub token: String,
    pub application: String,
    /// `host:port` of the driver.
    pub driver: String,
    /// The address by which Spark knows this executor.
    pub bind: String,
    /// First and last port to try; None for any.
    pub ports: Option<(u16, u16)>,
    /// Spark's local directory of this executor; its end is this process's end.
    pub local_directory: String,
    /// Partitions, views and programs lie here, below `local_directory`.
    pub directory: String,
    /// The Spark executor's JVM; the user's Python process where there is no Spark.
    pub owner: Owner,
    pub info: String,
    pub log: String,
    /// The `lethe-trainer` binary.
    pub trainer: String,
    /// The interpreter of the task that starts it, for workers that run Python functions.
    pub python: String,
    /// libtorch's folder where it is not beside the trainer (goes to LD_LIBRARY_PATH).
    pub libtorch: Option<String>,
    /// Bytes that this host's processes may take; None reads the cgroup's limit.
    pub memory_limit: Option<u64>,
    /// Bytes of partitions and views on the disk; None is what the file system has.
    #[serde(default)]
    pub disk_limit: Option<u64>,
    /// Torch threads of each worker.
    pub threads: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutorInfo {
    pub protocol: u32,
    pub version: String,
    pub pid: u32,
    pub started: u64,
    pub executor: String,
    /// `host:port`; empty if `error` is there.
    pub address: String,
    pub error: Option<String>,
}

/// For `lethe-trainer`, from its executor. It answers over the worker protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    pub token: String,
    /// `host:port` of the executor.
    pub executor: String,
    /// The key that `hello` repeats.
    pub worker: String,
    pub threads: u32,
}
