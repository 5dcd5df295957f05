//! `allreduce BYTES [REPEATS] [memory]`: the seconds of each all-reduce of so many bytes of float32 by two ranks on
//! loopback, one a line: by Gloo, or as gradients go between ranks of one host, through memory. The ranks are two threads
//! of this process, and each has its own connections.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lethe_flight::message::training::Rank;
use lethe_trainer::gang::{Memory, Shared};
use lethe_trainer::torch::{Group, prepare};
use lethe_trainer::{Error, Result};
use tch::{Device, Kind, Tensor};

const WORLD: u32 = 2;
const WARM_UP: usize = 3;
const WAIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let in_memory = std::env::args().nth(3).is_some_and(|how| how == "memory");
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let (Some(Ok(bytes)), Ok(repeats)) = (numbers.next(), numbers.next().unwrap_or(Ok(20))) else {
        eprintln!("usage: allreduce BYTES [REPEATS] [memory]");
        return ExitCode::FAILURE;
    };
    let meeting = Memory::default();
    let ranks: Vec<_> = (0..WORLD)
        .map(|rank| {
            let meeting = meeting.clone();
            std::thread::spawn(move || measure(rank, bytes, repeats, meeting, in_memory))
        })
        .collect();
    for (rank, thread) in ranks.into_iter().enumerate() {
        match thread.join() {
            Ok(Ok(seconds)) if rank == 0 => seconds.iter().for_each(|s| println!("{s}")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                eprintln!("rank {rank}: {error}");
                return ExitCode::FAILURE;
            }
            Err(_) => return ExitCode::FAILURE,
        }
    }
    ExitCode::SUCCESS
}

fn measure(rank: u32, bytes: usize, repeats: usize, meeting: Memory, in_memory: bool) -> Result<Vec<f64>> {
    prepare(1)?;
    let rank = Rank { rank, world: WORLD };
    let group = Group::new("127.0.0.1", rank, WAIT, WAIT, Box::new(meeting.clone()))?;
    let mut shared = None;
    if in_memory {
        let all = |there: bool| {
            let mut missing = Tensor::from_slice(&[f64::from(u8::from(!there))]);
            group.sum(&mut missing)?;
            Ok(missing.f_double_value(&[0])? == 0.0)
        };
        shared = Some(
            Shared::meet(&meeting, rank, WAIT, WAIT, all)?
                .ok_or_else(|| Error::Worker("the ranks do not see each other's memory".into()))?,
        );
    }
    let count = (bytes / 4).max(1);
    let mut tensor = Tensor::f_zeros([count as i64], (Kind::Float, Device::Cpu))?;
    let mut numbers = vec![0.0; count];
    let mut seconds = Vec::new();
    for round in 0..WARM_UP + repeats {
        group.barrier()?;
        let begin = Instant::now();
        match &mut shared {
            None => group.sum(&mut tensor)?,
            Some(shared) => shared.mean(&mut numbers)?,
        }
        if round >= WARM_UP {
            seconds.push(begin.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}
