//! Fixed shards of the partitions at hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lethe_flight::message::dataset::Piece;
use lethe_flight::{Error, Result};

use super::flow::Network;

/// A partition, and who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub rows: u64,
    pub bytes: u64,
    /// Executors.
    pub holders: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Of each rank, in the order of the rows' numbers.
    pub shards: Vec<Vec<Piece>>,
    /// Bytes of rows that their rank's executor does not hold.
    pub moved: u64,
}

/// Gives each rank, by the executor it runs on, `floor(rows / ranks)` or one more row, so that as few bytes as
/// possible move; each row to one rank. The same for the same arguments, whatever the order of holders.
///
/// A row moves or it does not, at the price of its partition's bytes a row: rows that can stay, all together, are
/// the independent sets of a matroid (those that a network with the ranks' sizes can carry to the sink), in which
/// taking the dearest first is optimal (Perfect, "Applications of Menger's graph theorem", 1968; Edmonds, 1971).
///
/// # Errors
/// If there are no ranks.
pub fn local(partitions: &[Partition], ranks: &[String]) -> Result<Local> {
    if ranks.is_empty() {
        return Err(Error::Invalid("a shard needs at least one rank".into()));
    }
    let mut executors: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    ranks.iter().enumerate().for_each(|(rank, executor)| executors.entry(executor).or_default().push(rank));
    let executors: Vec<(&str, Vec<usize>)> = executors.into_iter().collect();
    let rows: u64 = partitions.iter().map(|partition| partition.rows).sum();
    let (size, longer) = (rows / ranks.len() as u64, rows % ranks.len() as u64);

    let mut shares = keep(partitions, &executors, size, longer);
    let moved = fill(partitions, &executors, size, longer, &mut shares);
    Ok(Local { shards: cut(&executors, size, ranks.len(), &shares), moved })
}

/// Of each partition, the rows that each executor gets.
type Shares = Vec<BTreeMap<usize, u64>>;

/// The rows that stay where they are.
fn keep(partitions: &[Partition], executors: &[(&str, Vec<usize>)], size: u64, longer: u64) -> Shares {
    let executor = |e: usize| partitions.len() + e;
    // Longer shards go through a node of their own, which bounds their number.
    let spare = executor(executors.len());
    let sink = spare + 1;
    let mut network = Network::new(sink + 1);
    for (e, (_, ranks)) in executors.iter().enumerate() {
        network.edge(executor(e), sink, size * ranks.len() as u64);
        network.edge(executor(e), spare, ranks.len() as u64);
    }
    network.edge(spare, sink, longer);
    let mut edges = Vec::new();
    for (p, partition) in partitions.iter().enumerate() {
        let held = partition.holders.iter();
        let held = held.filter_map(|holder| executors.binary_search_by_key(&holder.as_str(), |e| e.0).ok());
        for e in held.collect::<BTreeSet<_>>() {
            edges.push((p, e, network.edge(p, executor(e), partition.rows)));
        }
    }
    let mut dearest: Vec<usize> = (0..partitions.len()).filter(|&p| partitions[p].rows > 0).collect();
    let product = |a: usize, b: usize| u128::from(partitions[a].bytes) * u128::from(partitions[b].rows);
    dearest.sort_by(|&a, &b| product(b, a).cmp(&product(a, b)).then(a.cmp(&b)));
    for p in dearest {
        network.send(p, sink, partitions[p].rows);
    }
    let mut kept = vec![BTreeMap::new(); partitions.len()];
    for (p, e, edge) in edges {
        kept[p].insert(e, network.flow(edge));
    }
    kept
}

