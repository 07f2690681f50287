//! `counterfoil log backup`: everything that a log can be restored from, beside a server that may be running.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use counterfoil_log::BackupError;
use counterfoil_server::{Mode, Overrides, checkpoint_keys};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output, serve,
    text::{counted, printable},
    time,
};

/// Copy what a log can be restored from; the server may be running.
///
/// The journal up to the last batch that is locked, verified as a start verifies it; the witnessed checkpoints, payloads, genesis
/// and configuration. Not the lock store, which keeps a restored log from signing a second history, and no key. Given the same
/// directory again, it copies what is new. A payload that was erased since stays in the backup.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil log backup /mnt/backup/log")]
pub struct Backup {
    /// The directory; it is made if it is not there
    directory: PathBuf,
    /// The configuration [default: DIR/counterfoil.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Backup {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let file = self.config.clone().unwrap_or_else(|| context.file("counterfoil.toml"));
        let config = serve::load(Some(&file), Overrides::default())?;
        let keys = checkpoint_keys(&config).map_err(|error| serve::start_failure(&error))?;
        let into = &self.directory;
        let (dir, lock_dir) = (&config.log_dir, &config.lock_dir);
        let made = counterfoil_log::backup(dir, lock_dir, &keys, into, time::now()).map_err(failure)?;
        // After the journal: what an entry names was stored before the entry was.
        copy(&dir.join("witnessed"), &into.join("log/witnessed"))?;
        copy(&file, &into.join("counterfoil.toml"))?;
        if let Mode::Records(files) = &config.mode {
            copy(&files.genesis, &into.join("genesis.json"))?;
            copy_new(&files.payload_dir, &into.join("payloads"))?;
        }
        let (size, root) = (made.checkpoint.head.size.0, made.checkpoint.head.root.to_string());
        if context.json {
            let said = json!({"copied": made.copied, "journal": made.bytes, "root": root, "size": size});
            output::print(&format!("{said}\n"))?;
        } else {
            let entries = counted(size, "entry").replace("entrys", "entries");
            let copied = counted(made.copied, "new byte");
            output::print(&format!("{entries} in {}, {copied}, root {root}\n", shown(into)))?;
        }
        Ok(0)
    }
}

/// Copies a file as a whole, durably, if it is there.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let new = to.with_extension("new");
    let copied = match fs::copy(from, &new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !from.exists() => return Ok(()),
        copied => copied.and_then(|_| fs::File::open(&new)?.sync_all()),
    };
    let sync = |dir: &Path| fs::File::open(dir)?.sync_all();
    let parent = to.parent().unwrap_or(Path::new("."));
    copied
        .and_then(|()| fs::rename(&new, to))
        .and_then(|()| sync(parent))
        .map_err(|error| unwritten(to, &error))
}

/// Copies the files below a directory that are not there yet.
fn copy_new(from: &Path, to: &Path) -> Outcome<()> {
    let fail = |error: io::Error| unwritten(to, &error);
    fs::create_dir_all(to).map_err(fail)?;
    for entry in fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(fail)?.is_dir() {
            copy_new(&source, &target)?;
        } else if !target.exists() {
            copy(&source, &target)?;
        }
    }
    Ok(())
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let said = format!("can't back up to {}: {error}", shown(path));
    Failure::new("backup-files", printable(&said), "check the directory, its owner and the disk")
}

fn failure(error: BackupError) -> Failure {
    let hint = match &error {
        BackupError::NotLocked | BackupError::Open(_) => {
            "run `counterfoil log recover`: it says what is wrong with the log"
        }
        BackupError::Differs { .. } => "choose another directory; delete neither of the two",
        BackupError::Ahead { .. } => "delete nothing; run `counterfoil log recover`",
        _ => "check the directories, their owner and the disk",
    };
    Failure::new(error.code(), printable(&serve::with_causes(&error)), hint)
}
