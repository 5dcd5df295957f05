//! Room on the executor's disk for partitions and views: a budget, and what makes room.
//!
//! Whoever writes a file holds its [`Space`] as long as the file is there. Views that no slot uses go, the longest
//! unused first, when room is needed; partitions never do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lethe_flight::{Error, Result};

pub struct Disk {
    /// On the file system that is written to.
    folder: PathBuf,
    /// Bytes; None is what the file system has.
    limit: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: u64,
    /// Counts uses, so that the longest unused is known.
    clock: u64,
    views: BTreeMap<PathBuf, Kept>,
}

/// A view's file.
struct Kept {
    bytes: u64,
    users: u32,
    used_at: u64,
    /// Its file is removed, and who uses it still maps it.
    removed: bool,
}

impl Disk {
    pub fn new(folder: impl Into<PathBuf>, limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self { folder: folder.into(), limit, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers and a map that change together at the end of each step: a panic leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for `bytes` that are about to be written; `what` they are, for the error. Blocks, where views are evicted.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if there is no room, also without the views that nobody uses.
    pub fn reserve(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Space> {
        let mut space = Space { disk: self.clone(), what: what.into(), bytes: 0 };
        space.grow(bytes)?;
        Ok(space)
    }

    /// The space of a file that lies there already.
    pub fn found(self: &Arc<Self>, what: &str, bytes: u64) -> Space {
        self.lock().used += bytes;
        Space { disk: self.clone(), what: what.into(), bytes }
    }

    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// A finished view, which may be evicted while nobody uses it.
    pub fn keep_view(&self, path: PathBuf, space: Space) {
        let mut state = self.lock();
        state.clock += 1;
        let used_at = state.clock;
        let kept = Kept { bytes: space.hand_over(), users: 0, used_at, removed: false };
        if let Some(former) = state.views.insert(path, kept) {
            state.used = state.used.saturating_sub(former.bytes);
        }
    }

    /// Keeps a view from being evicted; None if it has been.
    pub fn use_view(self: &Arc<Self>, path: &Path) -> Option<InUse> {
        let mut state = self.lock();
        let kept = state.views.get_mut(path).filter(|kept| !kept.removed)?;
        kept.users += 1;
        Some(InUse { disk: self.clone(), path: path.into() })
    }

    /// Whether the view lies there.
    pub fn has_view(&self, path: &Path) -> bool {
        self.lock().views.get(path).is_some_and(|kept| !kept.removed)
    }

    /// Removes a view's file. Who maps it keeps it, and its room is free when the last of them has ended. Blocks.
    pub fn remove_view(&self, path: &Path) {
        let mut state = self.lock();
        let Some(kept) = state.views.get_mut(path) else { return };
        kept.removed = true;
        _ = std::fs::remove_file(path);
        if kept.users == 0 {
            state.forget(path);
        }
    }

    /// What more there is room for.
    fn room(&self, used: u64) -> Room {
        let free = rustix::fs::statvfs(&self.folder)
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        match self.limit {
            Some(limit) if limit.saturating_sub(used) <= free => {
                Room::OfLimit { left: limit.saturating_sub(used), limit }
            }
            _ => Room::OfDisk { left: free },
        }
    }
}

enum Room {
    OfLimit { left: u64, limit: u64 },
    OfDisk { left: u64 },
}

impl State {
    /// Removes the view that was not used for longest, of those that nobody uses.
    fn evict(&mut self) -> bool {
        let unused = self.views.iter().filter(|(_, kept)| kept.users == 0);
        let Some(path) = unused.min_by_key(|(_, kept)| kept.used_at).map(|(path, _)| path.clone()) else {
            return false;
        };
        tracing::info!(view = %path.display(), "a view that no slot uses makes room");
        _ = std::fs::remove_file(&path);
        self.forget(&path);
        true
    }

    fn forget(&mut self, path: &Path) {
        if let Some(kept) = self.views.remove(path) {
            self.used = self.used.saturating_sub(kept.bytes);
        }
    }
}

/// Room that a file takes, or will; given back when this is dropped.
pub struct Space {
    disk: Arc<Disk>,
    what: String,
    bytes: u64,
}

impl Space {
    /// For a file whose length is not known beforehand. Blocks, where views are evicted.
    ///
    /// # Errors
    /// As [`Disk::reserve`].
    pub fn grow(&mut self, more: u64) -> Result<()> {
        let mut state = self.disk.lock();
        loop {
            let (left, why) = match self.disk.room(state.used) {
                Room::OfLimit { left, limit } => {
                    (left, format!("{left} bytes are left of disk_limit, {limit}"))
                }
                Room::OfDisk { left } => (left, format!("{left} bytes are free")),
            };
            if more <= left {
                state.used += more;
                self.bytes += more;
                return Ok(());
            }
            if !state.evict() {
                return Err(full(
                    &self.what,
                    &format!("{more} more bytes do not fit: {why}"),
                    &self.disk.folder,
                ));
            }
        }
    }

    /// The file has so many bytes.
    pub fn settle(&mut self, bytes: u64) {
        let mut state = self.disk.lock();
        state.used = state.used.saturating_sub(self.bytes).saturating_add(bytes);
        self.bytes = bytes;
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its bytes count on, for another to give back.
    fn hand_over(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.disk.lock();
            state.used = state.used.saturating_sub(self.bytes);
        }
    }
}

/// Somebody uses this view.
pub struct InUse {
    disk: Arc<Disk>,
    path: PathBuf,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        state.clock += 1;
        let now = state.clock;
        let Some(kept) = state.views.get_mut(&self.path) else { return };
        kept.users = kept.users.saturating_sub(1);
        kept.used_at = now;
        if kept.removed && kept.users == 0 {
            state.forget(&self.path);
        }
    }
}

/// The error of a disk or a budget that is full; nothing was lost by it.
pub fn full(what: &str, why: &str, folder: &Path) -> Error {
    Error::Exhausted(format!(
        "there is no room on this executor's disk for {what}: raise disk_limit in lethe.Settings, set spark.local.dir to a \
         larger disk, or unpersist() datasets that are needed no longer ({why}, in {})",
        folder.display()
    ))
}

/// Says so where it was the disk that was full.
pub fn explain(error: Error, what: &str, folder: &Path) -> Error {
    use arrow::error::ArrowError;
    let source = match &error {
        Error::File { source, .. } | Error::Arrow(ArrowError::IoError(_, source)) => source,
        _ => return error,
    };
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            full(what, &source.to_string(), folder)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(limit: u64) -> (tempfile::TempDir, Arc<Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), Some(limit));
        (folder, disk)
    }

