//! A module's `pool.toml`, read again when it has changed: applications live longer than nodes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::pool::PoolFile;
use crate::error::{Code, Level, Result, Sink, refuse};
use crate::limits::FILES_READ_AGAIN_SECONDS;
use crate::sync::standard::Mutex;
use crate::sys::files::{Stamp, stamp};
use crate::sys::process::PerProcess;

const READ_AGAIN: Duration = Duration::from_secs(FILES_READ_AGAIN_SECONDS.unsigned_abs());

/// The file that names an application's nodes, as it is by now.
pub struct Followed {
    file: PathBuf,
    log: Sink,
    /// As the application has begun with it: all but the nodes is kept.
    first: PoolFile,
    /// A forked child looks for itself.
    seen: PerProcess<Mutex<Seen>>,
}

/// Which file was looked at last.
#[derive(Default)]
struct Seen {
    stamp: Option<Stamp>,
    /// Since when it cannot be taken.
    refused: Option<Instant>,
    /// Of which file that was said: it is said once.
    told: Option<Stamp>,
}

impl Followed {
    /// Reads the file for the first time. `log`: told what is taken later, and why something is not. Errors: `Configuration`, naming file, line and key.
    pub fn begin(file: &Path, log: Sink) -> Result<Self> {
        // Before it is read: what is written meanwhile is noticed at the next look.
        let begun_with = stamp(file);
        Ok(Self {
            file: file.to_path_buf(),
            log,
            first: PoolFile::read(file)?,
            seen: PerProcess::new(move || Mutex::new(Seen { stamp: begun_with, ..Seen::default() })),
        })
    }

    /// As the application has begun with it.
    pub fn first(&self) -> &PoolFile {
        &self.first
    }

    /// Has the file taken, if it has changed since it was looked at last. What cannot be read or taken is told once, and tried again
    /// with the next change, or after 10 s: whose file it is may change without a trace. One that is not there changes nothing.
    pub fn look(&self, take: impl FnOnce(PoolFile) -> Result<()>) {
        let Ok(mut seen) = self.seen.get().try_lock() else { return };
        let now = stamp(&self.file);
        let is_due = seen.refused.is_some_and(|since| since.elapsed() >= READ_AGAIN);
        if now.is_none() || seen.stamp == now && !is_due {
            return;
        }
        seen.stamp = now;
        seen.refused = None;
        let file = self.file.display();
        match self.read().and_then(|read| take(read.clone()).map(|()| read)) {
            Ok(read) => {
                (self.log)(Level::Info, &format!("{file} was changed: it names {} nodes now", read.node.len()));
                if !read.differs_by_nodes_only(&self.first) {
                    let told = "more than the nodes in it was changed, and that is taken at the next start of the application";
                    (self.log)(Level::Warning, &format!("{file}: {told} (C_Initialize)"));
                }
            }
            Err(error) => {
                seen.refused = Some(Instant::now());
                if seen.told == now {
                    return;
                }
                seen.told = now;
                let told = format!("{file} was changed and is not taken, so the nodes are those of before: {error}");
                (self.log)(Level::Warning, &told);
            }
        }
    }

