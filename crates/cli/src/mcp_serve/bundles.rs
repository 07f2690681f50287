//! The directory that the operator named, of which `verify` may read bundles: nothing outside it is reached, whatever becomes of the names
//! below it, or of its own, while they are looked up.

use std::path::{Component, Path};

use super::limits;
use crate::{
    error::{Failure, Outcome},
    input,
};

/// A directory that is held open.
pub struct Bundles {
    #[cfg(unix)]
    directory: std::os::fd::OwnedFd,
    #[cfg(not(unix))]
    directory: std::path::PathBuf,
}

impl Bundles {
    /// Reads a bundle below it.
    ///
    /// # Errors
    /// [`Failure`], also where the path leads through a link: what that points to may change at any moment.
    pub fn read(&self, path: &str) -> Outcome<Vec<u8>> {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(outside());
        }
        let file = self.open(relative)?;
        // As it was asked for: where the directory is says nothing to whoever asks.
        input::read_opened(file, relative, "bundle", limits::BUNDLE_BYTES)
    }
}

fn outside() -> Failure {
    let message = "the path is not below the directory of bundles, or leads through a link";
    Failure::new("path-outside", message, "name a path relative to that directory, without .. and links")
}

fn no_directory(path: &Path) -> Failure {
    let message = format!("{} is no directory", input::shown(path));
    Failure::new("file-missing", message, "name a directory with --bundles")
}

#[cfg(unix)]
mod held {
    use std::{fs::File, path::Path};

    use rustix::{
        fs::{Mode, OFlags, open, openat},
        io::Errno,
    };

    use super::{Bundles, Failure, Outcome, no_directory, outside};
    use crate::input;

    impl Bundles {
        /// Holds a directory open, whatever takes its name later.
        pub fn at(path: &Path) -> Outcome<Self> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = open(path, flags, Mode::empty()).map_err(|_| no_directory(path))?;
            Ok(Self { directory })
        }

        /// Opens each part below the one before, and no link.
        pub(super) fn open(&self, relative: &Path) -> Outcome<File> {
            let mut parts = relative.iter().peekable();
            let mut found =
                self.directory.try_clone().map_err(|error| input::unreadable(relative, "bundle", &error))?;
            while let Some(part) = parts.next() {
                let kind = if parts.peek().is_some() { OFlags::DIRECTORY } else { input::UNHELD };
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
                found = openat(&found, part, flags, Mode::empty()).map_err(|fault| match fault {
                    // A link where a directory is meant is none, says one system, and is a link, says another.
                    Errno::LOOP | Errno::MLINK => outside(),
                    Errno::NOTDIR if is_link(&found, part) => outside(),
                    Errno::NOENT | Errno::NOTDIR => {
                        Failure::new("file-missing", "there is no such bundle", "check the path")
                    }
                    fault => input::unreadable(relative, "bundle", &fault.into()),
                })?;
            }
            Ok(File::from(found))
        }
    }

    fn is_link(directory: &impl std::os::fd::AsFd, name: &std::ffi::OsStr) -> bool {
        use rustix::fs::{AtFlags, FileType, statat};
        let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    }
}

#[cfg(not(unix))]
mod named {
    use std::{fs::File, path::Path};

    use super::{Bundles, Failure, Outcome, no_directory, outside};
    use crate::input;

    impl Bundles {
        /// A directory by its real name.
        pub fn at(path: &Path) -> Outcome<Self> {
            let real = path.canonicalize().ok().filter(|real| real.is_dir());
            real.map(|directory| Self { directory }).ok_or_else(|| no_directory(path))
        }

        /// Opens a file whose real name is below that of the directory.
        pub(super) fn open(&self, relative: &Path) -> Outcome<File> {
            let real = self.directory.join(relative).canonicalize();
            let real =
                real.map_err(|_| Failure::new("file-missing", "there is no such bundle", "check the path"))?;
            if !real.starts_with(&self.directory) {
                return Err(outside());
            }
            File::open(&real).map_err(|error| input::unreadable(relative, "bundle", &error))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        fs,
        os::unix::fs::symlink,
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
        thread,
        time::Duration,
    };

    use super::*;

