//! Which files the copy in the object store is to have, and which not: what [`Copier`](super::Copier) has to do.
//!
//! What lies safely on this host counts at once; its copy follows. An entry is a file's name, of which there are
//! at most those that lie here or in the store, however long the store is away: a file that goes before it was
//! copied leaves no entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Clones share it.
#[derive(Clone)]
pub struct Copies(Arc<Shared>);

struct Shared {
    wanted: Mutex<Wanted>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Wanted {
    wishes: BTreeMap<String, Wish>,
    /// Names that may lie in the store.
    there: BTreeSet<String>,
    /// Of the last wish.
    number: u64,
    /// Bytes of the journal, as they become more; None before it is written.
    written: Option<watch::Receiver<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    number: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Put,
    /// Once so many bytes of the journal are in the store: they say that nothing refers to the file.
    Remove {
        after: u64,
    },
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub name: String,
    pub kind: Kind,
    number: u64,
}

impl Copies {
    pub fn new() -> Self {
        Self(Arc::new(Shared { wanted: Mutex::default(), changed: watch::Sender::new(()) }))
    }

    /// The journal whose events say which files are needed.
    pub(super) fn follow(&self, written: watch::Receiver<u64>) {
        self.wanted().written = Some(written);
    }

    /// The file of this name is here, and new.
    pub fn put(&self, name: String) {
        self.wanted().wish(name, Kind::Put);
        self.0.changed.send_replace(());
    }

    /// The file of this name is needed no longer, as an event says that the journal has.
    pub fn remove(&self, name: String) {
        {
            let mut wanted = self.wanted();
            if wanted.there.contains(&name) {
                let after = wanted.written.as_ref().map_or(0, |written| *written.borrow());
                wanted.wish(name, Kind::Remove { after });
            } else {
                wanted.wishes.remove(&name);
            }
        }
        self.0.changed.send_replace(());
    }

    /// These names lie in the store already.
    pub fn found(&self, names: impl IntoIterator<Item = String>) {
        self.wanted().there.extend(names);
    }

    /// Ready whenever something has changed since it was subscribed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// The next things to do, where the store has so many bytes of the journal. Files to put are in the store from
    /// now on, perhaps.
    pub(super) fn due(&self, shipped: u64, most: usize) -> Vec<Job> {
        let mut wanted = self.wanted();
        let due = |wish: &Wish| match wish.kind {
            Kind::Put => true,
            Kind::Remove { after } => after <= shipped,
        };
        let jobs: Vec<Job> = wanted
            .wishes
            .iter()
            .filter(|(_, wish)| due(wish))
            .take(most)
            .map(|(name, wish)| Job { name: name.clone(), kind: wish.kind, number: wish.number })
            .collect();
        wanted.there.extend(jobs.iter().filter(|job| job.kind == Kind::Put).map(|job| job.name.clone()));
        jobs
    }

    /// It is done, unless something else is wished of this name by now.
    pub(super) fn done(&self, job: &Job) {
        let mut wanted = self.wanted();
        if wanted.wishes.get(&job.name).is_some_and(|wish| wish.number == job.number) {
            wanted.wishes.remove(&job.name);
            if job.kind != Kind::Put {
                wanted.there.remove(&job.name);
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::new()
    }
}

impl Wanted {
    fn wish(&mut self, name: String, kind: Kind) {
        self.number += 1;
        self.wishes.insert(name, Wish { number: self.number, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.name.as_str()).collect()
    }

    #[test]
    fn a_file_that_goes_before_it_was_copied_leaves_nothing_to_do() {
        let copies = Copies::new();
        copies.put("a".into());
        copies.remove("a".into());
        assert_eq!(copies.due(u64::MAX, 9), []);
    }

    #[test]
    fn a_file_is_removed_once_the_store_has_the_journal_that_says_so_and_not_where_it_came_again() {
        let copies = Copies::new();
        let (written, so_far) = watch::channel(100);
        copies.follow(so_far);
        copies.found(["a".into(), "b".into()]);
        copies.remove("a".into());
        copies.remove("b".into());
        written.send_replace(200);
        copies.put("b".into());
        assert_eq!(names(&copies.due(99, 9)), ["b"]);
        let due = copies.due(100, 9);
        assert_eq!(names(&due), ["a", "b"]);
        // While `b` travels it is superseded: it is there, perhaps, and has to go.
        copies.remove("b".into());
        due.iter().for_each(|job| copies.done(job));
        assert_eq!(copies.due(199, 9), []);
        assert_eq!(names(&copies.due(200, 9)), ["b"]);
    }
}
