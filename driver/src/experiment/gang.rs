//! Trials that take several slots at once.
//!
//! A gang begins when it is whole; one that may take fewer slots does so after a short while, or where all that are
//! expected are there. Free slots are kept for the one that has waited longest, and nothing else begins
//! meanwhile: so gangs neither starve nor hold slots that another one waits for. Rank 0 speaks for all: its reports,
//! checkpoints and end are the trial's. A rank that fails or is lost takes its gang with it, and the trial goes on
//! as any other that was lost.

use lethe_flight::message::experiment::TrialState;
use lethe_flight::message::gang::Workers;
use lethe_flight::message::training::Outcome;

use super::state::Gathering;
use super::trial::{Class, Phase, Told};
use super::{Action, Experiment, SlotKey};

/// How often a gang waits on for slots whose data are put again: with the timer's five minutes, two hours.
const RENEWED: u32 = 24;

impl Experiment {
    /// The trial that is handed out next.
    pub(super) fn next_ready(&self) -> Option<(Class, u32)> {
        let waits = self.state.gathering.and_then(|Gathering { trial, .. }| {
            let entry = (self.state.trial(trial)?.class, trial);
            self.state.ready.contains(&entry).then_some(entry)
        });
        waits.or_else(|| self.state.ready.first().copied())
    }

    /// How many of the free slots the trial takes; None where they are too few.
    pub(super) fn whole(&self, number: u32) -> Option<usize> {
        let Workers { least, most } = self.settings.workers(number);
        if most > 1 && !self.state.lacking.is_empty() {
            // Without these data it would be broken off again.
            return None;
        }
        let free = self.state.free.len();
        let settles =
            self.state.gathering.is_some_and(|gathering| gathering.trial == number && gathering.settles);
        let needed = if settles || free >= self.settings.slots as usize { least } else { most };
        (free >= needed as usize).then(|| free.min(most as usize))
    }

    /// Keeps free slots for the trial.
    pub(super) fn gather(&mut self, number: u32, out: &mut Vec<Action>) {
        if self.state.gathering.is_some_and(|gathering| gathering.trial == number) {
            return;
        }
        self.state.gathering = Some(Gathering { trial: number, settles: false, renewed: 0 });
        self.start_gather_timer(number, true, out);
    }

    /// Says that the trial still waits.
    fn say_waits(&self, number: u32, out: &mut Vec<Action>) {
        let (workers, free) = (self.settings.workers(number), self.state.free.len());
        if free >= workers.least as usize {
            return;
        }
        let wanted = match workers.is_elastic() {
            true => format!("{} to {}", workers.least, workers.most),
            false => workers.most.to_string(),
        };
        let are = if free == 1 { "is" } else { "are" };
        let text = format!("trial {number} waits for {wanted} slots at once: {free} {are} free");
        out.push(Action::Notice { text });
    }

    fn start_gather_timer(&self, number: u32, short: bool, out: &mut Vec<Action>) {
        let attempt = self.state.trial(number).map_or(0, |trial| trial.attempts) + 1;
        out.push(Action::StartGatherTimer { trial: number, attempt, short });
    }

    /// Where there are not as many slots, working or not, the trial will not begin.
    pub(super) fn gather_time_up(&mut self, number: u32, attempt: u32, out: &mut Vec<Action>) {
        let Some(gathering) = self.state.gathering.filter(|gathering| gathering.trial == number) else {
            return;
        };
        let waits = self.state.searching()
            && self.state.trial(number).is_some_and(|trial| {
                trial.attempts + 1 == attempt && self.state.ready.contains(&(trial.class, number))
            });
        if !waits {
            return;
        }
        if !self.state.lacking.is_empty() {
            if gathering.renewed < RENEWED {
                self.state.gathering = Some(Gathering { renewed: gathering.renewed + 1, ..gathering });
                return self.start_gather_timer(number, false, out);
            }
            // They are not waited for any longer.
            self.state.lacking.clear();
        }
        if self.state.slots.values().any(|slot| !slot.ready) {
            // They have come, and prepare their data.
            return self.start_gather_timer(number, !gathering.settles, out);
        }
        if !gathering.settles {
            // It begins at once where there are as many as it needs.
            self.state.gathering = Some(Gathering { settles: true, ..gathering });
            self.say_waits(number, out);
            return self.start_gather_timer(number, false, out);
        }
        let workers = self.settings.workers(number).least;
        let came = self.state.slots.values().filter(|slot| slot.ready).count();
        if came >= workers as usize {
            // They are at work, and will be free.
            return self.start_gather_timer(number, false, out);
        }
        self.state.gathering = None;
        let error = format!(
            "trial {number} needs {workers} slots at once, and {came} came in time: ask for fewer workers, or give \
             the application more task slots"
        );
        self.end_trial(number, TrialState::Failed, Some(error), out);
    }

    /// Another rank than the one that speaks for the trial has ended, or one of a gang that was given up.
    pub(super) fn rank_ended(
        &mut self,
        key: SlotKey,
        number: u32,
        attempt: u32,
        outcome: Outcome,
        out: &mut Vec<Action>,
    ) {
        if !self.holds(key, number, attempt) {
            return;
        }
        self.free(key);
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        if !trial.is_running(attempt) {
            return;
        }
        trial.others.retain(|other| *other != key);
        let told = trial.told();
        match outcome {
            // Rank 0 says what came of it.
            Outcome::Finished | Outcome::Stopped | Outcome::Paused => {}
            Outcome::Failed { error } => {
                self.dismiss(number, out);
                self.fail(number, error, out);
            }
            Outcome::Lost { error } => {
                self.dismiss(number, out);
                match told {
                    Told::Stop => self.end_trial(number, TrialState::Stopped, None, out),
                    Told::Nothing | Told::Pause => self.lose(number, &error, out),
                }
            }
        }
    }

    /// The attempt is over: ranks that are still at work on it stop.
    pub(super) fn dismiss(&mut self, number: u32, out: &mut Vec<Action>) {
        let Some(trial) = self.state.trials.get_mut(number as usize) else { return };
        let Phase::Running { slot, .. } = trial.phase else { return };
        let attempt = trial.attempts;
        let others = std::mem::take(&mut trial.others);
        for key in std::iter::once(slot).chain(others) {
            if self.holds(key, number, attempt) {
                let why = "its gang has ended, or is given up".to_owned();
                out.push(Action::Stop { slot: key, trial: number, attempt, why });
            }
        }
    }
}
