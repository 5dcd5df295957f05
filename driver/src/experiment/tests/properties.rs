//! Properties over random histories, under every rule.

use lethe_flight::message::experiment::{End, Listed};
use lethe_flight::message::gang::Workers;
use proptest::prelude::*;

use super::world::{Step, World};
use super::*;

const TRIALS: u32 = 14;

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<u8>;
    prop_oneof![
        4 => pick().prop_map(Step::Join),
        24 => (pick(), pick()).prop_map(|(slot, value)| Step::Work(slot, value)),
        2 => pick().prop_map(Step::Save),
        1 => pick().prop_map(Step::Lose),
        2 => (pick(), pick()).prop_map(|(slot, how)| Step::Break(slot, how)),
        24 => pick().prop_map(Step::Deliver),
        2 => pick().prop_map(Step::Again),
        16 => (pick(), pick()).prop_map(|(which, how)| Step::Answer(which, how)),
        1 => pick().prop_map(Step::TrialTimeUp),
        1 => Just(Step::GatherTimeUp),
        1 => pick().prop_map(Step::Kill),
    ]
}

/// Now and then the search is ended in the midst of it.
fn history() -> impl Strategy<Value = Vec<Step>> {
    let end = prop::option::weighted(0.3, (any::<u8>(), 0.0..1.0f64));
    (prop::collection::vec(step(), 0..300), end).prop_map(|(mut steps, end)| {
        if let Some((how, place)) = end {
            steps.insert((steps.len() as f64 * place) as usize, Step::End(how));
        }
        steps
    })
}

fn stopping() -> impl Strategy<Value = Stopping> {
    let pbt = Stopping::Pbt { every: 2, quantile: 0.4, resample: 0.2, parameters: vec!["x".into()] };
    let hyperband = |pause| Stopping::Hyperband { reduction: 2, min_epochs: 1, pause };
    prop::sample::select(vec![
        Stopping::None,
        asha(2, true),
        asha(3, false),
        hyperband(true),
        hyperband(false),
        Stopping::Median { min_trials: 2, min_epochs: 1 },
        Stopping::Threshold { bound: 4.0, min_epochs: 2 },
        Stopping::Patience { epochs: 2, min_delta: 0.5 },
        pbt,
    ])
}

fn searches() -> impl Strategy<Value = (Settings, Stopping)> {
    let ahead = prop_oneof![(0..9u32).prop_map(Ahead::Spare), (0..3u32).prop_map(Ahead::Late)];
    let budget = (
        prop::option::weighted(0.2, 1..60u64),
        prop::option::weighted(0.1, Just(9.0)),
        prop::option::weighted(0.2, Just(1.0)),
    );
    let rest = (any::<bool>(), any::<bool>(), 0..3u32, any::<bool>());
    // Of how many slots each trial is, or one fewer, in a third of the cases.
    let gangs = prop::option::weighted(0.3, prop::collection::vec((1..4u32, 0..2u32), TRIALS as usize));
    (stopping(), ahead, budget, rest, gangs).prop_map(|(stopping, ahead, budget, rest, gangs)| {
        let (epochs, target, trial_seconds) = budget;
        let (checked, model, exceptions, minimise) = rest;
        let mut settings = settings(TRIALS, 2);
        settings.budget = Budget { epochs, target, trial_seconds, ..settings.budget };
        (settings.ahead, settings.checked, settings.retries.exceptions) = (ahead, checked, exceptions);
        if model {
            settings.function = with_model();
        }
        if minimise {
            settings.objective.direction = Direction::Min;
            settings.budget.target = None;
        }
        for (replicate, (most, fewer)) in (0..).zip(gangs.unwrap_or_default()) {
            let (name, hparams) = (String::new(), Hparams::new());
            settings.listed.push(Listed {
                name,
                hparams,
                replicate,
                data: None,
                without: Vec::new(),
                workers: Workers { least: most.saturating_sub(fewer).max(1), most },
            });
        }
        (settings, stopping)
    })
}

fn play(search: &(Settings, Stopping), steps: &[Step]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(search.0.clone(), search.1.clone(), folder.path().into());
    steps.iter().for_each(|&step| world.step(step));
    // As if it were killed here and resumed once more.
    world.step(Step::Kill(255));
    world.finish();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Beside what [`World`] asserts at each action: no slot holds two trials, no trial is on two slots or ends
    /// twice, no budget is exceeded, no attempt begins from a checkpoint that was dropped, paused trials survive
    /// a kill, and what the journal makes of a fresh machine is the machine that wrote it, in state and in all
    /// that follows.
    #[test]
    fn every_trial_ends_exactly_once_whatever_happens(search in searches(), steps in history()) {
        let world = play(&search, &steps);
        let ends = world.ends();
        let results = world.experiment.results();
        for result in &results {
            prop_assert_eq!(ends.get(&result.trial), Some(&result.state));
            prop_assert!(result.history.windows(2).all(|pair| pair[0].epoch < pair[1].epoch));
            let numbered = result.history.iter().all(|report| report.epoch <= search.0.function.epochs());
            prop_assert!(numbered);
        }
        prop_assert!(results.len() <= TRIALS as usize);
        let progress = world.experiment.progress();
        let count = |state| results.iter().filter(|result| result.state == state).count();
        prop_assert_eq!(progress.finished as usize, count(TrialState::Finished));
        prop_assert_eq!(progress.stopped as usize, count(TrialState::Stopped));
        prop_assert_eq!(progress.failed as usize, count(TrialState::Failed));
        prop_assert_eq!((progress.running, progress.paused, progress.slots), (0, 0, 0));
        if let (Some(End::Completed), None, None) = (&world.over, search.0.budget.epochs, search.0.budget.target) {
            let ended_by_time = steps.iter().any(|step| matches!(step, Step::End(_)));
            prop_assert!(ended_by_time || results.iter().all(|result| result.state != TrialState::Cancelled));
        }
    }
}
