//! Which partitions are copied where, so that the loss of one executor loses no rows.

use lethe_flight::message::slot::ToExecutor;

use super::Catalog;
use super::executors::Next;

impl Catalog {
    /// What the executor is to be told next: desired state, said once for each connection.
    pub fn next_order(&mut self, executor: &str) -> Option<ToExecutor> {
        loop {
            match self.executors.next(executor)? {
                Next::Drop(dataset) => return Some(ToExecutor::Drop { dataset }),
                Next::Copy(dataset, partition) => {
                    let known =
                        self.datasets.get(&dataset).and_then(|known| known.partitions.get(&partition));
                    // It may be held there meanwhile, because a view needed it, or by nobody any more.
                    let wanted = known.filter(|known| {
                        known.copying.as_deref() == Some(executor) && !known.locations.is_empty()
                    });
                    if let Some(known) = wanted {
                        let locations = known.places();
                        return Some(ToExecutor::Copy { dataset, partition, locations });
                    }
                }
            }
        }
    }

    /// Chooses who copies what is held too seldom.
    pub(super) fn plan(&mut self) {
        let sealed = self.datasets.iter().filter(|(_, dataset)| dataset.sealed.is_some());
        let all: Vec<(String, u32)> = sealed
            .flat_map(|(name, dataset)| dataset.partitions.keys().map(|&partition| (name.clone(), partition)))
            .collect();
        all.into_iter().for_each(|(name, partition)| self.plan_one(&name, partition));
    }

    pub(super) fn plan_one(&mut self, name: &str, partition: u32) {
        let Some(dataset) = self.datasets.get_mut(name).filter(|dataset| dataset.sealed.is_some()) else {
            return;
        };
        let Some(known) = dataset.partitions.get_mut(&partition) else { return };
        if known.locations.is_empty() || known.locations.len() >= self.copies {
            if let Some(executor) = known.copying.take() {
                self.executors.remove(&executor, known.bytes);
            }
            return;
        }
        if known.copying.is_none()
            && let Some(executor) = self.executors.least(&known.locations)
        {
            self.executors.add(&executor, known.bytes);
            self.executors.order_copy(&executor, name, partition);
            known.copying = Some(executor);
        }
    }

    /// The executor has a new connection: it is told again what it has not done yet.
    pub(super) fn repeat(&mut self, executor: &str) {
        for (name, dataset) in &self.datasets {
            for (&partition, known) in &dataset.partitions {
                if known.copying.as_deref() == Some(executor) {
                    self.executors.order_copy(executor, name, partition);
                }
            }
        }
    }
}
