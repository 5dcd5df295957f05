//! The trials' rows for queries, in chunks that are made again only where a trial has changed. A chunk at a time,
//! so that a query of very many trials delays no decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use lethe_flight::message::experiment::{TrialResult, TrialState};
use lethe_tables::TrialChunk;

use crate::experiment::{Action, Event, Experiment};

/// Trials of one chunk: summing these up takes well below a millisecond.
const CHUNK: u32 = 256;

/// Nothing is kept before the first query.
#[derive(Default)]
pub struct TrialRows {
    chunks: Vec<TrialChunk>,
    /// Chunks that are to be made again.
    stale: BTreeSet<usize>,
    /// Those with trials that wait or run: made again for each query.
    live: BTreeSet<usize>,
    /// What the query that is being prepared has still to make; what gets stale meanwhile is made at its end.
    pass: Option<Vec<usize>>,
    /// Promoted, and perhaps still paused: the state changes once more before they are handed out.
    promoted: BTreeSet<u32>,
}

impl TrialRows {
    /// What changes a trial that neither waits nor runs is named by an event or an action.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Suggested { trial, .. } | Event::Ended { trial, .. } => self.touched(*trial),
            Event::CheckpointsLost { .. } => self.all(),
            _ => {}
        }
    }

    pub fn action(&mut self, action: &Action) {
        match action {
            Action::Promoted { trial, .. } => {
                self.promoted.insert(*trial);
                self.touched(*trial);
            }
            Action::Assign { spec, .. } => {
                self.promoted.remove(&spec.trial);
                self.touched(spec.trial);
            }
            Action::TrialEnded { trial, .. } => {
                self.promoted.remove(trial);
                self.touched(*trial);
            }
            Action::Paused { trial } => self.touched(*trial),
            _ => {}
        }
    }

    /// The experiment was begun anew: any trial may have changed.
    pub fn all(&mut self) {
        self.stale.extend(0..self.chunks.len());
    }

    fn touched(&mut self, trial: u32) {
        let chunk = (trial / CHUNK) as usize;
        if chunk < self.chunks.len() {
            self.stale.insert(chunk);
        }
    }

    /// Makes one chunk of what was missing or stale when this was first called since a snapshot was finished; false
    /// if nothing of it is left.
    pub fn step(&mut self, experiment: &Experiment) -> bool {
        let (there, needed) = (self.chunks.len(), chunks(experiment));
        let pass = self.pass.get_or_insert_with(|| {
            let mut pass: Vec<usize> = self.stale.iter().copied().collect();
            pass.extend(there..needed);
            pass.reverse();
            pass
        });
        let Some(chunk) = pass.pop() else { return false };
        self.make(chunk, experiment);
        true
    }

    /// All trials as they are now. What [`step`](Self::step) has left is made here.
    pub fn finish(&mut self, experiment: &Experiment) -> Vec<TrialChunk> {
        self.pass = None;
        let mut again = std::mem::take(&mut self.stale);
        again.extend(&self.live);
        again.extend(self.promoted.iter().map(|trial| (trial / CHUNK) as usize));
        again.extend(self.chunks.len()..chunks(experiment));
        again.into_iter().for_each(|chunk| self.make(chunk, experiment));
        self.chunks.clone()
    }

    fn make(&mut self, chunk: usize, experiment: &Experiment) {
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, Arc::default);
        }
        self.stale.remove(&chunk);
        let first = u32::try_from(chunk).unwrap_or(u32::MAX).saturating_mul(CHUNK);
        let numbers = first..first.saturating_add(CHUNK).min(experiment.asked());
        let open = numbers.len() < CHUNK as usize;
        let rows: Vec<TrialResult> = numbers.filter_map(|number| experiment.summary(number)).collect();
        let moves = |row: &TrialResult| matches!(row.state, TrialState::Waiting | TrialState::Running);
        if open || rows.iter().any(moves) {
            self.live.insert(chunk);
        } else {
            self.live.remove(&chunk);
        }
        self.chunks[chunk] = Arc::new(rows);
    }
}

fn chunks(experiment: &Experiment) -> usize {
    experiment.asked().div_ceil(CHUNK) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::search;

    #[test]
    fn rows_are_those_of_the_experiment_however_they_were_made() {
        let (mut experiment, mut rows) = (search(2000).experiment().unwrap(), TrialRows::default());
        let mut world = crate::service::tests::World::default();
        for round in 0..2500 {
            for (event, actions) in world.step(&mut experiment) {
                rows.event(&event);
                actions.iter().for_each(|action| rows.action(action));
            }
            // Asked in between, and a step at a time, while the experiment goes on.
            if round % 7 == 0 {
                rows.step(&experiment);
            }
            if round % 500 == 0 {
                let found: Vec<TrialResult> =
                    rows.finish(&experiment).iter().flat_map(|chunk| chunk.iter().cloned()).collect();
                assert_eq!(found, experiment.summaries(), "round {round}");
            }
        }
    }
}