    /// A directory of bundles with one in it, and one beside it that is nobody's business.
    fn given() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("given");
        for (path, text) in [("given/sub", "bundle"), ("secrets", "secret")] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
            fs::write(dir.path().join(path).join("run"), text).unwrap();
        }
        (dir, given)
    }

    /// What is read, or the code of why not, by somebody who does not wait for ever.
    fn read(bundles: &Arc<Bundles>, path: &str) -> Result<String, String> {
        let (to, from) = mpsc::channel();
        let (bundles, path) = (Arc::clone(bundles), path.to_owned());
        thread::spawn(move || to.send(bundles.read(&path).map_err(|why| why.code().to_owned())));
        from.recv_timeout(Duration::from_secs(20)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_pipe_or_a_device_in_the_place_of_a_bundle_is_not_waited_for() {
        let (_dir, given) = given();
        let made = std::process::Command::new("mkfifo").arg(given.join("pipe")).status().unwrap();
        assert!(made.success());
        fs::File::create(given.join("large")).unwrap().set_len(limits::BUNDLE_BYTES as u64 + 1).unwrap();
        let bundles = Arc::new(Bundles::at(&given).unwrap());
        assert_eq!(read(&bundles, "sub/run"), Ok("bundle".to_owned()));
        for (path, code) in [
            ("pipe", "file-not-regular"),
            ("sub", "file-is-directory"),
            ("", "file-is-directory"),
            ("large", "file-too-large"),
            ("none", "file-missing"),
            ("none/run", "file-missing"),
            ("sub/run/more", "file-missing"),
            ("../secrets/run", "path-outside"),
            ("sub/../../secrets/run", "path-outside"),
            ("/etc/passwd", "path-outside"),
            ("a\0b", "file-unreadable"),
        ] {
            assert_eq!(read(&bundles, path), Err(code.to_owned()), "{path}");
        }
        // Devices are in a directory of their own.
        let devices = Arc::new(Bundles::at(Path::new("/dev")).unwrap());
        for device in ["zero", "ptmx"] {
            let code = read(&devices, device).unwrap_err();
            assert!(["file-not-regular", "path-outside"].contains(&code.as_str()), "{device}: {code}");
        }
    }

    #[test]
    fn a_link_on_the_way_leads_nowhere_and_another_directory_of_the_same_name_is_not_read() {
        let (dir, given) = given();
        for (link, to) in [("file", "sub/run"), ("near", "sub"), ("far", "../secrets")] {
            symlink(to, given.join(link)).unwrap();
        }
        let bundles = Arc::new(Bundles::at(&given).unwrap());
        for path in ["file", "near/run", "far/run", "far"] {
            assert_eq!(read(&bundles, path), Err("path-outside".to_owned()), "{path}");
        }
        fs::rename(&given, dir.path().join("moved")).unwrap();
        symlink("secrets", &given).unwrap();
        assert_eq!(read(&bundles, "sub/run"), Ok("bundle".to_owned()));
        assert_eq!(read(&bundles, "run"), Err("file-missing".to_owned()));
        assert_eq!(Bundles::at(&given.join("run")).map(drop).unwrap_err().code(), "file-missing");
    }

    #[test]
    fn a_directory_that_becomes_a_link_while_it_is_looked_up_gives_nothing_from_outside() {
        let (dir, given) = given();
        let bundles = Bundles::at(&given).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let swaps = thread::spawn({
            let (is_over, kept) = (Arc::clone(&is_over), dir.path().join("kept"));
            let (sub, link) = (given.join("sub"), dir.path().join("link"));
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    symlink("../secrets", &link).unwrap();
                    fs::rename(&sub, &kept).unwrap();
                    fs::rename(&link, &sub).unwrap();
                    fs::remove_file(&sub).unwrap();
                    fs::rename(&kept, &sub).unwrap();
                }
            }
        });
        let (mut reads, mut links) = (0, 0);
        for _ in 0..20_000 {
            match bundles.read("sub/run") {
                Ok(bytes) => {
                    assert_eq!(bytes, b"bundle");
                    reads += 1;
                }
                Err(why) if why.code() == "path-outside" => links += 1,
                Err(why) => assert_eq!(why.code(), "file-missing", "{why}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        swaps.join().unwrap();
        assert!(reads > 0 && links > 0, "both were met: {reads}, {links}");
    }
}
