//! The text of a policy, line by line (C2SP tlog-policy, "Policy file syntax and structure").

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::parse_decimal;
use crate::key::{Algorithm, KeyError, VerifierKey};
use crate::limits;
use crate::policy::{Group, Log, Member, Policy, PolicyError, PolicyTextError, Quorum, Witness};

pub(crate) fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
    let at = |line| move |reason| PolicyError::Text { line, reason };
    if text.len() > limits::POLICY_BYTES {
        return Err(at(1)(PolicyTextError::TooLong { len: text.len() }));
    }
    let mut reader = Reader::default();
    let mut number = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        reader.line(line).map_err(at(number))?;
    }
    reader.finish().map_err(at(number + 1))
}

/// What the lines so far define. Names are opaque bytes.
#[derive(Default)]
struct Reader<'t> {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    names: BTreeMap<&'t [u8], Member>,
    members: BTreeSet<&'t [u8]>,
    quorum: Option<Quorum>,
}

impl<'t> Reader<'t> {
    fn line(&mut self, line: &'t [u8]) -> Result<(), PolicyTextError> {
        let line = line.strip_suffix(b"\n").ok_or(PolicyTextError::NoFinalNewline)?;
        if let Some(&byte) = line.iter().find(|byte| matches!(byte, 0x00..=0x08 | 0x0a..=0x1f | 0x7f)) {
            return Err(PolicyTextError::ControlCharacter { byte });
        }
        let items: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|item| !item.is_empty()).collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", vkey] => self.log(vkey, None),
            [b"log", vkey, url] => self.log(vkey, Some(*url)),
            [b"witness", name, vkey] => self.witness(name, vkey, None),
            [b"witness", name, vkey, url] => self.witness(name, vkey, Some(*url)),
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            [b"quorum", name] => self.quorum(name),
            [b"log" | b"witness" | b"group" | b"quorum", ..] => Err(PolicyTextError::WrongItems),
            _ => Err(PolicyTextError::UnknownKeyword),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&[u8]>) -> Result<(), PolicyTextError> {
        check_room(&self.logs)?;
        let key = parse_key(vkey)?;
        if key.algorithm() == Algorithm::CosignatureEd25519 {
            return Err(PolicyTextError::WrongKeyType { type_byte: key.algorithm().type_byte() });
        }
        let is_known = self.logs.iter().any(|log| log.key.is_same_public_key(&key));
        // One line of a checkpoint can't be both the log's signature and a cosignature of it.
        if is_known || self.witnesses.iter().any(|witness| witness.key == key) {
            return Err(PolicyTextError::DuplicateKey);
        }
        self.logs.push(Log { key, url: url.map(<[u8]>::to_vec) });
        Ok(())
    }

    fn witness(&mut self, name: &'t [u8], vkey: &[u8], url: Option<&[u8]>) -> Result<(), PolicyTextError> {
        check_room(&self.witnesses)?;
        let key = parse_key(vkey)?;
        if !key.algorithm().is_cosignature() {
            return Err(PolicyTextError::WrongKeyType { type_byte: key.algorithm().type_byte() });
        }
        let is_known = self.witnesses.iter().any(|witness| witness.key.is_same_public_key(&key));
        if is_known || self.logs.iter().any(|log| log.key == key) {
            return Err(PolicyTextError::DuplicateKey);
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_vec(), key, url: url.map(<[u8]>::to_vec) });
        Ok(())
    }

    fn group(&mut self, name: &'t [u8], threshold: &[u8], names: &[&'t [u8]]) -> Result<(), PolicyTextError> {
        check_room(&self.groups)?;
        let threshold = match threshold {
            b"all" => names.len(),
            b"any" => 1,
            number => parse_threshold(number, names.len()).ok_or(PolicyTextError::BadThreshold)?,
        };
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            members.push(*self.names.get(name).ok_or(PolicyTextError::UnknownName)?);
            if !self.members.insert(name) {
                return Err(PolicyTextError::MemberTwice);
            }
        }
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: name.to_vec(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), PolicyTextError> {
        let quorum = match name {
            b"none" => Quorum::NotRequired,
            name => Quorum::Member(*self.names.get(name).ok_or(PolicyTextError::UnknownName)?),
        };
        if self.quorum.replace(quorum).is_some() {
            return Err(PolicyTextError::SecondQuorum);
        }
        Ok(())
    }

    fn define(&mut self, name: &'t [u8], member: Member) -> Result<(), PolicyTextError> {
        if name == b"none" || self.names.insert(name, member).is_some() {
            return Err(PolicyTextError::NameTaken);
        }
        Ok(())
    }

    fn finish(self) -> Result<Policy, PolicyTextError> {
        let quorum = self.quorum.ok_or(PolicyTextError::NoQuorum)?;
        Ok(Policy { logs: self.logs, witnesses: self.witnesses, groups: self.groups, quorum })
    }
}

fn check_room<T>(items: &[T]) -> Result<(), PolicyTextError> {
    if items.len() < limits::POLICY_ITEMS { Ok(()) } else { Err(PolicyTextError::TooMany) }
}

fn parse_key(vkey: &[u8]) -> Result<VerifierKey, PolicyTextError> {
    let text = std::str::from_utf8(vkey).map_err(|_| PolicyTextError::Key(KeyError::NotAVkey))?;
    VerifierKey::parse(text).map_err(PolicyTextError::Key)
}

fn parse_threshold(number: &[u8], members: usize) -> Option<usize> {
    let threshold = usize::try_from(parse_decimal(std::str::from_utf8(number).ok()?)?).ok()?;
    (1..=members).contains(&threshold).then_some(threshold)
}
