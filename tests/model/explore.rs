//! Breadth-first exploration of everything that can happen; what breaks an invariant is shown by a shortest trace.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use crate::world::{Action, World};

/// What an exploration came to.
pub struct Explored {
    /// How many different states there are, or were found before one failed.
    pub states: usize,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// What must not happen, and how it happens.
pub struct Failure {
    why: String,
    trace: Vec<Action>,
    world: Rc<World>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        for (number, action) in (1..).zip(&self.trace) {
            writeln!(f, "{number:4}. {action}")?;
        }
        write!(f, "      {}", self.world)
    }
}

/// A state that was reached, and by what from which other.
struct Reached {
    world: Rc<World>,
    from: Option<(usize, Action)>,
}

/// Explores all that can happen from here.
pub fn explore(start: &World) -> Explored {
    let start = Rc::new(start.clone());
    let mut seen = HashSet::from([Rc::clone(&start)]);
    let mut reached = vec![Reached { world: start, from: None }];
    let mut at = 0;
    while at < reached.len() {
        let world = Rc::clone(&reached[at].world);
        for (action, next, broken) in world.actions() {
            let next = Rc::new(next);
            let why = broken.or_else(|| next.broken());
            if seen.insert(Rc::clone(&next)) || why.is_some() {
                reached.push(Reached { world: Rc::clone(&next), from: Some((at, action)) });
            }
            if let Some(why) = why {
                let trace = trace(&reached, reached.len() - 1);
                return Explored { states: seen.len(), failure: Some(Failure { why, trace, world: next }) };
            }
        }
        at += 1;
    }
    Explored { states: seen.len(), failure: None }
}

/// How a state was reached.
fn trace(reached: &[Reached], mut at: usize) -> Vec<Action> {
    let mut trace = Vec::new();
    while let Some((from, action)) = &reached[at].from {
        trace.push(*action);
        at = *from;
    }
    trace.reverse();
    trace
}
