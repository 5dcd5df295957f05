//! Asynchronous successive halving, in one bracket (ASHA) or several (Hyperband).
//!
//! Li, Jamieson, Rostamizadeh, Gonina, Hardt, Recht, Talwalkar: "A System for Massively Parallel
//! Hyperparameter Tuning", 2018 (arXiv:1810.05934), algorithm 2. What is decided here and not there:
//!
//! - A trial goes on without a pause where, had it paused, it would have been promoted next. Its slot would
//!   have taken it up again at once, so this is the same search with one checkpoint less.
//! - When all trials have begun and all that live are paused, the rungs can fill no further. If even the
//!   highest rung of a bracket holds fewer than `reduction` trials, its best one goes on all the same: a search
//!   that is too small for its rungs would otherwise end with no trial trained to its end; where that one fails,
//!   the next best. So does the last one standing.
//! - A trial whose value is NaN is never promoted. It is stopped, not paused, which spares its checkpoint.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use lethe_flight::message::training::Direction;

use super::cost::{Cost, short};
use super::rung::Rung;
use super::standing::Standing;
use super::{Decision, Promotion};

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// At least 2.
    pub reduction: u32,
    /// At least 1.
    pub min_epochs: u32,
    pub direction: Direction,
    /// Trials pause at rungs and are promoted. Else they are asked once, when they get there, and end.
    pub pause: bool,
    /// Trials in all, where that is known.
    pub trials: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Halving {
    pub settings: Settings,
    standing: Standing,
    /// By the first rung of a bracket, then by rung.
    brackets: BTreeMap<u32, BTreeMap<u32, Rung>>,
    /// By trial.
    stands: Vec<Stand>,
    paused: usize,
}

/// Where a trial is: so that most decisions need not look for it in the rungs.
#[derive(Debug, Clone, Copy, Default)]
struct Stand {
    bracket: u32,
    /// The rung of its last report; 0 before the first.
    epoch: u32,
    paused: bool,
    failed: bool,
}

/// A rung of a bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stair {
    epoch: u32,
    /// Of equally high rungs that of the bracket which begins lowest.
    bracket: Reverse<u32>,
}

impl Halving {
    pub fn new(settings: Settings) -> Self {
        let standing = Standing::new(settings.trials);
        Self { settings, standing, brackets: BTreeMap::new(), stands: Vec::new(), paused: 0 }
    }

    /// `first * reduction^k` below `epochs`.
    pub fn rungs_from(&self, first: u32, epochs: u32) -> impl Iterator<Item = u32> {
        let reduction = self.settings.reduction;
        std::iter::successors(Some(first), move |rung| rung.checked_mul(reduction))
            .take_while(move |&rung| rung < epochs)
    }

    pub fn is_rung(&self, epoch: u32) -> bool {
        self.rungs_from(self.settings.min_epochs, u32::MAX).any(|rung| rung == epoch)
    }

    pub fn expects(&mut self, trials: Option<u32>) {
        self.standing.expects(trials);
    }

    pub fn began(&mut self, trial: u32) {
        self.standing.began(trial);
    }

    /// Its values stay, for they were reached, but it leads no rung.
    pub fn failed(&mut self, trial: u32) {
        if let Some(stand) = self.stands.get_mut(trial as usize) {
            stand.failed = true;
        }
    }

    pub fn ended(&mut self, trial: u32) {
        self.standing.ended(trial);
        self.resume(trial);
    }

    pub fn decide(&mut self, bracket: u32, trial: u32, epoch: u32, value: f64) -> Decision {
        if !self.is_rung(epoch) {
            return Decision::go_on();
        }
        if !self.standing.reports(trial) {
            return Decision::stop("the trial has ended before".into());
        }
        let Settings { reduction, direction, pause, .. } = self.settings;
        let cost = Cost::new(value, direction);
        self.forget_from(epoch, trial);
        let rungs = self.brackets.entry(bracket).or_default();
        let rung = rungs.entry(epoch).or_insert_with(|| Rung::new(reduction, usize::from(!pause)));
        let pauses = pause && !value.is_nan();
        rung.record(trial, cost, pauses);
        if let Some(stand) = self.stands.get_mut(trial as usize) {
            *stand = Stand { bracket, epoch, paused: pauses, failed: false };
            self.paused += usize::from(pauses);
        }
        if value.is_nan() {
            self.standing.stopped(trial);
            return Decision::stop(format!("rung {epoch}: the value is NaN"));
        }
        let (kept, of, keeps) = (rung.kept(), rung.len(), rung.keeps(cost));
        let goes_on = if pause {
            self.next().is_some_and(|(_, next)| next == trial)
        } else {
            keeps || self.standing.is_last(trial)
        };
        if goes_on {
            self.resume(trial);
            return Decision::go_on();
        }
        let why = format!("rung {epoch}: {} is not among the best {kept} of {of}", short(value));
        if pause {
            return Decision::pause(why);
        }
        self.standing.stopped(trial);
        Decision::stop(why)
    }

    pub fn promote(&mut self) -> Option<Promotion> {
        let (stair, trial) = self.next()?;
        let rung = self.brackets.get(&stair.bracket.0)?.get(&stair.epoch)?;
        let why = match rung.promotable() {
            Some(_) => format!("rung {}: among the best {} of {}", stair.epoch, rung.kept(), rung.len()),
            None => {
                format!("rung {}: the best that is left, and no trial will come to this rung", stair.epoch)
            }
        };
        self.resume(trial);
        Some(Promotion { trial, donor: None, hparams: None, why })
    }

