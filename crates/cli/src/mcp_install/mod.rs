//! `counterfoil mcp install` and `uninstall`: the gate in the configuration of the usual clients, and out of it again.

mod clients;
mod edit;
mod file;
mod plan;
#[cfg(test)]
mod properties;
mod servers;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output,
    text::printable,
};
use clients::{Client, HOLDERS, Places};
use edit::Gate;
use file::Target;
use plan::{Changed, Fate, Kind, Left, Wanted};
use servers::Syntax;

/// Exit status where a server that was meant was left as it is.
const LEFT: u8 = 1;

/// Put the gate before the servers of MCP clients: in the place of each command stands `counterfoil mcp gate … -- COMMAND`.
///
/// All that an entry says besides stays, and so do comments and formatting. What was there is kept beside the file. Servers that are reached
/// by an address are named and left: the gate stands before commands only. Where nothing says which file, it is those of all clients that it
/// knows, of this user and of the current directory.
///
/// Exit status: 0 done, 1 a server that was meant was left as it is, 2 it could not be done: where that is so from the start, nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil mcp install -C ~/work --dry-run
  counterfoil mcp install -C ~/work --client cursor files
  counterfoil mcp install -C ~/work --client cursor --serve
  counterfoil mcp install -C ~/work --file .vscode/mcp.json")]
pub struct Install {
    /// Add Counterfoil's own tools too, as the server `counterfoil`: `counterfoil mcp serve`, with the agent's key of DIR
    #[arg(long)]
    serve: bool,
    #[command(flatten)]
    which: Which,
}

/// Take the gate away again from the servers of MCP clients: each command stands in its place as it did.
///
/// It takes what stands after `--` in each entry that starts a gate, also one that somebody moved or changed. The entry that `install --serve`
/// added is removed, if nobody changed it.
///
/// Exit status: 0 done, 1 a server that was meant was left as it is, 2 it could not be done: where that is so from the start, nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil mcp uninstall
  counterfoil mcp uninstall --client cursor files")]
pub struct Uninstall {
    #[command(flatten)]
    which: Which,
}

#[derive(Args, Debug)]
struct Which {
    /// The files of this client [default: of all]
    #[arg(long, value_enum, conflicts_with = "file")]
    client: Option<Client>,
    /// This file of any client: JSON with or without comments, or TOML where it is called so
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// These servers, as the client calls them [default: all]
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
}

/// A file, what becomes of it, and of each server in it.
struct Plan {
    client: Option<Client>,
    target: Target,
    text: String,
    servers: Vec<(String, Fate)>,
    backup: Option<PathBuf>,
    /// Backups that were removed: the file says again what they kept.
    forgotten: Vec<PathBuf>,
    /// Backups that were there and stay, because they say something else.
    kept: Vec<PathBuf>,
}

/// Which of the two is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Install,
    Uninstall,
}

impl Way {
    /// What the answer is called in JSON.
    const fn format(self) -> &'static str {
        match self {
            Self::Install => "counterfoil-mcp-install/1",
            Self::Uninstall => "counterfoil-mcp-uninstall/1",
        }
    }
}

impl Install {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let gate = gate(context)?;
        let own = own(context, &gate)?;
        let wanted = Wanted { gate: &gate, own: &own, serve: self.serve };
        self.which.run(context, Way::Install, |text, kind, meant| plan::install(text, kind, meant, &wanted))
    }
}

impl Uninstall {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        self.which.run(context, Way::Uninstall, plan::uninstall)
    }
}

/// A path as a configuration names it, from anywhere.
fn text(path: &Path, what: &str) -> Outcome<String> {
    let real = fs::canonicalize(path).map_err(|error| {
        let message = format!("{what} {} can't be used: {error}", shown(path));
        Failure::new("file-missing", message, "name with -C the directory that `counterfoil init` made")
    })?;
    let text = real.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let message = format!("{what} {} is no text, which a configuration can't hold", shown(path));
        Failure::new("file-not-text", message, "move it")
    })
}

/// What a command has to be told to work in this directory.
fn options(context: &Context) -> Outcome<Vec<String>> {
    let dir = text(&context.dir, "the working directory")?;
    text(&context.trust_path(), "the trust file")?;
    let mut options = vec!["-C".to_owned(), dir];
    if context.trust_path() != context.file("trust.toml") {
        options.extend(["--trust".to_owned(), text(&context.trust_path(), "the trust file")?]);
    }
    if let Some(key) = &context.key {
        options.extend(["--key".to_owned(), text(key, "the key")?]);
    }
    if let Some(server) = &context.server {
        options.extend(["--server".to_owned(), server.clone()]);
    }
    Ok(options)
}

