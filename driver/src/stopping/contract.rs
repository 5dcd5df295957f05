//! What every rule has to fulfil, whatever it decides by: one suite over all of them.

use std::collections::BTreeMap;

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::{Domain, Parameter, Stopping};
use lethe_flight::message::training::Direction;
use proptest::prelude::*;

use super::{Decision, Promotion, StoppingRule, Verdict, rule};
use crate::search::Space;

const EPOCHS: u32 = 9;
const TRIALS: u32 = 7;
const BOUND: f64 = 0.3;

/// Every rule with settings under which a few trials make it decide; thresholds as for [`Direction::Max`].
fn rules() -> Vec<Stopping> {
    let mut rules = vec![
        Stopping::None,
        Stopping::Median { min_trials: 2, min_epochs: 1 },
        Stopping::Threshold { bound: BOUND, min_epochs: 2 },
        Stopping::Patience { epochs: 2, min_delta: 0.05 },
        Stopping::Pbt { every: 2, quantile: 0.3, resample: 0.2, parameters: vec!["lr".into()] },
    ];
    for pause in [false, true] {
        rules.push(Stopping::Asha { reduction: 2, min_epochs: 1, pause });
        rules.push(Stopping::Hyperband { reduction: 2, min_epochs: 1, pause });
    }
    rules
}

fn compares(stopping: &Stopping) -> bool {
    !matches!(stopping, Stopping::None | Stopping::Threshold { .. } | Stopping::Patience { .. })
}

fn made(stopping: &Stopping, direction: Direction, trials: Option<u32>) -> Box<dyn StoppingRule> {
    let domain = Domain::LogUniform { low: 1e-4, high: 1e-1 };
    let lr = Parameter { name: "lr".into(), domain, condition: None };
    let space = Space::new(vec![lr], Vec::new()).unwrap();
    let stopping = match (stopping, direction) {
        (Stopping::Threshold { bound, min_epochs }, Direction::Min) => {
            &Stopping::Threshold { bound: -bound, min_epochs: *min_epochs }
        }
        (stopping, _) => stopping,
    };
    rule(stopping, direction, &space, trials, 11).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    /// The trial trains an epoch, if it runs.
    Train {
        trial: u32,
        value: f64,
    },
    /// Its slot is lost: it runs again from so many epochs before, also where it was just told to stop.
    Lose {
        trial: u32,
        epochs: u32,
    },
    Promote {
        ready: bool,
    },
    End {
        trial: u32,
    },
}

fn value() -> impl Strategy<Value = f64> {
    // Few distinct ones, so that there are ties.
    prop_oneof![8 => (0u8..12).prop_map(|value| f64::from(value) / 12.0), 1 => Just(f64::NAN)]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let trial = || 0..TRIALS;
    let step = prop_oneof![
        12 => (trial(), value()).prop_map(|(trial, value)| Step::Train { trial, value }),
        1 => (trial(), 0..EPOCHS).prop_map(|(trial, epochs)| Step::Lose { trial, epochs }),
        6 => any::<bool>().prop_map(|ready| Step::Promote { ready }),
        2 => trial().prop_map(|trial| Step::End { trial }),
    ];
    prop::collection::vec(step, 0..200)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Paused,
    Ended,
}

#[derive(Debug, Clone)]
struct Life {
    phase: Phase,
    epoch: u32,
    value: f64,
    /// The epoch of its last checkpoint.
    saved: Option<u32>,
}

/// Trial, verdict, donor, hyperparameters.
type Silent = (u32, Option<Verdict>, Option<u32>, Option<Hparams>);

/// Plays a history as an experiment would, and looks at what the rule says.
struct World {
    rule: Box<dyn StoppingRule>,
    stopping: Stopping,
    /// Multiplies values: -1 for the other direction.
    sign: f64,
    lives: Vec<Life>,
    said: Vec<Said>,
}

#[derive(Debug, Clone)]
enum Said {
    Decided(u32, Decision),
    Promoted(Promotion),
}

