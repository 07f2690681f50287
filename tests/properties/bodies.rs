//! Strategies for the body of every type of record.

use counterfoil_receipt::{
    Action, ActionDigest, Body, Commitment, MapRoot, PolicyDigest, Principal, PublicKey, RecordId, Role,
    Root, Statement,
    action::{Connector, Json, Map, Mode},
    body::*,
    field::{Count, Field, List, Set, Whole},
    hashes::SchemaDigest,
    text::{Amount, Currency, Label, Nonce, Pointer, Text},
};
use proptest::{option, prelude::*, sample::select, strategy::Union};

/// A name.
pub fn name(text: &str) -> Principal {
    Principal::new(text).unwrap()
}

/// A body of each type, equally often.
pub fn any_body() -> impl Strategy<Value = (Type, Body)> {
    Union::new(Type::ALL.iter().map(|kind| body(*kind).prop_map(move |body| (*kind, body))))
}

fn body(kind: Type) -> BoxedStrategy<Body> {
    match kind {
        Type::Genesis => {
            (holders(1..=16), labels(1..=4), holder(), label(), 1_024u64..=65_535, 8u64..=1_000_000)
                .prop_flat_map(|(roots, keys, snapshot, origin, bytes, records)| {
                    let most = roots.len() as u64;
                    let base = Just((roots, keys, snapshot, origin, bytes, records));
                    (base, 1..=most).prop_map(
                        |((roots, keys, snapshot, origin, bytes, records), threshold)| {
                            Body::from(Genesis {
                                authority: Authority { roots: List(roots), threshold: whole(threshold) },
                                fold: whole(0),
                                limits: GenesisLimits {
                                    record_bytes: whole(bytes),
                                    run_records: whole(records),
                                },
                                log: LogKeys { note_keys: List(keys), snapshot },
                                origin,
                            })
                        },
                    )
                })
                .boxed()
        }
        Type::Snapshot => (count(), hash(MapRoot::from_bytes))
            .prop_map(|(index, map)| Snapshot { fold: whole(0), index, map }.into())
            .boxed(),
        Type::Keyring => keyring().boxed(),
        Type::Policy => prop_oneof![
            json().prop_map(|document| Body::from(Policy::Document(document))),
            hash(PolicyDigest::from_bytes).prop_map(|digest| Policy::Digest(digest).into()),
        ]
        .boxed(),
        Type::Endorsement => id().prop_map(|candidate| Endorsement { candidate }.into()).boxed(),
        Type::Delegation => delegation().boxed(),
        Type::Revocation => (target(), option::of(count()), option::of(text()))
            .prop_map(|(target, distrust_from, reason)| Revocation { distrust_from, reason, target }.into())
            .boxed(),
        Type::Trigger => {
            (option::of(items()), label(), label(), option::of(label()), holder(), option::of(text()))
                .prop_map(|(content, id, source, kind, owner, summary)| {
                    Trigger { content, event: Event { id, kind, source }, owner, summary }.into()
                })
                .boxed()
        }
        Type::Observation => (option::of(items()), select(ObservationKind::ALL), text())
            .prop_map(|(items, kind, summary)| Observation { items, kind, summary: Some(summary) }.into())
            .boxed(),
        Type::Proposal => proposal().boxed(),
        Type::Decision => decision().boxed(),
        Type::Escalation => {
            let names = (id(), hash(PolicyDigest::from_bytes), principal());
            (names, option::of(text()), 1u64..=16, prop::collection::vec(audience(), 1..=32))
                .prop_map(|((proposal, policy, rule), reason, step, to)| {
                    Escalation { policy, proposal, reason, rule, step: whole(step), to: List(to) }.into()
                })
                .boxed()
        }
        Type::Cancel => {
            (id(), option::of(text())).prop_map(|(target, reason)| Cancel { reason, target }.into()).boxed()
        }
        Type::Execution => execution().boxed(),
        Type::Outcome => {
            let (status, effects) = (select(Status::ALL), select(Effects::ALL));
            (option::of(item()), option::of(text()), effects, id(), option::of(item()), status)
                .prop_map(|(attestation, detail, effects, execution, result, status)| {
                    Outcome { attestation, detail, effects, execution, result, status }.into()
                })
                .boxed()
        }
        Type::Refusal => refusal().boxed(),
        Type::Settlement => {
            let status = select(&[Status::Succeeded, Status::Failed][..]);
            let effects = select(&[Effects::None, Effects::Partial, Effects::Complete][..]);
            (effects, option::of(items()), id(), option::of(text()), status)
                .prop_map(|(effects, evidence, execution, reason, status)| {
                    Settlement { effects, evidence, execution, reason, status }.into()
                })
                .boxed()
        }
        Type::Handoff => (basis(), option::of(items()), ids(0..=64), option::of(text()), holder())
            .prop_map(|(basis, items, open, summary, to)| Handoff { basis, items, open, summary, to }.into())
            .boxed(),
        Type::Rejection => {
            (label(), option::of(id()), label(), count(), option::of(hash(Statement::from_bytes)))
                .prop_map(|(code, id, rule, size, statement)| {
                    Rejection { code, id, rule, size, statement }.into()
                })
                .boxed()
        }
    }
}

