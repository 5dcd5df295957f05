//! Which trials have begun and which have ended, for the rules that compare them.

/// A rule that compares trials never stops the last one standing: where all others have ended, however they
/// ended, and no further one can come, the last is not stopped for being worse than they were.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Trials in all, where the budget says so. Without, another can always come.
    total: Option<u32>,
    /// By trial.
    stages: Vec<Stage>,
    begun: u32,
    alive: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unknown,
    Alive,
    /// The rule said so; its end is not yet known.
    Stopped,
    Ended,
}

impl Standing {
    pub fn new(total: Option<u32>) -> Self {
        Self { total, stages: Vec::new(), begun: 0, alive: 0 }
    }

    pub fn expects(&mut self, total: Option<u32>) {
        self.total = total;
    }

    pub fn began(&mut self, trial: u32) {
        if self.stage(trial) == Stage::Unknown {
            self.turn(trial, Stage::Alive);
        }
    }

    /// Whether a report of this trial counts: it has not ended. One that was told to stop and reports all the
    /// same is run again, because its slot was lost before it heard.
    pub fn reports(&mut self, trial: u32) -> bool {
        match self.stage(trial) {
            Stage::Ended => false,
            Stage::Alive => true,
            Stage::Unknown | Stage::Stopped => {
                self.turn(trial, Stage::Alive);
                true
            }
        }
    }

    pub fn stopped(&mut self, trial: u32) {
        self.turn(trial, Stage::Stopped);
    }

    /// False where that was known.
    pub fn ended(&mut self, trial: u32) -> bool {
        let news = self.stage(trial) != Stage::Ended;
        self.turn(trial, Stage::Ended);
        news
    }

    /// How many may go on, paused ones among them.
    pub fn alive(&self) -> usize {
        self.alive as usize
    }

    pub fn all_have_begun(&self) -> bool {
        self.total.is_some_and(|total| self.begun >= total)
    }

    pub fn is_last(&self, trial: u32) -> bool {
        self.alive == 1 && self.all_have_begun() && self.stage(trial) == Stage::Alive
    }

    /// The last one standing, if there is but one.
    pub fn last(&self) -> Option<u32> {
        if self.alive != 1 || !self.all_have_begun() {
            return None;
        }
        let at = self.stages.iter().position(|stage| *stage == Stage::Alive)?;
        u32::try_from(at).ok()
    }

    fn stage(&self, trial: u32) -> Stage {
        self.stages.get(trial as usize).copied().unwrap_or(Stage::Unknown)
    }

    fn turn(&mut self, trial: u32, to: Stage) {
        if self.stages.len() <= trial as usize {
            self.stages.resize(trial as usize + 1, Stage::Unknown);
        }
        if let Some(stage) = self.stages.get_mut(trial as usize) {
            self.begun += u32::from(*stage == Stage::Unknown);
            self.alive += u32::from(to == Stage::Alive);
            self.alive -= u32::from(*stage == Stage::Alive);
            *stage = to;
        }
    }
}
