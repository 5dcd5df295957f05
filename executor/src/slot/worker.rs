//! A slot's worker: a process of its own, started here, that connects back with the key it was given.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lethe_flight::exchange::{Receiver, Sender};
use lethe_flight::message::worker::{FromWorker, ToWorker};
use lethe_flight::process::TrainerConfig;
use lethe_flight::{Error, PROTOCOL, Result, VERSION, wire};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use super::Options;

/// Loading libtorch from a cold disk takes seconds.
const START: Duration = Duration::from_secs(60);
/// How long a worker that was told to exit has before it is killed.
const EXIT: Duration = Duration::from_secs(2);
/// Of a dead worker's log, this much goes into the error.
const LOG_TAIL: u64 = 600;

/// A worker's own end of its exchange, as the service hands it over.
pub struct Connected {
    pub pid: u32,
    pub device: String,
    pub sender: Sender<ToWorker>,
    pub receiver: Receiver<FromWorker>,
}

/// Workers that were started and have not connected yet, by key.
#[derive(Default)]
pub struct Workers {
    awaited: Mutex<HashMap<String, oneshot::Sender<Connected>>>,
}

impl Workers {
    fn expect(&self, key: String) -> oneshot::Receiver<Connected> {
        let (sender, receiver) = oneshot::channel();
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sender);
        receiver
    }

    fn forget(&self, key: &str) -> Option<oneshot::Sender<Connected>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// Hands a worker's exchange to the slot that started it.
    ///
    /// # Errors
    /// If no slot here awaits this key, or the worker's protocol is another.
    pub fn connect(
        &self,
        hello: FromWorker,
        sender: Sender<ToWorker>,
        receiver: Receiver<FromWorker>,
    ) -> Result<()> {
        let FromWorker::Hello { protocol, version, worker, pid, device } = hello else {
            return Err(Error::Invalid("a worker's first message must be hello".into()));
        };
        if protocol != PROTOCOL {
            return Err(Error::Precondition(format!(
                "the worker speaks protocol {protocol} (lethe {version}), its executor {PROTOCOL} (lethe \
                 {VERSION}): build both from one version of lethe"
            )));
        }
        let awaited = self.forget(&worker);
        let slot =
            awaited.ok_or_else(|| Error::Precondition(format!("no slot awaits the worker {worker:?}")))?;
        slot.send(Connected { pid, device, sender, receiver })
            .map_err(|_| Error::Precondition(format!("the slot of worker {worker:?} has gone")))
    }
}

/// Ends the waiting for a worker, also where its slot is dropped meanwhile.
struct Forget<'a> {
    workers: &'a Workers,
    key: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.workers.forget(self.key);
    }
}

/// What a worker runs.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    Trainer,
    /// The interpreter of the slot's task, with the function that lies in this file.
    Python {
        function: &'a str,
    },
}

/// A process and all that it has started; its own folder, if it has one. Dropped, they go.
struct Process {
    child: Child,
    folder: Option<tempfile::TempDir>,
}

impl Process {
    /// None once it has ended and been waited for.
    fn group(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| Pid::from_raw(pid as i32))
    }

    /// Waits for its end, and ends what it leaves behind.
    async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        let group = self.group();
        let status = self.child.wait().await;
        end_group(group);
        status
    }

    async fn kill(&mut self) {
        end_group(self.group());
        _ = self.child.kill().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end_group(self.group());
        if let (Some(folder), Ok(runtime)) = (self.folder.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(folder));
        }
    }
}

fn end_group(group: Option<Pid>) {
    if let Some(group) = group {
        // None of it may be left.
        _ = kill_process_group(group, Signal::KILL);
    }
}

