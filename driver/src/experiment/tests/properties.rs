//! Random histories: slots join and leave, messages come late, twice, or to the wrong slot.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use lethe_flight::message::experiment::End;
use proptest::prelude::*;

/// One thing that happens; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Join {
        number: u32,
    },
    Ready {
        slot: u64,
    },
    Leave {
        slot: u64,
    },
    Prepare {
        trial: u32,
        fails: bool,
    },
    /// Of the attempt on a slot, `back` attempts too old.
    Report {
        slot: u64,
        back: u32,
        epoch: u32,
        value: u8,
    },
    End {
        slot: u64,
        back: u32,
        outcome: u8,
    },
    Cancel,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..12u64;
    prop_oneof![
        3 => (0..4u32).prop_map(|number| Step::Join { number }),
        6 => slot.clone().prop_map(|slot| Step::Ready { slot }),
        1 => slot.clone().prop_map(|slot| Step::Leave { slot }),
        6 => (0..14u32, prop::bool::weighted(0.1)).prop_map(|(trial, fails)| Step::Prepare { trial, fails }),
        9 => (slot.clone(), prop::sample::select(vec![0, 0, 0, 1]), 1..10u32, 0..10u8)
            .prop_map(|(slot, back, epoch, value)| Step::Report { slot, back, epoch, value }),
        9 => (slot, prop::sample::select(vec![0, 0, 0, 1]), 0..5u8)
            .prop_map(|(slot, back, outcome)| Step::End { slot, back, outcome }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    (prop::collection::vec(step(), 0..250), prop::bool::weighted(0.3)).prop_map(|(mut steps, cancel)| {
        if cancel {
            let middle = steps.len() / 2;
            steps.insert(middle, Step::Cancel);
        }
        steps
    })
}

/// What the world around the state machine knows, from its actions alone.
#[derive(Default)]
struct World {
    next_key: u64,
    holding: BTreeMap<u64, (u32, u32)>,
    released: BTreeSet<u64>,
    attempts: BTreeMap<u32, u32>,
    ended: BTreeMap<u32, TrialState>,
    over: Vec<End>,
}

impl World {
    fn see(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Assign { slot, spec } => {
                    assert!(!self.released.contains(&slot.0), "a trial for a slot that was released");
                    let former = self.holding.insert(slot.0, (spec.trial, spec.attempt));
                    assert_eq!(former, None, "a slot holds two trials");
                    let holders = self.holding.values().filter(|(trial, _)| *trial == spec.trial).count();
                    assert_eq!(holders, 1, "a trial is on two slots");
                    let attempts = self.attempts.entry(spec.trial).or_default();
                    *attempts += 1;
                    assert_eq!(*attempts, spec.attempt, "attempts are numbered one by one");
                    assert!(*attempts <= 4, "retries are bounded");
                    assert!(!self.ended.contains_key(&spec.trial), "an ended trial is handed out");
                }
                Action::Release { slot } => {
                    assert!(self.released.insert(slot.0), "released twice");
                    self.holding.remove(&slot.0);
                }
                Action::TrialEnded { trial, state, .. } => {
                    assert_eq!(self.ended.insert(*trial, *state), None, "trial {trial} ended twice");
                }
                Action::Over { end } => self.over.push(end.clone()),
                _ => {}
            }
        }
    }

    fn event(&mut self, step: &Step) -> Event {
        match *step {
            Step::Join { number } => {
                self.next_key += 1;
                Event::SlotJoined { slot: SlotKey(self.next_key - 1), number }
            }
            Step::Ready { slot } => Event::SlotReady { slot: SlotKey(slot) },
            Step::Leave { slot } => {
                self.holding.remove(&slot);
                Event::SlotLeft { slot: SlotKey(slot), reason: "gone".into() }
            }
            Step::Prepare { trial, fails: true } => {
                Event::PreparationFailed { trial, error: "ValueError".into() }
            }
            Step::Prepare { trial, fails: false } => Event::Prepared { trial, program: program() },
            Step::Report { slot, back, epoch, value } => {
                let (trial, attempt) = self.holding.get(&slot).copied().unwrap_or((0, 1));
                let value = if value == 0 { f64::NAN } else { f64::from(value) };
                let attempt = attempt.saturating_sub(back);
                Event::Report { slot: SlotKey(slot), trial, attempt, epoch, metrics: metrics(value) }
            }
            Step::End { slot, back, outcome } => {
                let (trial, attempt) = self.holding.get(&slot).copied().unwrap_or((0, 1));
                let outcome = match outcome {
                    0 | 1 => Outcome::Finished,
                    2 => Outcome::Stopped,
                    3 => failed("the loss is NaN"),
                    _ => Outcome::Lost { error: "killed".into() },
                };
                if back == 0 {
                    self.holding.remove(&slot);
                }
                let attempt = attempt.saturating_sub(back);
                Event::Ended { slot: SlotKey(slot), trial, attempt, outcome, timing: Timing::default() }
            }
            Step::Cancel => Event::Cancel { reason: "test".into() },
        }
    }
}

fn bench() -> Bench {
    let stopping = Stopping::Asha { reduction: 2, min_epochs: 1 };
    Bench::new(Settings { function: with_model(), ..settings(14, 2) }, stopping)
}

fn play(steps: &[Step], bench: &mut Bench) -> (World, Vec<Event>) {
    let (mut world, mut events) = (World::default(), Vec::new());
    for step in steps {
        let event = world.event(step);
        // Where the slot leaves or ends first, its former holding must not count against the next.
        let actions = bench.handle(event.clone());
        events.push(event);
        world.see(&actions);
    }
    (world, events)
}

/// A well-behaved rest: every slot does what it is told, every preparation succeeds, until the end.
fn finish(bench: &mut Bench, world: &mut World) {
    let key = 1000;
    let mut actions = bench.slot(key, 1000);
    world.see(&actions);
    for round in 0..2000 {
        if bench.experiment.end().is_some() {
            return;
        }
        let held: Vec<_> = world.holding.iter().map(|(&slot, &held)| (slot, held)).collect();
        for (slot, (trial, attempt)) in held {
            world.holding.remove(&slot);
            actions = bench.ended(slot, trial, attempt, Outcome::Finished);
            world.see(&actions);
        }
        actions = bench.handle(Event::Prepared { trial: round % 14, program: program() });
        world.see(&actions);
    }
    panic!("the search does not end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_trial_ends_once_and_no_slot_holds_two(steps in history()) {
        let mut bench = bench();
        let (mut world, _) = play(&steps, &mut bench);
        finish(&mut bench, &mut world);
        prop_assert_eq!(world.over.len(), 1);
        let results = bench.experiment.results();
        for result in &results {
            prop_assert_eq!(world.ended.get(&result.trial), Some(&result.state));
            prop_assert!(result.history.windows(2).all(|pair| pair[0].epoch < pair[1].epoch));
        }
        prop_assert_eq!(world.ended.len(), results.len());
        prop_assert!(world.holding.is_empty());
        if world.over[0] == End::Completed {
            prop_assert_eq!(results.len(), 14);
            prop_assert!(results.iter().all(|r| r.state != TrialState::Cancelled));
        }
    }

    #[test]
    fn the_same_events_give_the_same_actions(steps in history()) {
        let mut first = bench();
        let (_, events) = play(&steps, &mut first);
        let mut second = bench();
        for event in events {
            second.handle(event);
        }
        // By text: a NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", second.actions), format!("{:?}", first.actions));
        prop_assert_eq!(
            format!("{:?}", second.experiment.results()),
            format!("{:?}", first.experiment.results())
        );
    }
}
