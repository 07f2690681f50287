//! The order of entries within a batch.

use std::collections::HashMap;

use counterfoil_tlog::Hash;

use crate::application::Place;

/// The order in which to admit entries, as positions in `entries`: by priority, then as submitted; but before an entry
/// those of the batch that it names, and before them those that they name.
///
/// So what an urgent entry depends on is urgent too, and nothing else is moved.
pub(crate) fn order(entries: &[(Hash, Place)]) -> Vec<usize> {
    let mut by_leaf = HashMap::with_capacity(entries.len());
    for (at, (leaf, _)) in entries.iter().enumerate() {
        by_leaf.entry(*leaf).or_insert(at);
    }
    let mut by_priority: Vec<usize> = (0..entries.len()).collect();
    by_priority.sort_by_key(|at| entries[*at].1.priority);

    let mut ordered = Vec::with_capacity(entries.len());
    let mut reached = vec![false; entries.len()];
    for start in by_priority {
        if std::mem::replace(&mut reached[start], true) {
            continue;
        }
        // Depth first; each item counts the names that were followed. A circle, which would take a circle of hashes,
        // is cut where it closes.
        let mut path = vec![(start, 0)];
        while let Some((at, followed)) = path.last_mut() {
            let at = *at;
            let Some(name) = entries[at].1.after.get(*followed) else {
                ordered.push(at);
                path.pop();
                continue;
            };
            *followed += 1;
            if let Some(&named) = by_leaf.get(name)
                && !std::mem::replace(&mut reached[named], true)
            {
                path.push((named, 0));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use counterfoil_tlog::leaf_hash;

    use super::*;

    fn ordered(entries: &[(&str, u8, &[&str])]) -> Vec<String> {
        let hash = |name: &&str| leaf_hash(name.as_bytes());
        let items: Vec<_> = entries
            .iter()
            .map(|(name, priority, after)| {
                (hash(name), Place { priority: *priority, after: after.iter().map(hash).collect() })
            })
            .collect();
        order(&items).into_iter().map(|at| entries[at].0.to_owned()).collect()
    }

    #[test]
    fn keeps_the_order_of_submission() {
        assert_eq!(ordered(&[("c", 1, &[]), ("a", 1, &[]), ("b", 1, &[])]), ["c", "a", "b"]);
        assert!(ordered(&[]).is_empty());
    }

    #[test]
    fn urgent_entries_go_first() {
        let batch: &[(&str, u8, &[&str])] =
            &[("run", 1, &[]), ("cancel", 0, &[]), ("other", 1, &[]), ("revoke", 0, &[])];
        assert_eq!(ordered(batch), ["cancel", "revoke", "run", "other"]);
    }

    #[test]
    fn what_an_urgent_entry_names_goes_before_it_and_nothing_else() {
        let batch: &[(&str, u8, &[&str])] = &[
            ("execution", 1, &["elsewhere"]),
            ("trigger", 1, &[]),
            ("proposal", 1, &["trigger"]),
            ("later", 1, &["proposal"]),
            ("reject", 0, &["proposal"]),
        ];
        assert_eq!(ordered(batch), ["trigger", "proposal", "reject", "execution", "later"]);
    }

    #[test]
    fn a_name_that_was_submitted_later_is_put_right() {
        assert_eq!(ordered(&[("child", 1, &["parent"]), ("parent", 1, &[])]), ["parent", "child"]);
    }

    #[test]
    fn repeated_entries_and_long_chains_are_all_there() {
        assert_eq!(ordered(&[("a", 1, &[]), ("a", 1, &[]), ("b", 0, &["a"])]), ["a", "b", "a"]);
        let names: Vec<String> = (0..4_096).map(|i| i.to_string()).collect();
        let items: Vec<_> = (0..names.len())
            .map(|i| {
                let after = names.get(i + 1).map(|next| leaf_hash(next.as_bytes())).into_iter().collect();
                (leaf_hash(names[i].as_bytes()), Place { priority: 0, after })
            })
            .collect();
        assert!(order(&items).into_iter().eq((0..names.len()).rev()));
    }
}