fn keyring() -> impl Strategy<Value = Body> {
    let change = prop_oneof![
        Just((KeyChange::Enrol, None)).boxed(),
        key().prop_map(|old| (KeyChange::Rotate, Some(old))).boxed(),
        Just((KeyChange::Retire, None)).boxed(),
    ];
    let times = (option::of(count()), option::of(count()));
    (change, names(), key(), option::of(item()), times, principal(), select(Role::ALL), option::of(1u64..=16))
        .prop_map(|((change, replaces), groups, key, name, (from, until), principal, role, threshold)| {
            let may_end = change != KeyChange::Retire && !matches!(role, Role::Authority | Role::Log);
            Keyring {
                change,
                groups,
                key,
                name,
                not_after: until.filter(|_| may_end),
                not_before: from.filter(|_| may_end),
                principal,
                replaces,
                role,
                threshold: threshold.filter(|_| role == Role::Authority).map(whole),
            }
            .into()
        })
}

fn delegation() -> impl Strategy<Value = Body> {
    let scope = (option::of(json()), option::of(label()), label())
        .prop_map(|(arguments, target, tool)| Scope { arguments, target, tool });
    let spend =
        (option::of(cost()), option::of(cost())).prop_map(|(per_action, total)| Spend { per_action, total });
    let times = (option::of(count()), option::of(count()));
    let scopes = prop::collection::vec(scope, 1..4);
    (
        option::of(audience()),
        holder(),
        0u64..=16,
        times,
        scopes,
        option::of(spend),
        option::of(1u64..=1_000_000),
    )
        .prop_map(|(audience, delegate, depth, (not_before, not_after), scope, spend, uses)| {
            let uses = uses.map(whole);
            Delegation {
                audience,
                delegate,
                depth: whole(depth),
                not_after,
                not_before,
                scope: List(scope),
                spend,
                uses,
            }
            .into()
        })
}

fn proposal() -> impl Strategy<Value = Body> {
    let metadata = prop::collection::btree_map(string_of(label()), label(), 0..4).prop_map(|members| {
        Map::new(members.into_iter().map(|(name, value)| (Label::new(name).unwrap(), value))).unwrap()
    });
    let tags = prop::collection::vec(label(), 0..4).prop_map(|tags| Set::new(tags).unwrap());
    let said = (option::of(text()), option::of(id()), option::of(id()), option::of(tags));
    (
        action(),
        audience(),
        option::of(cost()),
        option::of(items()),
        option::of(metadata),
        select(Risk::ALL),
        said,
    )
        .prop_map(
            |(action, audience, cost, evidence, metadata, risk, (summary, delegation, supersedes, tags))| {
                Proposal {
                    action,
                    audience,
                    cost,
                    delegation,
                    evidence,
                    metadata,
                    risk,
                    summary,
                    supersedes,
                    tags,
                }
                .into()
            },
        )
}

