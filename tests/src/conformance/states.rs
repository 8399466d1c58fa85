//! Every kind of state arrives as it is.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use longhaul_core::integrity::{Integrity, RUN_LEN};
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::LinksPolicy;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, MemorySink, StreamSink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, MemorySource, StreamSource};

use super::tree::{Scratch, look, noise, root_of, set, write, write_sparse};
use super::{Rig, Settings};

const INTEGRITIES: [Integrity; 3] = [Integrity::None, Integrity::Crc32c, Integrity::Blake3];

/// Moves what `make` makes, and sees that all of it has arrived, with the root that it has.
fn arrives(rig: &Rig<'_>, settings: &Settings, make: impl FnOnce(&Path)) -> Scratch {
    let scratch = Scratch::new();
    make(&scratch.source());
    moves(rig, settings, &scratch, DirectorySinkOptions::default());
    let (sent, landed) = (look(&scratch.source()), look(&scratch.destination()));
    assert_eq!(sent, landed, "{}", rig.subject.name());
    scratch
}

fn moves(rig: &Rig<'_>, settings: &Settings, scratch: &Scratch, options: DirectorySinkOptions) {
    let links = DirectoryOptions { links: options.links, ..DirectoryOptions::default() };
    let source = DirectorySource::new(scratch.source(), links).unwrap();
    let sink = DirectorySink::new(scratch.destination(), options).unwrap();
    let (provider, joiner) = rig.run(Arc::new(source), Box::new(sink), settings).agreed();
    assert_eq!(scratch.residue(), ["DEST"]);
    assert_eq!(provider.integrity, rig.subject.integrity(settings.joiner.options.integrity));
    assert_eq!(joiner.retries, 0);
    if fs::metadata(scratch.source()).unwrap().len() < 1 << 32 {
        let tree = look(&scratch.source());
        assert_eq!(joiner.root, root_of(&tree, joiner.integrity), "the root by its definition");
        assert_eq!(joiner.items, tree.len() as u64);
    }
}

// Catalogue: B37, B72
/// An empty directory is a state, and so are directories of directories.
pub fn an_empty_directory(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| fs::create_dir(source).unwrap());
    arrives(rig, &Settings::default(), |source| {
        for name in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(source.join(name)).unwrap();
        }
    });
}

/// A directory with one empty file.
pub fn an_empty_file(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| write(&source.join("empty"), b""));
}

// Catalogue: B72
/// A state that is one file lands as a file.
pub fn one_file_is_a_state_of_its_own(rig: &Rig<'_>) {
    for len in [0, 1, 70_000, (1 << 20) + 1] {
        arrives(rig, &Settings::default(), |source| {
            write(source, &noise(1, len));
            set(source, 0o640, (1_000_000_000, 123_456_789));
        });
    }
}

// Catalogue: B39
/// Sizes around the borders of chunks, of eager files and of runs, and several runs.
pub fn files_of_every_size(rig: &Rig<'_>) {
    let (chunk, run) = (Settings::default().joiner.pool.chunk().bytes() as usize, RUN_LEN as usize);
    let sizes = [
        0,
        1,
        4095,
        65_535,
        65_536,
        (256 << 10) - 1,
        256 << 10,
        (256 << 10) + 1,
        chunk - 1,
        chunk,
        chunk + 1,
        run - 1,
        run,
        run + 1,
        3 * run + 5,
    ];
    arrives(rig, &Settings::default(), |source| {
        for (seed, len) in sizes.into_iter().enumerate() {
            write(&source.join(format!("{len}")), &noise(seed as u64, len));
        }
    });
}

/// Without Linux calls holes are not found, and a directory can't be exchanged for another.
const NATIVE: bool = cfg!(all(target_os = "linux", not(longhaul_portable)));