/// The gate of this working directory, if it could start.
fn gate(context: &Context) -> Outcome<Gate> {
    let options = options(context)?;
    text(&context.file("keys").join("agent.key"), "the agent's key")?;
    if context.key.is_none() {
        text(&context.file("keys").join("runtime.key"), "the runtime's key")?;
    }
    let program = std::env::current_exe().map_err(|error| {
        Failure::new("file-missing", format!("this program can't be found: {error}"), "install it anew")
    })?;
    let program = text(&program, "this program")?;
    if !edit::is_our_name(&program) {
        let message =
            format!("this program is called {}, by which no gate is known again", printable(&program));
        return Err(Failure::new("usage", message, "give it a name that begins with counterfoil"));
    }
    Ok(Gate { program, options })
}

/// What starts Counterfoil's own server in the same working directory, the program first. `--key` names the runtime's key: this one
/// takes the agent's.
fn own(context: &Context, gate: &Gate) -> Outcome<Vec<String>> {
    let mut without_key = context.clone();
    without_key.key = None;
    let options = options(&without_key)?;
    Ok([gate.program.clone(), "mcp".to_owned(), "serve".to_owned()].into_iter().chain(options).collect())
}

impl Which {
    /// Plans all files, then changes them: what is wrong with one is said before any other is changed.
    fn run(
        &self,
        context: &Context,
        way: Way,
        change: impl Fn(&str, Kind<'_>, &[String]) -> Result<Changed, String>,
    ) -> Outcome {
        let mut plans = Vec::new();
        for (path, client) in self.files()? {
            let plan = self.plan(&path, client, &change)?;
            // Where the current directory is at home, a project's file is that of the user.
            if !plans.iter().any(|other: &Plan| other.target.path == plan.target.path) {
                plans.push(plan);
            }
        }
        let is_known =
            |name: &String| plans.iter().any(|plan: &Plan| plan.servers.iter().any(|(one, _)| one == name));
        if let Some(unknown) = self.servers.iter().find(|name| !is_known(name)) {
            let files: Vec<String> = plans.iter().map(|plan| shown(&plan.target.path)).collect();
            let message = format!("no server is called {} in {}", printable(unknown), files.join(", "));
            return Err(Failure::new("server-unknown", message, "leave the name out to take them all"));
        }
        for plan in plans.iter().filter(|plan| plan.is_change()) {
            plan.target.is_changeable()?;
        }
        let mut changed = String::new();
        for plan in plans.iter_mut().filter(|plan| plan.is_change() && !self.dry_run) {
            let backup = plan.target.replace(&plan.text).map_err(|failure| failure.after(&changed))?;
            changed.push_str(&format!("{} is changed; ", shown(&plan.target.path)));
            plan.backup = match way {
                Way::Install => Some(backup),
                Way::Uninstall => {
                    let own = plan.target.forget(&plan.text, backup.clone(), &mut plan.forgotten);
                    plan.kept = plan.target.backups_besides(&backup);
                    own
                }
            };
        }
        let is_left = |(name, fate): &(String, Fate)| match fate {
            Fate::Left(_) => true,
            // Nobody takes it for governed; and from it nothing was to be taken away.
            Fate::Remote => way == Way::Install || self.servers.contains(name),
            Fate::Governed | Fate::WasGoverned | Fate::Released | Fate::WasFree => false,
            Fate::Added | Fate::WasAdded | Fate::Removed | Fate::NotMeant => false,
        };
        let is_any_left = plans.iter().flat_map(|plan| &plan.servers).any(is_left);
        if context.json {
            let files: Vec<Value> = plans.iter().map(Plan::to_json).collect();
            output::print_json(&json!({"format": way.format(), "dry_run": self.dry_run, "files": files}))?;
        } else {
            plans.iter().try_for_each(|plan| output::print(&plan.to_text(self.dry_run)))?;
            let changed = plans.iter().any(Plan::is_change);
            output::note(match (changed, self.dry_run) {
                (true, true) => "nothing was changed: leave out --dry-run to do it\n",
                (true, false) => {
                    "restart the clients, or have them start their servers again: until then they use those that run\n"
                }
                (false, _) if is_any_left => "nothing was changed\n",
                (false, _) => "nothing to change\n",
            });
        }
        Ok(if is_any_left { LEFT } else { 0 })
    }

    /// The files that are meant and there.
    fn files(&self) -> Outcome<Vec<(PathBuf, Option<Client>)>> {
        if let Some(path) = &self.file {
            return Ok(vec![(path.clone(), None)]);
        }
        let places = Places::of_user().ok_or_else(|| {
            Failure::new(
                "file-missing",
                "nothing says where the files of this user are",
                "set HOME, or name one with --file",
            )
        })?;
        let clients = self.client.map_or_else(|| Client::value_variants().to_vec(), |client| vec![client]);
        let all: Vec<(PathBuf, Option<Client>)> = clients
            .into_iter()
            .flat_map(|client| client.files(&places).into_iter().map(move |path| (path, Some(client))))
            .collect();
        let there: Vec<_> = all.iter().filter(|(path, _)| path.exists()).cloned().collect();
        if there.is_empty() {
            let looked: Vec<String> = all.iter().map(|(path, _)| shown(path)).collect();
            let message = format!("no configuration of a client is there: looked for {}", looked.join(", "));
            return Err(Failure::new(
                "file-missing",
                message,
                "start the client once, or name its file with --file",
            ));
        }
        Ok(there)
    }

    fn plan(
        &self,
        path: &Path,
        client: Option<Client>,
        change: impl Fn(&str, Kind<'_>, &[String]) -> Result<Changed, String>,
    ) -> Outcome<Plan> {
        let target = Target::read(path)?;
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        let syntax = if is_toml { Syntax::Toml } else { Syntax::Json };
        let holders = client.map_or(HOLDERS.to_vec(), |client| vec![client.holder()]);
        let changed = change(&target.text, (syntax, &holders), &self.servers).map_err(|why| {
            let message =
                format!("{} can't be read, and nothing was changed: {}", shown(path), printable(&why));
            Failure::new("config-malformed", message, "mend it, or have the client write it anew")
        })?;
        let Changed { text, servers } = changed;
        Ok(Plan { client, target, text, servers, backup: None, forgotten: Vec::new(), kept: Vec::new() })
    }
}

impl Plan {
    fn is_change(&self) -> bool {
        self.text != self.target.text
    }

    fn to_text(&self, is_dry: bool) -> String {
        let client = self.client.map_or(String::new(), |client| format!(" ({})", client.as_str()));
        let mut out = format!("{}{client}\n", shown(&self.target.path));
        if self.servers.is_empty() {
            out.push_str("  no servers\n");
        }
        for (name, fate) in &self.servers {
            out.push_str(&format!("  {:<20} {}\n", printable(name), fate.to_text(is_dry)));
        }
        if let Some(backup) = &self.backup {
            out.push_str(&format!("  what was there is in {}\n", shown(backup)));
        }
        for forgotten in &self.forgotten {
            out.push_str(&format!("  the backup {} said the same, and is removed\n", shown(forgotten)));
        }
        for kept in &self.kept {
            out.push_str(&format!("  the backup {} says something else, and is kept\n", shown(kept)));
        }
        out
    }

    fn to_json(&self) -> Value {
        let servers = self.servers.iter().map(|(name, fate)| {
            let left = match fate {
                Fate::Left(left) => Some(left),
                _ => None,
            };
            let (code, why) = (left.map(|left| left.code), left.map(|left| &left.why));
            json!({"name": name, "fate": fate.as_str(), "code": code, "why": why})
        });
        json!({
            "path": self.target.path.to_string_lossy(),
            "client": self.client.map(Client::as_str),
            "changes": self.is_change(),
            "backup": self.backup.as_ref().map(|backup| backup.to_string_lossy()),
            "removed_backups": self.forgotten.iter().map(|backup| backup.to_string_lossy()).collect::<Vec<_>>(),
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

impl Fate {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Governed => "governed",
            Self::WasGoverned => "was_governed",
            Self::Released => "released",
            Self::WasFree => "was_free",
            Self::Added => "added",
            Self::WasAdded => "was_added",
            Self::Removed => "removed",
            Self::Remote => "remote",
            Self::Left(_) => "left",
            Self::NotMeant => "not_meant",
        }
    }

    fn to_text(&self, is_dry: bool) -> String {
        match self {
            Self::Governed if is_dry => "would be governed".to_owned(),
            Self::Governed => "is governed now".to_owned(),
            Self::WasGoverned => "was governed already".to_owned(),
            Self::Released if is_dry => "would be governed no longer".to_owned(),
            Self::Released => "is governed no longer".to_owned(),
            Self::WasFree => "was not governed".to_owned(),
            Self::Added if is_dry => "would be added: Counterfoil's own tools".to_owned(),
            Self::Added => "is added: Counterfoil's own tools".to_owned(),
            Self::WasAdded => "was there already: Counterfoil's own tools".to_owned(),
            Self::Removed if is_dry => "would be removed".to_owned(),
            Self::Removed => "is removed".to_owned(),
            Self::Remote => {
                "is NOT governed: it is reached by its address, and the gate stands before commands only"
                    .to_owned()
            }
            Self::Left(Left { code, why }) => format!("was LEFT as it is: {} [{code}]", printable(why)),
            Self::NotMeant => "not asked for".to_owned(),
        }
    }
}
