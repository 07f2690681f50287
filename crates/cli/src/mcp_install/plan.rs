//! What becomes of each server of a configuration, decided on its text alone. A change is made only if all else that the text says stays.

use super::{
    edit::{self, Gate},
    servers::{self, Server, Start, Syntax},
    values::{self, Part},
};
use crate::{mcp::server_name, text::printable};

/// How a file is written, and which members of it hold servers.
pub type Kind<'k> = (Syntax, &'k [&'k str]);

/// What becomes of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A gate is put before it.
    Governed,
    /// The same gate stood there.
    WasGoverned,
    /// The gate is taken away.
    Released,
    /// None stood there.
    WasFree,
    /// Counterfoil's own server is added.
    Added,
    /// It is Counterfoil's own server, which was there.
    WasAdded,
    /// Counterfoil's own server is taken away.
    Removed,
    /// It is reached by its address.
    Remote,
    /// It is left as it is, for this reason.
    Left(Left),
    /// It was not asked for.
    NotMeant,
}

/// Why a server is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What programs go by.
    pub code: &'static str,
    /// What people read.
    pub why: String,
}

/// A text, and what became of the servers in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed {
    /// The text afterwards.
    pub text: String,
    /// Each server, in the order of the text, and one that was added.
    pub servers: Vec<(String, Fate)>,
}

/// What is to be put into a configuration.
pub struct Wanted<'w> {
    /// What stands before each command.
    pub gate: &'w Gate,
    /// What starts Counterfoil's own server, the program first.
    pub own: &'w [String],
    /// Whether that is to be added.
    pub serve: bool,
}

/// Puts the gate before the servers of these names, or of all where none is named, and adds Counterfoil's own.
///
/// # Errors
/// Why the text can't be read.
pub fn install(text: &str, kind: Kind<'_>, meant: &[String], wanted: &Wanted<'_>) -> Result<Changed, String> {
    // Whoever wants Counterfoil's own server means it.
    let is_meant = |name: &str| is_meant(meant, name) || (wanted.serve && name == edit::OWN);
    let mut changed = each(text, kind, is_meant, |text, server| {
        if let Some(there) = edit::own_words(server) {
            return if there == wanted.own {
                Ok((None, Fate::WasAdded))
            } else {
                Err(Left::own_is_other(&there, wanted))
            };
        }
        if wanted.serve && server.name == edit::OWN && !is_named(meant, edit::OWN) {
            return Err(Left::new("name-taken", "another server has the name counterfoil"));
        }
        put_before(text, kind, server, wanted.gate)
    })?;
    if wanted.serve && !changed.servers.iter().any(|(name, _)| name == edit::OWN) {
        let added = with_own(&changed.text, kind, wanted.own);
        let fate = added.map_or_else(Fate::Left, |with| {
            changed.text = with;
            Fate::Added
        });
        changed.servers.push((edit::OWN.to_owned(), fate));
    }
    Ok(changed)
}

/// Takes the gate away from the servers of these names, or from all where none is named, and Counterfoil's own as it was added.
///
/// # Errors
/// Why the text can't be read.
pub fn uninstall(text: &str, kind: Kind<'_>, meant: &[String]) -> Result<Changed, String> {
    each(
        text,
        kind,
        |name| is_meant(meant, name),
        |text, server| {
            if edit::own_words(server).is_some() {
                let without = edit::without(text, kind, server);
                let without =
                    without.filter(|after| values::is_kept(text, after, kind, edit::OWN, Part::Entry));
                let is_gone = |after: &String| find(after, kind, edit::OWN).is_err();
                let why = "it is not as `install --serve` wrote it: take it out by hand";
                return match without.filter(is_gone) {
                    Some(after) => Ok((Some(after), Fate::Removed)),
                    None => Err(Left::new("entry-changed", why)),
                };
            }
            if !edit::is_gated(server) {
                return Ok((None, Fate::WasFree));
            }
            let after = edit::uninstall(text, kind.0, server).map_err(Left::unclear)?;
            let is_free = find(&after, kind, &server.name).is_ok();
            if !is_free || !values::is_kept(text, &after, kind, &server.name, Part::Start) {
                return Err(Left::not_kept());
            }
            Ok((Some(after), Fate::Released))
        },
    )
}