    fn read(&self) -> Result<PoolFile> {
        let read = PoolFile::read(&self.file)?;
        match read.pool == self.first.pool {
            true => Ok(read),
            false => Err(refuse(Code::Configuration, format!("it is another pool's, {}", read.pool))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    /// A file, and what was told of it.
    struct Case {
        file: PathBuf,
        told: Arc<Mutex<Vec<String>>>,
        followed: Followed,
    }

    fn text(pool: u8, zone: &str, nodes: &[&str]) -> String {
        let node = |zone: &&str| format!("[[node]]\nzone = {zone:?}\naddresses = [\"unix:/run/{zone}\"]\n");
        let nodes: String = nodes.iter().map(node).collect();
        format!("pool = \"{:032x}\"\nzone = {zone:?}\n{nodes}", pool)
    }

    impl Case {
        fn new(name: &str) -> Self {
            let file = std::env::temp_dir().join(format!("hsmpool-follow-{}-{name}", std::process::id()));
            fs::write(&file, text(1, "a", &["a"])).unwrap();
            let told = Arc::new(Mutex::new(Vec::new()));
            let notes = told.clone();
            let log = Box::new(move |level: Level, what: &dyn std::fmt::Display| {
                notes.lock().unwrap().push(format!("{level:?} {what}"));
            });
            let followed = Followed::begin(&file, log).unwrap();
            Self { file, told, followed }
        }

        /// The zones of the nodes that are taken.
        fn taken(&self) -> Option<Vec<String>> {
            let mut taken = None;
            self.followed.look(|read| {
                taken = Some(read.node.into_iter().map(|node| node.zone).collect());
                Ok(())
            });
            taken
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut *self.told.lock().unwrap())
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.file);
        }
    }

    #[test]
    fn nodes_are_taken_when_the_file_has_changed_and_never_else() {
        let case = Case::new("nodes");
        assert_eq!((case.taken(), case.told().len()), (None, 0), "it is as it was");
        fs::write(&case.file, text(1, "a", &["b", "c"])).unwrap();
        assert_eq!(case.taken(), Some(vec!["b".to_string(), "c".to_string()]));
        assert!(matches!(&case.told()[..], [line] if line.starts_with("Info") && line.contains("2 nodes")));
        assert_eq!((case.taken(), case.told().len()), (None, 0));
        // Another file in its place, of the same length.
        let other = case.file.with_extension("new");
        fs::write(&other, text(1, "a", &["b", "d"])).unwrap();
        fs::rename(&other, &case.file).unwrap();
        assert_eq!(case.taken(), Some(vec!["b".to_string(), "d".to_string()]));
    }

    #[test]
    fn what_cannot_be_taken_is_told_once_and_leaves_what_was_there() {
        let case = Case::new("bad");
        for (bad, word) in
            [("pool = 3".to_string(), "pool"), (text(1, "a", &[]), "node"), (text(2, "a", &["b"]), "another pool's")]
        {
            fs::write(&case.file, bad).unwrap();
            assert_eq!(case.taken(), None);
            let told = case.told();
            assert!(matches!(&told[..], [line] if line.starts_with("Warning") && line.contains(word)), "{word}: {told:?}");
            assert_eq!((case.taken(), case.told().len()), (None, 0), "once");
        }
        fs::remove_file(&case.file).unwrap();
        assert_eq!((case.taken(), case.told().len()), (None, 0), "one that is being replaced is not there for a moment");
        fs::write(&case.file, text(1, "a", &["a", "b"])).unwrap();
        case.followed.look(|_| Err(refuse(Code::Configuration, "no room")));
        assert!(case.told()[0].contains("no room"));
        assert_eq!(case.taken(), None, "it is as it was");
        case.followed.seen.get().lock().unwrap().refused = Instant::now().checked_sub(READ_AGAIN);
        case.followed.look(|_| Err(refuse(Code::Configuration, "no room yet")));
        assert_eq!(case.told().len(), 0, "of one file once");
        case.followed.seen.get().lock().unwrap().refused = Instant::now().checked_sub(READ_AGAIN);
        assert_eq!(case.taken().map(|nodes| nodes.len()), Some(2), "but it is tried again");
        assert_eq!((case.taken(), case.told().len()), (None, 1));
    }

    #[test]
    fn whatever_else_was_changed_waits_for_the_next_start_and_is_told() {
        let case = Case::new("else");
        fs::write(&case.file, text(1, "b", &["a", "b"])).unwrap();
        assert!(case.taken().is_some());
        assert!(matches!(&case.told()[..], [_, line] if line.starts_with("Warning") && line.contains("C_Initialize")));
    }
}
