//! What an audit finds, and whose fault it is.

use counterfoil_tlog::{
    Hash, TreeHead,
    tile::{TileError, TilePath},
};

use crate::source::SourceError;

/// Whose fault a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// The log signed what its rules forbid, or two trees that contradict each other. Its signature shows that.
    Log,
    /// Bytes that nobody signed: whoever keeps or serves the files changed or lost them. It says nothing against the log.
    Damage,
    /// The log is not the one that the reader's trust names, or has an authority that the reader does not accept.
    Trust,
    /// What would show that a rule holds is not at hand.
    Open,
}

impl Blame {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Damage => "damage",
            Self::Trust => "trust",
            Self::Open => "open",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable code: of `spec/rules.md`, or one of `spec/audit.md`.
    pub code: &'static str,
    /// The id of the rule in `spec/rules.md`, if it is one.
    pub rule: Option<&'static str>,
    /// Whose fault it is.
    pub blame: Blame,
    /// The file that it is about, relative to the prefix of the log.
    pub file: Option<String>,
    /// The entry that it is about.
    pub index: Option<u64>,
    /// Claimed and computed values, for a person.
    pub detail: String,
}

impl Finding {
    /// The file as served is not of the form of its kind.
    pub(crate) fn malformed(path: &TilePath, why: &TileError) -> Self {
        let code = if path.level().is_some() { "tile-malformed" } else { "bundle-malformed" };
        Self::damage(code, path, why.to_string())
    }

    /// The file can't be had, or can't be what it should be.
    pub(crate) fn unfetched(path: &TilePath, why: &SourceError) -> Self {
        let code = match (path.level(), why) {
            (Some(_), SourceError::Missing { .. }) => "tile-missing",
            (Some(_), _) => "tile-malformed",
            (None, SourceError::Missing { .. }) => "bundle-missing",
            (None, _) => "bundle-malformed",
        };
        Self::damage(code, path, why.to_string())
    }

    /// The tile is not the one that the tile above it names.
    pub(crate) fn wrong_tile(path: &TilePath, expected: Hash, found: Hash) -> Self {
        let detail = format!("its hashes give {found}, the tile above it names {expected}");
        Self::damage("tile-differs", path, detail)
    }

    /// The tile at the right edge does not give the signed root; what the files below it give does.
    pub(crate) fn wrong_edge(path: &TilePath, head: TreeHead) -> Self {
        let detail = format!("it does not lead to the signed root {}; the files below it do", head.root);
        Self::damage("tile-differs", path, detail)
    }

    /// The entries are not those of the signed tree.
    pub(crate) fn wrong_bundle(path: &TilePath, detail: String) -> Self {
        Self::damage("bundle-differs", path, detail)
    }

    /// A tile above is lost, so nothing tells whether this bundle is authentic.
    pub(crate) fn unshown_bundle(path: &TilePath) -> Self {
        let detail = "no tile that leads from the signed root to it is left".to_owned();
        Self::damage("bundle-unshown", path, detail)
    }

    /// Nothing that is served gives the signed root.
    pub(crate) fn root_unexplained(head: TreeHead) -> Self {
        Self {
            code: "root-unexplained",
            rule: None,
            blame: Blame::Damage,
            file: None,
            index: None,
            detail: format!(
                "neither the tiles at the right edge nor the files below them give the signed root {} of size {}",
                head.root, head.size
            ),
        }
    }

    fn damage(code: &'static str, path: &TilePath, detail: String) -> Self {
        let file = Some(path.to_string());
        Self { code, rule: None, blame: Blame::Damage, file, index: None, detail }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(index) = self.index {
            write!(f, "entry {index}: ")?;
        }
        f.write_str(&self.detail)
    }
}
