//! The usual clients of MCP servers: where their configuration is, and where in it the servers are.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

/// A client whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Desktop
    ClaudeDesktop,
    /// Claude Code: `.mcp.json` of the current directory
    ClaudeCode,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Windsurf
    Windsurf,
    /// Zed
    Zed,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
}

/// What the members are called that hold servers; a file has one of them.
pub const HOLDERS: [&str; 4] = ["mcpServers", "servers", "context_servers", "mcp_servers"];

/// Where configuration files are.
pub struct Places {
    home: PathBuf,
    /// Where applications keep theirs.
    applications: PathBuf,
    /// Where programs of this system that know the XDG rules keep theirs.
    config: PathBuf,
    codex: Option<PathBuf>,
}

impl Places {
    /// Those of this user; `None` if nothing says where they are at home.
    pub fn of_user() -> Option<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = if cfg!(windows) { set("USERPROFILE")? } else { set("HOME")? };
        let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let applications = if cfg!(windows) {
            set("APPDATA").unwrap_or_else(|| home.join("AppData/Roaming"))
        } else if cfg!(target_os = "macos") {
            home.join("Library/Application Support")
        } else {
            config.clone()
        };
        Some(Self { home, applications, config, codex: set("CODEX_HOME") })
    }
}

impl Client {
    /// Its files, of the user and of the project in the current directory, whether they are there or not.
    pub fn files(self, places: &Places) -> Vec<PathBuf> {
        let Places { home, applications, config, codex } = places;
        let project = |path: &str| Path::new(path).to_owned();
        match self {
            Self::ClaudeDesktop => vec![applications.join("Claude/claude_desktop_config.json")],
            Self::ClaudeCode => vec![project(".mcp.json")],
            Self::Cursor => vec![home.join(".cursor/mcp.json"), project(".cursor/mcp.json")],
            Self::Vscode => vec![applications.join("Code/User/mcp.json"), project(".vscode/mcp.json")],
            Self::Windsurf => vec![home.join(".codeium/windsurf/mcp_config.json")],
            Self::Zed if cfg!(windows) => {
                vec![applications.join("Zed/settings.json"), project(".zed/settings.json")]
            }
            Self::Zed => vec![config.join("zed/settings.json"), project(".zed/settings.json")],
            Self::Codex => {
                let own = codex.clone().unwrap_or_else(|| home.join(".codex"));
                vec![own.join("config.toml"), project(".codex/config.toml")]
            }
            Self::Gemini => vec![home.join(".gemini/settings.json"), project(".gemini/settings.json")],
        }
    }

    /// The member that holds its servers.
    pub const fn holder(self) -> &'static str {
        match self {
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor | Self::Windsurf | Self::Gemini => {
                "mcpServers"
            }
            Self::Vscode => "servers",
            Self::Zed => "context_servers",
            Self::Codex => "mcp_servers",
        }
    }

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Windsurf => "windsurf",
            Self::Zed => "zed",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }
}
