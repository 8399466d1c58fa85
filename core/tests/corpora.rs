//! Replays every corpus: what fuzzing found stays found, on any compiler.

use std::fs;
use std::path::{Path, PathBuf};

use longhaul_fuzz::TARGETS;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
const GOLDEN: &str = include_str!("golden/frames.txt");
const CONTROL: &str = include_str!("golden/transfer-frames.txt");
const HEADER_LEN: usize = 32;
/// All corpora together, in bytes: they are checked in.
const CORPUS_MAX: u64 = 300 << 10;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn everything_that_was_found_holds() {
    for (name, check) in TARGETS {
        let files = files(&Path::new(CORPUS).join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            println!("{}", file.display());
            check(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_corpus_has_a_target_and_all_are_small() {
    let mut size = 0;
    for directory in files(Path::new(CORPUS)) {
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(TARGETS.iter().any(|target| target.0 == name), "{name} is the corpus of no target");
        size += files(&directory).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    }
    assert!(size <= CORPUS_MAX, "the corpora are {size} bytes");
}

/// The decoders begin with one frame of every kind and shape.
#[test]
fn the_golden_frames_are_in_the_corpora() {
    for (name, frame) in GOLDEN.lines().map(named) {
        let (header, body) = frame.split_at(HEADER_LEN);
        let bodies = [&[header[3] - 1, 2, header[5], 7, 0, 0], body].concat();
        seed("bodies", name, &bodies);
        seed("frames", name, &[&[1], &frame[..]].concat());
    }
    for (name, frame) in CONTROL.lines().map(named) {
        seed("control", name, &[&[1], &frame[..]].concat());
    }
}

/// A line's name, and its bytes.
fn named(line: &str) -> (&str, Vec<u8>) {
    let (name, hex) = line.split_once(' ').unwrap();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    (name, hex.as_bytes().chunks(2).map(byte).collect())
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let path = Path::new(CORPUS).join(target).join(format!("golden-{name}"));
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let there = fs::read(&path).unwrap_or_default();
    assert!(there == bytes, "LONGHAUL_BLESS=1 writes {} anew", path.display());
}
