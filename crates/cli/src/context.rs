//! What every command is given: where things are, how to speak, which server to ask.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::style::{Color, Style};

/// Options that every command has.
#[derive(Args, Debug)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The working directory, as `counterfoil init` makes it
    #[arg(short = 'C', long, value_name = "DIR", global = true, default_value = ".")]
    dir: PathBuf,
    /// The server [default: the one of DIR/counterfoil.toml]. Your token, if it wants one, is in COUNTERFOIL_TOKEN
    #[arg(long, value_name = "URL", global = true, env = "COUNTERFOIL_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// The trust file [default: DIR/trust.toml]
    #[arg(long, value_name = "FILE", global = true, env = "COUNTERFOIL_TRUST", hide_env_values = true)]
    trust: Option<PathBuf>,
    /// The key that signs [default: DIR/keys/ROLE.key]
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// When to colour; NO_COLOR is respected
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value_t)]
    color: Color,
}

/// The options, resolved.
#[derive(Clone)]
pub struct Context {
    /// The working directory.
    pub dir: PathBuf,
    /// The server that was named.
    pub server: Option<String>,
    trust: Option<PathBuf>,
    /// The key that was named.
    pub key: Option<PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
    /// How standard output is dressed.
    pub style: Style,
}

impl Context {
    /// Resolves the options.
    pub fn new(common: Common) -> Self {
        let style = if common.json { Style::PLAIN } else { Style::of(common.color) };
        let Common { dir, server, trust, key, json, color: _ } = common;
        Self { dir, server, trust, key, json, style }
    }

    /// A file of the working directory.
    pub fn file(&self, name: &str) -> PathBuf {
        if self.dir == Path::new(".") { PathBuf::from(name) } else { self.dir.join(name) }
    }

    /// Where the trust file is.
    pub fn trust_path(&self) -> PathBuf {
        self.trust.clone().unwrap_or_else(|| self.file("trust.toml"))
    }
}