fn decision() -> impl Strategy<Value = Body> {
    let changes =
        (option::of(action()), option::of(text())).prop_map(|(action, note)| Changes { action, note });
    let terms = (0u64..1 << 52, 1u64..1 << 52, 1u64..=1_000);
    let digests = (hash(ActionDigest::from_bytes), hash(PolicyDigest::from_bytes), id());
    let about = (basis(), option::of(changes), option::of(text()), item(), select(Surface::ALL));
    (digests, about, select(Ruling::ALL), terms).prop_map(
        |(
            (action, policy, proposal),
            (basis, changes, reason, shown, surface),
            verdict,
            (from, length, uses),
        )| {
            let approves = verdict == Ruling::Approve;
            Decision {
                action,
                approver: None,
                basis,
                changes: changes.filter(|_| verdict == Ruling::RequestChanges),
                policy,
                proposal,
                reason,
                rule: None,
                shown: Some(shown),
                surface,
                uses: approves.then(|| whole(uses)),
                verdict,
                window: approves.then(|| Window { from: whole(from), until: whole(from + length) }),
            }
            .into()
        },
    )
}

/// A decision that the server signs is by link, or because a time is out.
pub fn said_by(role: Role, body: Body) -> Body {
    let Body::Decision(mut decision) = body else { return body };
    match (role, decision.verdict, decision.surface) {
        (Role::Policy, Ruling::Approve | Ruling::Reject, Surface::None) => {
            (decision.rule, decision.shown) = (Some(name("rule")), None);
        }
        (Role::Policy, _, _) => (decision.approver, decision.surface) = (Some(name("p-2")), Surface::Link),
        _ => {}
    }
    Body::Decision(decision)
}

fn execution() -> impl Strategy<Value = Body> {
    let glass = text().prop_map(|reason| BreakGlass { reason });
    let named = (hash(PolicyDigest::from_bytes), id(), option::of(id()));
    let nonce = "[A-Za-z0-9_-]{22,64}".prop_map(|text| Nonce::new(text).unwrap());
    (action(), basis(), option::of(glass), ids(1..=16), nonce, named, 1u64..=1_000).prop_map(
        |(action, basis, break_glass, decisions, nonce, (policy, proposal, retries), number)| {
            let use_number = whole(number);
            // Who breaks the glass has no decisions to name.
            let decisions = if break_glass.is_some() { Set::new([]).unwrap() } else { decisions };
            Execution { action, basis, break_glass, decisions, nonce, policy, proposal, retries, use_number }
                .into()
        },
    )
}

fn refusal() -> impl Strategy<Value = Body> {
    let named = (option::of(action()), option::of(basis()), option::of(ids(0..=16)), option::of(id()));
    (named, label(), 1u64..=1_000_000, option::of(text()), option::of(1u64..=1_000)).prop_map(
        |((action, basis, decisions, proposal), code, count, detail, number)| {
            let use_number = number.map(whole);
            Refusal { action, basis, code, count: whole(count), decisions, detail, proposal, use_number }
                .into()
        },
    )
}

/// Arguments never use the names `c…` and `f…`, which committed and free paths have.
fn action() -> impl Strategy<Value = Action> {
    let committed =
        prop::collection::btree_map("/c[a-z~01]{0,0}[a-z]{1,6}", hash(Commitment::from_bytes), 0..3)
            .prop_map(|paths| {
                Map::new(paths.into_iter().map(|(path, value)| (Pointer::new(path).unwrap(), value))).unwrap()
            });
    let free = prop::collection::btree_set("/f[a-z]{1,6}", 0..3)
        .prop_map(|paths| Set::new(paths.into_iter().map(|path| Pointer::new(path).unwrap())).unwrap());
    let connector =
        (label(), hash(SchemaDigest::from_bytes)).prop_map(|(name, schema)| Connector { name, schema });
    let paths = (option::of(committed), option::of(free));
    (
        json(),
        paths,
        option::of(connector),
        select(Mode::ALL),
        option::of(json()),
        option::of(label()),
        label(),
    )
        .prop_map(|(arguments, (committed, free), connector, mode, precondition, target, tool)| Action {
            arguments,
            committed,
            connector,
            free,
            mode,
            precondition,
            target,
            tool,
        })
}

