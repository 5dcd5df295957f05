//! Flow through a small network, grown along shortest augmenting paths (Edmonds and Karp, 1972).

use std::collections::VecDeque;

#[derive(Debug)]
struct Edge {
    to: usize,
    /// What more may flow.
    left: u64,
}

/// Edges come in pairs, an edge and its reverse, whose `left` is what flows.
#[derive(Debug)]
pub struct Network {
    edges: Vec<Edge>,
    /// Of each node, its edges.
    from: Vec<Vec<usize>>,
}

impl Network {
    pub fn new(nodes: usize) -> Self {
        Self { edges: Vec::new(), from: vec![Vec::new(); nodes] }
    }

    /// An edge's number.
    pub fn edge(&mut self, from: usize, to: usize, capacity: u64) -> usize {
        let number = self.edges.len();
        self.edges.push(Edge { to, left: capacity });
        self.edges.push(Edge { to: from, left: 0 });
        self.from[from].push(number);
        self.from[to].push(number + 1);
        number
    }

    pub fn flow(&self, edge: usize) -> u64 {
        self.edges[edge ^ 1].left
    }

    /// Sends up to `amount` more from `source` to `sink`; what it sent. What flows from other sources goes on
    /// flowing, maybe along other edges.
    pub fn send(&mut self, source: usize, sink: usize, amount: u64) -> u64 {
        let mut sent = 0;
        while sent < amount {
            let Some(path) = self.path(source, sink) else { break };
            let narrowest = path.iter().map(|&edge| self.edges[edge].left).min().unwrap_or(0);
            let more = narrowest.min(amount - sent);
            for edge in path {
                self.edges[edge].left -= more;
                self.edges[edge ^ 1].left += more;
            }
            sent += more;
        }
        sent
    }

    fn path(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut by: Vec<Option<usize>> = vec![None; self.from.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for &edge in &self.from[node] {
                let Edge { to, left } = self.edges[edge];
                if left == 0 || to == source || by[to].is_some() {
                    continue;
                }
                by[to] = Some(edge);
                if to == sink {
                    let mut path = Vec::new();
                    let mut node = sink;
                    while let Some(edge) = by[node] {
                        path.push(edge);
                        node = self.edges[edge ^ 1].to;
                    }
                    return Some(path);
                }
                queue.push_back(to);
            }
        }
        None
    }
}
