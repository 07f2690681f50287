//! `counterfoil verify`: what a bundle shows under a trust file.

use std::path::PathBuf;

use clap::Args;
use counterfoil_verify::Dimension;

use crate::{
    advice,
    context::Context,
    error::{Failure, Outcome},
    input, output, reading, report,
    text::printable,
    time, trust,
    verdict::Asked,
};

/// Verify a bundle offline and say what it shows.
///
/// Needs the bundle and a trust file, nothing else. Exit status: 0 everything required is shown, 1 something is violated,
/// 2 unreadable, 3 something required is not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil verify run.jsonl --trust trust.toml
  counterfoil verify run.jsonl --require integrity,inclusion --json
  counterfoil verify run.jsonl --report report.html")]
pub struct Verify {
    /// The bundle, or - for standard input
    bundle: PathBuf,
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
}

impl Verify {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let trust_path = context.trust_path();
        let trust = trust::load(&trust_path)?;
        let now = self.at.unwrap_or_else(time::now);
        let mut require =
            if self.require.is_empty() { trust.require().to_vec() } else { self.require.clone() };
        require.sort_unstable();
        require.dedup();
        let reading = reading::read(&self.bundle, &trust, now)?;
        if let (None, false, Some(finding)) =
            (reading.verdict.run_id(), context.json, reading.verdict.findings().first())
        {
            let what = input::shown(&self.bundle);
            let message = format!("{what} is no bundle ({}): {}", finding.rule, printable(&finding.detail));
            return Err(Failure::new(finding.code, message, advice::on(finding.code)));
        }
        let asked = Asked { reading: &reading, require: &require, now };
        if let Some(path) = &self.report {
            let page =
                report::page(&asked, &trust_path.display().to_string(), &self.bundle.display().to_string());
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
