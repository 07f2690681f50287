//! `counterfoil log`: copies of a log, and audits of it, over the read path that everybody has.

use std::{io::IsTerminal, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use counterfoil_audit::{Audit as Auditor, AuditError, Export as Exporter, ExportError, Source, SourceError};
use counterfoil_receipt::limits as receipt_limits;
use counterfoil_tlog::VerifierKey;
use serde_json::json;

use crate::{
    audit_report::Page,
    backup::Backup,
    context::Context,
    error::{Failure, Outcome, USAGE, VIOLATED},
    input::{self, shown},
    known::{Known, vkey},
    output,
    recover::Recover,
    remote,
    text::{counted, printable},
    time,
};

/// Copy a log into a directory, audit it from its bytes, back it up and bring it back.
#[derive(Args, Debug)]
pub struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Export(Export),
    Audit(Audit),
    Backup(Backup),
    Recover(Recover),
}

/// Write a log into a directory that any web server can serve (C2SP tlog-tiles).
///
/// Everything is verified against the signed checkpoint before it is written, and the file `checkpoint` is replaced last: an export
/// that was interrupted is completed by the next. A file that stands there is compared and never replaced. A directory that is
/// ahead of the log, or of another tree, is refused.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil log export /srv/www/log
  counterfoil log export /srv/www/log --from https://log.example.org --log-key example.org/log+8a3f…+AQ… --follow")]
struct Export {
    /// The directory; it is made if it is not there
    directory: PathBuf,
    /// The log: an http or https URL, or a directory [default: the server]
    #[arg(long, value_name = "URL|DIR", alias = "url")]
    from: Option<String>,
    /// The key that signs the log's checkpoints, instead of a trust file
    #[arg(long, value_name = "VKEY", value_parser = vkey)]
    log_key: Option<VerifierKey>,
    /// Go on until interrupted: export again whenever the log has grown
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks at the log
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600), requires = "follow")]
    every: u64,
    /// Threads that fetch and check [default: the processors of this machine]
    #[arg(long, value_name = "N", value_parser = jobs)]
    jobs: Option<NonZeroUsize>,
}

/// Derive everything that a log signed again from its bytes, and say what is not as it should be.
///
/// Checks the checkpoint and its cosignatures, the tiles of every level, every entry, every record with its signature and its
/// place under every rule, and earlier checkpoints. It tells damage, bytes that nobody signed, from what the log admitted
/// against its own rules. Under --log-key any C2SP tlog-tiles log is audited, without judging its entries.
///
/// The fold of the records is kept in memory, some 300 bytes for each.
///
/// Exit status: 0 all is as it should be, 1 something is not, 2 unreadable, 3 something is not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil log audit http://127.0.0.1:7450
  counterfoil log audit /srv/www/log --trust trust.toml --since yesterday.checkpoint --html audit.html
  counterfoil log audit https://log.example.org --log-key example.org/log+8a3f…+AQ… --resume audit.state")]
struct Audit {
    /// The log: an http or https URL, or a directory
    #[arg(value_name = "URL|DIR")]
    log: String,
    /// The key that signs the log's checkpoints, instead of a trust file
    #[arg(long, value_name = "VKEY", value_parser = vkey)]
    log_key: Option<VerifierKey>,
    /// An earlier checkpoint of the log, a signed note; may be repeated
    #[arg(long, value_name = "FILE")]
    since: Vec<PathBuf>,
    /// A policy document that the log names by digest; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "log_key")]
    document: Vec<PathBuf>,
    /// Threads that fetch and check [default: the processors of this machine]
    #[arg(long, value_name = "N", value_parser = jobs)]
    jobs: Option<NonZeroUsize>,
    /// Go on where the last audit with this file ended, and keep there how far this one comes
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Write the report as an HTML page as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where the log misbehaved, write evidence that `counterfoil verify` confirms without the log
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
}

impl Log {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Export(export) => export.run(context),
            Command::Audit(audit) => audit.run(context),
            Command::Backup(backup) => backup.run(context),
            Command::Recover(recover) => recover.run(context),
        }
    }
}

impl Export {
    fn run(&self, context: &Context) -> Outcome {
        let known = Known::load(context, self.log_key.as_ref())?;
        let place = self.from.clone().map_or_else(|| remote::server_url(context), Ok)?;
        let source = open(&place)?;
        let jobs = self.jobs.unwrap_or_else(processors);
        let mut export = Exporter::open(&source, known.under(), &self.directory, jobs)?;
        loop {
            let bar = Bar::new();
            match export.step(&mut |done| bar.show(&counted(done, "entry").replace("entrys", "entries"))) {
                Ok(exported) if exported.written > 0 || !self.follow => self.say(context, &exported)?,
                Ok(_) => {}
                // What passes by itself ends no export that is to go on.
                Err(ExportError::Source(
                    error @ (SourceError::Unreachable { .. } | SourceError::Refused { .. }),
                )) if self.follow => {
                    output::note(&format!("{}; trying again\n", printable(&error.to_string())));
                }
                Err(error) => return Err(error.into()),
            }
            bar.clear();
            if !self.follow {
                return Ok(0);
            }
            std::thread::sleep(Duration::from_secs(self.every));
        }
    }

