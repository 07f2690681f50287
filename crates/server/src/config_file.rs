//! What a configuration file says, before anything is made of it (`config.rs`).

use std::{collections::BTreeMap, io::Read as _, path::Path};

use counterfoil_keys::{TomlFault, parse_toml};
use serde::Deserialize;

use crate::{
    config::{ConfigError, MEMBERS},
    limits,
    notices::{ChannelConfig, Spelled},
};

/// What a file says.
pub(crate) struct FileValues {
    /// In the order of [`MEMBERS`].
    pub members: [Option<String>; MEMBERS.len()],
    /// The published copies.
    pub published: Vec<String>,
    /// Who is told.
    pub told: Spelled,
}

/// Reads a configuration file.
pub(crate) fn read_file(path: &Path) -> Result<FileValues, ConfigError> {
    let text = read_text(path)?;
    let File { server, log, approvals, witnesses, channels, people } =
        parse_toml(&text).map_err(|TomlFault { line, reason }| ConfigError::Malformed {
            path: path.to_owned(),
            line,
            reason,
        })?;
    let members = [
        server.listen,
        server.reads,
        server.read_token,
        server.read_token_file,
        server.writes,
        server.write_token,
        server.write_token_file,
        server.quota.map(|quota| quota.to_string()),
        server.rate.map(|rate| rate.to_string()),
        server.tokens,
        log.mode,
        log.dir,
        log.lock_dir,
        log.payload_dir,
        log.genesis,
        log.note_key,
        log.snapshot_key,
        log.policy_key,
        approvals.url,
        approvals.link_time,
        approvals.open.map(|open| open.to_string()),
        witnesses.policy,
        witnesses.fail,
    ];
    let told = Spelled { outbox_dir: approvals.outbox_dir, tell: approvals.tell, people, channels };
    Ok(FileValues { members, published: log.published, told })
}

/// A small file of text.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let file =
        std::fs::File::open(path).and_then(|file| file.take(limits::FILE_BYTES).read_to_string(&mut text));
    file.map_err(|io| ConfigError::File { path: path.to_owned(), io })?;
    Ok(text)
}

/// A place in a file: a URL, or a directory relative to the file.
pub(crate) fn beside(file: &Path, place: String) -> String {
    if place.contains("://") {
        return place;
    }
    file.parent().unwrap_or(Path::new("")).join(place).display().to_string()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: FileServer,
    log: FileLog,
    approvals: FileApprovals,
    witnesses: FileWitnesses,
    channels: BTreeMap<String, ChannelConfig>,
    people: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileServer {
    listen: Option<String>,
    reads: Option<String>,
    read_token: Option<String>,
    read_token_file: Option<String>,
    writes: Option<String>,
    write_token: Option<String>,
    write_token_file: Option<String>,
    quota: Option<i64>,
    rate: Option<i64>,
    tokens: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLog {
    mode: Option<String>,
    dir: Option<String>,
    lock_dir: Option<String>,
    payload_dir: Option<String>,
    genesis: Option<String>,
    note_key: Option<String>,
    snapshot_key: Option<String>,
    policy_key: Option<String>,
    published: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileApprovals {
    url: Option<String>,
    link_time: Option<String>,
    open: Option<i64>,
    outbox_dir: Option<String>,
    tell: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileWitnesses {
    policy: Option<String>,
    fail: Option<String>,
}
