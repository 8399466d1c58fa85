//! Memory to memory over loopback: one connection, one buffer.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use longhaul_core::integrity::{crc32c, crc32c_combine};
use serde_json::json;

use super::{BUFFER, buffer};
use crate::side::{Measured, both, tell, tell_cost};

/// Both sides, in processes of their own.
pub(crate) fn copy(bytes: u64, checksums: bool) -> io::Result<Measured> {
    let (bytes, checksums) = (bytes.to_string(), checksums.to_string());
    both(
        &["bare-receive", &bytes, &checksums],
        &|address| vec!["bare-send".into(), bytes.clone(), checksums.clone(), address.into()],
        false,
    )
}

pub(crate) fn send(bytes: u64, checksums: bool, address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let buffer = buffer();
    let (started, mut sum, mut left) = (Instant::now(), 0, bytes);
    while left > 0 {
        let piece = &buffer[..left.min(BUFFER as u64) as usize];
        if checksums {
            sum = crc32c_combine(sum, crc32c(piece), piece.len() as u64);
        }
        stream.write_all(piece)?;
        left -= piece.len() as u64;
    }
    tell_cost(started, bytes, &format!("{sum:08x}"))
}

pub(crate) fn receive(bytes: u64, checksums: bool) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    tell(&json!({ "address": listener.local_addr()?.to_string() }))?;
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; BUFFER];
    let (started, mut sum, mut left) = (Instant::now(), 0, bytes);
    while left > 0 {
        let piece = &mut buffer[..left.min(BUFFER as u64) as usize];
        stream.read_exact(piece)?;
        if checksums {
            sum = crc32c_combine(sum, crc32c(piece), piece.len() as u64);
        }
        left -= piece.len() as u64;
    }
    tell_cost(started, bytes, &format!("{sum:08x}"))
}