/// Gives the other rows to whoever lacks rows; the bytes of these.
fn fill(
    partitions: &[Partition],
    executors: &[(&str, Vec<usize>)],
    size: u64,
    longer: u64,
    shares: &mut Shares,
) -> u64 {
    let mut had = vec![0; executors.len()];
    shares.iter().flatten().for_each(|(&e, rows)| had[e] += rows);
    let due = |e: usize| size * executors[e].1.len() as u64;
    let over: u64 = (0..had.len()).map(|e| had[e].saturating_sub(due(e))).sum();
    let mut spare = longer - over;
    let mut lacks = Vec::new();
    for (e, (_, ranks)) in executors.iter().enumerate() {
        let over = had[e].saturating_sub(due(e));
        let more = spare.min(ranks.len() as u64 - over);
        spare -= more;
        lacks.push(due(e).saturating_sub(had[e]) + more);
    }
    let mut moved = 0;
    let mut takers = (0..lacks.len()).filter(|&e| lacks[e] > 0).collect::<VecDeque<_>>();
    for (partition, share) in partitions.iter().zip(shares) {
        let mut left = partition.rows - share.values().sum::<u64>();
        moved += (u128::from(partition.bytes) * u128::from(left) / u128::from(partition.rows.max(1))) as u64;
        while let Some(&e) = takers.front().filter(|_| left > 0) {
            let taken = left.min(lacks[e]);
            *share.entry(e).or_default() += taken;
            (left, lacks[e]) = (left - taken, lacks[e] - taken);
            if lacks[e] == 0 {
                takers.pop_front();
            }
        }
    }
    moved
}

