//! The journal in the object store: the file's bytes in numbered objects, each of whole records.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use lethe_flight::{Error, Result};
use object_store::path::Path as Location;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutPayload};

use super::folder::Folder;
use super::line::Lines;
use super::mirror::Mirror;
use super::retry::retry;

/// The stores' bytes: the crate `bytes`, as tonic hands it on.
pub type Bytes = tonic::codegen::Bytes;

const FOLDER: &str = "journal";
/// Segments that are fetched together, each of some megabytes at most.
const AT_ONCE: usize = 8;

/// Where the copy ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the last segment; the first is 1.
    pub segment: u64,
    /// Bytes of the journal that the segments hold.
    pub bytes: u64,
}

struct Segment {
    location: Location,
    size: u64,
}

impl Mirror {
    /// For an experiment that begins: its place in the store is free.
    ///
    /// # Errors
    /// If there is a journal already, or the store cannot be read.
    pub async fn begin(&self) -> Result<Position> {
        if self.segments().await?.is_empty() {
            return Ok(Position::default());
        }
        Err(Error::Precondition(format!(
            "there is an experiment's journal already: {} in {}; resume it, or choose another name",
            self.location("journal")?,
            self.store
        )))
    }

    /// For an experiment that goes on: brings what the store has of its journal and this host has not: all of it,
    /// or the end that a crash of this host cost. Comes before the journal is opened.
    ///
    /// # Errors
    /// If the journal here and its copy differ, either is damaged, or the store cannot be read.
    pub async fn restore(&self, folder: &Folder) -> Result<Position> {
        let mut segments = self.segments().await?;
        self.mend(&mut segments).await?;
        let path = folder.journal();
        let own = blocking({
            let path = path.clone();
            move || valid_bytes(&path)
        })
        .await?;
        let (mut length, mut wanted) = (0, Vec::new());
        for (index, segment) in segments.iter().enumerate() {
            let (start, end) = (length, length + segment.size);
            let common = own.clamp(start, end) - start;
            // An append-only log that agrees in its first and in its last common bytes is the same log.
            let compared = index == 0 || common > 0 && (end >= own || index + 1 == segments.len());
            if compared || end > own {
                wanted.push((segment.location.clone(), start, common));
            }
            length = end;
        }
        // One a second while something happened: fetched one by one, hours of them would take an hour.
        let mut gets = Vec::with_capacity(wanted.len());
        for (location, ..) in &wanted {
            gets.push(self.get(location));
        }
        let mut fetched = futures::stream::iter(gets).buffered(AT_ONCE);
        for (location, start, common) in &wanted {
            let (start, common) = (*start, *common);
            let Some(bytes) = fetched.try_next().await? else { break };
            let path = path.clone();
            let copy = format!("{location} in {}", self.store);
            blocking(move || continue_with(&path, start, common, &bytes, &copy)).await?;
        }
        if length > own {
            folder.sync()?;
        }
        Ok(Position { segment: segments.len() as u64, bytes: length })
    }

    /// The next segment. Where it was written before, by a try whose answer was lost, nothing changes.
    ///
    /// # Errors
    /// If another driver has written it, or the store cannot be written with several tries.
    pub(super) async fn put_segment(&self, number: u64, bytes: Bytes) -> Result<()> {
        let location = self.location(&name(number))?;
        let put = |mode: PutMode| {
            let payload = PutPayload::from(bytes.clone());
            async { self.store.put_opts(&location, payload, mode.into()).await.map(|_| ()) }
        };
        let answer = match retry(|| put(PutMode::Create)).await {
            // There are stores that cannot say whether an object is new.
            Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                retry(|| put(PutMode::Overwrite)).await
            }
            answer => answer,
        };
        match answer {
            Ok(()) => Ok(()),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                if self.get(&location).await? == bytes {
                    return Ok(());
                }
                Err(Error::Invalid(format!(
                    "{location} in {} was written by another driver: two drivers must not run one experiment",
                    self.store
                )))
            }
            Err(error) => Err(self.failed("write", &location, &error)),
        }
    }

    /// In order, without a gap.
    async fn segments(&self) -> Result<Vec<Segment>> {
        let folder = self.location(FOLDER)?;
        let list = || self.store.list(Some(&folder)).try_collect::<Vec<_>>();
        let objects = match retry(list).await {
            Ok(objects) => objects,
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(self.failed("list", &folder, &error)),
        };
        let mut segments: Vec<(u64, Segment)> = objects
            .into_iter()
            .filter_map(|object| {
                let number = number(object.location.filename()?)?;
                Some((number, Segment { location: object.location, size: object.size }))
            })
            .collect();
        segments.sort_by_key(|(number, _)| *number);
        for (expected, (number, _)) in (1..).zip(&segments) {
            if *number != expected {
                return Err(Error::Precondition(format!(
                    "{} is missing in {}, which has later ones: the copy of the journal is damaged",
                    self.location(&name(expected))?,
                    self.store
                )));
            }
        }
        Ok(segments.into_iter().map(|(_, segment)| segment).collect())
    }

    /// Cuts a torn end off the last segment: the next one follows its last whole record.
    async fn mend(&self, segments: &mut Vec<Segment>) -> Result<()> {
        let Some(last) = segments.last_mut() else { return Ok(()) };
        let bytes = self.get(&last.location).await?;
        let mut lines = Lines::new(&bytes[..], format!("{} in {}", last.location, self.store));
        while lines.next()?.is_some() {}
        let valid = lines.valid();
        if valid == last.size {
            return Ok(());
        }
        tracing::warn!(segment = %last.location, torn = lines.torn(), "the copy's last segment was torn");
        let location = last.location.clone();
        let mended = if valid == 0 {
            segments.pop();
            retry(|| self.store.delete(&location)).await
        } else {
            last.size = valid;
            let payload = PutPayload::from(bytes.slice(..valid as usize));
            retry(|| self.store.put(&location, payload.clone())).await.map(|_| ())
        };
        mended.map_err(|error| self.failed("write", &location, &error))
    }

    async fn get(&self, location: &Location) -> Result<Bytes> {
        let get = || async { self.store.get(location).await?.bytes().await };
        retry(get).await.map_err(|error| self.failed("read", location, &error))
    }
}

fn name(number: u64) -> String {
    format!("{FOLDER}/{number:08}.log")
}

fn number(file: &str) -> Option<u64> {
    file.strip_suffix(".log")?.parse().ok()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Precondition(format!("reading the journal was broken off: {error}")))?
}

/// 0 if there is none.
fn valid_bytes(path: &Path) -> Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::file(path, error)),
    };
    let mut lines = Lines::new(BufReader::with_capacity(1 << 18, file), path.display().to_string());
    while lines.next()?.is_some() {}
    Ok(lines.valid())
}

/// Of a segment that begins at `start`, its first `common` bytes are here already; the others are appended.
fn continue_with(path: &Path, start: u64, common: u64, segment: &[u8], copy: &str) -> Result<()> {
    let failed = |error| Error::file(path, error);
    let (known, new) = segment.split_at_checked(common as usize).unwrap_or((segment, &[]));
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut own = vec![0; known.len()];
    file.read_exact(&mut own).map_err(failed)?;
    if own != known {
        return Err(Error::Precondition(format!(
            "{} and its copy {copy} differ from byte {start} on: the experiment has been resumed elsewhere; remove \
             the one that is not to go on",
            path.display()
        )));
    }
    if new.is_empty() {
        return Ok(());
    }
    // A torn end gives way.
    let written =
        file.set_len(start + common).and_then(|()| file.write_all(new)).and_then(|()| file.sync_all());
    written.map_err(failed)
}
