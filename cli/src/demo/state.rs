//! A state with a little of everything that a storage engine keeps.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use longhaul::{Error, ErrorKind};

const BLOCK: usize = 1 << 20;
const SMALL_FILES: u64 = 3000;
const SMALL_LEN: usize = 4 << 10;
/// Logical length of the sparse file: nearly all of it a hole.
const SPARSE_LEN: u64 = 16 << 20;

/// Makes about `size` bytes of state at `root`, as long as `go_on` says so.
pub(super) fn make(root: &Path, size: u64, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
    build(root, size, go_on).map_err(|error| {
        if error.kind() == io::ErrorKind::Interrupted {
            return Error::new(ErrorKind::Cancelled, "stopped while the state was made");
        }
        let kind =
            if error.kind() == io::ErrorKind::StorageFull { ErrorKind::NoSpace } else { ErrorKind::Other };
        Error::new(kind, format!("the demo's state can't be made: {error}"))
            .with_hint("choose another place with --dir, or less with --size")
            .with_cause(error)
    })
}

fn build(root: &Path, size: u64, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let check = || if go_on() { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) };
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut block = vec![0; BLOCK];
    noise.fill(&mut block);

    fs::create_dir(root)?;
    let small = (SMALL_FILES * SMALL_LEN as u64).min(size / 4);
    let files = small / SMALL_LEN as u64;
    for n in 0..files {
        if n % 100 == 0 {
            check()?;
            fs::create_dir_all(root.join(format!("segments/{:02}/{:02}", n / 1000, n / 100 % 10)))?;
        }
        let path = root.join(format!("segments/{:02}/{:02}/{n:06}.seg", n / 1000, n / 100 % 10));
        let at = (n as usize * 64) % (BLOCK - SMALL_LEN);
        fs::write(&path, &block[at..at + SMALL_LEN])?;
    }

    let mut big = File::create(root.join("table.db"))?;
    let mut left = size.saturating_sub(small);
    while left > 0 {
        check()?;
        // A block unlike any other, without the cost of making all of it anew.
        block[..8].copy_from_slice(&noise.next().to_le_bytes());
        let len = left.min(BLOCK as u64) as usize;
        big.write_all(&block[..len])?;
        left -= len as u64;
    }

    let sparse = File::create(root.join("index.sparse"))?;
    sparse.set_len(SPARSE_LEN)?;
    for at in [0, SPARSE_LEN / 2, SPARSE_LEN - SMALL_LEN as u64] {
        sparse.write_all_at(&block[..SMALL_LEN], at)?;
    }

    fs::create_dir_all(root.join("nested/deeper/deepest/empty"))?;
    File::create(root.join("nested/deeper/empty-file"))?;
    fs::write(root.join("MANIFEST"), "table.db\nindex.sparse\n")?;
    fs::set_permissions(root.join("MANIFEST"), Permissions::from_mode(0o640))?;
    fs::hard_link(root.join("MANIFEST"), root.join("nested/MANIFEST.link"))?;
    symlink("MANIFEST", root.join("CURRENT"))?;
    check()
}

/// Bytes that no disk or wire can shrink (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }
}
