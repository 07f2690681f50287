//! Files that a record names as payloads.

use std::path::{Path, PathBuf};

use counterfoil_client::{Sealed, seal};
use counterfoil_receipt::{
    Opening,
    body::{Evidence, Items},
    field::List,
    limits,
    text::{Label, Text},
};

use crate::{
    error::{Failure, Outcome},
    input,
    text::{SHOWN_CHARS, printable, shortened},
};

/// A file to be named as an item: `FILE` or `LABEL=FILE`.
#[derive(Clone, Debug)]
pub struct Attachment {
    label: String,
    path: PathBuf,
}

impl std::str::FromStr for Attachment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((label, path)) = text.split_once('=') {
            return Ok(Self { label: label.to_owned(), path: path.into() });
        }
        let path = Path::new(text);
        let label = path.file_name().ok_or_else(|| format!("{text:?} names no file; write LABEL=FILE"))?;
        Ok(Self { label: label.to_string_lossy().into_owned(), path: path.to_owned() })
    }
}

/// Commits to files under fresh salts: what the record names, and what opens it.
pub fn seal_all(attachments: &[Attachment]) -> Outcome<(Option<Items>, Vec<Opening>)> {
    if attachments.len() > limits::ITEMS {
        let message = format!("{} items; a record names at most {}", attachments.len(), limits::ITEMS);
        return Err(Failure::new("field-invalid", message, "put some of them into one file"));
    }
    let mut items = Vec::new();
    let mut openings = Vec::new();
    for attachment in attachments {
        let content = input::read(&attachment.path, "payload", limits::PAYLOAD_BYTES)?;
        let Sealed { item, opening } = seal_one(&attachment.label, media_type(&attachment.path), content)?;
        items.push(Evidence::Item(item));
        openings.push(opening);
    }
    Ok(((!items.is_empty()).then_some(List(items)), openings))
}

/// Commits to content under a fresh salt.
pub fn seal_one(name: &str, media_type: &str, content: Vec<u8>) -> Outcome<Sealed> {
    Ok(seal(label(name, "the label")?, label(media_type, "the media type")?, content)?)
}

/// One line that a person wrote.
pub fn label(text: &str, what: &str) -> Outcome<Label> {
    Label::new(text).ok_or_else(|| {
        let message =
            format!("{what} \"{}\" is not {}", shortened(&printable(text), SHOWN_CHARS), Label::SYNTAX);
        Failure::new("field-invalid", message, "shorten it, on one line")
    })
}

/// Free text that a person wrote, if they wrote any.
pub fn text(text: Option<&String>) -> Outcome<Option<Text>> {
    let read = |text: &String| {
        Text::new(text.as_str()).ok_or_else(|| {
            let message = format!("a text of {} bytes is not {}", text.len(), Text::SYNTAX);
            Failure::new("field-invalid", message, "shorten it, or attach it as a file")
        })
    };
    text.map(read).transpose()
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        Some("patch" | "diff") => "text/x-diff",
        Some("txt" | "log" | "md" | "toml" | "yaml" | "yml") => "text/plain",
        Some("html") => "text/html",
        Some("csv") => "text/csv",
        Some("png") => "image/png",
        Some("pdf") => "application/pdf",
        _ => "application/octet-stream",
    }
}
