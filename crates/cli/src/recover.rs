//! `counterfoil log recover`: what keeps a log from being written, and the safe part of bringing it back.

use std::{ops::Range, path::PathBuf};

use clap::Args;
use counterfoil_audit::Source;
use counterfoil_log::{BoxError, Config as Files, LogCheckpoint, Observed, RecoverError, Recovery, Repair};
use counterfoil_receipt::{
    bundle::{NoteText, ProofHash, write_line},
    evidence::{Case, Format, Header, Kind},
    field::{List, Whole},
};
use counterfoil_server::{Overrides, StartError, Unasked, checkpoint_keys, observe};
use counterfoil_tlog::{
    Hash, TreeSize,
    tile::{TilePath, WIDTH, decode_entries},
};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome, VIOLATED},
    input::shown,
    log, output, serve,
    text::printable,
    time,
};

/// Say why a log may not be written, and bring it back where that is safe.
///
/// Without --apply nothing is changed. It cuts off what an interrupted write left, keeping a copy; fetches entries that the journal
/// lacks from a copy of the log, and holds them to a checkpoint that the log signed; and sets a lock store that was lost. It never
/// signs anything. Where the lock store can't tell which checkpoint is the newest, every published copy has to be asked.
///
/// Where the log was forked it changes nothing, and writes what both sides signed into a file that `counterfoil verify`
/// confirms.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil log recover
  counterfoil log recover --from /srv/www/log --apply
  counterfoil log recover --from https://log.example.org --without https://mirror.example.org --apply")]
pub struct Recover {
    /// The configuration [default: DIR/counterfoil.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A copy of the log that has what is missing: an http or https URL, or an export
    #[arg(long, value_name = "URL|DIR")]
    from: Option<String>,
    /// A published copy that can't be asked, and that you know to have nothing newer; may be repeated. `others` where there is none
    #[arg(long, value_name = "PLACE")]
    without: Vec<String>,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Where what both sides signed goes, if the log was forked
    #[arg(long, value_name = "FILE", default_value = "fork-evidence.jsonl")]
    evidence: PathBuf,
}

