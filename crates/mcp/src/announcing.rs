//! Tells clients that their list of tools may be another one, once another policy is in force: on a session's stream, and under 2026-07-28
//! to each subscription that asked for it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use counterfoil_receipt::hashes::PolicyDigest;
use serde_json::{Map, Value, json};

use crate::{
    desk::Desk,
    limits,
    message::Id,
    proxy::{Open, Proxy, State},
    reply::{self, Era},
};

/// The member of `_meta` that names the request of a subscription.
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// The request that subscribes, which is open as long as the subscription is.
const LISTEN: &str = "subscriptions/listen";
/// What a server first says of a subscription: what of it holds.
pub(crate) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// What a subscription is to tools.
const TOOLS: &str = "toolsListChanged";

/// What a connection knows of whom to tell.
#[derive(Default)]
pub(crate) struct Announcing {
    /// Under what tools were listed last, or what was announced since; nothing before tools were listed.
    shown: Option<Shown>,
    /// Requests that subscribe to changes of the tools, and whether the server took them.
    subscriptions: HashMap<Id, bool>,
    /// When it was asked last which policy is in force, once tools were shown.
    looked: Option<Instant>,
}

/// Under what tools are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// The policy in force, if there is any, as the log lists it.
    Under(Option<PolicyDigest>),
    /// It was not known, so that they were listed as the server lists them.
    Unknown,
}

impl Announcing {
    /// Notes under what tools are listed now. Whether those were shown others who go on with what was listed before.
    fn lists(&mut self, shown: Shown) -> bool {
        self.looked = Some(Instant::now());
        self.shown.replace(shown).is_some_and(|before| before != shown)
    }

    /// Notes what is in force now. Whether tools were listed under something else; not where it is not known.
    fn sees(&mut self, shown: Shown) -> bool {
        shown != Shown::Unknown && self.shown.is_some() && self.lists(shown)
    }
}

impl State {
    /// Notes a request that may subscribe, before it is open.
    pub(crate) fn note_subscription(&mut self, id: &Id, method: &str, params: &Map<String, Value>) {
        let wants =
            params.get("notifications").and_then(|wanted| wanted.get(TOOLS)) == Some(&Value::Bool(true));
        // Those that ended are forgotten here, so that there are no more than requests that are open.
        let open = &self.open;
        self.announcing.subscriptions.retain(|id, _| open.contains_key(id));
        self.announcing.subscriptions.remove(id);
        if method == LISTEN && wants {
            self.announcing.subscriptions.insert(id.clone(), false);
        }
    }

    /// The subscriptions that hold.
    fn subscribed(&self) -> Vec<Id> {
        let is_open = |id: &Id| matches!(self.open.get(id), Some(Open::Passed(method)) if method == LISTEN);
        let taken = self.announcing.subscriptions.iter().filter(|(id, taken)| **taken && is_open(id));
        taken.map(|(id, _)| id.clone()).collect()
    }
}

impl Proxy {
    /// Tools are listed: under the policy that is in force now. Where others go on with what they listed before, they are told.
    pub(crate) fn lists_tools_now(&self, desk: Option<&Desk>) {
        let shown = desk.map_or(Shown::Unknown, shown_by);
        let (differs, era) = {
            let mut state = self.state();
            (state.announcing.lists(shown), state.era)
        };
        if differs && era == Some(Era::Request) {
            self.announce();
        }
    }

    /// Tells the client if another policy is in force than when it was shown tools. To be called now and then.
    pub(crate) fn look_at_policy(self: &Arc<Self>) {
        {
            let mut state = self.state();
            let is_due =
                state.announcing.looked.is_some_and(|looked| looked.elapsed() >= limits::POLICY_WATCH);
            if !is_due {
                return;
            }
            state.announcing.looked = Some(Instant::now());
        }
        let proxy = Arc::clone(self);
        // Where as much waits as may, it is looked again.
        self.shared.lists.try_run(move || {
            let Ok(desk) = proxy.desk() else { return };
            let shown = shown_by(&desk);
            if proxy.state().announcing.sees(shown) {
                proxy.announce();
            }
        });
    }

    fn announce(&self) {
        let (era, subscribed) = {
            let state = self.state();
            (state.era(), state.subscribed())
        };
        let tell = |params: &Value, about: Option<&Id>| {
            if let Ok(text) = reply::message(None, "notifications/tools/list_changed", params) {
                self.to_client_about(&text, about);
            }
        };
        match era {
            Era::Session => tell(&json!({}), None),
            Era::Request => {
                for id in &subscribed {
                    tell(&json!({"_meta": {SUBSCRIPTION: id}}), Some(id));
                }
            }
        }
    }

