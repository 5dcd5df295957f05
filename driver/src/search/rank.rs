//! Which trials are better than others.

use std::cmp::Ordering;

use super::{Observation, Standing};

/// Trials of several objectives that [`order`] tells apart: models of good trials have no more.
const TOLD_APART: usize = 100;

/// The cost of a single-objective search, where there is a number.
pub fn cost(observation: &Observation) -> Option<f64> {
    observation.costs.first().copied().filter(|cost| cost.is_finite())
}

/// Whether this trial reported all its costs, as numbers.
pub fn valued(observation: &Observation) -> bool {
    !observation.costs.is_empty() && observation.costs.iter().all(|cost| cost.is_finite())
}

/// Not better in any objective and worse in one: `a` dominates `b`.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// The indices by front (non-dominated sorting) and, within one, by crowding distance, the loneliest first
/// (Deb and others, 2002). With one objective: by cost. Each with the number of its front. Of several
/// objectives, only the first fronts are told apart, until they have `enough`: the others count as one.
pub fn fronts(costs: &[&[f64]], enough: usize) -> Vec<(usize, usize)> {
    let mut left: Vec<usize> = (0..costs.len()).collect();
    if costs.first().is_some_and(|c| c.len() == 1) {
        left.sort_by(|&a, &b| costs[a][0].total_cmp(&costs[b][0]).then(a.cmp(&b)));
        return left.into_iter().enumerate().map(|(front, i)| (i, front)).collect();
    }
    let mut ranked = Vec::with_capacity(left.len());
    let mut front = 0;
    // In lexicographic order, only those before can dominate.
    left.sort_by(|&a, &b| lexicographic(costs[a], costs[b]).then(a.cmp(&b)));
    while !left.is_empty() && ranked.len() < enough {
        let mut members: Vec<usize> = Vec::new();
        let mut rest = Vec::new();
        for i in left {
            if members.iter().any(|&m| dominates(costs[m], costs[i])) {
                rest.push(i)
            } else {
                members.push(i)
            }
        }
        ranked.extend(by_crowding(members, costs).into_iter().map(|i| (i, front)));
        left = rest;
        front += 1;
    }
    ranked.extend(left.into_iter().map(|i| (i, front)));
    ranked
}

fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn by_crowding(members: Vec<usize>, costs: &[&[f64]]) -> Vec<usize> {
    let mut distance = vec![0.0; members.len()];
    let objectives = members.first().map_or(0, |&m| costs[m].len());
    for objective in 0..objectives {
        let at = |k: usize| costs[members[k]].get(objective).copied().unwrap_or(f64::NAN);
        let mut line: Vec<usize> = (0..members.len()).collect();
        line.sort_by(|&a, &b| at(a).total_cmp(&at(b)).then(a.cmp(&b)));
        let (Some(&first), Some(&last)) = (line.first(), line.last()) else { continue };
        let range = at(last) - at(first);
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if range > 0.0 {
            for three in line.windows(3) {
                distance[three[1]] += (at(three[2]) - at(three[0])) / range;
            }
        }
    }
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&a, &b| distance[b].total_cmp(&distance[a]).then(members[a].cmp(&members[b])));
    order.into_iter().map(|k| members[k]).collect()
}

/// All trials from the best to the worst, as models of good and bad trials see them: finished ones by cost;
/// those that ended early by how far they got, then by cost; failed ones. Trials that are not over, of which
/// nothing is known yet, come last. With the number of those before each of the last two kinds.
pub fn order(observations: &[Observation]) -> Order {
    let (mut finished, mut early, mut failed, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, o) in observations.iter().enumerate() {
        match o.standing {
            Standing::Waiting | Standing::Running => open.push(i),
            Standing::Finished if valued(o) => finished.push(i),
            Standing::Stopped | Standing::Paused if valued(o) => early.push(i),
            _ => failed.push(i),
        }
    }
    let sorted = |group: Vec<usize>| {
        let costs: Vec<&[f64]> = group.iter().map(|&i| observations[i].costs.as_slice()).collect();
        fronts(&costs, TOLD_APART).into_iter().map(|(k, _)| group[k]).collect::<Vec<_>>()
    };
    let mut ranked = sorted(finished);
    let mut early = sorted(early);
    early.sort_by_key(|&i| std::cmp::Reverse(observations[i].epochs));
    ranked.append(&mut early);
    Order { ranked, failed, open }
}

/// Indices of observations.
#[derive(Debug, Default)]
pub struct Order {
    /// With a value, the best first.
    pub ranked: Vec<usize>,
    pub failed: Vec<usize>,
    /// Waiting or running.
    pub open: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts_come_in_order_and_the_lonely_first() {
        let costs: [&[f64]; 6] =
            [&[1.0, 5.0], &[2.0, 2.0], &[2.1, 1.9], &[5.0, 1.0], &[3.0, 3.0], &[6.0, 6.0]];
        let ranked = fronts(&costs, 6);
        assert_eq!(ranked.iter().map(|r| r.1).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 2]);
        let first: Vec<_> = ranked[..2].iter().map(|r| r.0).collect();
        assert_eq!(first, [0, 3], "the ends of the front are the loneliest");
    }
}
