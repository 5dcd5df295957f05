//! The process that the slot starts: each attempt does what its hyperparameter `does` names.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use lethe_flight::exchange::{Receiver, Sender};
use lethe_flight::message::training::{Outcome, Timing, Verdict};
use lethe_flight::message::worker::{FromWorker, Run, ToWorker};
use lethe_flight::process::TrainerConfig;
use lethe_flight::tensors::{self, NamedTensor};
use lethe_flight::{PROTOCOL, Token, VERSION, client};

/// How long one that leaves is still there after its last word.
const LEAVES: Duration = Duration::from_secs(1);

/// A program that runs [`process`] in a process of its own.
pub fn program() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("worker-{}", std::process::id()));
        let tests = std::env::current_exe().unwrap();
        let script =
            format!("#!/bin/sh\nexec '{}' worker::process --exact --ignored --nocapture\n", tests.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    MADE.get_or_init(make).clone()
}

/// What [`process`] saves as the checkpoint of an epoch.
pub fn tensor(epoch: u32) -> NamedTensor {
    NamedTensor { name: "epoch".into(), dtype: "uint8".into(), shape: vec![1], data: vec![epoch as u8] }
}

/// Not a test by itself: the worker of the others, which start it as their trainer (`--ignored` in `program`). Here,
/// because a package's test can name no other program that its own build makes.
#[tokio::test]
#[ignore = "it is the other tests' worker process"]
async fn process() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let config: TrainerConfig = serde_json::from_str(&line).unwrap();
    let mut client = client::connect(&config.executor, &Token::new(&config.token).unwrap()).await.unwrap();
    let hello = FromWorker::Hello {
        protocol: PROTOCOL,
        version: VERSION.into(),
        worker: config.worker,
        pid: std::process::id(),
        device: "cpu".into(),
    };
    let (sender, mut receiver) = client::exchange::<_, ToWorker>(&mut client, &hello).await.unwrap();
    loop {
        match receiver.next().await {
            Some(Ok(ToWorker::Run(run))) => attempt(&run, &sender, &mut receiver).await,
            Some(Ok(ToWorker::Stop { .. } | ToWorker::Decision { .. })) => {}
            _ => return,
        }
    }
}

async fn attempt(run: &Run, sender: &Sender<FromWorker>, receiver: &mut Receiver<ToWorker>) {
    let (trial, attempt) = (run.spec.trial, run.spec.attempt);
    let say = async |message: FromWorker| sender.send(&message).await.unwrap();
    let report = async |epoch: u32| {
        let metrics = [("m".to_string(), f64::from(epoch))].into();
        say(FromWorker::Report { trial, attempt, epoch, metrics }).await;
    };
    let save = async |to: &str, epoch: u32| {
        let path = format!("{to}-{epoch}.arrow");
        tensors::write_file(Path::new(&path), &[tensor(epoch)]).unwrap();
        say(FromWorker::Checkpoint { trial, attempt, epoch, path }).await;
    };
    let here = run.checkpoints.as_str();
    let outcome = match run.spec.hparams["does"].as_str().unwrap() {
        "pauses" => {
            report(2).await;
            let told = receiver.next().await.unwrap().unwrap();
            assert!(matches!(told, ToWorker::Decision { verdict: Verdict::Pause, .. }), "{told:?}");
            save(here, 2).await;
            Outcome::Paused
        }
        "saves outside" => {
            let folder = Path::new(here).parent().unwrap();
            save(&format!("{}/../../outside", folder.display()), 2).await;
            Outcome::Paused
        }
        "saves nothing" => Outcome::Paused,
        "saves often" => {
            for epoch in 1..=4 {
                save(here, epoch).await;
            }
            report(4).await;
            receiver.next().await.unwrap().unwrap();
            report(5).await;
            receiver.next().await.unwrap().unwrap();
            Outcome::Stopped
        }
        "saves and dies" => {
            save(here, 1).await;
            save(here, 2).await;
            report(3).await;
            receiver.next().await.unwrap().unwrap();
            std::process::abort()
        }
        "fails and leaves" => {
            let outcome = Outcome::Failed { error: "it broke".into() };
            let timing = Timing::default();
            say(FromWorker::Ended { trial, attempt, outcome, timing, weights: None, last: true }).await;
            // What it is told meanwhile nobody hears.
            tokio::time::sleep(LEAVES).await;
            std::process::exit(0)
        }
        "hears nothing" => {
            report(1).await;
            std::future::pending().await
        }
        "stops" => {
            report(1).await;
            let told = receiver.next().await.unwrap().unwrap();
            assert!(matches!(told, ToWorker::Stop { .. }), "{told:?}");
            Outcome::Stopped
        }
        "resumes" => {
            assert_eq!(run.initial, None);
            let tensors = tensors::read_file(run.checkpoint.as_ref().unwrap().as_ref()).unwrap();
            report(u32::from(tensors[0].data[0])).await;
            Outcome::Finished
        }
        other => panic!("{other}"),
    };
    say(FromWorker::Ended { trial, attempt, outcome, timing: Timing::default(), weights: None, last: false })
        .await;
}