// Catalogue: B39
/// More than 4 GiB, nearly all of it a hole.
pub fn a_file_above_4_gib(rig: &Rig<'_>) {
    const LEN: u64 = (5 << 30) + 3;
    let places = [0, (1 << 32) - 3, (1 << 32) + 70_001, LEN - 9];
    let scratch = Scratch::new();
    let pieces: Vec<(u64, &[u8])> = places.iter().map(|&place| (place, &b"nine byte"[..])).collect();
    write_sparse(&scratch.source(), LEN, &pieces);
    moves(rig, &Settings::default(), &scratch, DirectorySinkOptions::default());
    let landed = File::open(scratch.destination()).unwrap();
    assert_eq!(landed.metadata().unwrap().len(), LEN);
    if NATIVE {
        assert!(landed.metadata().unwrap().blocks() * 512 < 1 << 20, "holes are not allocated");
    }
    for place in places {
        let mut bytes = [0; 9];
        landed.read_exact_at(&mut bytes, place).unwrap();
        assert_eq!(&bytes, b"nine byte", "at {place}");
    }
}

/// Nearly all hole: lengths around 32 bits, and a sparse terabyte.
// Catalogue: B39, B72
pub fn files_longer_than_any_disk(rig: &Rig<'_>) {
    const U32: u64 = 1 << 32;
    let mut settings = Settings::default();
    for party in [&mut settings.provider, &mut settings.joiner] {
        party.pool = Pool::new(DEFAULT_MEMORY, ChunkLen::MIN, 1, party.options.lanes);
    }
    for len in [U32 - 1, U32, U32 + 1, 1 << 40] {
        let scratch = Scratch::new();
        write(&scratch.source(), b"");
        let file = File::options().write(true).open(scratch.source()).unwrap();
        let end = len - 9;
        if !NATIVE || file.set_len(len).and_then(|()| file.write_all_at(b"nine byte", end)).is_err() {
            println!("skipped: no file of {len} bytes can be here");
            return;
        }
        moves_unseen(rig, &settings, &scratch);
        let landed = File::open(scratch.destination()).unwrap();
        assert_eq!(landed.metadata().unwrap().len(), len);
        let mut bytes = [0; 9];
        landed.read_exact_at(&mut bytes, end).unwrap();
        assert_eq!(&bytes, b"nine byte", "{len} bytes");
    }
}

/// Moves a state that is too long to be summed up byte by byte.
fn moves_unseen(rig: &Rig<'_>, settings: &Settings, scratch: &Scratch) {
    let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
    let sink = DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap();
    rig.run(Arc::new(source), Box::new(sink), settings).agreed();
    assert_eq!(scratch.residue(), ["DEST"]);
}

/// Holes are neither sent nor allocated, wherever they are.
pub fn sparse_files_stay_sparse(rig: &Rig<'_>) {
    type Pieces<'a> = &'a [(u64, &'a [u8])];
    const MIB: u64 = 1 << 20;
    let block = noise(3, 128 << 10);
    let files: [(&str, u64, Pieces<'_>); 5] = [
        ("all hole", 40 * MIB, &[]),
        ("data first", 40 * MIB, &[(0, &block)]),
        ("data last", 40 * MIB, &[(40 * MIB - block.len() as u64, &block)]),
        ("data at the run's border", 40 * MIB, &[(RUN_LEN - 5000, &block)]),
        ("small", 200 << 10, &[(64 << 10, &block[..4096])]),
    ];
    for integrity in INTEGRITIES {
        let scratch = arrives(rig, &Settings::new(integrity, 2), |source| {
            for (name, len, pieces) in files {
                write_sparse(&source.join(name), len, pieces);
            }
        });
        for (name, ..) in files {
            let blocks = |path: &Path| fs::metadata(path.join(name)).unwrap().blocks();
            let (sent, landed) = (blocks(&scratch.source()), blocks(&scratch.destination()));
            assert!(!NATIVE || landed <= sent + 16, "{name}: {sent} blocks became {landed}");
        }
    }
}

// Catalogue: B37
/// Directories in directories, the innermost with something in it.
pub fn deep_nesting(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        let mut path = source.to_path_buf();
        for depth in 0..100 {
            path.push(format!("d{depth}"));
            write(&path.join("f"), &[depth; 10]);
        }
        fs::create_dir(path.join("empty")).unwrap();
    });
}

/// More small files than fit a small state.
pub fn many_small_files(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        for n in 0..3000_usize {
            write(&source.join(format!("{}/{n}", n % 30)), &noise(n as u64, n % 2000));
        }
    });
}

