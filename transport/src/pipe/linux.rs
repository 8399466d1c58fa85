//! Both ends of a pipe, and splice(2).

use std::fs::File;
use std::io;
use std::net::TcpStream;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

#[derive(Debug)]
pub(super) struct Ends {
    output: File,
    input: File,
}

impl Ends {
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let (output, input) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&input, FcntlArg::F_SETPIPE_SZ(size.cast_signed() as i32))?;
        Ok(Self { output: output.into(), input: input.into() })
    }

    pub(super) const fn input(&self) -> &File {
        &self.input
    }

    pub(super) const fn output(&self) -> &File {
        &self.output
    }

    pub(super) fn fill_from_socket(&self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        // Of the flag only the pipe takes notice: the socket is waited for.
        Ok(splice(socket, None, &self.input, None, most, SpliceFFlags::SPLICE_F_NONBLOCK)?)
    }

    pub(super) fn fill_from_file(&self, file: &File, offset: u64, most: usize) -> io::Result<usize> {
        let mut at = offset.cast_signed();
        Ok(splice(file, Some(&mut at), &self.input, None, most, SpliceFFlags::SPLICE_F_NONBLOCK)?)
    }

    pub(super) fn drain_to_socket(&self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        Ok(splice(&self.output, None, socket, None, most, SpliceFFlags::empty())?)
    }

    pub(super) fn drain_to_file(&self, file: &File, offset: u64, most: usize) -> io::Result<usize> {
        let mut at = offset.cast_signed();
        Ok(splice(&self.output, None, file, Some(&mut at), most, SpliceFFlags::empty())?)
    }
}