/// A running worker. Dropped, it is killed.
pub struct Worker {
    pub pid: u32,
    pub device: String,
    pub sender: Sender<ToWorker>,
    pub receiver: Receiver<FromWorker>,
    process: Process,
    /// Its end tells the worker that the executor has gone.
    _stdin: ChildStdin,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker and waits until it has connected.
    ///
    /// # Errors
    /// If the process does not start, ends early, or does not connect in time; with the end of its log.
    pub async fn start(
        workers: &Workers,
        options: &Options,
        address: &str,
        key: String,
        gpu: Option<&str>,
        program: Program<'_>,
    ) -> Result<Self> {
        let log = options.directory.join("logs").join(format!("{key}.log"));
        let output = std::fs::File::create(&log).map_err(|e| Error::file(&log, e))?;
        let errors = output.try_clone().map_err(|e| Error::file(&log, e))?;
        let mut command = match program {
            Program::Trainer => trainer(options),
            Program::Python { function } => python(options, function),
        };
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str()
                    .is_some_and(|n| matches!(n, "PATH" | "HOME" | "TMPDIR" | "LANG" | "RUST_LOG" | "TZ"))
            }))
            .env("CUDA_VISIBLE_DEVICES", gpu.unwrap_or(""))
            // The order of nvidia-smi, by which discovery scripts count.
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            .env("OMP_NUM_THREADS", options.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            // With all that it starts it is a group, which ends with it.
            .process_group(0)
            .kill_on_drop(true);
        if gpu.is_some() {
            match super::interface::of(address).await {
                Some(interface) => _ = command.env("NCCL_SOCKET_IFNAME", format!("={interface}")),
                None => tracing::warn!("no network interface has the address {address}: NCCL chooses one"),
            }
            // A rank that another one has left ends its attempt, and not the process: `CleanUpOnly` of
            // torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp.
            command.env("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2");
        }
        let mut folder = None;
        if matches!(program, Program::Python { .. }) {
            let own = own_folder().await?;
            command.current_dir(own.path());
            // Else the order of a set of strings would be another one in each process.
            command.env("PYTHONHASHSEED", "0");
            folder = Some(own);
        }
        // Inherited, because CUDA's driver may be found by it alone; libtorch's own rpath goes before it.
        let inherited = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        // Python's torch finds its own.
        let own = options.libtorch.iter().filter(|_| matches!(program, Program::Trainer)).cloned();
        let libraries = own.chain(std::env::split_paths(&inherited));
        if let Ok(libraries) = std::env::join_paths(libraries)
            && !libraries.is_empty()
        {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let awaited = workers.expect(key.clone());
        let _forget = Forget { workers, key: &key };
        Self::launch(command, folder, options, address, &key, log, awaited).await
    }

    async fn launch(
        mut command: Command,
        folder: Option<tempfile::TempDir>,
        options: &Options,
        address: &str,
        key: &str,
        log: PathBuf,
        awaited: oneshot::Receiver<Connected>,
    ) -> Result<Self> {
        let what = PathBuf::from(command.as_std().get_program());
        let remedy = match what == options.python {
            true => "can its interpreter load what the function needs?",
            false => "is torch of the right version installed beside lethe?",
        };
        let child = command.spawn().map_err(|e| Error::file(&what, e))?;
        let mut process = Process { child, folder };
        let mut stdin = process
            .child
            .stdin
            .take()
            .ok_or_else(|| Error::Invalid("the worker's stdin was not piped".into()))?;
        let config = TrainerConfig {
            token: options.secret.clone(),
            executor: address.into(),
            worker: key.into(),
            threads: options.threads,
        };
        let mut line = wire::render(&config)?;
        line.push(b'\n');
        // Fails where the worker is dead already: how it died is what to report, below.
        _ = stdin.write_all(&line).await;
        let ended = tokio::select! {
            connected = awaited => match connected {
                Ok(Connected { pid, device, sender, receiver }) => {
                    return Ok(Self { pid, device, sender, receiver, process, _stdin: stdin, log });
                }
                Err(_) => "was forgotten".to_owned(),
            },
            status = process.ended() => match status {
                Ok(status) => format!("ended ({status}) before it connected"),
                Err(error) => format!("cannot be waited for: {error}"),
            },
            () = tokio::time::sleep(START) => format!("did not connect within {} s", START.as_secs()),
        };
        Err(Error::Precondition(format!(
            "the worker {} {ended}; {remedy} Its log, {}:\n{}",
            what.display(),
            log.display(),
            tail(&log).await
        )))
    }

    /// What became of a worker whose exchange has ended, for the trial that it ran.
    pub async fn post_mortem(&mut self) -> String {
        let status = match tokio::time::timeout(EXIT, self.process.ended()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.process.kill().await;
                "it had closed its exchange and was killed".into()
            }
        };
        let tail = tail(&self.log).await;
        format!("the worker {} died: {status}; its log: {}\n{tail}", self.pid, self.log.display())
    }

    /// Ends the process at once.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Ends the process: asks, then kills.
    pub async fn end(mut self) {
        _ = self.sender.send(&ToWorker::Exit).await;
        if tokio::time::timeout(EXIT, self.process.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "the worker did not exit when told, it is killed");
            self.process.kill().await;
        }
    }
}

fn trainer(options: &Options) -> Command {
    let mut command = Command::new(&options.trainer);
    command.current_dir(&options.directory);
    command
}

/// It begins with the module path of the task's interpreter, which lies beside the function; what lies in its folder is
/// no module. Unbuffered: what a dying process has printed is in its log.
fn python(options: &Options, function: &str) -> Command {
    const BEGIN: &str = "import sys; sys.path[:] = filter(None, sys.path); import json; \
                         sys.path[:] = json.load(open(sys.argv[1] + '.path', encoding='utf-8')); \
                         from lethe.worker.main import main; main()";
    let mut command = Command::new(&options.python);
    command.args(["-u", "-c", BEGIN]).arg(options.functions.join(function));
    command
}

/// Of one worker alone: what its function leaves there no other trial finds.
async fn own_folder() -> Result<tempfile::TempDir> {
    let made = tokio::task::spawn_blocking(|| tempfile::Builder::new().prefix("lethe-").tempdir());
    let folder = std::env::temp_dir();
    let made = made.await.map_err(|e| Error::Invalid(format!("the task ended: {e}")))?;
    made.map_err(|e| Error::file(&folder, e))
}

async fn tail(log: &Path) -> String {
    // However long it is: what a function's own processes write there has no limit.
    let end = async {
        let mut file = tokio::fs::File::open(log).await?;
        let length = file.metadata().await?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).await?;
        let mut text = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut text).await.map(|_| text)
    };
    String::from_utf8_lossy(&end.await.unwrap_or_default()).trim().to_owned()
}