    /// What the server says of a subscription, with what the gate adds to it: that tools are announced, for another policy shows others.
    /// `None` if it is passed on as it is.
    pub(crate) fn acknowledged(&self, params: Option<&str>) -> Option<String> {
        let mut params: Value = serde_json::from_str(params?).ok()?;
        let id: Id = serde_json::from_value(params.get("_meta")?.get(SUBSCRIPTION)?.clone()).ok()?;
        *self.state().announcing.subscriptions.get_mut(&id)? = true;
        let taken = params.as_object_mut()?.entry("notifications").or_insert_with(|| json!({}));
        taken.as_object_mut()?.insert(TOOLS.to_owned(), true.into());
        reply::message(None, ACKNOWLEDGED, &params).ok()
    }
}

/// What is in force, as the log lists it.
fn shown_by(desk: &Desk) -> Shown {
    desk.policy_listed().map_or(Shown::Unknown, Shown::Under)
}

/// Says in what a server says that it can do that it announces tools, for the gate does: in a session always, under 2026-07-28 where the
/// server takes subscriptions.
pub(crate) fn promise(method: &str, capabilities: &mut Map<String, Value>) {
    let says = |what: &str, member: &str| {
        capabilities.get(what).and_then(|one| one.get(member)) == Some(&Value::Bool(true))
    };
    let takes_subscriptions = ["tools", "prompts", "resources"].iter().any(|what| says(what, "listChanged"))
        || says("resources", "subscribe");
    if let Some(Value::Object(tools)) = capabilities.get_mut("tools")
        && (method == "initialize" || takes_subscriptions)
    {
        tools.insert("listChanged".to_owned(), true.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tools_are_announced_where_somebody_can_ask_for_it() {
        let promised = |method: &str, capabilities: Value| {
            let mut capabilities = capabilities.as_object().unwrap().clone();
            promise(method, &mut capabilities);
            capabilities.get("tools").and_then(|tools| tools.get("listChanged")) == Some(&Value::Bool(true))
        };
        assert!(
            promised("initialize", json!({"tools": {}})) && !promised("initialize", json!({"prompts": {}}))
        );
        let discover = |capabilities| promised("server/discover", capabilities);
        assert!(!discover(json!({"tools": {}, "resources": {}})), "it takes no subscriptions");
        assert!(discover(json!({"tools": {"listChanged": false}, "prompts": {"listChanged": true}})));
        assert!(discover(json!({"tools": {}, "resources": {"subscribe": true}})));
    }

    /// Where the log had not answered when tools were listed first, no policy was ever announced.
    #[test]
    fn what_was_listed_while_the_policy_was_not_known_is_announced_once_it_is() {
        let under = |name: &[u8]| Shown::Under(Some(PolicyDigest::of(name)));
        let mut announcing = Announcing::default();
        assert!(!announcing.sees(under(b"a")), "nobody was shown any");
        assert!(!announcing.lists(Shown::Unknown) && !announcing.sees(Shown::Unknown));
        assert!(announcing.sees(under(b"a")) && !announcing.sees(under(b"a")), "once");
        assert!(!announcing.sees(Shown::Unknown) && !announcing.sees(under(b"a")));
        assert!(announcing.sees(Shown::Under(None)) && !announcing.lists(Shown::Under(None)));
        // Who lists them while the log is away is shown more than the policy lists.
        assert!(announcing.lists(Shown::Unknown) && announcing.sees(Shown::Under(None)));
    }

    #[test]
    fn a_subscription_is_told_once_it_was_taken_and_until_it_ends() {
        let (mut state, id) = (State::default(), Id::Number(1));
        let params = json!({"notifications": {"toolsListChanged": true}});
        let params = params.as_object().unwrap();
        state.note_subscription(&id, LISTEN, params);
        state.open.insert(id.clone(), Open::Passed(LISTEN.to_owned()));
        assert!(state.subscribed().is_empty());
        state.announcing.subscriptions.insert(id.clone(), true);
        assert_eq!(state.subscribed(), [Id::Number(1)]);
        // Its id may be another request's then.
        state.open.insert(id.clone(), Open::Passed("ping".to_owned()));
        assert!(state.subscribed().is_empty());
        state.open.clear();
        state.note_subscription(&Id::Number(2), "ping", params);
        assert!(state.announcing.subscriptions.is_empty(), "none is kept that ended");
    }
}
