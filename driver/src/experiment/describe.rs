//! An experiment's decisions in words: for the table `events`, and for the replay of a journal.

use lethe_flight::message::Hparams;
use lethe_flight::message::experiment::End;
use lethe_flight::message::training::{Outcome, Rank, Verdict};
use lethe_tables::state_name;

use super::{Action, Event, SlotKey};

/// One line of an experiment's history. Fields that do not apply are None.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    pub kind: &'static str,
    pub trial: Option<u32>,
    pub attempt: Option<u32>,
    pub slot: Option<SlotKey>,
    pub epoch: Option<u32>,
    pub text: String,
}

/// What an event says by itself; reports that lead to no decision say nothing.
pub fn event(event: &Event) -> Option<Line> {
    let line = |kind| Line { kind, ..Line::default() };
    Some(match event {
        Event::Started => line("started"),
        Event::Suggested { trial, hparams, why, .. } => {
            Line { trial: Some(*trial), text: format!("{} ({why})", values(hparams)), ..line("suggested") }
        }
        Event::Refused { trial, hparams, by } => {
            Line { trial: Some(*trial), text: format!("{} by {by}", values(hparams)), ..line("refused") }
        }
        Event::Exhausted { trial } => Line { trial: Some(*trial), ..line("exhausted") },
        Event::Checked { trial, refused: Some(refused) } => {
            Line { trial: Some(*trial), text: refused.clone(), ..line("refused") }
        }
        Event::SlotJoined { slot, .. } => Line { slot: Some(*slot), ..line("slot_joined") },
        Event::SlotLeft { slot, reason } => {
            Line { slot: Some(*slot), text: reason.clone(), ..line("slot_left") }
        }
        Event::SlotLacks { slot, partitions } => {
            Line { slot: Some(*slot), text: super::slots::lacks(*partitions), ..line("slot_left") }
        }
        Event::SlotFailed { slot, error, .. } => {
            Line { slot: Some(*slot), text: error.clone(), ..line("slot_failed") }
        }
        Event::Checkpointed { trial, attempt, epoch, .. } => {
            Line { trial: Some(*trial), attempt: Some(*attempt), epoch: Some(*epoch), ..line("checkpointed") }
        }
        Event::Ended { trial, attempt, outcome, .. } => Line {
            trial: Some(*trial),
            attempt: Some(*attempt),
            text: match outcome {
                Outcome::Finished => "finished".into(),
                Outcome::Stopped => "stopped".into(),
                Outcome::Paused => "paused".into(),
                Outcome::Failed { error } => format!("failed: {error}"),
                Outcome::Lost { error } => format!("lost: {error}"),
            },
            ..line("attempt_ended")
        },
        Event::TrialTimeUp { trial, attempt } => {
            Line { trial: Some(*trial), attempt: Some(*attempt), ..line("trial_time_up") }
        }
        Event::GatherTimeUp { trial, attempt } => {
            Line { trial: Some(*trial), attempt: Some(*attempt), ..line("gather_time_up") }
        }
        Event::CheckpointsLost { checkpoints } => Line {
            text: format!(
                "trials {} begin anew",
                checkpoints.iter().map(|c| c.trial.to_string()).collect::<Vec<_>>().join(", ")
            ),
            ..line("checkpoints_lost")
        },
        Event::TimeUp => line("time_up"),
        Event::Cancel { reason } => Line { text: reason.clone(), ..line("cancelled") },
        Event::Abort { error } => Line { text: error.clone(), ..line("aborted") },
        Event::Checked { .. }
        | Event::Prepared { .. }
        | Event::PreparationFailed { .. }
        | Event::SlotWorker { .. }
        | Event::SlotReady { .. }
        | Event::Report { .. }
        | Event::DrainExpired => return None,
    })
}

/// What an action says; those that only move files or ask for something say nothing.
pub fn action(action: &Action) -> Option<Line> {
    let line = |kind| Line { kind, ..Line::default() };
    Some(match action {
        Action::Promoted { trial, why } => {
            Line { trial: Some(*trial), text: why.clone(), ..line("promoted") }
        }
        Action::Assign { slot, spec } => Line {
            trial: Some(spec.trial),
            attempt: Some(spec.attempt),
            slot: Some(*slot),
            epoch: spec.checkpoint.map(|checkpoint| checkpoint.epoch),
            text: {
                let from = match spec.checkpoint {
                    Some(from) if from.trial != spec.trial => {
                        format!("from the checkpoint of trial {} after epoch {}", from.trial, from.epoch)
                    }
                    Some(from) => format!("from its checkpoint after epoch {}", from.epoch),
                    None => "from its beginning".into(),
                };
                match spec.gang {
                    Some(Rank { rank, world }) => format!("{from}, as rank {rank} of {world}"),
                    None => from,
                }
            },
            ..line("assigned")
        },
        Action::Decide { trial, attempt, verdict, why, .. } if *verdict != Verdict::GoOn => Line {
            trial: Some(*trial),
            attempt: Some(*attempt),
            text: why.clone().unwrap_or_else(|| "the experiment ends".into()),
            ..line(if *verdict == Verdict::Stop { "stop" } else { "pause" })
        },
        Action::Stop { trial, attempt, why, .. } => {
            Line { trial: Some(*trial), attempt: Some(*attempt), text: why.clone(), ..line("stop") }
        }
        Action::TrialEnded { trial, state, error } => Line {
            trial: Some(*trial),
            text: match error {
                Some(error) => format!("{}: {error}", state_name(*state)),
                None => state_name(*state).into(),
            },
            ..line("trial_ended")
        },
        Action::NewBest { trial, superseded } => Line {
            trial: Some(*trial),
            text: superseded.map_or(String::new(), |former| format!("better than trial {former}")),
            ..line("new_best")
        },
        Action::Notice { text } => Line { text: text.clone(), ..line("notice") },
        Action::Over { end } => Line {
            text: match end {
                End::Completed => "completed".into(),
                End::Cancelled { reason } => format!("cancelled: {reason}"),
                End::Aborted { error } => format!("aborted: {error}"),
            },
            ..line("over")
        },
        Action::Suggest { .. }
        | Action::Check { .. }
        | Action::Prepare { .. }
        | Action::Decide { .. }
        | Action::Release { .. }
        | Action::Paused { .. }
        | Action::DropCheckpoint { .. }
        | Action::StartGatherTimer { .. }
        | Action::StartDrainTimer => return None,
    })
}

/// `lr=0.01 optimizer="adam"`
pub fn values(hparams: &Hparams) -> String {
    hparams.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
