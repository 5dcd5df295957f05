//! Bounds on what comes from outside. Everything larger is refused with `resource_exhausted` or `out_of_range`.

/// One control message (an action's body, an exchange message's metadata), bytes.
pub const CONTROL_BYTES: usize = 4 << 20;
/// One gRPC message with its Arrow body, bytes: the decoder refuses more before it allocates.
pub const MESSAGE_BYTES: usize = 64 << 20;
/// What an encoder puts into one Flight message, bytes: below [`MESSAGE_BYTES`], with room for the header.
pub const FLIGHT_DATA_BYTES: usize = 16 << 20;
/// One chunk of a program or a tensor, bytes.
pub const CHUNK_BYTES: usize = 8 << 20;
/// A whole program, bytes.
pub const PROGRAM_BYTES: u64 = 256 << 20;
/// All weights of a trial, bytes.
pub const WEIGHTS_BYTES: u64 = 64 << 30;
/// A name: of an experiment, a dataset, a metric, bytes.
pub const NAME_BYTES: usize = 200;
/// Trials that one experiment may ask for.
pub const TRIALS: u32 = 10_000_000;
/// Reports in one message of a worker.
pub const REPORTS: usize = 1000;
/// Text that a function has printed, in one message, bytes.
pub const LOG_BYTES: usize = 64 << 10;
/// Partitions of one dataset.
pub const PARTITIONS: u32 = 1_000_000;
/// How long a call waits for a key of a gang's store, seconds; who needs it longer calls again.
pub const STORE_WAIT_S: f64 = 10.0;
/// Keys of one gang's store.
pub const STORE_KEYS: usize = 100_000;
/// One of them, bytes.
pub const STORE_KEY_BYTES: usize = 1000;
/// Keys and values of one gang's store, bytes.
pub const STORE_BYTES: usize = 16 << 20;
