//! A device on which states are tried, one by one, and the process that mounts them.
//!
//! ```text
//! Bench: Device ◀── mount, look, run again ── the rig again, as `crash-visit`: one thread, and nobody else's
//!   └─ "look nothing whole" ──▶ its stdin       its stdout ──▶ "mounted", "promised over", "new 5000 1"
//! ```
//!
//! Some states are the end of the kernel's thread that mounts them (a BUG): it is a process of its own, so that this is seen.
//! Whatever it says but its last word is answered with an empty line before it goes on.

use std::io::{BufRead, BufReader, Lines, StdinLock, Write as _, stdin};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::recording::{Mode, Stage};
use super::states::Left;
use super::trial::{Resumed, Shown, Told, Trial, Visit};
use crate::carrier::Carrier;
use crate::disk::log::{Log, Promise};
use crate::disk::{Access, Device, FileSystem};

/// A visitor that says nothing for longer hangs: the command that it runs again has a minute.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a process is started with that mounts states, and looks at them, for the crash rig.
#[derive(Clone, Debug, clap::Args)]
pub struct Visitor {
    file_system: FileSystem,
    mode: Mode,
    carrier: Carrier,
    /// The command that is tried.
    longhaul: PathBuf,
    /// Where the case is kept.
    case: PathBuf,
    /// Where its provider listens.
    address: String,
    /// The block device.
    device: PathBuf,
    /// Where it is mounted.
    place: PathBuf,
}

impl Visitor {
    fn command(&self, rig: &Path) -> Command {
        let mut command = Command::new(rig);
        command.arg("crash-visit");
        command.args([self.file_system.to_string(), self.mode.to_string(), self.carrier.to_string()]);
        command.arg(&self.longhaul).arg(&self.case).arg(&self.address).arg(&self.device).arg(&self.place);
        command
    }

    /// Does what is asked for on stdin until that ends, and says on stdout what it sees.
    ///
    /// # Errors
    /// If what is asked for is not understood.
    pub fn run(self) -> Result<(), String> {
        // Who interrupts the rig reaches this process too: it ends when the rig has no use for it any more.
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
                .map_err(|error| error.to_string())?;
        }
        let Self { file_system, mode, carrier, longhaul, case, address, device, place } = self;
        let stage = Stage::again(&longhaul, &case, mode, carrier, address);
        let trial = Trial { file_system, stage, device, place };
        let mut lines = stdin().lock().lines();
        while let Some(Ok(asked)) = lines.next() {
            let visit = asked_for(&asked).ok_or_else(|| format!("{asked:?} is nothing to do"))?;
            let seen = trial.visit(visit, &mut |told| tell(told, &mut lines));
            println!("{}", last_word(&seen));
        }
        Ok(())
    }
}

/// Says something, and waits until it is heard.
fn tell(told: Told, lines: &mut Lines<StdinLock<'_>>) -> Result<(), String> {
    match told {
        Told::Mounted => println!("mounted"),
        Told::Promised(promise) => println!("promised {}", name(promise)),
    }
    match lines.next() {
        Some(Ok(_)) => Ok(()),
        _ => Err("nobody wants to know any more".into()),
    }
}

const PROMISES: [(&str, Promise); 3] =
    [("nothing", Promise::Nothing), ("installed", Promise::Installed), ("over", Promise::Over)];

fn name(promise: Promise) -> &'static str {
    PROMISES.iter().find(|(_, one)| *one == promise).map_or("", |(name, _)| name)
}

fn promise(name: &str) -> Option<Promise> {
    PROMISES.iter().find(|(one, _)| *one == name).map(|(_, promise)| *promise)
}

/// `look nothing whole`, `write over shredded`
fn ask(visit: Visit) -> String {
    let access = if visit.access == Access::Look { "look" } else { "write" };
    let shredded = if visit.is_shredded { "shredded" } else { "whole" };
    format!("{access} {} {shredded}", name(visit.promise))
}

fn asked_for(line: &str) -> Option<Visit> {
    let [access, promised, shredded] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let access = if access == "look" { Access::Look } else { Access::Write };
    Some(Visit { access, promise: promise(promised)?, is_shredded: shredded == "shredded" })
}

/// What a state showed, `new`, and what came of the same command run again, `new 5000 1`; or what is wrong, as JSON.
fn last_word(seen: &Result<(Shown, Option<Resumed>), String>) -> String {
    match seen {
        Ok((shown, None)) => shown.name().into(),
        Ok((shown, Some(Resumed { kept, found_lock }))) => {
            format!("{} {kept} {}", shown.name(), u8::from(*found_lock))
        }
        Err(what) => serde_json::Value::from(what.as_str()).to_string(),
    }
}

fn seen(word: &str) -> Result<(Shown, Option<Resumed>), String> {
    let not_understood = || format!("the visitor says {word:?}");
    if word.starts_with('"') {
        return Err(serde_json::from_str(word).unwrap_or_else(|_| not_understood()));
    }
    let words: Vec<&str> = word.split(' ').collect();
    let shown = Shown::named(words[0]).ok_or_else(not_understood)?;
    match words[1..] {
        [] => Ok((shown, None)),
        [kept, found_lock] => {
            let kept = kept.parse().map_err(|_| not_understood())?;
            Ok((shown, Some(Resumed { kept, found_lock: found_lock == "1" })))
        }
        _ => Err(not_understood()),
    }
}

