//! Copies and audits of C2SP tlog-tiles logs, from a URL or a directory, over the public read path alone (`spec/audit.md`).
//!
//! Nothing that a source gives is trusted: every file is held to the root that the log signed before it is kept or judged.

mod audit;
mod checkpoint;
mod continuation;
mod evidence;
mod export;
mod finding;
mod http;
pub mod limits;
mod mirror;
mod pool;
mod resume;
mod source;
mod tree;
mod walk;

pub use audit::{Audit, AuditError, Report, Since, Witnessed};
pub use checkpoint::{NotOpened, Opened, Under};
pub use export::{Export, ExportError, Exported};
pub use finding::{Blame, Finding};
pub use mirror::{Mirror, MirrorError, Shown};
pub use resume::ResumeError;
pub use source::{Source, SourceError};

/// The file that readers of a log ask for first.
const CHECKPOINT: &str = "checkpoint";
