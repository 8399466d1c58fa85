//! Small files that are landed together, where each alone would wait.
//!
//! On a disk of this machine a small file costs processor time, not patience: a second thread gets in the first one's way,
//! and so does a ring, which has threads of its own create files. There they come one by one. Where the calls wait, for
//! a server or for the process behind FUSE, sixteen wait at once.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::fcntl::openat;
use nix::libc::{S_IFMT, S_IFREG};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::FRESH;
use crate::item::Name;
use crate::landing::OpError;
use crate::landing::attributes::{Attributes, check_fresh, set_attributes};

/// Files on their way at once.
const TOGETHER: usize = 16;
/// Files by which it is told whether they wait.
const SAMPLE: u32 = 32;
/// Longer ones say less about it: they take time themselves.
const SHORT: usize = 16 << 10;
/// One that takes longer has waited: ten times what a disk of this machine takes.
const LONG: Duration = Duration::from_micros(150);
/// Files that are landed together before it is looked again.
const AGAIN: usize = 4096;

/// A file that is to be landed.
pub(super) struct Wanted<'a> {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) name: &'a Name,
    pub(super) leaf: &'a [u8],
    pub(super) attributes: Attributes,
    pub(super) content: &'a [u8],
}

/// A file that was landed.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) inode: u64,
    /// Open still, if it was to be kept so.
    pub(super) file: Option<File>,
}

/// Creates the file, fills it, sets its attributes: all of it, or nothing stays.
pub(super) fn put(
    directory: impl AsFd,
    leaf: &[u8],
    attributes: &Attributes,
    content: &[u8],
) -> Result<Landed, OpError> {
    // A single part in a known directory, exclusively: there is no link to follow.
    let created = openat(&directory, leaf, FRESH, Mode::from_bits_truncate(attributes.mode.into()));
    let mut file = File::from(created.map_err(std::io::Error::from)?);
    let mut put_in = || {
        let found = fstat(&file).map_err(std::io::Error::from)?;
        check_fresh(found.st_mode & S_IFMT == S_IFREG, found.st_nlink)?;
        file.write_all(content)?;
        set_attributes(&file, found.st_mode, attributes.mode, attributes.mtime)?;
        if attributes.sync {
            file.sync_all().map_err(OpError::Durability)?;
        }
        Ok(found.st_ino)
    };
    match put_in() {
        Ok(inode) => Ok(Landed { inode, file: Some(file) }),
        Err(error) => {
            // What can't be removed shows when the file comes again.
            let _ = unlinkat(&directory, leaf, UnlinkatFlags::NoRemoveDir);
            Err(error)
        }
    }
}

