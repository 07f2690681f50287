//! Changing a file of somebody else: whole or not at all, with what was there beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    error::{Failure, Outcome},
    input::{self, shown},
    output::unwritable,
};

/// Bytes of a configuration: such files are written by hand.
const BYTES: usize = 4 << 20;
/// Backups of one file; then somebody should look at them.
const BACKUPS: usize = 100;
/// What text files of some editors begin with.
const MARK: &str = "\u{feff}";

/// A text file that may be changed.
pub struct Target {
    /// Where it is, whatever links lead there.
    pub path: PathBuf,
    /// What it says, without the mark that some begin with.
    pub text: String,
    has_mark: bool,
}

impl Target {
    /// Reads a file; a symbolic link stands for what it points to.
    pub fn read(path: &Path) -> Outcome<Self> {
        let real = fs::canonicalize(path).map_err(|error| {
            let message = format!("the client configuration {} can't be read: {error}", shown(path));
            Failure::new("file-missing", message, "check the path")
        })?;
        let text = input::read_text(&real, "client configuration", BYTES)?;
        let stripped = text.strip_prefix(MARK);
        let (has_mark, text) = (stripped.is_some(), stripped.unwrap_or(&text).to_owned());
        Ok(Self { path: real, text, has_mark })
    }

    /// That it may be changed: neither protected, nor one of several names of a file.
    pub fn is_changeable(&self) -> Outcome<()> {
        let metadata = fs::metadata(&self.path).map_err(|error| unwritable(&self.path, &error))?;
        if metadata.permissions().readonly() {
            let message = format!("{} is protected from being written", shown(&self.path));
            return Err(Failure::new("output-permission", message, "allow it, or edit the file yourself"));
        }
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
            let message = format!("{} has other names, which would keep what it says now", shown(&self.path));
            return Err(Failure::new(
                "output-linked",
                message,
                "make it a file of its own, or edit it yourself",
            ));
        }
        Ok(())
    }

    /// Replaces what it says, after that was copied beside it; gives the path of the copy.
    ///
    /// The file is whole at every moment, keeps its mode and owner, and is left alone if somebody changed it meanwhile.
    pub fn replace(&self, text: &str) -> Outcome<PathBuf> {
        let fault = |error: io::Error| unwritable(&self.path, &error);
        self.is_changeable()?;
        let backup = self.back_up()?;
        let partial = self.beside(&format!("{}.partial", std::process::id()));
        let written = self.write_new(&partial, &self.bytes(text)).and_then(|()| {
            if fs::read(&self.path)? != self.bytes(&self.text) {
                return Err(io::Error::other("another program changed it meanwhile; try again"));
            }
            fs::rename(&partial, &self.path)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            return Err(fault(error));
        }
        let parent = self.path.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(fault)?;
        Ok(backup)
    }

    /// A copy of it that is there, or a new one. No copy is ever replaced.
    fn back_up(&self) -> Outcome<PathBuf> {
        let bytes = self.bytes(&self.text);
        for number in 1..=BACKUPS {
            let path = self.backup(number);
            match self.write_new(&path, &bytes) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::read(&path).is_ok_and(|there| there == bytes) {
                        return Ok(path);
                    }
                }
                Err(error) => {
                    let _ = fs::remove_file(&path);
                    return Err(unwritable(&path, &error));
                }
            }
        }
        let message = format!("{} has {BACKUPS} backups", shown(&self.path));
        Err(Failure::new("output-exists", message, "look at them, and remove what nobody needs"))
    }

    /// After it says `text` again: removes the backup that kept just that, and then what was replaced is no loss, so its own backup too. Gives
    /// the own one if it stays; what is removed is noted. A backup that can't be removed is one that stays.
    pub fn forget(&self, text: &str, own: PathBuf, forgotten: &mut Vec<PathBuf>) -> Option<PathBuf> {
        let bytes = self.bytes(text);
        let undone = (1..=BACKUPS).map(|number| self.backup(number)).find(|path| {
            *path != own && fs::read(path).is_ok_and(|kept| kept == bytes) && fs::remove_file(path).is_ok()
        });
        let Some(undone) = undone else { return Some(own) };
        forgotten.push(undone);
        if fs::remove_file(&own).is_ok() { None } else { Some(own) }
    }

    /// Its backups, but for one.
    pub fn backups_besides(&self, one: &Path) -> Vec<PathBuf> {
        (1..=BACKUPS).map(|number| self.backup(number)).filter(|path| path != one && path.exists()).collect()
    }

    /// Where a backup is.
    fn backup(&self, number: usize) -> PathBuf {
        self.beside(&if number == 1 { "backup".to_owned() } else { format!("backup-{number}") })
    }

    fn bytes(&self, text: &str) -> Vec<u8> {
        [if self.has_mark { MARK } else { "" }, text].concat().into_bytes()
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".counterfoil-{end}"));
        self.path.with_file_name(name)
    }

    /// Writes a file that is not there yet, with the mode and the owner of this one.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Until it has the mode of the original, it is for nobody else: such files hold secrets.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt as _, fchown};
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
        }
        file.set_permissions(metadata.permissions())?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_program_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        fs::write(&path, "\u{feff}{}").unwrap();
        let target = Target::read(&path).unwrap();
        assert_eq!(target.text, "{}");
        fs::write(&path, "{\"newer\": 1}").unwrap();
        let failure = target.replace("{\"ours\": 1}").unwrap_err();
        assert!(failure.message().contains("changed it meanwhile"), "{failure}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"newer\": 1}");

        fs::write(&path, "\u{feff}{}").unwrap();
        let backup = target.replace("{\"ours\": 1}").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "\u{feff}{\"ours\": 1}", "the mark stays");
        assert_eq!(fs::read_to_string(&backup).unwrap(), "\u{feff}{}");
        let names = fs::read_dir(dir.path()).unwrap().map(|name| name.unwrap().file_name());
        assert_eq!(names.count(), 2, "nothing else is left");
    }
}
