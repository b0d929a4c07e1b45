//! A table of names that only grows, up to a bound.
//!
//! Regions, partitions and irregular key ids appear in every key, so keys hold a small number instead of the name.
//! Names arrive from hostile input; the bound keeps an attacker who invents names from filling memory. Names in the
//! seed are found without a lock, and by hash: they are looked up several times for every event.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Names by number and numbers by name. The first numbers are those of the seed.
pub(crate) struct Names {
    seed: &'static [&'static str],
    seed_numbers: HashMap<&'static str, u16>,
    bound: usize,
    added: RwLock<Added>,
}

#[derive(Default)]
struct Added {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, u16>,
}

impl Names {
    /// A table that starts with `seed`, and takes names until it holds `bound` of them.
    pub(crate) fn new(seed: &'static [&'static str], bound: u16) -> Self {
        let seed_numbers = seed.iter().copied().zip(0..).collect();
        Self { seed, seed_numbers, bound: usize::from(bound), added: RwLock::default() }
    }

    /// The number of `name` if it is in the seed.
    pub(crate) fn seed_number(&self, name: &str) -> Option<u16> {
        self.seed_numbers.get(name).copied()
    }

    /// The number of `name` if it was ever entered.
    pub(crate) fn known(&self, name: &str) -> Option<u16> {
        let added = || self.added.read().unwrap_or_else(PoisonError::into_inner).numbers.get(name).copied();
        self.seed_number(name).or_else(added)
    }

    /// The number of `name`, entering it if it is new; `None` if it is new and the table is full.
    pub(crate) fn number(&self, name: &str) -> Option<u16> {
        if let Some(number) = self.known(name) {
            return Some(number);
        }
        let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&number) = added.numbers.get(name) {
            return Some(number);
        }
        let place = self.seed.len() + added.names.len();
        if place >= self.bound {
            return None;
        }
        let number = u16::try_from(place).ok()?;
        // The table lives as long as the process and is bounded, so its names may, too.
        let name: &'static str = Box::leak(name.into());
        added.names.push(name);
        added.numbers.insert(name, number);
        Some(number)
    }

    /// The name with this number. A number that was never given out has the empty name.
    pub(crate) fn name(&self, number: u16) -> &'static str {
        let place = usize::from(number);
        if let Some(name) = self.seed.get(place) {
            return name;
        }
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        added.names.get(place - self.seed.len()).copied().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_refuses_new_names_and_keeps_the_old() {
        let names = Names::new(&["a", "b"], 3);
        assert_eq!(names.number("c"), Some(2));
        assert_eq!(names.number("d"), None);
        assert_eq!(names.number("c"), Some(2));
        assert_eq!(names.number("b"), Some(1));
        assert_eq!(names.name(2), "c");
        assert_eq!((names.known("c"), names.known("d")), (Some(2), None));
    }
}
