//! The reader's trust file.

use std::path::Path;

use counterfoil_verify::{Dimension, Trust, TrustError};

use crate::{
    error::{Failure, Outcome},
    input::{self, shown},
};

/// Bytes of a trust file (`spec/limits.md`).
const BYTES: usize = 1_048_576;

/// Reads the trust file at `path`.
pub fn load(path: &Path) -> Outcome<Trust> {
    if !path.exists() {
        let message = format!("the trust file {} does not exist", shown(path));
        let hint = "name it with --trust, or with -C the directory that `counterfoil init` made";
        return Err(Failure::new("file-missing", message, hint));
    }
    let text = input::read_text(path, "trust file", BYTES)?;
    Trust::parse(&text).map_err(|error| {
        let code = match error {
            TrustError::TooLarge(_) => "trust-too-large",
            TrustError::Malformed(_) => "trust-malformed",
            TrustError::Invalid { .. } => "trust-invalid",
        };
        let why = error.to_string();
        let why = why.strip_prefix(code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&why);
        let message =
            format!("the trust file {} can't be used: {}", shown(path), crate::text::printable(why));
        Failure::new(code, message, "compare it with spec/trust.md, or get it again from whom you trust")
    })
}

/// Reads a dimension's name on the command line.
pub fn dimension(name: &str) -> Result<Dimension, String> {
    Dimension::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.as_str()).collect();
        format!("{name:?} is none of {}", names.join(", "))
    })
}