/// Lands all of them, in any order; the first `keep` stay open.
pub(super) fn put_together(wanted: &[Wanted<'_>], keep: usize) -> Vec<Result<Landed, OpError>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<_> = wanted.iter().map(|_| OnceLock::new()).collect();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(file), Some(slot)) = (wanted.get(at), slots.get(at)) else { return };
            let mut landed = put(&file.directory, file.leaf, &file.attributes, file.content);
            if let Ok(landed) = landed.as_mut()
                && at >= keep
            {
                landed.file = None;
            }
            let _ = slot.set(landed);
        }
    };
    thread::scope(|scope| {
        for _ in 1..TOGETHER.min(wanted.len()) {
            let helper = thread::Builder::new().name("longhaul-files".into());
            // Without a thread to spare there are fewer at once.
            if helper.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    slots.into_iter().map(|slot| slot.into_inner().expect("each is taken by somebody")).collect()
}

/// Whether small files wait when they are landed: as most of the last ones did.
#[derive(Debug, Default)]
pub(super) struct Waits {
    looked_at: u32,
    long: u32,
    /// So many may still be landed together.
    together: usize,
}

impl Waits {
    /// One of so many bytes was landed alone, in this time.
    pub(super) const fn took(&mut self, bytes: usize, time: Duration) {
        if bytes > SHORT {
            return;
        }
        self.looked_at += 1;
        if time.as_nanos() > LONG.as_nanos() {
            self.long += 1;
        }
        if self.looked_at == SAMPLE {
            self.together = if self.long > SAMPLE / 4 * 3 { AGAIN } else { 0 };
            (self.looked_at, self.long) = (0, 0);
        }
    }

    /// Whether so many are to be landed together.
    pub(super) const fn together(&mut self, files: usize) -> bool {
        let together = self.together > 0;
        self.together = self.together.saturating_sub(files);
        together
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use longhaul_core::id::ItemId;
    use longhaul_core::item::{Timestamp, Version};

    use super::super::LinuxExecutor;
    use super::*;
    use crate::item::{Item, What};
    use crate::landing::{Executor, Landing, LandingOptions, Site, run};
    use crate::source::Survey;

    const QUICK: Duration = Duration::from_micros(15);
    const SLOW: Duration = Duration::from_millis(1);

    fn look_at(waits: &mut Waits, times: &[(u32, Duration)]) -> bool {
        for (files, time) in times {
            (0..*files).for_each(|_| waits.took(SHORT, *time));
        }
        waits.together(1)
    }

    #[test]
    fn they_wait_where_most_do_and_a_disk_that_is_busy_once_is_no_server() {
        assert!(!look_at(&mut Waits::default(), &[(SAMPLE, QUICK)]));
        assert!(!look_at(&mut Waits::default(), &[(SAMPLE - 1, SLOW)]));
        assert!(look_at(&mut Waits::default(), &[(SAMPLE, SLOW)]));
        assert!(!look_at(
            &mut Waits::default(),
            &[(SAMPLE / 2, Duration::from_secs(1)), (SAMPLE / 2, QUICK)]
        ));
    }

    #[test]
    fn it_is_looked_again_before_long() {
        let mut waits = Waits::default();
        assert!(look_at(&mut waits, &[(SAMPLE, SLOW)]));
        assert!(waits.together(AGAIN));
        assert!(!waits.together(1));
        assert!(!look_at(&mut waits, &[(SAMPLE, QUICK)]));
        (0..SAMPLE).for_each(|_| waits.took(SHORT + 1, SLOW));
        assert!(!waits.together(1));
    }

    #[test]
    fn together_they_are_what_each_would_be_and_one_that_fails_leaves_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Arc::new(OwnedFd::from(File::open(scratch.path()).unwrap()));
        let taken = scratch.path().join("f7");
        fs::write(&taken, b"of somebody else").unwrap();
        let names: Vec<_> = (0..100).map(|n| Name::new(format!("f{n}").into_bytes()).unwrap()).collect();
        let contents: Vec<_> = (0..100).map(|n| vec![n as u8; n * 100]).collect();
        let wanted: Vec<_> = names
            .iter()
            .zip(&contents)
            .map(|(name, content)| Wanted {
                directory: Arc::clone(&directory),
                name,
                leaf: name.as_bytes(),
                attributes: Attributes { mode: 0o640, mtime: None, sync: content.len() == 900 },
                content,
            })
            .collect();
        let landed = put_together(&wanted, 10);
        for (n, landed) in landed.into_iter().enumerate() {
            let path = scratch.path().join(format!("f{n}"));
            if n == 7 {
                assert!(landed.is_err());
                assert_eq!(fs::read(&path).unwrap(), b"of somebody else");
                continue;
            }
            let (landed, found) = (landed.unwrap(), fs::metadata(&path).unwrap());
            assert_eq!(fs::read(&path).unwrap(), contents[n]);
            assert_eq!((found.permissions().mode() & 0o7777, found.ino()), (0o640, landed.inode));
            assert_eq!(landed.file.is_some(), n < 10);
        }
    }

    #[test]
    fn who_is_told_of_files_answers_for_each_when_it_is_asked() {
        let scratch = tempfile::tempdir().unwrap();
        let mut executor = LinuxExecutor::new(Site::new(&scratch.path().join("to"), None).unwrap());
        let mut landing = Landing::new(LandingOptions::default());
        let carry_out = |landing: &mut Landing, executor: &mut LinuxExecutor, content: &[u8]| {
            run(landing, executor, content, &mut || true)
        };
        landing.begin(&Survey { bytes: Some(2 << 20), items: 4, ..Survey::default() });
        carry_out(&mut landing, &mut executor, b"").unwrap();
        let names = ["first", "second", "first", "missing/inside", "missing/too"];
        let contents = [&b"content"[..], b"content", b"another", b"content", b"content"];
        let items = names.map(|name| Item {
            name: Name::new(name.as_bytes().to_vec()).unwrap(),
            mode: 0o600,
            mtime: Timestamp::default(),
            version: Version::new(&[1]).unwrap(),
            what: What::File { size: 7, linked: false, sparse: false },
        });
        let staged = |n: usize| fs::read(scratch.path().join(".to.longhaul/state").join(names[n])).ok();
        let ops: Vec<_> = items
            .iter()
            .zip(contents)
            .map(|(item, content)| (landing.upcoming(item).unwrap(), content))
            .collect();
        assert!(!executor.waits(ops.len()));
        (0..SAMPLE).for_each(|_| executor.waits.took(7, SLOW));
        assert!(executor.waits(ops.len()));
        // Up to the one whose name is taken; and none without its directory.
        assert_eq!(executor.put_ahead(&ops), 2);
        assert_eq!(executor.put_ahead(&ops[3..]), 0);
        assert!(staged(0).is_some() && staged(1).is_some() && staged(3).is_none());
        for n in 0..items.len() {
            if n == 4 {
                assert_eq!(executor.put_ahead(&ops[4..]), 1);
                assert!(staged(4).is_some());
            }
            landing.put(ItemId(n as u32), &items[n]);
            let put = carry_out(&mut landing, &mut executor, contents[n]);
            assert_eq!(put.is_ok(), n != 2, "{put:?}");
        }
        assert!(
            (0..items.len()).all(|n| staged(n).as_deref() == Some(b"content")) && executor.ahead.is_empty()
        );
        landing.abort();
        carry_out(&mut landing, &mut executor, b"").unwrap();
    }
}
