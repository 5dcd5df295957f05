//! `allreduce BYTES [REPEATS]`: the seconds of each all-reduce of so many bytes of float32 by two ranks on loopback, one
//! a line. The ranks are two threads of this process, and each has its own connections.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lethe_flight::message::training::Rank;
use lethe_trainer::Result;
use lethe_trainer::gang::Memory;
use lethe_trainer::torch::{Group, prepare};
use tch::{Device, Kind, Tensor};

const WORLD: u32 = 2;
const WARM_UP: usize = 3;
const WAIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let (Some(Ok(bytes)), Ok(repeats)) = (numbers.next(), numbers.next().unwrap_or(Ok(20))) else {
        eprintln!("usage: allreduce BYTES [REPEATS]");
        return ExitCode::FAILURE;
    };
    let meeting = Memory::default();
    let ranks: Vec<_> = (0..WORLD)
        .map(|rank| {
            let meeting = meeting.clone();
            std::thread::spawn(move || measure(rank, bytes, repeats, meeting))
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

fn measure(rank: u32, bytes: usize, repeats: usize, meeting: Memory) -> Result<Vec<f64>> {
    prepare(1)?;
    let group = Group::new("127.0.0.1", Rank { rank, world: WORLD }, WAIT, WAIT, Box::new(meeting))?;
    let mut tensor = Tensor::f_zeros([(bytes / 4).max(1) as i64], (Kind::Float, Device::Cpu))?;
    let mut seconds = Vec::new();
    for round in 0..WARM_UP + repeats {
        group.barrier()?;
        let begin = Instant::now();
        group.sum(&mut tensor)?;
        if round >= WARM_UP {
            seconds.push(begin.elapsed().as_secs_f64());
        }
    }
    Ok(seconds)
}