    fn say(&self, context: &Context, exported: &counterfoil_audit::Exported) -> Outcome<()> {
        let (size, root) = (exported.head.size.0, exported.head.root.to_string());
        if context.json {
            let said =
                json!({"kept": exported.kept, "root": root, "size": size, "written": exported.written});
            return output::print(&format!("{said}\n"));
        }
        let entries = counted(size, "entry").replace("entrys", "entries");
        let files = counted(exported.written, "file");
        output::print(&format!("{entries} in {}, {files} written, root {root}\n", shown(&self.directory)))
    }
}

impl Audit {
    fn run(&self, context: &Context) -> Outcome {
        let known = Known::load(context, self.log_key.as_ref())?;
        let source = open(&self.log)?;
        let read = |what: &'static str, most: usize| move |path: &PathBuf| input::read(path, what, most);
        let since =
            self.since.iter().map(read("earlier checkpoint", counterfoil_audit::limits::CHECKPOINT_BYTES));
        let documents = self.document.iter().map(read("policy document", receipt_limits::LINE_BYTES));
        let audit = Auditor {
            source: &source,
            under: known.under(),
            jobs: self.jobs.unwrap_or_else(processors),
            since: since.collect::<Outcome<_>>()?,
            documents: documents.collect::<Outcome<_>>()?,
            resume: self.resume.clone(),
        };
        let bar = Bar::new();
        let report = audit.run(&mut |done, of| bar.show(&format!("{done} of {of} entries")));
        bar.clear();
        let page = Page { report: &report?, log: &source.name(), under: &known.name(), now: time::now() };
        if let Some(path) = &self.evidence
            && let Some(file) = page.report.evidence(&source)?
        {
            output::write(path, &file)?;
        }
        if let Some(path) = &self.html {
            output::write(path, page.to_html().as_bytes())?;
        }
        if context.json {
            output::print_json(&page.to_json())?;
        } else {
            output::print(&page.to_text(context.style))?;
        }
        Ok(page.report.conclusion().exit_code())
    }
}

/// One line of progress on standard error, where a person sees it.
struct Bar(bool);

impl Bar {
    fn new() -> Self {
        Self(std::io::stderr().is_terminal())
    }

    fn show(&self, text: &str) {
        if self.0 {
            output::note(&format!("\r\x1b[K{text}"));
        }
    }

    fn clear(&self) {
        self.show("");
    }
}

/// The log at a URL or in a directory.
pub fn open(place: &str) -> Outcome<Source> {
    let token = std::env::var("COUNTERFOIL_TOKEN").ok().filter(|token| !token.is_empty());
    Ok(Source::new(place, token.as_deref())?)
}

fn processors() -> NonZeroUsize {
    let found = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(counterfoil_audit::limits::JOBS).map_or(found, |most| found.min(most))
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let most = counterfoil_audit::limits::JOBS;
    let number = text.parse::<NonZeroUsize>().ok().filter(|number| number.get() <= most);
    number.ok_or_else(|| format!("{text:?} is no number from 1 to {most}"))
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let hint = match &error {
            SourceError::Missing { path } if path == "checkpoint" => {
                "check that this is the prefix of a C2SP tlog-tiles log"
            }
            SourceError::Missing { .. } | SourceError::Malformed { .. } => {
                "the file is lost or damaged there: ask whoever serves it, or take another copy"
            }
            SourceError::Unreachable { .. } => "check the address, and that the server runs",
            SourceError::Refused { status: 401 | 403, .. } => {
                "put the server's read token, or one with the scope log, into the variable COUNTERFOIL_TOKEN"
            }
            SourceError::Refused { .. } => "check the address; redirects are not followed",
            SourceError::Misuse(_) => "give an http or https URL, or the path of a directory",
        };
        Self::new(error.code(), printable(&error.to_string()), hint)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let (status, hint) = match error {
            ExportError::Source(error) => return error.into(),
            ExportError::Checkpoint(_) => {
                (VIOLATED, "check that the log and the trust file or key belong together")
            }
            ExportError::SourceDamaged(_) => {
                (VIOLATED, "audit the source with `counterfoil log audit`, or export from another copy")
            }
            ExportError::Foreign(_) => (
                VIOLATED,
                "the directory holds another log, or its checkpoint was damaged: export to a new one",
            ),
            ExportError::Damaged(_) => {
                (VIOLATED, "move the directory away and export anew; find out what changed it")
            }
            ExportError::Differs { .. } => {
                (VIOLATED, "move the file away, find out what changed it, and export again")
            }
            ExportError::Ahead { .. } => (
                VIOLATED,
                "the source is old or was restored from a backup: keep the directory, it may hold what the source lost",
            ),
            ExportError::Inconsistent { .. } => {
                (VIOLATED, "keep both checkpoints: together they convict the log")
            }
            ExportError::Busy(_) => (USAGE, "wait for it, or end it"),
            ExportError::Write { .. } => (USAGE, "check the disk, the directory and its owner"),
        };
        Self::new(error.code(), printable(&error.to_string()), hint).with_status(status)
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let (status, hint) = match error {
            AuditError::Source(error) => return error.into(),
            AuditError::Checkpoint(_) => {
                (VIOLATED, "check that the log and the trust file or key belong together")
            }
            AuditError::Since(_) => (USAGE, "check that the file is a checkpoint of this log"),
            AuditError::Resume(_) => {
                (USAGE, "name another state file, or move this one away to audit from entry 0")
            }
            AuditError::Rewritten { .. } => (
                VIOLATED,
                "audit without --resume, and with --since and the checkpoint of the last audit: that tells who is wrong",
            ),
        };
        Self::new(error.code(), printable(&error.to_string()), hint).with_status(status)
    }
}