/// An object of what JSON has, three levels deep.
fn json() -> impl Strategy<Value = Json> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1i64 << 53) + 1..1 << 53).prop_map(Value::from),
        (-1e9f64..1e9).prop_map(|number| json!(number)),
        string_of(text()).prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab0-9\u{E000}\u{1F600}]{0,3}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[xyz0-9\u{E000}\u{1F600}]{1,3}", value, 0..4)
        .prop_map(|members| Json::from_value(&Value::Object(members.into_iter().collect())).unwrap())
}

fn items() -> impl Strategy<Value = Items> {
    let set = (1u64..=65_536, label(), hash(Root::from_bytes))
        .prop_map(|(items, label, root)| Evidence::Set(ItemSet { items: whole(items), label, root }));
    prop::collection::vec(prop_oneof![item().prop_map(Evidence::Item), set], 1..4).prop_map(List)
}

fn item() -> impl Strategy<Value = Item> {
    (hash(Commitment::from_bytes), label(), label(), count())
        .prop_map(|(commitment, label, media_type, size)| Item { commitment, label, media_type, size })
}

fn basis() -> impl Strategy<Value = Basis> {
    (hash(Root::from_bytes), count()).prop_map(|(root, size)| Basis { root, size })
}

fn cost() -> impl Strategy<Value = Cost> {
    ("(0|[1-9][0-9]{0,17})([.][0-9]{1,18})?", "[A-Z0-9]{3,12}").prop_map(|(amount, currency)| Cost {
        amount: Amount::new(amount).unwrap(),
        currency: Currency::new(currency).unwrap(),
    })
}

fn target() -> impl Strategy<Value = RevocationTarget> {
    prop_oneof![key().prop_map(RevocationTarget::Key), id().prop_map(RevocationTarget::Delegation)]
}

fn audience() -> impl Strategy<Value = Audience> {
    prop_oneof![principal().prop_map(Audience::Principal), principal().prop_map(Audience::Group)]
}

fn holders(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<Holder>> {
    prop::collection::vec(holder(), count)
}

fn holder() -> impl Strategy<Value = Holder> {
    (key(), principal()).prop_map(|(key, principal)| Holder { key, principal })
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::ed25519)
}

fn names() -> impl Strategy<Value = Set<Principal, 32>> {
    prop::collection::vec(principal(), 0..4).prop_map(|names| Set::new(names).unwrap())
}

fn principal() -> impl Strategy<Value = Principal> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|name| Principal::new(name).unwrap())
}

fn labels(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<Label>> {
    prop::collection::vec(label(), count)
}

fn label() -> impl Strategy<Value = Label> {
    "[ -~à-ÿ\u{E000}\u{1F600}]{1,20}".prop_map(|text| Label::new(text).unwrap())
}

fn text() -> impl Strategy<Value = Text> {
    "[\n -~à-ÿ\u{E000}\u{1F600}]{1,40}".prop_map(|text| Text::new(text).unwrap())
}

fn string_of<T: AsRef<str> + std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
) -> impl Strategy<Value = String> {
    strategy.prop_map(|text| text.as_ref().to_owned())
}

fn count() -> impl Strategy<Value = Count> {
    (0u64..1 << 53).prop_map(whole)
}

fn ids<const MAX: usize>(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Ids<MAX>> {
    prop::collection::vec(id(), count).prop_map(|ids| Set::new(ids).unwrap())
}

fn id() -> impl Strategy<Value = RecordId> {
    hash(RecordId::from_bytes)
}

fn hash<T: Field + std::fmt::Debug>(kind: impl Fn([u8; 32]) -> T) -> impl Strategy<Value = T> {
    any::<[u8; 32]>().prop_map(kind)
}

fn whole<const MIN: u64, const MAX: u64>(value: u64) -> Whole<MIN, MAX> {
    Whole::new(value).unwrap()
}
