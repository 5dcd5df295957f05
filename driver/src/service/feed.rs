//! What the watchers of an experiment see.
//!
//! One log, which only grows, serves all of them, each with its place in it: nothing is lost to a slow watcher,
//! and none has a queue of its own. It holds a few entries for each trial. Progress is not in the log; a watcher
//! gets the latest, not each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use lethe_flight::message::experiment::{End, Progress, WatchEvent};
use tokio::sync::watch;
use tokio::time::Instant;

use super::lock;

/// Between two progress messages to one watcher.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Notices that one experiment may make: slots that fail again and again do not fill the memory.
const NOTICES: usize = 10_000;

pub struct Feed {
    shared: Mutex<Shared>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Shared {
    log: Vec<WatchEvent>,
    /// Requests without an answer, by trial and kind, for who watches late.
    outstanding: BTreeMap<(u32, Request), WatchEvent>,
    progress: Progress,
    notices: usize,
    over: Option<End>,
}

impl Feed {
    pub fn new() -> Self {
        Self { shared: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub fn add(&self, event: WatchEvent) {
        {
            let mut shared = lock(&self.shared);
            if let Some(request) = request(&event) {
                shared.outstanding.insert(request, event.clone());
            }
            if matches!(event, WatchEvent::Notice { .. }) {
                shared.notices += 1;
                match shared.notices.cmp(&NOTICES) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => {
                        let text = "too many notices; the rest is in the driver's log only".into();
                        shared.log.push(WatchEvent::Notice { text });
                        return;
                    }
                    std::cmp::Ordering::Greater => return,
                }
            }
            shared.log.push(event);
        }
        self.changed.send_replace(());
    }

    pub fn notice(&self, text: String) {
        self.add(WatchEvent::Notice { text });
    }

    pub fn is_over(&self) -> bool {
        lock(&self.shared).over.is_some()
    }

    /// The request has its answer.
    pub fn settle(&self, trial: u32, request: Request) {
        lock(&self.shared).outstanding.remove(&(trial, request));
    }

    /// Nothing is asked about the trial any more.
    pub fn settle_all(&self, trial: u32) {
        for request in [Request::Ask, Request::Check, Request::Prepare] {
            self.settle(trial, request);
        }
    }

    pub fn progress(&self, progress: Progress) {
        {
            let mut shared = lock(&self.shared);
            if shared.progress == progress {
                return;
            }
            shared.progress = progress;
        }
        self.changed.send_replace(());
    }

    pub fn over(&self, end: End) {
        {
            let mut shared = lock(&self.shared);
            shared.outstanding.clear();
            shared.over = Some(end);
        }
        self.changed.send_replace(());
    }
}

/// What the shim is asked about a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    Ask,
    Check,
    Prepare,
}

fn request(event: &WatchEvent) -> Option<(u32, Request)> {
    match event {
        WatchEvent::Ask { trial } => Some((*trial, Request::Ask)),
        WatchEvent::Check { trial, .. } => Some((*trial, Request::Check)),
        WatchEvent::Prepare { trial, .. } => Some((*trial, Request::Prepare)),
        _ => None,
    }
}

/// The stream of one watcher: requests that still wait, then everything as it comes, until `Over`.
pub fn watch(feed: Arc<Feed>) -> impl Stream<Item = WatchEvent> + Send + 'static {
    let changes = feed.changed.subscribe();
    let (waiting, cursor) = {
        let shared = lock(&feed.shared);
        // The shim's optimizer is told of the trials before it is asked about others.
        let told = shared.log.iter().filter(|event| matches!(event, WatchEvent::Tell { .. }));
        (told.chain(shared.outstanding.values()).cloned().collect(), shared.log.len())
    };
    let watcher =
        Watcher { feed, changes, waiting, cursor, shown: None, next_progress: Instant::now(), done: false };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((event, watcher))
    })
}

struct Watcher {
    feed: Arc<Feed>,
    changes: watch::Receiver<()>,
    waiting: VecDeque<WatchEvent>,
    cursor: usize,
    shown: Option<Progress>,
    next_progress: Instant,
    done: bool,
}

enum Next {
    Event(WatchEvent),
    /// Progress has changed, but the last was shown a moment ago.
    Later,
    Nothing,
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if self.done {
                return None;
            }
            self.changes.borrow_and_update();
            match self.look() {
                Next::Event(event) => return Some(event),
                Next::Later => {
                    tokio::select! {
                        () = tokio::time::sleep_until(self.next_progress) => {}
                        changed = self.changes.changed() => changed.ok()?,
                    }
                }
                Next::Nothing => self.changes.changed().await.ok()?,
            }
        }
    }

    fn look(&mut self) -> Next {
        let shared = lock(&self.feed.shared);
        if let Some(event) = self.waiting.pop_front() {
            return Next::Event(event);
        }
        while let Some(event) = shared.log.get(self.cursor) {
            self.cursor += 1;
            // Another watcher may have answered meanwhile.
            if request(event).is_none_or(|request| shared.outstanding.contains_key(&request)) {
                return Next::Event(event.clone());
            }
        }
        let stale = self.shown.as_ref() != Some(&shared.progress);
        if stale && (shared.over.is_some() || Instant::now() >= self.next_progress) {
            self.shown = Some(shared.progress.clone());
            self.next_progress = Instant::now() + PROGRESS_EVERY;
            return Next::Event(WatchEvent::Progress(shared.progress.clone()));
        }
        match &shared.over {
            Some(end) => {
                self.done = true;
                Next::Event(WatchEvent::Over { end: end.clone() })
            }
            None if stale => Next::Later,
            None => Next::Nothing,
        }
    }
}
