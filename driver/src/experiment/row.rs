//! Maps of which there are very many with the same names: trials' hyperparameters, reports' metrics.

use std::sync::Arc;

/// Values by name, in the names' order, which rows of one shape share. A row of two numbers takes 64 bytes; a
/// `BTreeMap` of them takes 500.
#[derive(Debug, Clone)]
pub(super) struct Row<V> {
    names: Arc<[String]>,
    values: Box<[V]>,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self { names: Arc::default(), values: Box::default() }
    }
}

impl<V> Row<V> {
    /// As many values as names.
    pub fn new(names: Arc<[String]>, values: impl Iterator<Item = V>) -> Self {
        Self { names, values: values.collect() }
    }

    pub fn get(&self, name: &str) -> Option<&V> {
        let at = self.names.binary_search_by(|other| other.as_str().cmp(name)).ok()?;
        self.values.get(at)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<V: Clone> Row<V> {
    pub fn to_map<M: FromIterator<(String, V)>>(&self) -> M {
        self.names.iter().cloned().zip(self.values.iter().cloned()).collect()
    }
}

/// The names of the rows made last. A search without conditional parameters has two shapes.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes(Vec<Arc<[String]>>);

/// Shapes that are remembered; others are made anew.
const KNOWN: usize = 16;

impl Shapes {
    /// `names` ascend.
    pub fn of<'a>(&mut self, names: impl Iterator<Item = &'a String> + Clone) -> Arc<[String]> {
        if let Some(known) = self.0.iter().find(|known| known.iter().eq(names.clone())) {
            return known.clone();
        }
        if self.0.len() == KNOWN {
            self.0.remove(0);
        }
        let shape: Arc<[String]> = names.cloned().collect();
        self.0.push(shape.clone());
        shape
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn map(names: &[&str]) -> BTreeMap<String, usize> {
        names.iter().enumerate().map(|(value, name)| ((*name).to_owned(), value)).collect()
    }

    fn row(shapes: &mut Shapes, map: &BTreeMap<String, usize>) -> Row<usize> {
        Row::new(shapes.of(map.keys()), map.values().copied())
    }

    #[test]
    fn a_row_holds_what_its_map_held() {
        let mut shapes = Shapes::default();
        for names in [&["b", "a"][..], &["a"], &[], &["a", "c"], &["b", "a"]] {
            let map = map(names);
            let row = row(&mut shapes, &map);
            assert_eq!(row.to_map::<BTreeMap<_, _>>(), map);
            assert_eq!(row.is_empty(), map.is_empty());
            for name in ["a", "b", "c", ""] {
                assert_eq!(row.get(name), map.get(name), "{name} of {map:?}");
            }
        }
        assert_eq!(Row::<usize>::default().get("a"), None);
    }

    #[test]
    fn rows_of_the_same_names_share_them_and_forgotten_shapes_come_back() {
        let mut shapes = Shapes::default();
        let first = row(&mut shapes, &map(&["a", "b"]));
        assert!(Arc::ptr_eq(&first.names, &row(&mut shapes, &map(&["b", "a"])).names));
        for other in 0..KNOWN {
            row(&mut shapes, &map(&[&other.to_string()]));
        }
        assert_eq!(shapes.0.len(), KNOWN);
        let again = row(&mut shapes, &map(&["a", "b"]));
        assert!(!Arc::ptr_eq(&first.names, &again.names));
        assert_eq!(again.get("b"), Some(&1));
    }
}
