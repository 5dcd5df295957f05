//! What the watchers of an experiment see.
//!
//! One log serves all of them, each with its place in it; what all of them have seen is dropped. Requests to the
//! shim are kept until they are answered, and what its optimizer is told until somebody has heard it, whoever
//! watches when. Progress is not in the log; a watcher gets the latest, not each.

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
/// Notices, and failures of trials, that one experiment may make: slots that fail again and again do not fill the
/// memory.
const NOTICES: usize = 10_000;
/// Of the error of a trial, bytes; its result has all of it.
const ERROR_BYTES: usize = 8 << 10;
/// What functions print that is shown, bytes in all; the trials' log files have more.
const PRINTED: usize = 32 << 20;
/// Events that a watcher may leave unread, beside those that waited for it: with more it has stopped reading.
const UNREAD: u64 = 1 << 18;

pub struct Feed {
    shared: Mutex<Shared>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Shared {
    log: VecDeque<WatchEvent>,
    /// Place of the log's first event among all that there were.
    first: u64,
    watchers: BTreeMap<u64, Place>,
    next_watcher: u64,
    /// Requests without an answer, by trial and kind, for who watches late.
    outstanding: BTreeMap<(u32, Request), WatchEvent>,
    progress: Progress,
    notices: usize,
    failures: usize,
    printed: usize,
    over: Option<End>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// What it sees next.
    next: u64,
    /// What came before it watched, and waited for it.
    waited: u64,
}

impl Feed {
    pub fn new() -> Self {
        Self { shared: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub fn add(&self, event: WatchEvent) {
        lock(&self.shared).add(event);
        self.changed.send_replace(());
    }

    pub fn notice(&self, text: String) {
        self.add(WatchEvent::Notice { text });
    }

    /// What a trial's function has printed.
    pub fn log(&self, trial: u32, text: String) {
        self.add(WatchEvent::Log { trial, text });
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

impl Shared {
    fn add(&mut self, mut event: WatchEvent) {
        match &mut event {
            WatchEvent::Notice { .. } => {
                self.notices += 1;
                match self.notices.cmp(&NOTICES) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => {
                        let text = "too many notices; the rest is in the driver's log only".into();
                        event = WatchEvent::Notice { text };
                    }
                    std::cmp::Ordering::Greater => return,
                }
            }
            WatchEvent::Log { text, .. } => {
                if self.printed > PRINTED {
                    return;
                }
                self.printed += text.len();
                if self.printed > PRINTED {
                    let text = "the trials print too much to show; the rest is in their log files".into();
                    event = WatchEvent::Notice { text };
                }
            }
            WatchEvent::TrialFailed { error, .. } => {
                self.failures += 1;
                if self.failures > NOTICES {
                    return;
                }
                if error.len() > ERROR_BYTES {
                    error.truncate(error.floor_char_boundary(ERROR_BYTES));
                    error.push_str(" …");
                }
            }
            _ => {}
        }
        if let Some(request) = request(&event) {
            self.outstanding.insert(request, event.clone());
        }
        if self.watchers.is_empty() && !outlasts(&event) {
            return;
        }
        self.log.push_back(event);
        let end = self.end();
        let lags = |place: &Place| end - place.next.max(place.waited) > UNREAD;
        if self.watchers.values().any(lags) {
            self.watchers.retain(|_, place| !lags(place));
            self.trim();
        }
    }

    fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// Drops what nobody will see.
    fn trim(&mut self) {
        match self.watchers.values().map(|place| place.next).min() {
            Some(next) => {
                while self.first < next && self.log.pop_front().is_some() {
                    self.first += 1;
                }
            }
            None => {
                let end = self.end();
                self.log.retain(outlasts);
                self.first = end - self.log.len() as u64;
            }
        }
        if self.log.is_empty() {
            self.log.shrink_to(1024);
        }
    }
}

/// What the shim's optimizer is told waits for the next watcher, where there is none.
fn outlasts(event: &WatchEvent) -> bool {
    matches!(event, WatchEvent::Tell { .. })
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

/// The stream of one watcher: what nobody has heard yet, requests that still wait, then everything as it comes,
/// until `Over`. One that does not read is given up: its stream ends without it.
pub fn watch(feed: Arc<Feed>) -> impl Stream<Item = WatchEvent> + Send + 'static {
    let changes = feed.changed.subscribe();
    let (number, waiting) = {
        let mut shared = lock(&feed.shared);
        let number = shared.next_watcher;
        shared.next_watcher += 1;
        let end = shared.end();
        // What others have yet to see is no news for this one.
        let next = if shared.watchers.is_empty() { shared.first } else { end };
        shared.watchers.insert(number, Place { next, waited: end });
        (number, shared.outstanding.keys().copied().collect())
    };
    let next_progress = Instant::now();
    let watcher = Watcher { feed, changes, number, waiting, shown: None, next_progress, done: false };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((event, watcher))
    })
}

struct Watcher {
    feed: Arc<Feed>,
    changes: watch::Receiver<()>,
    number: u64,
    /// Requests that were there when it came: after what the optimizer is told.
    waiting: VecDeque<(u32, Request)>,
    shown: Option<Progress>,
    next_progress: Instant,
    done: bool,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut shared = lock(&self.feed.shared);
        shared.watchers.remove(&self.number);
        shared.trim();
    }
}

enum Next {
    Event(WatchEvent),
    /// Progress has changed, but the last was shown a moment ago.
    Later,
    Nothing,
    /// It did not read.
    GivenUp,
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
                Next::GivenUp => return None,
            }
        }
    }

    fn look(&mut self) -> Next {
        let mut shared = lock(&self.feed.shared);
        let Some(mut place) = shared.watchers.get(&self.number).copied() else { return Next::GivenUp };
        let mut found = None;
        while found.is_none() {
            if place.next >= place.waited
                && let Some(request) = self.waiting.pop_front()
            {
                found = shared.outstanding.get(&request).cloned();
                continue;
            }
            let at = usize::try_from(place.next - shared.first).unwrap_or(usize::MAX);
            let Some(event) = shared.log.get(at) else { break };
            place.next += 1;
            // It may have been answered meanwhile.
            if request(event).is_none_or(|request| shared.outstanding.contains_key(&request)) {
                found = Some(event.clone());
            }
        }
        shared.watchers.insert(self.number, place);
        shared.trim();
        if let Some(event) = found {
            return Next::Event(event);
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;

    use super::*;

    fn tell(trial: u32) -> WatchEvent {
        let state = lethe_flight::message::experiment::TrialState::Finished;
        WatchEvent::Tell { trial, state, hparams: Default::default(), values: vec![], history: vec![] }
    }

    fn held(feed: &Feed) -> usize {
        lock(&feed.shared).log.len()
    }

    async fn seen(feed: &Arc<Feed>) -> Vec<WatchEvent> {
        feed.over(End::Completed);
        watch(feed.clone())
            .filter(|e| std::future::ready(!matches!(e, WatchEvent::Progress(_))))
            .collect()
            .await
    }

    #[tokio::test]
    async fn what_was_read_or_settled_is_not_kept() {
        let feed = Arc::new(Feed::new());
        let mut watcher = pin!(watch(feed.clone()));
        assert!(matches!(watcher.next().await, Some(WatchEvent::Progress(_))));
        for trial in 0..100 {
            feed.add(WatchEvent::Ask { trial });
            assert_eq!(watcher.next().await, Some(WatchEvent::Ask { trial }));
            feed.settle(trial, Request::Ask);
            feed.add(tell(trial));
            assert_eq!(watcher.next().await, Some(tell(trial)));
            assert_eq!(held(&feed), 0);
        }
    }

    #[tokio::test]
    async fn the_optimizer_is_told_what_was_before_it_watched_and_then_asked_what_is_open() {
        let feed = Arc::new(Feed::new());
        feed.add(WatchEvent::Ask { trial: 7 });
        feed.add(WatchEvent::Ask { trial: 8 });
        (0..3).for_each(|trial| feed.add(tell(trial)));
        feed.notice("nobody is there to read it".into());
        feed.settle(7, Request::Ask);
        assert_eq!(held(&feed), 3);
        let mut watcher = Box::pin(watch(feed.clone()));
        assert_eq!(watcher.next().await, Some(tell(0)));
        feed.add(WatchEvent::Check { trial: 8, hparams: Default::default() });
        drop(watcher);
        // The next one hears what that one has not.
        let mut watcher = pin!(watch(feed.clone()));
        for trial in 1..3 {
            assert_eq!(watcher.next().await, Some(tell(trial)));
        }
        assert_eq!(watcher.next().await, Some(WatchEvent::Ask { trial: 8 }));
        assert!(matches!(watcher.next().await, Some(WatchEvent::Check { trial: 8, .. })));
        assert_eq!(held(&feed), 0);
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_read_is_given_up_and_others_are_not() {
        let feed = Arc::new(Feed::new());
        let mut lazy = pin!(watch(feed.clone()));
        let mut diligent = pin!(watch(feed.clone()));
        assert!(matches!(diligent.next().await, Some(WatchEvent::Progress(_))));
        for trial in 0..=u32::try_from(UNREAD).unwrap() {
            feed.add(tell(trial));
            assert_eq!(diligent.next().await, Some(tell(trial)));
        }
        assert_eq!(held(&feed), 0);
        assert_eq!(lazy.next().await, None);
    }

    #[tokio::test]
    async fn errors_and_notices_are_bounded() {
        let feed = Arc::new(Feed::new());
        let mut watcher = pin!(watch(feed.clone()));
        for trial in 0..20_000 {
            feed.add(WatchEvent::TrialFailed { trial, error: "é".repeat(ERROR_BYTES) });
            feed.notice("again".into());
        }
        feed.over(End::Completed);
        let (mut failures, mut notices) = (0, 0);
        while let Some(event) = watcher.next().await {
            match event {
                WatchEvent::TrialFailed { error, .. } => {
                    assert!(error.len() <= ERROR_BYTES + 5 && error.ends_with(" …"));
                    failures += 1;
                }
                WatchEvent::Notice { .. } => notices += 1,
                _ => {}
            }
        }
        assert_eq!((failures, notices), (NOTICES, NOTICES));
        assert_eq!(seen(&feed).await, [WatchEvent::Over { end: End::Completed }]);
    }
}