/// Cuts partitions along executors, and what an executor has along its ranks.
fn cut(executors: &[(&str, Vec<usize>)], size: u64, world: usize, shares: &Shares) -> Vec<Vec<Piece>> {
    let mut pieces = vec![Vec::new(); executors.len()];
    for (partition, share) in shares.iter().enumerate() {
        let mut start = 0;
        for (&e, &rows) in share {
            pieces[e].push(Piece { partition: partition as u32, start, rows });
            start += rows;
        }
    }
    let mut shards = vec![Vec::new(); world];
    for ((_, ranks), pieces) in executors.iter().zip(pieces) {
        let total: u64 = pieces.iter().map(|piece| piece.rows).sum();
        let longer = total - size * ranks.len() as u64;
        let mut pieces = pieces.into_iter();
        let mut piece = Piece { partition: 0, start: 0, rows: 0 };
        for (i, &rank) in ranks.iter().enumerate() {
            let mut room = size + u64::from((i as u64) < longer);
            while room > 0 {
                if piece.rows == 0 {
                    let Some(next) = pieces.next() else { break };
                    piece = next;
                }
                let rows = room.min(piece.rows);
                if rows > 0 {
                    shards[rank].push(Piece { rows, ..piece });
                }
                piece = Piece { start: piece.start + rows, rows: piece.rows - rows, ..piece };
                room -= rows;
            }
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "nobody"];

    /// Partitions of so many rows of so many bytes each, held by those executors whose bits are set.
    fn partitions(given: &[(u64, u64, u8)]) -> Vec<Partition> {
        let of = |&(rows, price, holders): &(u64, u64, u8)| Partition {
            rows,
            bytes: rows * price,
            holders: (0..3).filter(|e| holders >> e & 1 == 1).map(|e| NAMES[e].into()).collect(),
        };
        given.iter().map(of).collect()
    }

    fn executors(ranks: &[usize]) -> Vec<String> {
        ranks.iter().map(|&e| NAMES[e].into()).collect()
    }

    /// Whether each row is there once, and each shard has its size; the bytes that move.
    fn checked(partitions: &[Partition], ranks: &[String], found: &Local) -> u64 {
        let rows: u64 = partitions.iter().map(|p| p.rows).sum();
        let mut seen: Vec<Vec<bool>> = partitions.iter().map(|p| vec![false; p.rows as usize]).collect();
        let (mut moved, mut longer) = (0, 0);
        assert_eq!(found.shards.len(), ranks.len());
        for (rank, shard) in found.shards.iter().enumerate() {
            let size: u64 = shard.iter().map(|piece| piece.rows).sum();
            longer += size - rows / ranks.len() as u64;
            assert!(size <= rows / ranks.len() as u64 + 1);
            let places: Vec<_> = shard.iter().map(|piece| (piece.partition, piece.start)).collect();
            assert!(places.is_sorted());
            for piece in shard {
                let partition = &partitions[piece.partition as usize];
                for row in piece.start..piece.start + piece.rows {
                    assert!(!std::mem::replace(&mut seen[piece.partition as usize][row as usize], true));
                }
                if !partition.holders.contains(&ranks[rank]) {
                    moved += piece.rows * partition.bytes / partition.rows;
                }
            }
        }
        assert_eq!(longer, rows % ranks.len() as u64);
        assert!(seen.iter().flatten().all(|seen| *seen));
        moved
    }

    /// The fewest bytes, by trying every rank for every row.
    fn fewest(partitions: &[Partition], ranks: &[String]) -> u64 {
        let prices: Vec<(u64, &Partition)> =
            partitions.iter().flat_map(|p| (0..p.rows).map(move |_| (p.bytes / p.rows, p))).collect();
        let mut sizes = vec![0; ranks.len()];
        let mut best = u64::MAX;
        try_all(&prices, ranks, &mut sizes, 0, &mut best, prices.len());
        best
    }

    fn try_all(
        rows: &[(u64, &Partition)],
        ranks: &[String],
        sizes: &mut [usize],
        moved: u64,
        best: &mut u64,
        total: usize,
    ) {
        let Some(((price, partition), rest)) = rows.split_first() else {
            if sizes.iter().all(|&size| size >= total / ranks.len()) {
                *best = moved.min(*best);
            }
            return;
        };
        for rank in 0..ranks.len() {
            if moved < *best && sizes[rank] < total.div_ceil(ranks.len()) {
                sizes[rank] += 1;
                let price = if partition.holders.contains(&ranks[rank]) { 0 } else { *price };
                try_all(rest, ranks, sizes, moved + price, best, total);
                sizes[rank] -= 1;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_assignment_moves_fewer_bytes(
            given in prop::collection::vec((0u64..4, 1u64..5, 0u8..8), 0..4),
            ranks in prop::collection::vec(0usize..4, 1..5),
        ) {
            let (partitions, ranks) = (partitions(&given), executors(&ranks));
            let found = local(&partitions, &ranks).unwrap();
            let moved = checked(&partitions, &ranks, &found);
            prop_assert_eq!(found.moved, moved);
            prop_assert_eq!(moved, fewest(&partitions, &ranks));
        }

        #[test]
        fn shards_are_equal_and_whole_at_any_size(
            given in prop::collection::vec((0u64..5000, 1u64..500, 0u8..8), 0..20),
            ranks in prop::collection::vec(0usize..4, 1..12),
        ) {
            let (partitions, ranks) = (partitions(&given), executors(&ranks));
            let found = local(&partitions, &ranks).unwrap();
            prop_assert_eq!(found.moved, checked(&partitions, &ranks, &found));
        }
    }

    #[test]
    fn evenly_spread_partitions_stay_where_they_are() {
        let partitions = partitions(&[(100, 8, 1), (100, 8, 2), (100, 8, 4)]);
        let found = local(&partitions, &executors(&[2, 0, 1])).unwrap();
        assert_eq!(found.moved, 0);
        let of = |partition| vec![Piece { partition, start: 0, rows: 100 }];
        assert_eq!(found.shards, [of(2), of(0), of(1)]);
    }

    #[test]
    fn a_second_copy_is_used_where_it_saves_a_move() {
        // The first partition could fill executor a, which alone holds the second.
        let partitions = partitions(&[(10, 1, 0b11), (10, 1, 0b01)]);
        let found = local(&partitions, &executors(&[0, 1])).unwrap();
        assert_eq!(found.moved, 0);
        assert!(local(&partitions, &[]).is_err());
    }
}
