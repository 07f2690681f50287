//! The action: the exact thing that is proposed, approved and executed (`spec/records.md` §5).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{
    field::{Field, Node, Set},
    hashes::{ActionDigest, Commitment, SchemaDigest},
    json, limits,
    malformed::{Code, Malformed},
    text::{Label, Pointer},
};

words! {
    /// Whether the effect is real or tried out; inside the digest, so one can't stand for the other.
    pub enum Mode {
        Apply = "apply",
        Preview = "preview",
    }
}

object! {
    /// The server that offers the tool, and what it said the tool takes.
    pub struct Connector {
        req "name" name: Label,
        req "schema" schema: SchemaDigest,
    }
}

object! {
    /// An action as recorded: committed arguments as commitments, free ones as paths.
    ///
    /// Two actions are the same action if and only if their
    /// canonical bytes are equal.
    pub struct Action {
        req "arguments" arguments: Json,
        opt "committed" committed: Map<Pointer, Commitment>,
        opt "connector" connector: Connector,
        opt "free" free: Set<Pointer, { limits::NAMES }>,
        req "mode" mode: Mode,
        opt "precondition" precondition: Json,
        opt "target" target: Label,
        req "tool" tool: Label,
    }
}

impl Action {
    /// SHA-256(`"counterfoil/v1/action\n"` ‖ JCS(action)).
    pub fn digest(&self) -> ActionDigest {
        let digest = Sha256::new().chain_update(b"counterfoil/v1/action\n").chain_update(self.to_canonical());
        ActionDigest::from_bytes(digest.finalize().into())
    }

    /// The canonical bytes. Equal to the bytes that were read, because only one encoding is read.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads an action from its canonical bytes.
    ///
    /// # Errors
    /// [`Malformed`] with the rule and the place.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = Json::parse(bytes)?;
        let action = Self::read(Node::checked(text.as_str()))?;
        action.paths_are_disjoint()?;
        Ok(action)
    }

    /// The first member in which two actions differ, as a path, with both values; `None` if they are equal.
    pub fn first_difference(&self, other: &Action) -> Option<Difference> {
        let (left, right) = (self.to_canonical(), other.to_canonical());
        if left == right {
            return None;
        }
        let value = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(serde_json::Value::Null);
        Some(difference(&value(&left), &value(&right), String::new()))
    }

    /// Checks [`Action::committed_is_disjoint`] and [`Action::free_is_disjoint`].
    pub(crate) fn paths_are_disjoint(&self) -> Result<(), Malformed> {
        self.committed_is_disjoint()?;
        self.free_is_disjoint()
    }

    /// R-ACT-01
    fn committed_is_disjoint(&self) -> Result<(), Malformed> {
        let paths: Vec<&Pointer> =
            self.committed.iter().flat_map(|map| map.iter()).map(|(path, _)| path).collect();
        let Some(path) = self.first_overlap(&paths, &[]) else { return Ok(()) };
        Err(Malformed::new(Code::CommittedPath, format!("{path} overlaps another argument"))
            .within("committed"))
    }

    /// R-ACT-02
    fn free_is_disjoint(&self) -> Result<(), Malformed> {
        let free: Vec<&Pointer> = self.free.iter().flat_map(|paths| paths.iter()).collect();
        let committed: Vec<&Pointer> =
            self.committed.iter().flat_map(|map| map.iter()).map(|(path, _)| path).collect();
        let Some(path) = self.first_overlap(&free, &committed) else { return Ok(()) };
        Err(Malformed::new(Code::FreePath, format!("{path} overlaps another argument")).within("free"))
    }

    fn first_overlap<'a>(&self, paths: &[&'a Pointer], taken: &[&Pointer]) -> Option<&'a Pointer> {
        let among =
            |at: usize, path: &Pointer| paths[..at].iter().chain(taken).any(|other| path.overlaps(other));
        let clash = |(at, path): &(usize, &&Pointer)| among(*at, path) || self.arguments.reaches(path);
        paths.iter().enumerate().find(clash).map(|(_, path)| *path)
    }
}

