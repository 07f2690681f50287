//! Who counts for what: each principal for one requirement of a rule only, so that as many as possible count.
//!
//! A maximum matching of principals to places of requirements, by augmenting paths (Kuhn's algorithm). A rule has 16 places
//! at most, so a path visits 16 places at most.

use counterfoil_receipt::Principal;

use crate::assess::{Approval, Requiring};

/// A maximum matching for one rule.
pub(crate) struct Matching<'a> {
    rule: &'a Requiring<'a>,
    principals: Vec<&'a Principal>,
    /// For each principal, for each requirement, whether a decision of theirs is entitled by it.
    entitled: Vec<Vec<bool>>,
    /// The requirement of each place.
    places: Vec<usize>,
    /// The place that each principal has.
    taken: Vec<Option<usize>>,
}

impl<'a> Matching<'a> {
    /// Matches; those who gave an approval at one of the places `first` come before others, then the earlier before the later.
    pub fn of(rule: &'a Requiring<'a>, approvals: &[Approval<'a>], first: &[usize]) -> Self {
        let requirements = &rule.quorum.requirements;
        let mut principals: Vec<&Principal> = Vec::new();
        let preferred = first.iter().filter_map(|at| approvals.get(*at));
        let mut known = std::collections::HashSet::new();
        for approval in preferred.chain(approvals) {
            if known.insert(approval.approver.principal) {
                principals.push(approval.approver.principal);
            }
        }
        let at: std::collections::HashMap<&Principal, usize> =
            principals.iter().enumerate().map(|(at, principal)| (*principal, at)).collect();
        let mut entitled = vec![vec![false; requirements.len()]; principals.len()];
        for approval in approvals {
            let Some(row) = at.get(approval.approver.principal).and_then(|at| entitled.get_mut(*at)) else {
                continue;
            };
            for (cell, requirement) in row.iter_mut().zip(requirements) {
                *cell |= rule.entitles(requirement, &approval.approver);
            }
        }
        let places = requirements
            .iter()
            .enumerate()
            .flat_map(|(at, one)| std::iter::repeat_n(at, one.count))
            .collect();
        let taken = vec![None; principals.len()];
        let mut matching = Self { rule, principals, entitled, places, taken };
        for place in 0..matching.places.len() {
            let mut seen = vec![false; matching.principals.len()];
            matching.fill(place, &mut seen);
        }
        matching
    }

    /// How many places have somebody.
    pub fn size(&self) -> usize {
        self.taken.iter().flatten().count()
    }

    /// Gives the place to somebody, if need be somebody who then leaves another place that can be filled again.
    fn fill(&mut self, place: usize, seen: &mut [bool]) -> bool {
        let requirement = self.places[place];
        for principal in 0..self.principals.len() {
            if seen[principal] || !self.entitled[principal][requirement] {
                continue;
            }
            seen[principal] = true;
            let is_free = match self.taken[principal] {
                None => true,
                Some(other) => self.fill(other, seen),
            };
            if is_free {
                self.taken[principal] = Some(place);
                return true;
            }
        }
        false
    }

    /// For each requirement those who count for it.
    pub fn shares(&self) -> Vec<Vec<Principal>> {
        let mut shares = vec![Vec::new(); self.rule.quorum.requirements.len()];
        for (principal, place) in self.principals.iter().zip(&self.taken) {
            let requirement = place.and_then(|place| self.places.get(place));
            if let Some(share) = requirement.and_then(|at| shares.get_mut(*at)) {
                share.push((*principal).clone());
            }
        }
        shares
    }

    /// Whether every place has somebody.
    pub fn is_full(&self) -> bool {
        self.size() == self.places.len()
    }

    /// Whether a requirement has a place that nobody has.
    pub fn is_unmet(&self, at: usize) -> bool {
        let filled = self.taken.iter().flatten().filter(|place| self.places[**place] == at).count();
        self.rule.quorum.requirements.get(at).is_some_and(|requirement| filled < requirement.count)
    }

    /// Adds to `chosen` one approval of everybody who counts; `None` if a place has nobody.
    pub fn choose(&self, approvals: &[Approval<'_>], chosen: &mut Vec<usize>) -> Option<()> {
        if !self.is_full() {
            return None;
        }
        for (principal, place) in self.principals.iter().zip(&self.taken) {
            let Some(place) = place else { continue };
            let requirement = &self.rule.quorum.requirements[self.places[*place]];
            let counts = |at: &usize| {
                approvals.get(*at).is_some_and(|approval| {
                    let approver = &approval.approver;
                    approver.principal == *principal && self.rule.entitles(requirement, approver)
                })
            };
            if !chosen.iter().any(counts) {
                chosen.push((0..approvals.len()).find(counts)?);
            }
        }
        Some(())
    }
}