impl World {
    fn new(stopping: &Stopping, direction: Direction) -> Self {
        let mut rule = made(stopping, direction, Some(TRIALS));
        for trial in 0..TRIALS {
            rule.began(trial, &Hparams::from_iter([("lr".into(), 0.01.into())]));
        }
        let life = Life { phase: Phase::Running, epoch: 0, value: f64::NAN, saved: None };
        Self {
            rule,
            stopping: stopping.clone(),
            sign: if direction == Direction::Max { 1.0 } else { -1.0 },
            lives: vec![life; TRIALS as usize],
            said: Vec::new(),
        }
    }

    fn played(stopping: &Stopping, direction: Direction, history: &[Step]) -> Self {
        let mut world = Self::new(stopping, direction);
        for step in history {
            world.step(step);
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Train { trial, value } => {
                self.train(trial, value);
            }
            Step::Lose { trial, epochs } => {
                let life = &mut self.lives[trial as usize];
                if matches!(life.phase, Phase::Running | Phase::Stopping) {
                    life.phase = Phase::Running;
                    life.epoch = life.epoch.saturating_sub(epochs);
                }
            }
            Step::Promote { ready } => {
                self.promote(ready);
            }
            Step::End { trial } => self.end(trial),
        }
    }

    fn train(&mut self, trial: u32, value: f64) -> Option<Verdict> {
        let life = &mut self.lives[trial as usize];
        if life.phase != Phase::Running {
            return None;
        }
        life.epoch += 1;
        life.value = value;
        let epoch = life.epoch;
        if epoch >= EPOCHS {
            self.end(trial);
            return None;
        }
        if !self.rule.rungs(trial, EPOCHS).contains(epoch) {
            return None;
        }
        let decision = self.rule.decide(trial, epoch, self.sign * value);
        let life = &mut self.lives[trial as usize];
        match decision.verdict {
            Verdict::GoOn => {}
            Verdict::Stop => life.phase = Phase::Stopping,
            Verdict::Pause => {
                assert!(self.rule.pauses(), "{:?}", self.stopping);
                life.phase = Phase::Paused;
                life.saved = Some(epoch);
            }
        }
        let explained = decision.why.as_ref().is_some_and(|why| !why.is_empty());
        assert_eq!(explained, decision.verdict != Verdict::GoOn, "{:?}: {decision:?}", self.stopping);
        let verdict = decision.verdict;
        self.said.push(Said::Decided(trial, decision));
        Some(verdict)
    }

    fn promote(&mut self, ready: bool) -> Option<Promotion> {
        let promotion = self.rule.promote(ready)?;
        let stopping = &self.stopping;
        if let Some(donor) = promotion.donor {
            let donor = &self.lives[donor as usize];
            assert_ne!(donor.phase, Phase::Ended, "{stopping:?}: {promotion:?}");
            self.lives[promotion.trial as usize].epoch = donor.saved.expect("a donor has a checkpoint");
        }
        let life = &mut self.lives[promotion.trial as usize];
        assert_eq!(life.phase, Phase::Paused, "{stopping:?}: {promotion:?}");
        assert!(
            !life.value.is_nan() || matches!(stopping, Stopping::Pbt { .. }),
            "{stopping:?}: {promotion:?}"
        );
        life.phase = Phase::Running;
        assert!(!promotion.why.is_empty());
        self.said.push(Said::Promoted(promotion.clone()));
        Some(promotion)
    }

    fn end(&mut self, trial: u32) {
        self.lives[trial as usize].phase = Phase::Ended;
        self.rule.ended(trial);
    }

    /// All that would go on now.
    fn drain(&mut self) -> Vec<Promotion> {
        std::iter::from_fn(|| self.promote(false)).collect()
    }

