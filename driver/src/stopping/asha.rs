//! Asynchronous successive halving (ASHA), with pauses and promotions or with stopping alone; see
//! [`super::halving`].

use super::halving::{Halving, Settings};
use super::{Decision, Promotion, Rungs, StoppingRule};

use lethe_flight::message::Hparams;

/// Rungs after `min_epochs * reduction^k` epochs, below the trial's own. NaN counts as the worst value of its
/// rung and ends the trial. A decision costs O(log n) with n trials at the rung.
///
/// With pauses, a trial pauses at each rung, and a free slot takes the best paused trial of the highest rung
/// that has one among its best `floor(n / reduction)`, in the order of their values; else a new trial.
///
/// Without, a trial goes on if its value is among the best `max(1, floor(n / reduction))` of those at the rung
/// so far, its own included, and ends if not; ties go on.
#[derive(Debug, Clone)]
pub struct Asha(Halving);

impl Asha {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Halving::new(settings))
    }
}

impl StoppingRule for Asha {
    fn rungs(&self, _: u32, epochs: u32) -> Rungs {
        Rungs { at: self.0.rungs_from(self.0.settings.min_epochs, epochs).collect(), every: None }
    }

    fn expects(&mut self, trials: Option<u32>) {
        self.0.expects(trials);
    }

    fn began(&mut self, trial: u32, _: &Hparams) {
        self.0.began(trial);
    }

    fn decide(&mut self, trial: u32, epoch: u32, value: f64) -> Decision {
        self.0.decide(self.0.settings.min_epochs, trial, epoch, value)
    }

    fn promote(&mut self, _: bool) -> Option<Promotion> {
        self.0.promote()
    }

    fn again(&mut self, trial: u32) {
        self.0.resume(trial);
    }

    fn failed(&mut self, trial: u32) {
        self.0.failed(trial);
    }

    fn ended(&mut self, trial: u32) {
        self.0.ended(trial);
    }

    fn pauses(&self) -> bool {
        self.0.settings.pause
    }
}

#[cfg(test)]
mod tests {
    use lethe_flight::message::training::Direction::{self, Max, Min};

    use super::super::Verdict::{self, GoOn, Pause, Stop};
    use super::*;

    fn asha(reduction: u32, direction: Direction, pause: bool, trials: Option<u32>) -> Asha {
        Asha::new(Settings { reduction, min_epochs: 1, direction, pause, trials })
    }

    fn verdict(asha: &mut Asha, trial: u32, epoch: u32, value: f64) -> Verdict {
        asha.decide(trial, epoch, value).verdict
    }

    fn promoted(asha: &mut Asha) -> Option<u32> {
        asha.promote(true).map(|promotion| promotion.trial)
    }

    fn decisions(direction: Direction, values: &[f64]) -> Vec<bool> {
        let mut asha = asha(3, direction, false, None);
        (0..).zip(values).map(|(trial, &value)| verdict(&mut asha, trial, 1, value) == GoOn).collect()
    }

    #[test]
    fn rungs_grow_by_the_reduction_and_stay_below_the_budget() {
        let asha = asha(3, Min, true, None);
        assert_eq!(asha.rungs(0, 27).at, [1, 3, 9]);
        assert_eq!(asha.rungs(0, 28).at, [1, 3, 9, 27]);
        assert_eq!(asha.rungs(0, 1).at, [0; 0]);
        let settings = Settings { reduction: 2, min_epochs: 5, direction: Min, pause: false, trials: None };
        assert_eq!(Asha::new(settings).rungs(0, u32::MAX).at.last(), Some(&(5 << 29)));
    }

    #[test]
    fn the_best_third_goes_on_in_both_directions() {
        // One value: kept. Of 2 and 3 the best one, of 6 the best two.
        let up = [0.1, 0.2, 0.15, 0.3, 0.05, 0.25];
        let expected = [true, true, false, true, false, true];
        assert_eq!(decisions(Max, &up), expected);
        let down: Vec<f64> = up.iter().map(|value| -value).collect();
        assert_eq!(decisions(Min, &down), expected);
    }

    #[test]
    fn ties_go_on() {
        assert_eq!(decisions(Max, &[0.5; 4]), [true; 4]);
        assert_eq!(decisions(Min, &[0.0, -0.0]), [true; 2]);
    }

    #[test]
    fn nan_always_ends_a_trial_and_is_worse_than_all() {
        assert_eq!(decisions(Max, &[f64::NAN, f64::NAN, -1e300]), [false, false, true]);
        assert_eq!(decisions(Min, &[f64::NAN, 1e300, f64::NAN]), [false, true, false]);
    }

    #[test]
    fn a_trial_that_is_run_again_counts_once_with_its_last_value() {
        let mut asha = asha(2, Max, false, None);
        assert_eq!(verdict(&mut asha, 0, 1, 0.9), GoOn);
        assert_eq!(verdict(&mut asha, 0, 1, 0.1), GoOn);
        assert_eq!(verdict(&mut asha, 1, 1, 0.2), GoOn, "0.9 no longer counts");
        // Three values, not four: one is kept.
        assert_eq!(verdict(&mut asha, 2, 1, 0.15), Stop);
    }

    #[test]
    fn what_a_trial_said_of_later_rungs_before_it_is_run_again_no_longer_counts() {
        let mut asha = asha(2, Max, false, None);
        verdict(&mut asha, 0, 1, 0.9);
        verdict(&mut asha, 0, 2, 0.9);
        verdict(&mut asha, 0, 1, 0.9);
        assert_eq!(verdict(&mut asha, 1, 2, 0.1), GoOn, "the first at its rung");
    }

