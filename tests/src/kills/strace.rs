//! Runs a command under strace: counts its calls, or meddles with one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::PATIENCE;
use crate::transport::Transport;

/// The calls that concern files, connections and rings: those of the C library's own start, of memory and of threads
/// are nobody's to withstand.
const CALLS: &str = "openat,openat2,close,read,pread64,write,pwrite64,writev,sendto,recvfrom,connect,socket,\
                     mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,symlinkat,\
                     fallocate,ftruncate,fsync,fdatasync,syncfs,fchmod,fchmodat,utimensat,flock,statx,\
                     newfstatat,fstat,fstatfs,getdents64,faccessat2,lseek,shutdown,setsockopt,\
                     pipe2,splice,\
                     io_uring_setup,io_uring_register,io_uring_enter,epoll_create1,eventfd2,epoll_wait";

/// What a call of this name may fail with in earnest. (A received message belongs to signals as well as to
/// peers: their loss is tried elsewhere. What std closes is durable, or a directory.)
pub(super) fn errnos(call: &str, transport: Transport) -> &'static [&'static str] {
    match call {
        // By these a ring's thread is woken, too, which can't fail so; the sink's own are the same by either transport.
        "write" if transport == Transport::Uring => &[],
        "openat" | "openat2" => &["EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE"],
        "fsync" | "fdatasync" | "syncfs" => &["EIO", "ENOSPC", "EDQUOT"],
        "read" | "pread64" | "getdents64" | "statx" | "newfstatat" | "fstat" | "fstatfs" | "lseek" => {
            &["EIO"]
        }
        // The last: what it is called for takes no part in it.
        "splice" => &["EIO", "ENOSPC", "EDQUOT", "EINVAL"],
        "socket" | "pipe2" | "epoll_create1" | "eventfd2" => &["EMFILE"],
        "io_uring_setup" => &["EPERM", "ENOSYS", "ENOMEM", "EMFILE"],
        "io_uring_register" => &["ENOMEM", "EINVAL"],
        "io_uring_enter" => &["EINTR", "EBUSY"],
        "epoll_wait" => &["EINTR"],
        "connect" | "sendto" => &["ECONNRESET"],
        "close" | "recvfrom" | "shutdown" | "setsockopt" | "flock" | "faccessat2" => &[],
        _ => &["EIO", "ENOSPC", "EDQUOT", "EROFS"],
    }
}

/// Whether strace can be run here, and may trace.
#[must_use]
pub fn is_there() -> bool {
    let mut command = Command::new("strace");
    let status = command.args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What happens at the n-th call of this name that a thread makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injection<'a> {
    pub(super) call: &'a str,
    pub(super) nth: usize,
    /// "KILL", or an errno.
    pub(super) what: &'a str,
}

impl fmt::Display for Injection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, nth, what } = self;
        if *what == "KILL" {
            write!(f, "inject={call}:signal=KILL:when={nth}")
        } else {
            write!(f, "inject={call}:error={what}:when={nth}")
        }
    }
}

/// How a run went.
pub(super) struct Traced {
    pub(super) code: Option<i32>,
    pub(super) stderr: String,
    /// Of a run that was let alone: every call, and how often one thread made it.
    pub(super) calls: Vec<(String, usize)>,
}

impl Traced {
    pub(super) fn run(
        command: &mut Command,
        injection: Option<&Injection<'_>>,
        trace: &Path,
    ) -> Result<Self, String> {
        let mut strace = Command::new("timeout");
        strace.args(["-s", "KILL", "60", "strace", "-f", "-qq", "-o"]).arg(trace);
        strace.arg("-e").arg(format!("trace={CALLS}"));
        if let Some(injection) = injection {
            strace.arg("-e").arg(injection.to_string());
        }
        strace.arg("--").arg(command.get_program()).args(command.get_args());
        let start = Instant::now();
        let output = strace.stdin(Stdio::null()).output().map_err(|error| format!("strace: {error}"))?;
        // What timeout ends with when it had to kill is what a kill looks like too: time tells.
        if start.elapsed() >= PATIENCE {
            return Err("it hangs".into());
        }
        let calls = if injection.is_none() { count(trace)? } else { Vec::new() };
        Ok(Self {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            calls,
        })
    }
}

/// Reads `PID call(...` lines.
fn count(trace: &Path) -> Result<Vec<(String, usize)>, String> {
    let text = fs::read_to_string(trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *made.entry((call, thread)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((call, _), times) in made {
        let known = most.entry(call).or_default();
        *known = times.max(*known);
    }
    Ok(most.into_iter().map(|(call, times)| (call.to_owned(), times)).collect())
}