/// A device on which states are tried.
#[derive(Debug)]
pub(super) struct Bench {
    child: Child,
    asks: Option<ChildStdin>,
    says: Receiver<String>,
    /// Nothing of what the visitor holds will ever be let go.
    is_lost: bool,
    device: Option<Device>,
    place: Option<TempDir>,
}

impl Bench {
    pub(super) fn new(
        rig: &Path,
        longhaul: &Path,
        case: &Path,
        file_system: FileSystem,
        stage: &Stage,
    ) -> Result<Self, String> {
        let device = Device::new(file_system.len())?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let visitor = Visitor {
            file_system,
            mode: stage.mode,
            carrier: stage.carrier,
            longhaul: longhaul.to_path_buf(),
            case: case.to_path_buf(),
            address: stage.address.clone(),
            device: device.path().to_path_buf(),
            place: place.path().to_path_buf(),
        };
        let mut command = visitor.command(rig);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", rig.display()))?;
        let (asks, words) = (child.stdin.take(), child.stdout.take());
        let (sender, says) = channel();
        // Ends with the visitor's words, or with this.
        thread::spawn(move || {
            let lines = words.map(BufReader::new).into_iter().flat_map(BufRead::lines);
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, asks, says, is_lost: false, device: Some(device), place: Some(place) })
    }

    /// Looks at what a power cut left.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn look(&mut self, left: Left) -> Result<Shown, String> {
        self.visit(left, Access::Look).map(|(shown, _)| shown)
    }

    /// Looks at what a power cut left, and runs the same command again.
    ///
    /// # Errors
    /// What is wrong before or after.
    pub(super) fn resume(&mut self, left: Left) -> Result<(Shown, Option<Resumed>), String> {
        self.visit(left, Access::Write)
    }

    /// The same, and records it: for the power may go while it is gone on from, too.
    ///
    /// # Errors
    /// What is wrong before or after.
    pub(super) fn record(&mut self, left: Left) -> Result<(Shown, Option<Resumed>, Option<Log>), String> {
        let (promise, is_shredded) = (left.promise, left.is_shredded);
        let device = self.device()?;
        device.medium().insert(left.disk);
        device.medium().record();
        device.medium().promise(promise);
        let (shown, resumed) = self.visit_inserted(Visit { access: Access::Write, promise, is_shredded })?;
        Ok((shown, resumed, self.device()?.medium().recorded()))
    }

    fn device(&self) -> Result<&Device, String> {
        self.device.as_ref().ok_or_else(|| "the device is gone".into())
    }

    fn visit(&mut self, left: Left, access: Access) -> Result<(Shown, Option<Resumed>), String> {
        self.device()?.medium().insert(left.disk);
        self.visit_inserted(Visit { access, promise: left.promise, is_shredded: left.is_shredded })
    }

    fn visit_inserted(&mut self, visit: Visit) -> Result<(Shown, Option<Resumed>), String> {
        self.say(&ask(visit));
        loop {
            let word = self.hear()?;
            if word == "mounted" {
                if !self.device()?.medium().was_read() {
                    return Err("the kernel mounted another disk, that it remembered".into());
                }
            } else if let Some(promised) = word.strip_prefix("promised ").and_then(promise) {
                self.device()?.medium().promise(promised);
            } else {
                return seen(&word);
            }
            self.say("");
        }
    }

    fn say(&mut self, line: &str) {
        if let Some(asks) = &mut self.asks {
            // One that is gone is noticed when it says nothing.
            let _ = writeln!(asks, "{line}");
        }
    }

    fn hear(&mut self) -> Result<String, String> {
        let gone = match self.says.recv_timeout(PATIENCE) {
            Ok(word) => return Ok(word),
            Err(gone) => gone,
        };
        self.is_lost = true;
        if gone == RecvTimeoutError::Timeout {
            return Err("the kernel does not let go of this state, or what runs on it hangs".into());
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Err(if status.signal().is_some() {
            format!("the kernel died of this state, or of its neighbour: {status}")
        } else {
            format!("what tried this state ended: {status}")
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It ends when nothing is asked of it any more.
        drop(self.asks.take());
        if !self.is_lost {
            // It has said all that it had to say.
            let _ = self.child.wait();
            return;
        }
        // What a dead thread of the kernel holds can be waited for for ever: it goes when this process does.
        std::mem::forget(self.device.take());
        if let Some(place) = self.place.take() {
            let _ = place.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_is_understood() {
        for access in [Access::Look, Access::Write] {
            for (_, promise) in PROMISES {
                let visit = Visit { access, promise, is_shredded: promise == Promise::Over };
                assert_eq!(asked_for(&ask(visit)), Some(visit));
            }
        }
        let resumed = Some(Resumed { kept: 5000, found_lock: true });
        let answers = [
            Ok((Shown::Old, None)),
            Ok((Shown::New, resumed)),
            Ok((Shown::Unmountable, None)),
            Err("two\n\"lines\"".into()),
        ];
        for answer in answers {
            assert_eq!(seen(&last_word(&answer)), answer);
        }
        assert!(seen("what").is_err() && asked_for("look").is_none());
    }
}
