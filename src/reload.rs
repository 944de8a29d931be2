//! Certificates and roots, read again when their files change and at SIGHUP.
//! Takes: what was made of files. Gives: the same made anew, or a warning; then the former stays in force.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sipcast_trust::FromFiles;
use tokio::signal::unix::Signal;

/// What is watched, by its name in the log.
pub struct Watched {
    name: &'static str,
    what: Arc<dyn FromFiles>,
    /// When its files were last changed, as far as they were read.
    read_of: Option<Vec<SystemTime>>,
}

impl Watched {
    /// As it was read just now.
    pub fn new(name: &'static str, what: Arc<dyn FromFiles>) -> Self {
        let read_of = changed(&*what);
        Self { name, what, read_of }
    }

    /// Reads the files again if they have changed, or because somebody asks for it. Blocks.
    fn look(&mut self, is_asked: bool) {
        let now = changed(&*self.what);
        if !is_asked && (now.is_none() || now == self.read_of) {
            return;
        }
        match self.what.reload() {
            Ok(()) => tracing::info!("{} read again", self.name),
            // Renewals write one file after the other: the next look may find both.
            Err(error) => tracing::warn!(%error, "{} not read again: the former stay in force", self.name),
        }
        self.read_of = now;
    }
}

/// Looks every [`LOOK_EVERY`], and reads everything at a signal. Ends when signals do.
pub async fn watch(mut watched: Vec<Watched>, mut hangup: Signal) {
    loop {
        let is_asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            heard = hangup.recv() => match heard {
                Some(()) => true,
                None => return,
            },
        };
        // The system's roots may be a directory full of files: off the runtime's threads.
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(|watched| watched.look(is_asked));
            watched
        });
        match looked.await {
            Ok(again) => watched = again,
            Err(error) => {
                tracing::error!(%error, "certificates are not looked at any more");
                return;
            }
        }
    }
}

/// `None`: there are no files, or one cannot be looked at, as in the midst of a renewal.
fn changed(what: &dyn FromFiles) -> Option<Vec<SystemTime>> {
    let files = what.files();
    let at: Option<Vec<SystemTime>> =
        files.iter().map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok()).collect();
    at.filter(|at| !at.is_empty())
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sipcast_trust::FileError;

    use super::*;

    struct Counted(PathBuf, AtomicUsize);

    impl FromFiles for Counted {
        fn files(&self) -> Vec<&Path> {
            vec![&self.0]
        }

        fn reload(&self) -> Result<(), FileError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            std::fs::read(&self.0).map(drop).map_err(|error| FileError::new(&self.0, error.to_string()))
        }
    }

    #[test]
    fn files_are_read_again_when_they_change_or_somebody_asks() {
        let path = std::env::temp_dir().join(format!("sipcast-watched-{}", std::process::id()));
        let write = |seconds: u64| {
            std::fs::write(&path, "x").expect("a writable temporary directory");
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(at))
                .expect("set");
        };
        write(1);
        let counted = Arc::new(Counted(path.clone(), AtomicUsize::new(0)));
        let mut watched = Watched::new("certificates", counted.clone());
        let mut looked = |is_asked| {
            watched.look(is_asked);
            counted.1.load(Ordering::Relaxed)
        };
        assert_eq!((looked(false), looked(false)), (0, 0));
        write(2);
        assert_eq!((looked(false), looked(false)), (1, 1), "once");
        assert_eq!(looked(true), 2, "SIGHUP");
        std::fs::remove_file(&path).expect("just written");
        assert_eq!(looked(false), 2, "in the midst of a renewal");
        assert_eq!(looked(true), 3);
        write(3);
        assert_eq!(looked(false), 4);
        std::fs::remove_file(&path).expect("just written");
    }
}
