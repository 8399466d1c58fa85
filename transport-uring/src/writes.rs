//! A lane's chunks, written as they come, several at once: past the page cache where the file and the chunk
//! allow it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use longhaul_transport::{Direct, DirectFiles, Pipes, Receiver, Threads, WriteOp};

use crate::local::Local;
use crate::op;
use crate::splice;

pub(crate) async fn run(
    local: Rc<Local>,
    ops: Receiver<WriteOp>,
    mut files: DirectFiles,
    pipes: Pipes,
    threads: Threads,
) {
    while let Some(op) = ops.next().await {
        let direct = files.reach(&op);
        local.spawn(threads.enter(), write(Rc::clone(&local), op, direct, pipes.clone()));
    }
}

async fn write(local: Rc<Local>, chunk: WriteOp, direct: Option<(Arc<Direct>, usize)>, pipes: Pipes) {
    let index = chunk.bytes().buffer().and_then(|(buffer, _)| local.registered.index(buffer));
    let (mut result, mut rest, mut chunk) = (Ok(()), 0..chunk.bytes().len(), chunk);
    if let Some((direct, whole_pages)) = direct {
        (result, chunk) = write_part(direct.file(), chunk, 0..whole_pages, index).await;
        match &result {
            Ok(()) => rest.start = whole_pages,
            Err(error) if direct.refuses(error) => result = Ok(()),
            Err(_) => {}
        }
    }
    if result.is_ok() && !rest.is_empty() {
        let file = Arc::clone(chunk.file());
        (result, chunk) = write_part(&file, chunk, rest, index).await;
    }
    if result.is_ok() && chunk.chunk().in_pipes() > 0 {
        let (left, copied) = splice::write_rest(chunk, &pipes).await;
        (result, chunk) = match left {
            Ok(from) => {
                let (file, rest) = (Arc::clone(copied.file()), from..copied.bytes().len());
                write_part(&file, copied, rest, index).await
            }
            Err(error) => (Err(error), copied),
        };
    }
    chunk.done(result);
}

/// Writes all of a part.
async fn write_part(
    file: &Arc<File>,
    mut chunk: WriteOp,
    mut part: Range<usize>,
    index: Option<u16>,
) -> (io::Result<()>, WriteOp) {
    while !part.is_empty() {
        let result;
        (result, chunk) = op::write(Arc::clone(file), chunk, part.clone(), index).await;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), chunk),
            Ok(written) => part.start += written,
            Err(error) => return (Err(error), chunk),
        }
    }
    (Ok(()), chunk)
}