    /// Whom a free slot would take.
    fn next(&self) -> Option<(Stair, u32)> {
        let among_the_best = self.brackets.iter().filter_map(|(&bracket, rungs)| {
            rungs.iter().rev().find_map(|(&epoch, rung)| {
                Some((Stair { epoch, bracket: Reverse(bracket) }, rung.promotable()?))
            })
        });
        among_the_best
            .max()
            .or_else(|| if self.is_full() { self.last().or_else(|| self.leader()) } else { None })
    }

    /// No rung will get another value unless a paused trial goes on.
    fn is_full(&self) -> bool {
        self.standing.all_have_begun() && self.standing.alive() == self.paused
    }

    /// The last one standing, which is paused.
    fn last(&self) -> Option<(Stair, u32)> {
        let trial = self.standing.last()?;
        let stand = self.stands.get(trial as usize)?;
        Some((Stair { epoch: stand.epoch, bracket: Reverse(stand.bracket) }, trial))
    }

    /// The best trial of a bracket's highest rung, if it waits there. Trials that failed, or reported NaN, have
    /// led nowhere: the best of the others stands for the bracket.
    fn leader(&self) -> Option<(Stair, u32)> {
        let failed = |trial: u32| self.stands.get(trial as usize).is_some_and(|stand| stand.failed);
        let leaders = self.brackets.iter().filter_map(|(&bracket, rungs)| {
            let (epoch, (trial, paused)) =
                rungs.iter().rev().find_map(|(&epoch, rung)| Some((epoch, rung.leader(failed)?)))?;
            paused.then_some((Stair { epoch, bracket: Reverse(bracket) }, trial))
        });
        leaders.max()
    }

    /// It is not paused, or no longer.
    pub fn resume(&mut self, trial: u32) {
        let Some(stand) = self.stands.get_mut(trial as usize).filter(|stand| stand.paused) else { return };
        stand.paused = false;
        self.paused -= 1;
        if let Some(rung) =
            self.brackets.get_mut(&stand.bracket).and_then(|rungs| rungs.get_mut(&stand.epoch))
        {
            rung.resume(trial);
        }
    }

    /// What the trial said at this rung and at later ones no longer counts, and it is not paused.
    fn forget_from(&mut self, epoch: u32, trial: u32) {
        self.resume(trial);
        if self.stands.len() <= trial as usize {
            self.stands.resize(trial as usize + 1, Stand::default());
        }
        let Some(stand) = self.stands.get(trial as usize).filter(|stand| stand.epoch >= epoch) else {
            return;
        };
        for (_, rung) in self.brackets.entry(stand.bracket).or_default().range_mut(epoch..) {
            rung.forget(trial);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::Verdict;
    use super::*;

    const REDUCTION: u32 = 3;
    const EPOCHS: u32 = 27;
    const SLOTS: usize = 3;

    /// `get_job` of algorithm 2 of the paper, word by word: the values of each rung are sorted each time.
    #[derive(Default)]
    struct Paper {
        rungs: BTreeMap<u32, Vec<(f64, u32)>>,
        promoted: BTreeSet<(u32, u32)>,
    }

    impl Paper {
        fn job(&mut self) -> Option<(u32, u32)> {
            for (&epoch, values) in self.rungs.iter_mut().rev() {
                values.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let candidates = &values[..values.len() / REDUCTION as usize];
                let promotable =
                    candidates.iter().find(|(_, trial)| !self.promoted.contains(&(epoch, *trial)));
                if let Some(&(_, trial)) = promotable {
                    self.promoted.insert((epoch, trial));
                    return Some((trial, epoch * REDUCTION));
                }
            }
            None
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Slots that do jobs one after another, whose values are these: the same jobs in the same order.
        #[test]
        fn slots_get_the_jobs_of_algorithm_2(values in prop::collection::vec(0u8..40, 200)) {
            let value = |trial: u32, epoch: u32| f64::from(values[(trial * 5 + epoch) as usize % values.len()]);
            let mut paper = Paper::default();
            let mut expected = Vec::new();
            let mut slots = [(0, 1), (1, 1), (2, 1)];
            let mut next = SLOTS as u32;
            for turn in 0..150 {
                let (trial, epoch) = slots[turn % SLOTS];
                expected.push((trial, epoch));
                if epoch < EPOCHS {
                    paper.rungs.entry(epoch).or_default().push((value(trial, epoch), trial));
                }
                slots[turn % SLOTS] = paper.job().unwrap_or_else(|| {
                    next += 1;
                    (next - 1, 1)
                });
            }
            let settings = Settings {
                reduction: REDUCTION,
                min_epochs: 1,
                direction: Direction::Min,
                pause: true,
                trials: None,
            };
            let mut halving = Halving::new(settings);
            let mut jobs = Vec::new();
            let mut slots = [(0, 1), (1, 1), (2, 1)];
            let mut next = SLOTS as u32;
            let mut at = BTreeMap::new();
            for turn in 0..150 {
                let (trial, epoch) = slots[turn % SLOTS];
                jobs.push((trial, epoch));
                at.insert(trial, epoch);
                let goes_on = epoch < EPOCHS
                    && halving.decide(1, trial, epoch, value(trial, epoch)).verdict == Verdict::GoOn;
                slots[turn % SLOTS] = if goes_on {
                    (trial, epoch * REDUCTION)
                } else if let Some(promotion) = halving.promote() {
                    (promotion.trial, at[&promotion.trial] * REDUCTION)
                } else {
                    next += 1;
                    (next - 1, 1)
                };
            }
            prop_assert_eq!(jobs, expected);
        }
    }
}