    /// A view of so many bytes, last used after those before it.
    fn view(folder: &Path, disk: &Arc<Disk>, name: &str, bytes: u64) -> PathBuf {
        let path = folder.join(name);
        let space = disk.reserve(name, bytes).unwrap();
        std::fs::write(&path, b"rows").unwrap();
        disk.keep_view(path.clone(), space);
        path
    }

    #[test]
    fn space_is_given_back_when_its_file_goes() {
        let (_folder, disk) = disk(100);
        let mut first = disk.reserve("a", 60).unwrap();
        let error = disk.reserve("b", 50).err().unwrap();
        assert!(matches!(error, Error::Exhausted(_)));
        for part in ["b", "disk_limit", "spark.local.dir", "40"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        first.settle(50);
        let second = disk.reserve("b", 50).unwrap();
        drop(first);
        assert_eq!(disk.used(), 50);
        drop(second);
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn unused_views_make_room_the_longest_unused_first() {
        let (folder, disk) = disk(100);
        let [a, b, c] = ["a", "b", "c"].map(|name| view(folder.path(), &disk, name, 30));
        drop(disk.use_view(&a).unwrap());
        let used = disk.use_view(&b).unwrap();
        let _space = disk.reserve("more", 40).unwrap();
        assert!(!c.exists() && !disk.has_view(&c), "c was not used since it was made");
        assert!(a.exists() && b.exists());
        let _more = disk.reserve("more", 30).unwrap();
        assert!(!a.exists() && b.exists());
        assert!(disk.reserve("more", 10).is_err(), "b is in use");
        assert!(b.exists());
        drop(used);
        disk.reserve("more", 10).unwrap();
        assert!(!b.exists());
    }

    #[test]
    fn a_removed_view_takes_its_room_until_nobody_maps_it() {
        let (folder, disk) = disk(100);
        let path = view(folder.path(), &disk, "a", 30);
        let used = disk.use_view(&path).unwrap();
        disk.remove_view(&path);
        assert!(!path.exists() && disk.use_view(&path).is_none());
        assert_eq!(disk.used(), 30);
        drop(used);
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn a_full_file_system_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), None);
        let error = disk.reserve("partition 3 of d", u64::MAX).err().unwrap().to_string();
        assert!(error.contains("partition 3 of d") && error.contains("bytes are free"), "{error}");
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = explain(Error::file("/x", source), "a view", folder.path());
        assert!(matches!(error, Error::Exhausted(_)), "{error}");
    }
}
