//! Who is told that something waits for them, and where: as it is configured, and the channels of it (`docs/notifications.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use counterfoil_notify::{
    Channel, ChannelName, Email, EmailConfig, Login, Secret, Security, Slack, Terminal, Webhook,
};
use counterfoil_receipt::Principal;
use serde::Deserialize;

use crate::limits;

/// Whom the server tells of proposals that wait, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notices {
    /// The directory of what was not told yet.
    pub outbox_dir: PathBuf,
    /// Channels on which everything is told, without a link to decide by.
    pub tell: Vec<ChannelName>,
    /// Where each person is told what they may decide, with a link of their own.
    pub people: BTreeMap<Principal, Vec<ChannelName>>,
    /// The channels.
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
}

/// How a channel is configured. Secrets are in files, of which there are only the names here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChannelConfig {
    /// Signed requests to a program.
    Webhook {
        /// Where.
        url: String,
        /// Files with a secret each: two while one is replaced.
        secret_files: Vec<PathBuf>,
    },
    /// An incoming webhook of Slack, or what takes the same.
    Slack {
        /// A file with the URL, which is a secret itself.
        url_file: PathBuf,
        /// A file with a signing secret, for what stands in between.
        secret_file: Option<PathBuf>,
    },
    /// E-mail to one address.
    Email {
        /// The mail server.
        host: String,
        /// Its port, if it is not the usual one.
        port: Option<u16>,
        /// How the connection is protected.
        security: Protection,
        /// The user, if the server wants to know.
        user: Option<String>,
        /// A file with the user's password.
        password_file: Option<PathBuf>,
        /// A file with roots that certify the server besides those of the web, in PEM.
        roots_file: Option<PathBuf>,
        /// The sender.
        from: String,
        /// The one who is told.
        to: String,
    },
    /// Lines on the server's standard error.
    Terminal {},
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS before anything is said.
    StartTls,
    /// None, to this machine only.
    UnencryptedOnLoopback,
}

/// Channels by name.
type Channels = Vec<(ChannelName, Box<dyn Channel>)>;

/// What a configuration file says.
#[derive(Default)]
pub(crate) struct Spelled {
    pub outbox_dir: Option<String>,
    pub tell: Vec<String>,
    pub people: BTreeMap<String, Vec<String>>,
    pub channels: BTreeMap<String, ChannelConfig>,
}

impl Notices {
    /// What a file in `dir` says; `None` if it has no channel. Names the member at fault, and why.
    pub(crate) fn read(dir: &Path, spelled: Spelled) -> Result<Option<Self>, (&'static str, String)> {
        let Spelled { outbox_dir, tell, people, channels } = spelled;
        let mut known = BTreeMap::new();
        for (name, mut channel) in channels {
            let name: ChannelName = name.parse().map_err(|why| ("channels", format!("{why}")))?;
            channel.files().into_iter().for_each(|file| *file = dir.join(&*file));
            known.insert(name, channel);
        }
        let named = |member: &'static str, names: Vec<String>| {
            let channel = |name: String| match name.parse::<ChannelName>() {
                Ok(name) if known.contains_key(&name) => Ok(name),
                Ok(_) | Err(_) => Err((member, format!("there is no channel {name:?}"))),
            };
            names.into_iter().map(channel).collect::<Result<Vec<_>, _>>()
        };
        let tell = named("approvals.tell", tell)?;
        let mut found = BTreeMap::new();
        for (person, names) in people {
            let wrong = || ("people", format!("{person:?} is not {}", Principal::SYNTAX));
            let principal = Principal::new(person.as_str()).ok_or_else(wrong)?;
            found.insert(principal, named("people", names)?);
        }
        let mut owned: BTreeSet<&ChannelName> = tell.iter().collect();
        if let Some(shared) = found.values().flatten().find(|name| !owned.insert(name)) {
            let why = format!(
                "{shared} is told on by others too, who could decide in their name: name a channel of their own"
            );
            return Err(("people", why));
        }
        let used: BTreeSet<&ChannelName> = tell.iter().chain(found.values().flatten()).collect();
        if let Some(idle) = known.keys().find(|name| !used.contains(name)) {
            return Err((
                "channels",
                format!("nobody is told on {idle}: name it in approvals.tell or [people]"),
            ));
        }
        if known.is_empty() {
            return match outbox_dir {
                None => Ok(None),
                Some(_) => Err(("approvals.outbox_dir", "there are no [channels]".to_owned())),
            };
        }
        let outbox_dir = dir.join(outbox_dir.unwrap_or_else(|| "outbox".to_owned()));
        Ok(Some(Self { outbox_dir, tell, people: found, channels: known }))
    }

    /// Makes the channels. Says which can't be made, and why.
    pub(crate) fn channels(&self) -> Result<Channels, String> {
        let made = self.channels.iter().map(|(name, channel)| {
            let channel = channel.make().map_err(|why| format!("channel {name}: {why}"))?;
            Ok((name.clone(), channel))
        });
        made.collect()
    }
}

