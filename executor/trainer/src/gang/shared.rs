//! Sums over ranks of one host, through memory that all of them map.
//!
//! Gloo moves gradients through sockets and wakes four threads for each sum: for a small model that is several times its
//! training step. Here a rank copies its numbers into its place of a shared file without a name, says so, and adds up
//! what the others have put there, in the order of ranks: each gets the same bits.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lethe_flight::message::training::Rank;
use memmap2::{MmapOptions, MmapRaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::futex;
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::error::{Error, Result};

/// Each rank reads the numbers of all: with more of them Gloo's way, in which each adds up a part, moves fewer bytes.
const MOST_RANKS: u32 = 8;
/// Numbers that are added up at a time: those of two ranks stay in a core's cache.
const CHUNK: usize = 64 << 10;
/// A rank writes one while others may still read the one before.
const PLACES: usize = 2;
/// Bytes of a rank's line in the head, so that no two share a cache line.
const LINE: usize = 128;
/// A rank that is nearly there is waited for awake: to sleep and be woken takes longer than the sum of a small model.
const AWAKE: Duration = Duration::from_micros(200);
/// How often one that sleeps looks whether the others live.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const KEY: &str = "lethe.shared";

/// Where rank 0 has opened the memory, and what it begins with.
#[derive(Serialize, Deserialize)]
struct Place {
    /// Two processes of one kernel and one namespace of processes see each other's `/proc`.
    kernel: String,
    namespace: String,
    pid: u32,
    descriptor: i32,
    secret: u64,
    length: usize,
}

/// This rank's part in the sums.
pub struct Shared {
    map: MmapRaw,
    rank: usize,
    world: usize,
    /// Sums so far, counted in chunks.
    done: u32,
    /// Of the other ranks' processes, by rank; readable once one has ended.
    others: Vec<OwnedFd>,
    patience: Duration,
}

impl Shared {
    /// Meets the other ranks in memory, if all of them are processes of this host that can see each other. All ranks call
    /// it, and all get it or none: `all` tells whether a thing is so on each of them.
    ///
    /// # Errors
    /// If the store cannot be asked, or the others do not come within `join`.
    pub fn meet(
        store: &dyn Store,
        rank: Rank,
        join: Duration,
        patience: Duration,
        all: impl Fn(bool) -> Result<bool>,
    ) -> Result<Option<Self>> {
        if rank.world > MOST_RANKS {
            return Ok(None);
        }
        let length = data(rank.world as usize) + 4 * CHUNK * PLACES * rank.world as usize;
        let own = if rank.rank == 0 {
            let made = make(length);
            let place = made.as_ref().ok().and_then(|(_, _, place)| serde_json::to_vec(place).ok());
            // Empty: there is none.
            let text = place.unwrap_or_default();
            store.set(KEY, &text)?;
            made.ok().map(|(map, file, _)| (map, Some(file)))
        } else {
            let place = store
                .get(KEY, join)?
                .ok_or_else(|| Error::Gang("rank 0 did not say where the ranks of one host meet".into()))?;
            serde_json::from_slice(&place).ok().and_then(|place| open(&place, length)).map(|map| (map, None))
        };
        let there = own.is_some();
        if let Some((map, _)) = &own {
            // SAFETY: the line of this rank, in the head of the map.
            let line = unsafe { line(map, rank.rank as usize) };
            line.pid.store(std::process::id(), Ordering::Release);
        }
        // Rank 0's file is there till all have opened it.
        let all_there = all(there)?;
        let Some((map, _)) = own.filter(|_| all_there) else { return Ok(None) };
        let mut shared = Self {
            map,
            rank: rank.rank as usize,
            world: rank.world as usize,
            done: 0,
            others: Vec::new(),
            patience,
        };
        let watched = shared.watch();
        Ok(all(watched)?.then_some(shared))
    }

    fn watch(&mut self) -> bool {
        for other in (0..self.world).filter(|&other| other != self.rank) {
            let pid = Pid::from_raw(self.line(other).pid.load(Ordering::Acquire) as i32);
            let Some(Ok(descriptor)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
                return false;
            };
            self.others.push(descriptor);
        }
        true
    }

    /// Puts the mean over the ranks in place of each number.
    ///
    /// # Errors
    /// [`Error::Gang`] if another rank has gone.
    pub fn mean(&mut self, values: &mut [f32]) -> Result<()> {
        for chunk in values.chunks_mut(CHUNK) {
            self.mean_of_chunk(chunk)?;
        }
        Ok(())
    }

    fn mean_of_chunk(&mut self, values: &mut [f32]) -> Result<()> {
        let place = self.done as usize % PLACES;
        // SAFETY: within the map. This rank alone writes here, and whoever read what was here two sums ago has since come
        // to the last one, which this rank has waited for.
        unsafe { self.numbers(self.rank, place).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        self.done = self.done.wrapping_add(1);
        let mine = self.line(self.rank);
        mine.done.store(self.done, Ordering::SeqCst);
        if mine.sleepers.load(Ordering::SeqCst) > 0 {
            _ = futex::wake(&mine.done, futex::Flags::empty(), u32::MAX);
        }
        for other in (0..self.world).filter(|&other| other != self.rank) {
            self.wait_for(other)?;
        }
        let share = 1.0 / self.world as f32;
        for rank in 0..self.world {
            // SAFETY: within the map; that rank has written these numbers, and writes here again only after this one has
            // come to the next sum.
            let theirs = unsafe { std::slice::from_raw_parts(self.numbers(rank, place), values.len()) };
            match rank {
                0 => values.copy_from_slice(theirs),
                _ => values.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += value),
            }
        }
        values.iter_mut().for_each(|sum| *sum *= share);
        Ok(())
    }

    /// Until that rank has come to this sum.
    fn wait_for(&self, other: usize) -> Result<()> {
        let line = self.line(other);
        let is_there = || (line.done.load(Ordering::Acquire).wrapping_sub(self.done) as i32) >= 0;
        let began = Instant::now();
        let mut turns = 0u32;
        while !is_there() {
            std::hint::spin_loop();
            turns += 1;
            if turns.is_multiple_of(64) && began.elapsed() > AWAKE {
                break;
            }
        }
        while !is_there() {
            let gone = if line.left.load(Ordering::Acquire) > 0 { Some(other) } else { self.ended() };
            if let Some(gone) = gone {
                return Err(Error::Gang(format!("rank {gone} of {} has gone", self.world)));
            }
            if began.elapsed() > self.patience {
                return Err(Error::Gang(format!(
                    "rank {other} of {} has not come within {} s",
                    self.world,
                    self.patience.as_secs()
                )));
            }
            line.sleepers.fetch_add(1, Ordering::SeqCst);
            let seen = line.done.load(Ordering::SeqCst);
            if (seen.wrapping_sub(self.done) as i32) < 0 {
                // Woken, late, or not asleep at all: it looks again.
                _ = futex::wait(&line.done, futex::Flags::empty(), seen, Some(&LOOK));
            }
            line.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// A rank whose process has.
    fn ended(&self) -> Option<usize> {
        let mut polled: Vec<PollFd> =
            self.others.iter().map(|other| PollFd::from_borrowed_fd(other.as_fd(), PollFlags::IN)).collect();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        let place = polled.iter().position(|polled| !polled.revents().is_empty())?;
        Some(if place < self.rank { place } else { place + 1 })
    }

    fn line(&self, rank: usize) -> &Line {
        // SAFETY: in the head of the map, which lives as long as this.
        unsafe { line(&self.map, rank) }
    }

    /// Where that rank puts its numbers.
    fn numbers(&self, rank: usize, place: usize) -> *mut f32 {
        let offset = data(self.world) + 4 * CHUNK * (rank * PLACES + place);
        // SAFETY: within the map, whose length is for all ranks and places.
        unsafe { self.map.as_mut_ptr().add(offset).cast() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mine = self.line(self.rank);
        mine.left.store(1, Ordering::Release);
        _ = futex::wake(&mine.done, futex::Flags::empty(), u32::MAX);
    }
}

/// What a rank says to the others.
#[repr(C, align(128))]
struct Line {
    /// Sums that its numbers are there for.
    done: AtomicU32,
    /// Ranks that sleep until it comes to the next.
    sleepers: AtomicU32,
    left: AtomicU32,
    pid: AtomicU32,
}

const _: () = assert!(size_of::<Line>() == LINE);

/// # Safety
/// The map has the head of a gang with this rank.
unsafe fn line(map: &MmapRaw, rank: usize) -> &Line {
    // SAFETY: the caller's promise; page-aligned, and all of it is atomic numbers.
    unsafe { &*map.as_mut_ptr().add(LINE * (1 + rank)).cast::<Line>() }
}

/// Where the numbers begin: after the secret's line and those of the ranks, on a page of their own.
fn data(world: usize) -> usize {
    (LINE * (1 + world)).next_multiple_of(4096)
}

fn make(length: usize) -> std::io::Result<(MmapRaw, File, Place)> {
    let file = File::from(memfd_create("lethe-gang", MemfdFlags::CLOEXEC)?);
    file.set_len(length as u64)?;
    let map = MmapOptions::new().len(length).map_raw(&file)?;
    let secret = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    // SAFETY: the map's first bytes, which nobody else has seen.
    unsafe { map.as_mut_ptr().cast::<u64>().write(secret) };
    let (kernel, namespace) = host()?;
    let (pid, descriptor) = (std::process::id(), file.as_raw_fd());
    Ok((map, file, Place { kernel, namespace, pid, descriptor, secret, length }))
}

/// The memory of another process, if it is there for this one.
fn open(place: &Place, length: usize) -> Option<MmapRaw> {
    let (kernel, namespace) = host().ok()?;
    if (&kernel, &namespace, length) != (&place.kernel, &place.namespace, place.length) {
        return None;
    }
    let path = format!("/proc/{}/fd/{}", place.pid, place.descriptor);
    let file = File::options().read(true).write(true).open(path).ok()?;
    if file.metadata().ok()?.len() != length as u64 {
        return None;
    }
    let map = MmapOptions::new().len(length).map_raw(&file).ok()?;
    // SAFETY: the map's first bytes; rank 0 wrote them before it said where they are.
    (unsafe { map.as_mut_ptr().cast::<u64>().read() } == place.secret).then_some(map)
}

fn host() -> std::io::Result<(String, String)> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok((kernel, std::fs::read_link("/proc/self/ns/pid")?.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gang::Memory;

    const WAIT: Duration = Duration::from_secs(20);

    /// Runs `work` on so many ranks, which have met.
    fn ranks<T: Send>(world: u32, work: impl Fn(u32, Shared) -> T + Sync) -> Vec<T> {
        let store = Memory::default();
        let rank = |rank: u32| {
            // Each tells the store whether a thing is so, as a group would sum it up.
            let votes = std::cell::Cell::new(0);
            let all = |yes: bool| {
                let vote = votes.replace(votes.get() + 1);
                store.add(&format!("{vote}/yes"), i64::from(yes))?;
                store.add(&format!("{vote}/voted"), 1)?;
                let voted = || Ok::<_, Error>(store.add(&format!("{vote}/voted"), 0)? == i64::from(world));
                while !voted()? {
                    std::thread::yield_now();
                }
                Ok(store.add(&format!("{vote}/yes"), 0)? == i64::from(world))
            };
            let shared = Shared::meet(&store, Rank { rank, world }, WAIT, WAIT, all).unwrap().unwrap();
            work(rank, shared)
        };
        std::thread::scope(|scope| {
            let rank = &rank;
            let threads: Vec<_> = (0..world).map(|number| scope.spawn(move || rank(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn each_rank_gets_the_mean_of_all_to_the_bit() {
        let count = 2 * CHUNK + 5;
        for world in [2, 3, MOST_RANKS] {
            let found = ranks(world, |rank, mut shared| {
                let mut last = Vec::new();
                for round in 0..20 {
                    let of = |i: usize| ((i + round) % 17) as f32 * (rank + 1) as f32 / 3.0;
                    let mut values: Vec<f32> = (0..count).map(of).collect();
                    shared.mean(&mut values).unwrap();
                    last = values;
                }
                last
            });
            let ranks: u32 = (1..=world).sum();
            for (i, value) in found[0].iter().enumerate() {
                let mean = ((i + 19) % 17) as f32 * ranks as f32 / (3 * world) as f32;
                assert!((value - mean).abs() < 1e-4, "{value} is not {mean}");
            }
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert!(found.iter().all(|other| bits(other) == bits(&found[0])));
        }
    }

    #[test]
    fn a_rank_that_leaves_is_not_waited_for() {
        let found = ranks(2, |rank, mut shared| {
            if rank == 1 {
                return None;
            }
            let began = Instant::now();
            let error = shared.mean(&mut [1.0]).unwrap_err();
            assert!(began.elapsed() < WAIT / 2);
            Some(error.to_string())
        });
        let error = found[0].as_deref().unwrap();
        assert_eq!(error, "another rank of the gang was lost: rank 1 of 2 has gone");
    }

    #[test]
    fn ranks_that_cannot_all_see_it_go_another_way() {
        let store = Memory::default();
        let rank = Rank { rank: 0, world: 2 };
        assert!(Shared::meet(&store, rank, WAIT, WAIT, |_| Ok(false)).unwrap().is_none());
        // What another host says is not there.
        let (map, _file, mut place) = make(8192).unwrap();
        assert!(open(&place, 8192).is_some());
        assert!(open(&place, 4096).is_none());
        place.secret += 1;
        assert!(open(&place, 8192).is_none(), "another file has that number by now");
        place.secret -= 1;
        place.kernel.push('x');
        assert!(open(&place, 8192).is_none());
        drop(map);
        let many = Rank { rank: 0, world: MOST_RANKS + 1 };
        assert!(Shared::meet(&store, many, WAIT, WAIT, |_| Ok(true)).unwrap().is_none());
    }
}