fn put_before(
    text: &str,
    kind: Kind<'_>,
    server: &Server,
    gate: &Gate,
) -> Result<(Option<String>, Fate), Left> {
    if edit::is_gated(server) {
        return match edit::other_gate(server, gate) {
            None => Ok((None, Fate::WasGoverned)),
            Some((there, would_be)) => Err(Left::governed_otherwise(&there, &would_be)),
        };
    }
    match &server.start {
        Start::Address => return Ok((None, Fate::Remote)),
        Start::Unclear(why) => return Err(Left::unclear(why)),
        Start::Command { .. } => {}
    }
    if server_name(&server.name).is_none() {
        let why = "its name is no label without a slash or colon, which policies could name: rename it";
        return Err(Left::new("name-unfit", why));
    }
    let with = edit::install(text, kind.0, server, gate).map_err(Left::unclear)?;
    // What can't be undone to the byte is not done.
    let again = find(&with, kind, &server.name).map_err(|_| Left::not_kept())?;
    let is_undone = edit::is_gated(&again) && edit::uninstall(&with, kind.0, &again).as_deref() == Ok(text);
    if !is_undone || !values::is_kept(text, &with, kind, &server.name, Part::Start) {
        return Err(Left::not_kept());
    }
    Ok((Some(with), Fate::Governed))
}

/// The text with Counterfoil's own server.
fn with_own(text: &str, kind: Kind<'_>, words: &[String]) -> Result<String, Left> {
    let with = edit::add(text, kind, words).map_err(|why| Left::new("entry-unclear", why))?;
    let added = find(&with, kind, edit::OWN).map_err(|_| Left::not_kept())?;
    let is_own = edit::own_words(&added).is_some_and(|there| there == words);
    let is_undone = edit::without(&with, kind, &added).as_deref() == Some(text);
    if !is_own || !is_undone || !values::is_kept(text, &with, kind, edit::OWN, Part::Entry) {
        return Err(Left::not_kept());
    }
    Ok(with)
}

/// What becomes of each server of a text; a change gives the text after it.
fn each(
    text: &str,
    kind: Kind<'_>,
    is_meant: impl Fn(&str) -> bool,
    change: impl Fn(&str, &Server) -> Result<(Option<String>, Fate), Left>,
) -> Result<Changed, String> {
    let found = servers::read(text, kind.0, kind.1)?;
    let mut changed = Changed { text: text.to_owned(), servers: Vec::new() };
    for name in found.into_iter().map(|server| server.name) {
        if !is_meant(&name) {
            changed.servers.push((name, Fate::NotMeant));
            continue;
        }
        // Where it stands now, after what was changed before it.
        let server = find(&changed.text, kind, &name)?;
        let fate = change(&changed.text, &server).map_or_else(Fate::Left, |(text, fate)| {
            changed.text = text.unwrap_or_else(|| std::mem::take(&mut changed.text));
            fate
        });
        changed.servers.push((name, fate));
    }
    Ok(changed)
}

fn is_meant(meant: &[String], name: &str) -> bool {
    meant.is_empty() || is_named(meant, name)
}

fn is_named(meant: &[String], name: &str) -> bool {
    meant.iter().any(|meant| meant == name)
}

/// A server in a text that was changed.
fn find(text: &str, (syntax, holders): Kind<'_>, name: &str) -> Result<Server, String> {
    let servers = servers::read(text, syntax, holders)?;
    servers.into_iter().find(|server| server.name == name).ok_or_else(|| "it would be lost".to_owned())
}

impl Left {
    fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    fn unclear(why: &str) -> Self {
        Self::new("entry-unclear", why)
    }

    fn not_kept() -> Self {
        Self::new(
            "config-not-kept",
            "more than this entry would change, or could not be restored: edit it by hand",
        )
    }

    fn governed_otherwise(there: &str, would_be: &str) -> Self {
        let why = format!(
            "a gate stands before it, `{there} …`, and not `{would_be} …`: uninstall it first to change that"
        );
        Self::new("governed-otherwise", why)
    }

    fn own_is_other(there: &[&str], wanted: &Wanted<'_>) -> Self {
        let (there, would_be) = (printable(&there.join(" ")), printable(&wanted.own.join(" ")));
        let why = format!("it starts `{there}`, and not `{would_be}`: uninstall it first to change that");
        Self::new("added-otherwise", why)
    }
}