impl ChannelConfig {
    /// The files that it names.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Webhook { secret_files, .. } => secret_files.iter_mut().collect(),
            Self::Slack { url_file, secret_file } => [url_file].into_iter().chain(secret_file).collect(),
            Self::Email { password_file, roots_file, .. } => {
                password_file.iter_mut().chain(roots_file).collect()
            }
            Self::Terminal {} => Vec::new(),
        }
    }

    fn make(&self) -> Result<Box<dyn Channel>, String> {
        let secret = |path: &PathBuf| {
            Secret::new(secret_line(path)?.as_bytes()).map_err(|why| format!("{}: {why}", path.display()))
        };
        let text = |why: &dyn std::fmt::Display| why.to_string();
        Ok(match self {
            Self::Webhook { url, secret_files } => {
                let secrets = secret_files.iter().map(secret).collect::<Result<_, _>>()?;
                Box::new(Webhook::new(url, secrets).map_err(|why| text(&why))?)
            }
            Self::Slack { url_file, secret_file } => {
                let secret = secret_file.as_ref().map(secret).transpose()?;
                Box::new(Slack::new(&secret_line(url_file)?, secret).map_err(|why| text(&why))?)
            }
            Self::Email { host, port, security, user, password_file, roots_file, from, to } => {
                let login = match (user, password_file) {
                    (None, None) => None,
                    (Some(user), Some(file)) => {
                        Some(Login { user: user.clone(), password: secret_line(file)?.into() })
                    }
                    _ => return Err("user and password_file are given together or not at all".to_owned()),
                };
                let read =
                    |path: &PathBuf| fs::read(path).map_err(|why| format!("{}: {why}", path.display()));
                let config = EmailConfig {
                    host: host.clone(),
                    port: *port,
                    security: match security {
                        Protection::Tls => Security::Tls,
                        Protection::StartTls => Security::StartTls,
                        Protection::UnencryptedOnLoopback => Security::UnencryptedOnLoopback,
                    },
                    login,
                    roots: roots_file.as_ref().map(read).transpose()?,
                    from: from.clone(),
                    to: to.clone(),
                };
                Box::new(Email::new(config).map_err(|why| text(&why))?)
            }
            Self::Terminal {} => Box::new(Terminal::new(std::io::stderr())),
        })
    }
}

/// The one line of a file.
fn secret_line(path: &Path) -> Result<String, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let length = fs::metadata(path).map_err(|why| wrong(&why))?.len();
    if length > limits::FILE_BYTES {
        return Err(wrong(&"is far too large"));
    }
    let text = fs::read_to_string(path).map_err(|why| wrong(&why))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// A number and one of m, h, d.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??;
    number.checked_mul(seconds).map(Duration::from_secs)
}