    #[test]
    fn rungs_do_not_mix() {
        let mut asha = asha(3, Max, false, None);
        asha.decide(0, 1, 0.9);
        assert_eq!(verdict(&mut asha, 1, 3, 0.1), GoOn);
    }

    #[test]
    fn a_stop_says_rung_value_and_count() {
        let mut asha = asha(2, Max, false, None);
        asha.decide(0, 1, 0.9);
        let why = asha.decide(1, 1, 0.31).why.unwrap();
        assert_eq!(why, "rung 1: 0.31 is not among the best 1 of 2");
    }

    #[test]
    fn trials_pause_until_they_are_among_the_best_of_their_rung() {
        let mut asha = asha(3, Max, true, None);
        assert_eq!(verdict(&mut asha, 0, 1, 0.5), Pause);
        assert_eq!(verdict(&mut asha, 1, 1, 0.7), Pause);
        assert_eq!(promoted(&mut asha), None, "floor(2 / 3) is none");
        // The third value makes room for one: not for itself, but for trial 1.
        assert_eq!(verdict(&mut asha, 2, 1, 0.6), Pause);
        let promotion = asha.promote(true).unwrap();
        assert_eq!((promotion.trial, promotion.donor, promotion.hparams), (1, None, None));
        assert_eq!(promotion.why, "rung 1: among the best 1 of 3");
        assert_eq!(promoted(&mut asha), None);
        // A fourth that is the best takes the one place, which is given already: ASHA promotes it too.
        assert_eq!(verdict(&mut asha, 3, 1, 0.8), GoOn);
    }

    #[test]
    fn higher_rungs_come_first_and_better_trials_before_worse() {
        let mut asha = asha(2, Min, true, None);
        let verdicts = [(0, 0.2), (1, 0.3), (2, 0.4), (3, 0.1)]
            .map(|(trial, value)| verdict(&mut asha, trial, 1, value));
        assert_eq!(
            verdicts,
            [Pause, Pause, Pause, GoOn],
            "3 goes on when it comes: it is better than 0, which waits"
        );
        assert_eq!(promoted(&mut asha), Some(0));
        assert_eq!(verdict(&mut asha, 0, 2, 0.25), Pause);
        assert_eq!(verdict(&mut asha, 4, 1, 0.5), Pause);
        // At rung 2 the better of two is trial 0, which waits there: it goes before the best of rung 1.
        assert_eq!(verdict(&mut asha, 3, 2, 0.35), Pause);
        assert_eq!(verdict(&mut asha, 5, 1, 0.05), Pause);
        assert_eq!(promoted(&mut asha), Some(0));
        assert_eq!(promoted(&mut asha), Some(5));
        assert_eq!(promoted(&mut asha), None);
    }

    #[test]
    fn a_trial_that_is_run_again_waits_with_its_new_value() {
        let mut asha = asha(2, Max, true, None);
        asha.decide(0, 1, 0.9);
        asha.decide(1, 1, 0.5);
        assert_eq!(promoted(&mut asha), Some(0));
        // Its slot was lost, and on the next one it did worse: the place is trial 1's.
        assert_eq!(verdict(&mut asha, 0, 1, 0.1), Pause);
        assert_eq!(promoted(&mut asha), Some(1));
        assert_eq!(promoted(&mut asha), None);
    }

    #[test]
    fn a_search_too_small_for_its_rungs_trains_its_best_trial_to_the_end() {
        let mut asha = asha(4, Max, true, Some(3));
        for trial in 0..3 {
            asha.began(trial, &Hparams::new());
        }
        assert_eq!(verdict(&mut asha, 0, 1, 0.6), Pause);
        assert_eq!(verdict(&mut asha, 1, 1, 0.7), Pause);
        assert_eq!(promoted(&mut asha), None, "trial 2 is still to come");
        assert_eq!(verdict(&mut asha, 2, 1, 0.5), Pause);
        assert_eq!(promoted(&mut asha), Some(1));
        assert_eq!(promoted(&mut asha), None);
        assert_eq!(
            verdict(&mut asha, 1, 4, 0.8),
            GoOn,
            "alone at the highest rung, and nobody else will come"
        );
        asha.ended(1);
        assert_eq!(promoted(&mut asha), None);
    }

    #[test]
    fn where_the_best_trial_of_a_small_search_fails_the_next_best_is_trained() {
        for reached in [1, 4] {
            let mut asha = asha(4, Max, true, Some(3));
            for trial in 0..3 {
                asha.began(trial, &Hparams::new());
            }
            let values = [(0, 0.6), (1, 0.7), (2, 0.5)];
            values.iter().for_each(|&(trial, value)| _ = asha.decide(trial, 1, value));
            assert_eq!(promoted(&mut asha), Some(1));
            if reached == 4 {
                assert_eq!(verdict(&mut asha, 1, 4, 0.8), GoOn);
            }
            asha.failed(1);
            asha.ended(1);
            assert_eq!(promoted(&mut asha), Some(0), "failed after rung {reached}");
            // Its loss is no number: the last one is trained.
            assert_eq!(verdict(&mut asha, 0, 4, f64::NAN), Stop);
            asha.ended(0);
            assert_eq!(promoted(&mut asha), Some(2));
            assert_eq!(verdict(&mut asha, 2, 4, 0.5), GoOn);
        }
    }

    #[test]
    fn the_best_is_trained_to_the_end_where_fewer_trials_come_than_were_asked_for() {
        for trials in [Some(100), None] {
            let mut asha = asha(4, Max, true, trials);
            for trial in 0..2 {
                asha.began(trial, &Hparams::new());
                assert_eq!(verdict(&mut asha, trial, 1, 0.5), Pause);
            }
            assert_eq!(promoted(&mut asha), None, "others may come");
            asha.expects(Some(2));
            assert_eq!(promoted(&mut asha), Some(0));
        }
    }
}