    /// How a trial fares if its next value is this one: the higher the better. None where it does not run.
    fn fares(mut self, trial: u32, value: f64) -> Option<u8> {
        let verdict = self.train(trial, value)?;
        let promotions = self.drain();
        let promotion = promotions.iter().find(|promotion| promotion.trial == trial);
        Some(match (verdict, promotion) {
            (Verdict::GoOn, _) => 4,
            (Verdict::Pause, Some(Promotion { donor: None, .. })) => 3,
            (Verdict::Pause, Some(_)) => 2,
            (Verdict::Pause, None) => 1,
            (Verdict::Stop, _) => 0,
        })
    }

    /// What was said, without the words, in which values stand.
    fn silent(&self) -> Vec<Silent> {
        let silent = |said: &Said| match said.clone() {
            Said::Decided(trial, decision) => (trial, Some(decision.verdict), None, None),
            Said::Promoted(promotion) => (promotion.trial, None, promotion.donor, promotion.hparams),
        };
        self.said.iter().map(silent).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Only paused trials are promoted: no ended one, none twice for one pause, none after a NaN. The
    /// assertions are the world's.
    #[test]
    fn only_paused_trials_are_promoted_and_all_is_explained(history in history()) {
        for stopping in rules() {
            let mut world = World::played(&stopping, Direction::Max, &history);
            world.drain();
            for trial in 0..TRIALS {
                world.end(trial);
            }
            prop_assert_eq!(world.promote(false), None);
        }
    }

    #[test]
    fn the_same_history_gives_the_same_words(history in history()) {
        for stopping in rules() {
            let said = || format!("{:?}", World::played(&stopping, Direction::Max, &history).said);
            prop_assert_eq!(said(), said());
        }
    }

    #[test]
    fn max_of_a_value_is_min_of_its_negative(history in history()) {
        for stopping in rules() {
            let [max, min] = [Direction::Max, Direction::Min]
                .map(|direction| World::played(&stopping, direction, &history).silent());
            prop_assert_eq!(max, min, "{:?}", stopping);
        }
    }

    #[test]
    fn a_better_value_never_fares_worse(
        history in history(), trial in 0..TRIALS, values in (value(), value()), maximum in any::<bool>(),
    ) {
        let (worse, better) = match values {
            (a, b) if a.is_nan() || b > a => (a, b),
            (a, b) => (b, a),
        };
        let direction = if maximum { Direction::Max } else { Direction::Min };
        // For the minimum the world negates.
        for stopping in rules() {
            let fares = |value| World::played(&stopping, direction, &history).fares(trial, value);
            prop_assert!(fares(worse) <= fares(better), "{stopping:?}: {worse} before {better}");
        }
    }

    /// A trial that reports an epoch again counts once, with its last value: as if that were all it had said.
    #[test]
    fn what_was_reported_before_a_rerun_leaves_no_trace(
        values in prop::collection::vec((value(), value(), value()), 1..6),
        ended in prop::collection::vec(any::<bool>(), 6),
        probe in (value(), value()),
    ) {
        let outcome = |stopping: &Stopping, rerun: bool| {
            let mut rule = made(stopping, Direction::Max, matches!(stopping, Stopping::Pbt { .. }).then_some(values.len() as u32 + 1));
            for trial in 0..=values.len() as u32 {
                rule.began(trial, &Hparams::from_iter([("lr".into(), 0.01.into())]));
            }
            for (trial, &(junk, first, second)) in (0..).zip(&values) {
                if rerun {
                    for (epoch, value) in [(1, junk), (2, junk), (4, junk), (2, second), (1, second)] {
                        rule.decide(trial, epoch, value);
                    }
                }
                rule.decide(trial, 1, first);
                rule.decide(trial, 2, second);
            }
            for trial in (0..values.len()).filter(|&trial| ended[trial]) {
                rule.ended(trial as u32);
            }
            let mut said = Vec::new();
            for (epoch, value) in [(1, probe.0), (2, probe.1)] {
                said.push(format!("{:?}", rule.decide(values.len() as u32, epoch, value)));
                said.extend(std::iter::from_fn(|| rule.promote(false)).map(|promotion| format!("{promotion:?}")));
            }
            said
        };
        for stopping in rules() {
            prop_assert_eq!(outcome(&stopping, true), outcome(&stopping, false), "{:?}", stopping);
        }
    }

    /// Reports of trials that have ended, which come late or twice, change nothing for the others.
    #[test]
    fn reports_of_ended_trials_change_nothing(
        history in history(), stale in prop::collection::vec((0..TRIALS, 1..EPOCHS, value()), 1..20),
    ) {
        for stopping in rules() {
            let plain = World::played(&stopping, Direction::Max, &history);
            let mut disturbed = World::new(&stopping, Direction::Max);
            for (step, &(trial, epoch, value)) in history.iter().zip(stale.iter().cycle()) {
                disturbed.step(step);
                if disturbed.lives[trial as usize].phase == Phase::Ended {
                    disturbed.rule.decide(trial, epoch, value);
                    disturbed.rule.ended(trial);
                }
            }
            prop_assert_eq!(disturbed.silent(), plain.silent(), "{:?}", stopping);
        }
    }

    /// Once all others have ended, the last trial is not stopped for being worse than they were.
    #[test]
    fn the_last_one_standing_is_not_stopped(history in history(), last in 0..TRIALS) {
        let history: Vec<_> = history
            .into_iter()
            .filter(|step| !matches!(step, Step::End { trial } if *trial == last))
            // Without NaN, for which a trial may be stopped at any time.
            .filter(|step| !matches!(step, Step::Train { value, .. } if value.is_nan()))
            .collect();
        for stopping in rules().into_iter().filter(compares) {
            let mut world = World::played(&stopping, Direction::Max, &history);
            for trial in (0..TRIALS).filter(|&trial| trial != last) {
                world.end(trial);
            }
            if matches!(world.lives[last as usize].phase, Phase::Stopping | Phase::Ended) {
                continue;
            }
            // Where it waited at a rung, it waits no longer.
            if world.lives[last as usize].phase == Phase::Paused {
                prop_assert_eq!(world.promote(false).map(|promotion| promotion.trial), Some(last));
            }
            while world.lives[last as usize].phase == Phase::Running {
                let verdict = world.train(last, -1e6);
                prop_assert_ne!(verdict, Some(Verdict::Stop), "{:?}", stopping);
                if verdict == Some(Verdict::Pause) {
                    prop_assert_eq!(world.promote(false).map(|promotion| promotion.trial), Some(last));
                }
            }
        }
    }
}

#[test]
fn a_trial_that_others_can_still_follow_is_compared() {
    for (stopping, epoch) in [
        (Stopping::Asha { reduction: 2, min_epochs: 1, pause: false }, 1),
        (Stopping::Median { min_trials: 1, min_epochs: 1 }, 1),
    ] {
        let budgets = [(None, Verdict::Stop), (Some(3), Verdict::Stop), (Some(2), Verdict::GoOn)];
        for (trials, expected) in budgets {
            let mut rule = made(&stopping, Direction::Max, trials);
            rule.decide(0, epoch, 0.9);
            rule.ended(0);
            assert_eq!(rule.decide(1, epoch, 0.1).verdict, expected, "{stopping:?}, {trials:?}");
        }
    }
}

/// The suite is worth something only if its histories make the rules stop, pause, promote and exchange.
#[test]
fn every_rule_has_something_to_decide() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut counts: BTreeMap<usize, [u32; 4]> = BTreeMap::new();
    for _ in 0..200 {
        let history = history().new_tree(&mut runner).unwrap().current();
        for (number, stopping) in rules().iter().enumerate() {
            let count = counts.entry(number).or_default();
            for said in World::played(stopping, Direction::Max, &history).said {
                let what = match said {
                    Said::Decided(_, Decision { verdict: Verdict::Stop, .. }) => 0,
                    Said::Decided(_, Decision { verdict: Verdict::Pause, .. }) => 1,
                    Said::Decided(..) => continue,
                    Said::Promoted(Promotion { donor: None, .. }) => 2,
                    Said::Promoted(_) => 3,
                };
                count[what] += 1;
            }
        }
    }
    for (number, stopping) in rules().iter().enumerate() {
        let [stops, pauses, promotions, exchanges] = counts[&number];
        let pausing = made(stopping, Direction::Max, Some(2)).pauses();
        assert_eq!(
            pauses > 20 && promotions > 20,
            pausing,
            "{stopping:?}: {pauses} pauses, {promotions} promotions"
        );
        let stopping_too = !pausing && !matches!(stopping, Stopping::None);
        assert!(stops > 20 || !stopping_too, "{stopping:?}: {stops} stops");
        assert!(exchanges > 10 || !matches!(stopping, Stopping::Pbt { .. }), "{exchanges} exchanges");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let space = |condition: bool| {
        let parameter = |name: &str, condition| {
            let domain = Domain::Choice { values: vec!["sgd".into(), "adam".into()] };
            Parameter { name: name.into(), domain, condition }
        };
        let child = lethe_flight::message::experiment::Condition {
            parent: "optimizer".into(),
            values: vec!["sgd".into()],
        };
        let parameters =
            vec![parameter("optimizer", None), parameter("momentum", condition.then_some(child))];
        Space::new(parameters, Vec::new()).unwrap()
    };
    let refusal = |stopping: Stopping, trials| match rule(&stopping, Direction::Max, &space(true), trials, 0)
    {
        Ok(_) => panic!("{stopping:?} is accepted"),
        Err(error) => error.to_string(),
    };
    let pbt = |every, quantile, resample, parameters: &[&str]| Stopping::Pbt {
        every,
        quantile,
        resample,
        parameters: parameters.iter().map(|&name| name.into()).collect(),
    };
    let some = Some(4);
    let cases = [
        (Stopping::Asha { reduction: 1, min_epochs: 1, pause: true }, some, "ASHA's reduction is 1"),
        (Stopping::Asha { reduction: 2, min_epochs: 0, pause: true }, some, "ASHA's min_epochs is 0"),
        (
            Stopping::Hyperband { reduction: 0, min_epochs: 1, pause: true },
            some,
            "Hyperband's reduction is 0",
        ),
        (Stopping::Median { min_trials: 0, min_epochs: 1 }, some, "min_trials is 0"),
        (Stopping::Median { min_trials: 1, min_epochs: 0 }, some, "min_epochs is 0"),
        (Stopping::Threshold { bound: f64::NAN, min_epochs: 1 }, some, "bound is NaN"),
        (Stopping::Patience { epochs: 0, min_delta: 0.0 }, some, "patience is 0"),
        (Stopping::Patience { epochs: 1, min_delta: f64::NAN }, some, "min_delta is NaN"),
        (pbt(0, 0.2, 0.2, &["momentum"]), some, "every is 0"),
        (pbt(1, 0.6, 0.2, &["momentum"]), some, "quantile is 0.6"),
        (pbt(1, 0.2, 1.2, &["momentum"]), some, "resample is 1.2"),
        (pbt(1, 0.2, 0.2, &["momentum"]), None, "number of trials"),
        (pbt(1, 0.2, 0.2, &["momentum"]), Some(1), "2 or more"),
        (pbt(1, 0.2, 0.2, &[]), some, "at least one"),
        (
            pbt(1, 0.2, 0.2, &["lr"]),
            some,
            "\"lr\", which is not in the search space; it has optimizer, momentum",
        ),
        (pbt(1, 0.2, 0.2, &["optimizer"]), some, "whether \"momentum\" exists depends on it"),
    ];
    for (stopping, trials, expected) in cases {
        let refusal = refusal(stopping, trials);
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    }
    assert!(rule(&pbt(1, 0.5, 0.0, &["optimizer"]), Direction::Max, &space(false), some, 0).is_ok());
}
