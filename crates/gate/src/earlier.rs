//! What an agent asked for before, by its action: what waits is gone on with, and what may have happened is not done twice.

use std::collections::HashMap;

use counterfoil_receipt::{
    Action, ActionDigest, Commitment, RecordId, RunId,
    action::Map,
    text::{Label, Pointer},
};

/// Proposals that are kept: beyond them, what waits is proposed anew, and nothing is proposed of which it is not known whether it happened.
pub(crate) const KEPT: usize = 16_384;

/// A proposal of an earlier time, or of somebody else who asked for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub run: RunId,
    pub proposal: RecordId,
    /// Whether it was begun, and nobody knows how it ended.
    pub in_doubt: bool,
    /// The tool of its action.
    pub tool: Label,
    /// What its action commits to, which the log does not list.
    pub commits: Commits,
}

/// What an action commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// That is not known.
    NotKnown,
    /// Nothing.
    ToNothing,
    /// This.
    To(Map<Pointer, Commitment>),
}

impl Commits {
    pub(crate) fn of(action: &Action) -> Self {
        action.committed.clone().map_or(Self::ToNothing, Self::To)
    }
}

impl Standing {
    pub(crate) fn of(action: &Action, run: RunId, proposal: RecordId, in_doubt: bool) -> Self {
        Self { run, proposal, in_doubt, tool: action.tool.clone(), commits: Commits::of(action) }
    }
}

/// Those that are known.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    by_action: HashMap<ActionDigest, Vec<Standing>>,
    count: usize,
    /// Whether some that are in doubt are not kept.
    doubts_beyond: bool,
}

/// What stands of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// Nothing.
    Nothing,
    /// This.
    This(Standing),
    /// That is not known.
    NotKnown,
}

impl Earlier {
    /// Takes what stands of an action: what is in doubt first, or never, where doing it again changes nothing.
    pub(crate) fn take(&mut self, action: &ActionDigest, changes_nothing: bool) -> Stands {
        let all = self.by_action.get_mut(action);
        let place = all.as_ref().and_then(|all| {
            let place = |in_doubt| all.iter().position(|one| one.in_doubt == in_doubt);
            let doubt = if changes_nothing { None } else { place(true) };
            doubt.or_else(|| place(false))
        });
        match (all, place) {
            (Some(all), Some(place)) => {
                let one = all.swap_remove(place);
                if all.is_empty() {
                    self.by_action.remove(action);
                }
                self.count -= 1;
                Stands::This(one)
            }
            _ if self.doubts_beyond && !changes_nothing => Stands::NotKnown,
            _ => Stands::Nothing,
        }
    }

    /// Keeps one, in place of what was known of the same proposal.
    pub(crate) fn keep(&mut self, action: ActionDigest, one: Standing) {
        self.end(&action, &one.proposal);
        if self.count < KEPT {
            self.by_action.entry(action).or_default().push(one);
            self.count += 1;
        } else if one.in_doubt {
            self.doubts_beyond = true;
        }
    }

    /// That more are in doubt than can be asked for.
    pub(crate) const fn doubt_more(&mut self) {
        self.doubts_beyond = true;
    }

    /// What stands of a tool and may commit to something, each with its action: what is in doubt first.
    pub(crate) fn committed(&self, tool: &Label) -> Vec<(ActionDigest, Standing)> {
        let all = self.by_action.iter().flat_map(|(action, all)| all.iter().map(move |one| (*action, one)));
        let may_commit = |(_, one): &(_, &Standing)| one.tool == *tool && one.commits != Commits::ToNothing;
        let mut all: Vec<_> = all.filter(may_commit).map(|(action, one)| (action, one.clone())).collect();
        all.sort_by_key(|(_, one)| !one.in_doubt);
        all
    }

    /// Keeps what the action of a proposal was found to commit to, if it still stands.
    pub(crate) fn learn(&mut self, action: &ActionDigest, proposal: &RecordId, commits: Commits) {
        let mut all = self.by_action.get_mut(action).into_iter().flatten();
        if let Some(one) = all.find(|one| one.proposal == *proposal) {
            one.commits = commits;
        }
    }

    /// Forgets a proposal.
    pub(crate) fn end(&mut self, action: &ActionDigest, proposal: &RecordId) {
        let Some(all) = self.by_action.get_mut(action) else { return };
        let before = all.len();
        all.retain(|one| one.proposal != *proposal);
        self.count -= before - all.len();
        if all.is_empty() {
            self.by_action.remove(action);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn action(number: usize) -> ActionDigest {
        ActionDigest::from_bytes(*RecordId::of(number.to_string().as_bytes()).as_bytes())
    }

    fn one(number: usize, in_doubt: bool) -> Standing {
        let proposal = RecordId::of(number.to_string().as_bytes());
        let tool = Label::new("shop/refund").unwrap();
        Standing { run: RunId::started_by(proposal), proposal, in_doubt, tool, commits: Commits::NotKnown }
    }

    #[test]
    fn what_is_in_doubt_is_taken_first_and_what_changes_nothing_leaves_it() {
        let mut known = Earlier::default();
        for (number, in_doubt) in [(1, false), (2, true), (3, true)] {
            known.keep(action(0), one(number, in_doubt));
        }
        assert_eq!(known.take(&action(0), true), Stands::This(one(1, false)));
        assert_eq!(known.take(&action(0), true), Stands::Nothing);
        let (first, second) = (known.take(&action(0), false), known.take(&action(0), false));
        assert!(first != second && [first, second].contains(&Stands::This(one(2, true))));
        assert_eq!(known.take(&action(0), false), Stands::Nothing);
        known.keep(action(0), one(1, false));
        known.keep(action(0), one(1, true));
        assert_eq!(known.count, 1);
        known.end(&action(0), &one(1, true).proposal);
        assert_eq!((known.count, known.take(&action(0), false)), (0, Stands::Nothing));
    }

    #[test]
    fn of_a_tool_all_stand_of_which_it_is_not_known_that_they_commit_to_nothing() {
        let (mut known, tool) = (Earlier::default(), one(0, false).tool);
        known.keep(action(0), one(0, false));
        known.keep(action(1), Standing { tool: Label::new("shop/other").unwrap(), ..one(1, true) });
        assert_eq!(known.committed(&tool), [(action(0), one(0, false))]);
        known.learn(&action(0), &one(0, false).proposal, Commits::ToNothing);
        assert_eq!(known.committed(&tool), []);
        assert!(matches!(known.take(&action(0), false), Stands::This(_)));
    }

    #[test]
    fn beyond_what_is_kept_nothing_is_said_not_to_be_in_doubt() {
        let mut known = Earlier::default();
        for number in 0..KEPT {
            known.keep(action(number), one(number, true));
        }
        known.keep(action(KEPT), one(KEPT, false));
        assert_eq!(known.take(&action(KEPT), false), Stands::Nothing);
        known.keep(action(KEPT), one(KEPT, true));
        assert_eq!(known.take(&action(KEPT), false), Stands::NotKnown);
        assert_eq!(known.take(&action(KEPT), true), Stands::Nothing);
        assert_eq!(known.take(&action(7), false), Stands::This(one(7, true)));
    }
}