/// Where two actions part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path of the first member, in canonical order, that differs; empty for the whole.
    pub path: String,
    /// Its value on the left, as JSON; `None` if it does not stand there.
    pub left: Option<String>,
    /// Its value on the right.
    pub right: Option<String>,
}

fn difference(left: &serde_json::Value, right: &serde_json::Value, path: String) -> Difference {
    use serde_json::Value::{Array, Object};
    let deeper = match (left, right) {
        (Object(a), Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            names
                .into_iter()
                .find(|name| a.get(*name) != b.get(*name))
                .map(|name| (name.replace('~', "~0").replace('/', "~1"), a.get(name), b.get(name)))
        }
        (Array(a), Array(b)) => {
            let at = (0..a.len().max(b.len())).find(|at| a.get(*at) != b.get(*at));
            at.map(|at| (at.to_string(), a.get(at), b.get(at)))
        }
        _ => None,
    };
    match deeper {
        Some((name, Some(left), Some(right))) => difference(left, right, format!("{path}/{name}")),
        Some((name, left, right)) => Difference {
            path: format!("{path}/{name}"),
            left: left.map(ToString::to_string),
            right: right.map(ToString::to_string),
        },
        None => Difference { path, left: Some(left.to_string()), right: Some(right.to_string()) },
    }
}

/// Any JSON object, kept as the canonical text in which it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// Reads an object from canonical bytes.
    ///
    /// # Errors
    /// [`Malformed`] under one of the R-JSON rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse_within(bytes, &limits::RECORD_JSON)
    }

    /// The same for a policy document, which need not fit a record.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_document(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse_within(bytes, &limits::LINE_JSON)
    }

    fn parse_within(bytes: &[u8], most: &json::Limits) -> Result<Self, Malformed> {
        json::check(bytes, most)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new(Code::JsonUtf8, "not UTF-8"))?;
        Ok(Self(text.into()))
    }

    /// Writes an object canonically.
    ///
    /// # Errors
    /// [`Malformed`] for what I-JSON can't carry (integers beyond 2⁵³−1, say) and for anything but an object.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, Malformed> {
        Self::parse(&json::to_canonical(value)?)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, for whoever has to look inside.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or(serde_json::Value::Null)
    }

    /// Whether `path` points at a value of this object, or into or through a value that has no members.
    fn reaches(&self, path: &Pointer) -> bool {
        let mut value = &self.to_value();
        for token in path.tokens() {
            match value {
                serde_json::Value::Object(members) => match members.get(&token) {
                    Some(inner) => value = inner,
                    None => return false,
                },
                _ => return true,
            }
        }
        true
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Field for Json {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        node.members()?;
        Ok(Self(node.raw().into()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

/// An object whose names are open but have a syntax; up to [`limits::NAMES`] members, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<K, V>(Vec<(K, V)>);

impl<K: AsRef<str>, V> Map<K, V> {
    /// Puts members in canonical order; `None` for a repeated name or too many members.
    pub fn new(members: impl IntoIterator<Item = (K, V)>) -> Option<Self> {
        let mut members: Vec<(K, V)> = members.into_iter().collect();
        members.sort_by(|(a, _), (b, _)| a.as_ref().encode_utf16().cmp(b.as_ref().encode_utf16()));
        let repeated = members.windows(2).any(|pair| pair[0].0.as_ref() == pair[1].0.as_ref());
        (!repeated && members.len() <= limits::NAMES).then_some(Self(members))
    }
}

impl<K, V> std::ops::Deref for Map<K, V> {
    type Target = [(K, V)];

    fn deref(&self) -> &[(K, V)] {
        &self.0
    }
}

impl<K: Field + AsRef<str>, V: Field> Field for Map<K, V> {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let members = node.members()?.into_rest();
        if members.len() > limits::NAMES {
            return Err(Malformed::new(Code::FieldInvalid, format!("more than {} members", limits::NAMES)));
        }
        let read = |(name, value): (Node<'_>, Node<'_>)| {
            let read = K::read(name).and_then(|key| Ok((key, V::read(value)?)));
            read.map_err(|fault| name.string().map_or_else(|own| own, |name| fault.within(&name)))
        };
        members.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::write_string(name.as_ref(), out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}