// Catalogue: B48
/// Names of one file stay names of one file.
pub fn hard_links_stay_links(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        write(&source.join("a/first"), &noise(1, 700_000));
        fs::create_dir(source.join("b")).unwrap();
        fs::hard_link(source.join("a/first"), source.join("a/second")).unwrap();
        fs::hard_link(source.join("a/first"), source.join("b/third")).unwrap();
        write(&source.join("empty"), b"");
        fs::hard_link(source.join("empty"), source.join("b/empty too")).unwrap();
        write(&source.join("another"), &noise(1, 700_000));
    });
}

// Catalogue: B46
/// Links inside the state arrive by default, others when both sides keep them.
pub fn symbolic_links_stay_links(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        write(&source.join("d/file"), b"x");
        symlink("file", source.join("d/beside")).unwrap();
        symlink("../d/./file", source.join("d/around")).unwrap();
        symlink("d", source.join("to a directory")).unwrap();
        symlink("nowhere", source.join("dangling")).unwrap();
        symlink(std::ffi::OsStr::from_bytes(b"\xff\n"), source.join("odd")).unwrap();
    });
    let scratch = Scratch::new();
    fs::create_dir(scratch.source()).unwrap();
    symlink("/etc/passwd", scratch.source().join("absolute")).unwrap();
    symlink("../../above", scratch.source().join("above")).unwrap();
    let options = DirectorySinkOptions { links: LinksPolicy::Keep, ..DirectorySinkOptions::default() };
    moves(rig, &Settings::default(), &scratch, options);
    assert_eq!(look(&scratch.source()), look(&scratch.destination()));
}

// Catalogue: B54
/// Permission bits and modification times of files and directories.
pub fn modes_and_times_to_the_nanosecond(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        for (n, mode) in [0o600, 0o644, 0o755, 0o400, 0o777, 0o444, 0o601].into_iter().enumerate() {
            let (file, dir) = (source.join(format!("f{mode:o}")), source.join(format!("d{mode:o}")));
            write(&file, &noise(1, n * 100_000));
            write(&dir.join("inside"), b"x");
            set(&file, mode, (n as u64 * 1000, 999_999_999 - n as u32));
            set(&dir, mode | 0o500, (4_000_000_000 + n as u64, 1 + n as u32));
        }
        set(source, 0o750, (1, 1));
    });
}

// Catalogue: B11, B26, B27, B28, B30, B32
/// Whatever Linux allows in a name.
pub fn any_legal_name(rig: &Rig<'_>) {
    arrives(rig, &Settings::default(), |source| {
        let long = "l".repeat(255);
        let names: [&[u8]; 19] = [
            b"new\nline",
            b"\xff\xfe not UTF-8",
            b"-rf",
            b" ",
            b"...",
            b"*?[x]",
            b"back\\slash",
            b"\x01\x1b[31m\x7f",
            "\u{202e}\u{1f980}".as_bytes(),
            b"quote'\"`$(x)",
            b".longhaul",
            b"~",
            b"%s%n",
            b"A",
            b"a",
            // One letter, composed and not; and one that is not seen at all.
            "\u{e9}".as_bytes(),
            "e\u{301}".as_bytes(),
            "a\u{200d}".as_bytes(),
            long.as_bytes(),
        ];
        for name in names {
            let name = std::ffi::OsStr::from_bytes(name);
            write(&source.join("files").join(name), name.as_bytes());
            write(&source.join(name).join("inside"), b"x");
        }
        let deep: std::path::PathBuf = std::iter::repeat_n(&long, 14).collect();
        write(&source.join(deep).join("deep"), b"a name of more than 3500 bytes");
    });
}

