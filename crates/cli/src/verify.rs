//! `counterfoil verify`: what a bundle shows under a trust file, or evidence against a log under its key.

use std::path::{Path, PathBuf};

use clap::Args;
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Dimension, Trust, Verdict};

use crate::{
    advice,
    context::Context,
    error::{Failure, Outcome},
    evidence,
    input::{Lines, shown},
    known::{Known, vkey},
    output, reading, report,
    text::printable,
    time, trust,
    verdict::Asked,
};

/// Verify a bundle, or evidence against a log, offline and say what it shows.
///
/// Needs the file and a trust file, nothing else. What the file is, its first line says. Exit status: 0 everything required is
/// shown, 1 something is violated, or the log is convicted by every case of the evidence, 2 unreadable, 3 something required,
/// or a case of the evidence, is not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil verify run.jsonl --trust trust.toml
  counterfoil verify run.jsonl --require integrity,inclusion --json
  counterfoil verify run.jsonl --report report.html
  counterfoil verify evidence.jsonl --log-key example.org/log+8a3f…+AQ…")]
pub struct Verify {
    /// The bundle, or the evidence that an audit or a recovery wrote, or - for standard input
    file: PathBuf,
    /// Dimensions that must pass, instead of the trust file's: integrity, authority, conformity, inclusion, completeness,
    /// witnessed, freshness
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = trust::dimension)]
    require: Vec<Dimension>,
    /// The time at which freshness is judged, such as 2026-11-21T10:05:09Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    at: Option<u64>,
    /// Write the verdict as an HTML page as well
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Of evidence only: the key that signs the log's checkpoints, instead of a trust file; then only forks can be confirmed
    #[arg(long, value_name = "VKEY", value_parser = vkey, conflicts_with_all = ["require", "at", "report"])]
    log_key: Option<VerifierKey>,
}

/// That a file whose verdict names no run is no bundle.
pub fn no_bundle(path: &Path, verdict: &Verdict) -> Failure {
    let what = shown(path);
    match verdict.findings().first() {
        Some(finding) => {
            let message = format!("{what} is no bundle ({}): {}", finding.rule, printable(&finding.detail));
            Failure::new(finding.code, message, advice::on(finding.code))
        }
        None => {
            let hint = "fetch it again with `counterfoil bundle RUN --out FILE`";
            Failure::new("bundle-malformed", format!("{what} is no bundle"), hint)
        }
    }
}

impl Verify {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let known = Known::load(context, self.log_key.as_ref())?;
        let mut lines = Lines::open(&self.file, "bundle")?;
        let is_evidence = lines.peek()?.is_some_and(|line| evidence::is_header(line.bytes));
        match known {
            known if is_evidence => self.evidence(lines, &known, context),
            Known::Trust(trust, path) => self.bundle(lines, &trust, &path, context),
            Known::Key(_) => {
                let message = format!("{} is no evidence: its first line does not say so", shown(&self.file));
                Err(Failure::new(
                    "evidence-malformed",
                    message,
                    "verify a bundle under a trust file, with --trust",
                ))
            }
        }
    }

    fn evidence(&self, lines: Lines, known: &Known, context: &Context) -> Outcome {
        if self.at.is_some() || self.report.is_some() || !self.require.is_empty() {
            let message = format!("{} is evidence against a log, which has no dimensions", shown(&self.file));
            return Err(Failure::new("usage", message, "leave out --require, --at and --report"));
        }
        evidence::confirm(&lines.rest(evidence::BYTES)?, known, context)
    }

    fn bundle(&self, lines: Lines, trust: &Trust, trust_path: &Path, context: &Context) -> Outcome {
        let now = self.at.unwrap_or_else(time::now);
        let mut require =
            if self.require.is_empty() { trust.require().to_vec() } else { self.require.clone() };
        require.sort_unstable();
        require.dedup();
        let reading = reading::read_lines(lines, trust, now)?;
        if reading.verdict.run_id().is_none() && !context.json {
            return Err(no_bundle(&self.file, &reading.verdict));
        }
        let asked = Asked { reading: &reading, require: &require, now };
        if let Some(path) = &self.report {
            let page =
                report::page(&asked, &trust_path.display().to_string(), &self.file.display().to_string());
            output::write(path, page.as_bytes())?;
        }
        if context.json {
            output::print_json(&asked.to_json())?;
        } else {
            output::print(&asked.to_text(context.style))?;
        }
        Ok(asked.conclusion().exit_code())
    }
}