impl Recover {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let file = self.config.clone().unwrap_or_else(|| context.file("counterfoil.toml"));
        let config = serve::load(Some(&file), Overrides::default())?;
        let start = |error: StartError| serve::start_failure(&error);
        let keys = checkpoint_keys(&config).map_err(start)?;
        let (mut observed, unasked) = observe(&config, &keys);
        let copy = self.from.as_deref().map(log::open).transpose()?;
        let mut copied = TreeSize(0);
        if let Some(copy) = &copy {
            let note = String::from_utf8_lossy(&copy.checkpoint()?).into_owned();
            let seen = keys.observe(copy.name(), &note).map_err(|error| {
                let said = format!("{} has no checkpoint of this log: {error}", copy.name());
                Failure::new("recover-other-log", printable(&said), "name a copy of this log with --from")
            })?;
            copied = seen.head().size;
            observed.push(seen);
        }
        let open = |source| start(StartError::Log { dir: config.log_dir.clone(), source });
        let mut files =
            Files::embedded(&config.log_dir, &config.lock_dir, keys, Box::new(time::now)).map_err(open)?;
        files.observed = observed.clone();
        let recovery = Recovery::examine(files).map_err(open)?;
        let (size, locked) = (recovery.size(), recovery.locked());
        let repair = recovery.plan().map_err(|error| self.failure(error))?;
        if self.apply {
            self.may_apply(&repair, &observed, &unasked, copy.is_some())?;
            let mut fetch = |missing: Range<u64>| fetch(copy.as_ref(), copied, missing);
            recovery.apply(&mut fetch, time::now()).map_err(|error| self.failure(error))?;
        }
        let situation = Situation { size, locked, observed: &observed, unasked: &unasked };
        self.say(context, &situation, &repair)?;
        Ok(0)
    }

    /// What only a person can know is asked for.
    fn may_apply(
        &self,
        repair: &Repair,
        observed: &[Observed],
        unasked: &[Unasked],
        has_copy: bool,
    ) -> Outcome<()> {
        if !repair.missing.is_empty() && !has_copy {
            let said = format!("entries {} to {} are missing", repair.missing.start, repair.missing.end - 1);
            return Err(Failure::new(
                "recover-no-copy",
                said,
                "name a copy of the log that has them with --from",
            ));
        }
        if !repair.rests_on_others {
            return Ok(());
        }
        let knows = |who: &str| self.without.iter().any(|without| without == who);
        if let Some(unasked) = unasked.iter().find(|unasked| !knows(&unasked.who)) {
            let hint = "make it answer; or, if you know that it has nothing newer, name it with --without";
            return Err(Failure::new("recover-unasked", printable(&unasked.to_string()), hint));
        }
        if observed.is_empty() && unasked.is_empty() && !knows("others") {
            return Err(Failure::new(
                "recover-unasked",
                "nobody was asked whether this journal is the newest: log.published names no copy",
                "name one with --from; or, if you know that nothing newer was ever published, say --without others",
            ));
        }
        Ok(())
    }

    fn say(&self, context: &Context, situation: &Situation<'_>, repair: &Repair) -> Outcome<()> {
        let Situation { size, locked, observed, unasked } = situation;
        if context.json {
            let seen = observed.iter().map(|seen| json!({"size": seen.head().size.0, "who": seen.who()}));
            return output::print_json(&json!({
                "applied": self.apply,
                "cut": repair.cut,
                "journal": size.0,
                "lock": repair.lock.as_ref().map(|lock| lock.head.size.0),
                "locked": locked.map(|locked| locked.0),
                "missing": [repair.missing.start, repair.missing.end],
                "observed": seen.collect::<Vec<_>>(),
                "rests_on_others": repair.rests_on_others,
                "unasked": unasked.iter().map(|unasked| unasked.who.as_str()).collect::<Vec<_>>(),
            }));
        }
        let mut text = format!("the journal has {size} entries\n");
        text += &locked.map_or_else(
            || "the lock store is empty\n".to_owned(),
            |locked| format!("the lock store has a checkpoint of {locked}\n"),
        );
        for seen in *observed {
            text += &format!("{} has a checkpoint of {}\n", printable(seen.who()), seen.head().size);
        }
        for unasked in *unasked {
            text += &format!("{}\n", printable(&unasked.to_string()));
        }
        if repair.is_nothing() {
            return output::print(&format!("{text}there is nothing to recover: start the server\n"));
        }
        let [cut, fetch, set] = match self.apply {
            true => ["cut off", "fetched and appended", "set"],
            false => ["would cut off", "would fetch and append", "would set"],
        };
        if repair.cut > 0 {
            text += &format!("{cut} {} bytes behind the last whole batch, keeping a copy\n", repair.cut);
        }
        let Range { start, end } = repair.missing;
        if start < end {
            text += &format!("{fetch} entries {start} to {}, and the checkpoint that signs them\n", end - 1);
        }
        if let Some(lock) = &repair.lock {
            text += &format!("{set} the lock store to the checkpoint of {}\n", lock.head.size);
        }
        text += match self.apply {
            true => "the log may be written again: start the server\n",
            false => "nothing was changed; --apply does it\n",
        };
        output::print(&text)
    }

    fn failure(&self, error: RecoverError) -> Failure {
        let (code, said) = (error.code(), printable(&serve::with_causes(&error)));
        let hint = match error {
            RecoverError::Forked { theirs, journal, proof, .. } => {
                if let Err(unwritten) = output::write(&self.evidence, &evidence(&theirs, &journal, &proof)) {
                    return unwritten;
                }
                let hint = format!(
                    "run neither history; what both sides signed is in {}: `counterfoil verify` confirms it",
                    shown(&self.evidence)
                );
                return Failure::new(code, said, hint).with_status(VIOLATED);
            }
            RecoverError::Empty | RecoverError::Tail { .. } => {
                "delete nothing; put the newest backup's journal in place, then run this again"
            }
            RecoverError::Differs { .. } | RecoverError::Fetch(_) => {
                "audit the copy with `counterfoil log audit`, or name another with --from"
            }
            _ => "check the disk, then run this again",
        };
        Failure::new(code, said, hint)
    }
}

/// What was found.
struct Situation<'a> {
    size: TreeSize,
    locked: Option<TreeSize>,
    observed: &'a [Observed],
    unasked: &'a [Unasked],
}

/// Entries of a copy whose checkpoint has `copied` entries.
fn fetch(copy: Option<&Source>, copied: TreeSize, missing: Range<u64>) -> Result<Vec<Vec<u8>>, BoxError> {
    let copy = copy.ok_or("no copy is named")?;
    if copied.0 < missing.end {
        return Err(format!("{} has {copied} entries; {} are needed", copy.name(), missing.end).into());
    }
    let width = u64::from(WIDTH);
    let mut entries = Vec::new();
    for bundle in missing.start / width..missing.end.div_ceil(width) {
        let first = bundle * width;
        let path = TilePath::entries(bundle, (copied.0 - first).min(width) as u16)?;
        let bytes = copy.tile(&path)?;
        let found = decode_entries(&path, &bytes)?;
        let wanted = (first..).zip(found).filter(|(index, _)| missing.contains(index));
        entries.extend(wanted.map(|(_, entry)| entry.to_vec()));
    }
    Ok(entries)
}

/// One case of evidence: two checkpoints that the log signed, neither of which begins with the other.
fn evidence(theirs: &LogCheckpoint, journal: &LogCheckpoint, proof: &[Hash]) -> Vec<u8> {
    let is_same_size = theirs.head.size == journal.head.size;
    let kind = if is_same_size { Kind::ForkSameSize } else { Kind::Fork };
    let checkpoints = List([theirs, journal].map(|note| NoteText(note.text.clone())).to_vec());
    let consistency = List(proof.iter().map(|hash| ProofHash(*hash.as_bytes())).collect());
    let mut file = Vec::new();
    // One case is never too many to count.
    if let Some(cases) = Whole::new(1) {
        write_line(&Header { cases, format: Format }, &mut file);
        write_line(&Case { checkpoints, consistency, entries: List(Vec::new()), kind }, &mut file);
    }
    file
}