/// Some of everything, for each integrity and number of lanes.
pub fn a_mixture_at_every_integrity_over_any_lanes(rig: &Rig<'_>) {
    for integrity in INTEGRITIES {
        for lanes in [1, 2, 8] {
            println!("{integrity}, {lanes} lanes");
            arrives(rig, &Settings::new(integrity, lanes), |source| {
                for n in 0..40_usize {
                    write(&source.join(format!("small/{n}")), &noise(n as u64, n * 997));
                }
                write(&source.join("large"), &noise(7, 2_500_001));
                write(&source.join("several runs"), &noise(8, RUN_LEN as usize + 4097));
                write_sparse(&source.join("sparse"), 9 << 20, &[(5 << 20, &noise(9, 70_000))]);
                fs::hard_link(source.join("large"), source.join("small/large too")).unwrap();
                symlink("large", source.join("link")).unwrap();
                fs::create_dir(source.join("empty")).unwrap();
            });
        }
    }
}

/// Memory arrives in memory, at every size.
pub fn memory_to_memory(rig: &Rig<'_>) {
    for len in [0, 1, 1024, 300 << 10, 1 << 20, (1 << 20) + 1, 5 << 20] {
        for integrity in INTEGRITIES {
            let state = noise(len as u64, len);
            let sink = MemorySink::new(1 << 30);
            let received = sink.published();
            let source = Arc::new(MemorySource::new(state.clone().into()));
            let settings = Settings::new(integrity, 2);
            let (provider, _) = rig.run(source, Box::new(sink), &settings).agreed();
            assert_eq!((provider.items, provider.bytes), (1, len as u64));
            assert!(received.take().unwrap() == state, "{len} bytes, {integrity}");
        }
    }
}

/// `getState(OutputStream)` to `setState(InputStream)`: what was written is what is read, to its end.
pub fn a_stream_from_callback_to_callback(rig: &Rig<'_>) {
    for len in [0, 1, 100_000, 3_000_001, 2 * RUN_LEN as usize + 1] {
        for integrity in INTEGRITIES {
            let state = noise(len as u64, len);
            let written = state.clone();
            let source = StreamSource::from_writer(move |out| {
                // Pieces that are no multiple of anything.
                written.chunks(70_001).try_for_each(|piece| out.write_all(piece))
            });
            let (sink, received) = StreamSink::from_reader(|input| {
                let mut all = Vec::new();
                input.read_to_end(&mut all).map(|_| all)
            });
            let ends = rig.run(Arc::new(source), Box::new(sink), &Settings::new(integrity, 2));
            assert_eq!(ends.agreed().0.bytes, len as u64);
            assert!(received.take().unwrap() == state, "{len} bytes, {integrity}");
        }
    }
}

/// A stream of unknown length lands as a file, out of several lanes.
pub fn a_stream_lands_in_a_file(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    let state = noise(5, RUN_LEN as usize + 12_345);
    let source = StreamSource::new(std::io::Cursor::new(state.clone()));
    let sink = DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap();
    rig.run(Arc::new(source), Box::new(sink), &Settings::default()).agreed();
    assert!(fs::read(scratch.destination()).unwrap() == state);
    assert_eq!(scratch.residue(), ["DEST"]);
}

/// With `replace`, a file or directory that stands there is replaced.
pub fn an_old_state_is_replaced_in_one_step(rig: &Rig<'_>) {
    let replace = || DirectorySinkOptions { replace: true, ..DirectorySinkOptions::default() };
    let scratch = Scratch::new();
    write(&scratch.source().join("new"), b"new");
    write(&scratch.destination().join("old/er"), b"old");
    if NATIVE {
        moves(rig, &Settings::default(), &scratch, replace());
        assert_eq!(look(&scratch.source()), look(&scratch.destination()));
    } else {
        let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
        let sink = DirectorySink::new(scratch.destination(), replace()).unwrap();
        rig.run(Arc::new(source), Box::new(sink), &Settings::default()).failed(Reason::Destination);
        assert_eq!(fs::read(scratch.destination().join("old/er")).unwrap(), b"old");
    }
    let scratch = Scratch::new();
    write(&scratch.source(), b"new");
    write(&scratch.destination(), b"old, and longer");
    moves(rig, &Settings::default(), &scratch, replace());
    assert_eq!(fs::read(scratch.destination()).unwrap(), b"new");
}
