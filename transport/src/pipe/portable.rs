//! No pipes: whatever asks for one copies.

use std::fs::File;
use std::io;
use std::net::TcpStream;

#[derive(Debug)]
pub(super) enum Ends {}

impl Ends {
    pub(super) fn new(_: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) const fn input(&self) -> &File {
        match *self {}
    }

    pub(super) const fn output(&self) -> &File {
        match *self {}
    }

    pub(super) const fn fill_from_socket(&self, _: &TcpStream, _: usize) -> io::Result<usize> {
        match *self {}
    }

    pub(super) const fn fill_from_file(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        match *self {}
    }

    pub(super) const fn drain_to_socket(&self, _: &TcpStream, _: usize) -> io::Result<usize> {
        match *self {}
    }

    pub(super) const fn drain_to_file(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        match *self {}
    }
}
