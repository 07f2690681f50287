//! `counterfoil completions`: completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, error::Outcome, output};

/// Print a completion script for a shell.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil completions bash > ~/.local/share/bash-completion/completions/counterfoil")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "counterfoil", &mut script);
        output::print_bytes(&script)?;
        Ok(0)
    }
}
