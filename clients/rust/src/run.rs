//! One running test: its name, its directory for sockets and files, and the journal of the guests that it booted.

use crate::error::{Checked, Error};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// The transcripts of a test's guests, in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    text: Arc<Mutex<String>>,
}

impl Journal {
    /// Adds a guest's transcript.
    pub fn add(&self, text: &str) {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running test.
#[derive(Debug)]
pub struct Run {
    /// The test's name.
    pub name: String,
    /// The transcripts of its guests.
    pub journal: Journal,
    room: TempDir,
}

impl Run {
    /// A run with a directory of its own, which is deleted with it.
    ///
    /// # Errors
    /// Unknown when the directory cannot be created.
    pub fn new(name: &str) -> Checked<Self> {
        let room = new_room(&std::env::temp_dir())
            .map_err(|error| Error::Unknown(format!("no temporary directory: {error}")))?;
        Ok(Self { name: name.to_owned(), journal: Journal::default(), room })
    }

    /// A path in the run's own directory.
    pub fn path(&self, file: &str) -> PathBuf {
        self.room.path().join(file)
    }

    /// Creates a file of `size` bytes, each `fill`, in the run's directory.
    ///
    /// # Errors
    /// Unknown when the disk is full.
    pub fn filled_file(&self, file: &str, size: u64, fill: u8) -> Checked<PathBuf> {
        let path = self.path(file);
        write_filled(&path, size, fill)
            .map_err(|error| Error::Unknown(format!("cannot fill {}: {error}", path.display())))?;
        Ok(path)
    }
}

/// A new folder in `parent`, or in /tmp if that is too long: a Unix socket's path has less than 108 bytes (unix(7)).
fn new_room(parent: &Path) -> std::io::Result<TempDir> {
    let long = parent.as_os_str().len() > 80;
    tempfile::Builder::new().prefix("hotmap-").tempdir_in(if long { Path::new("/tmp") } else { parent })
}

fn write_filled(path: &Path, size: u64, fill: u8) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let chunk = vec![fill; 1 << 20];
    let mut left = size;
    while left > 0 {
        let count = left.min(chunk.len() as u64);
        let part = usize::try_from(count).ok().and_then(|count| chunk.get(..count)).unwrap_or(&chunk);
        file.write_all(part)?;
        left -= count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Run, new_room};

    #[test]
    fn a_filled_file_has_its_size_and_pattern_and_goes_with_the_run() {
        let run = Run::new("fill").expect("a run");
        let path = run.filled_file("dimm", (1 << 20) + 3, 0xa5).expect("filled");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes.len(), (1 << 20) + 3);
        assert!(bytes.iter().all(|&byte| byte == 0xa5));
        drop(run);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_path_fits() {
        let run = Run::new("socket").expect("a run");
        assert!(run.path("qmp-00").as_os_str().len() < 108);
        let long = run.path(&"x".repeat(130));
        std::fs::create_dir(&long).expect("a folder");
        let room = new_room(&long).expect("another folder");
        assert!(room.path().join("qmp-00").as_os_str().len() < 108, "{}", room.path().display());
    }

    #[test]
    fn the_journal_keeps_every_guests_transcript() {
        let run = Run::new("journal").expect("a run");
        run.journal.clone().add("one\n");
        run.journal.add("two\n");
        assert_eq!(run.journal.text(), "one\ntwo\n");
    }
}
