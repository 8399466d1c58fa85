//! A lane's disk thread: writes chunks into files at their own offsets, past the page cache where that goes, or out of
//! pipes.

use std::fs::File;
use std::io;

use longhaul_transport::{DirectFiles, Pipes, Receiver, WriteOp};

use crate::splice;

pub(crate) fn run(ops: &Receiver<WriteOp>, mut files: DirectFiles, pipes: &Pipes) {
    while let Some(mut op) = ops.recv() {
        let written = write(&mut files, &op).and_then(|()| splice::write_rest(&mut op, pipes));
        op.done(written);
    }
}

fn write(files: &mut DirectFiles, op: &WriteOp) -> io::Result<()> {
    let (bytes, mut past) = (op.bytes(), 0);
    if let Some((direct, whole_pages)) = files.reach(op) {
        match write_all_at(direct.file(), &bytes[..whole_pages], op.offset()) {
            Ok(()) => past = whole_pages,
            Err(error) if direct.refuses(&error) => {}
            Err(error) => return Err(error),
        }
    }
    write_all_at(op.file(), &bytes[past..], op.offset() + past as u64)
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}
