//! How transfers end when somebody ends them: cancelled, turned away, nobody there.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_state::Source;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, MemorySink};
use longhaul_state::source::{DirectoryOptions, DirectorySource, MemorySource};
use longhaul_state::transfer::Stage;

use super::doubles::{Giving, Meddled, MeddledSink, Taking};
use super::tree::{Scratch, noise, write};
use super::{End, Party, Rig, Settings, Way, eventually};

/// Calls `first` at the first read, whose bytes then wait until the provider's session is over.
fn blocking(
    scratch: &Scratch,
    provider: &Party,
    first: impl Fn() + Send + Sync + 'static,
) -> Arc<dyn Source> {
    let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
    let control = Arc::clone(&provider.control);
    Arc::new(Meddled::new(source, move |now| {
        if now == Giving::Read {
            first();
            eventually("the session is over", || control.stats().stage == Stage::Over);
        }
        Ok(())
    }))
}

fn landing(scratch: &Scratch) -> DirectorySink {
    DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap()
}

fn memory(len: usize) -> Arc<dyn Source> {
    Arc::new(MemorySource::new(noise(1, len).into()))
}

fn cancelled_in_the_middle(rig: &Rig<'_>, len: usize, by: Side) {
    let scratch = Scratch::new();
    write(&scratch.source().join("file"), &noise(1, len));
    let settings = Settings::default();
    let control = Arc::clone(match by {
        Side::Provider => &settings.provider.control,
        Side::Joiner => &settings.joiner.control,
    });
    let source = blocking(&scratch, &settings.provider, move || control.cancel());
    let ends = rig.run(source, Box::new(landing(&scratch)), &settings);
    let (provider, joiner) = ends.failed(Reason::Cancelled);
    assert_eq!((provider.side, joiner.side), (by, by), "{len} bytes");
    assert_eq!(scratch.residue(), Vec::<String>::new());
}

// Catalogue: F54, F75
/// While a read has not come back: both sides end, nothing is left beside the destination.
pub fn either_side_can_cancel_in_the_middle(rig: &Rig<'_>) {
    for len in [1000, 1_100_000, 40_000_000] {
        for by in [Side::Provider, Side::Joiner] {
            cancelled_in_the_middle(rig, len, by);
        }
    }
}

/// At each step of source and sink, by either side or by both at once.
// Catalogue: F75, F76
pub fn any_side_can_cancel_at_any_step(rig: &Rig<'_>) {
    let giving = Giving::ALL.map(|step| (Some(step), None));
    let taking = [Taking::Begin, Taking::Open, Taking::Finish, Taking::Sync].map(|step| (None, Some(step)));
    for (give, take) in giving.into_iter().chain(taking) {
        for by in [&[Side::Provider][..], &[Side::Joiner], &[Side::Provider, Side::Joiner]] {
            let scratch = Scratch::new();
            write(&scratch.source().join("file"), &noise(1, 3_000_000));
            let settings = Settings::default();
            let controls: Vec<_> = by
                .iter()
                .map(|side| match side {
                    Side::Provider => Arc::clone(&settings.provider.control),
                    Side::Joiner => Arc::clone(&settings.joiner.control),
                })
                .collect();
            let others = controls.clone();
            let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
            let source = Meddled::new(source, move |now| {
                if give == Some(now) {
                    for control in &controls {
                        control.cancel();
                    }
                }
                Ok(())
            });
            let sink = MeddledSink::new(landing(&scratch), move |now| {
                if take == Some(now) {
                    for control in &others {
                        control.cancel();
                    }
                }
                Ok(())
            });
            let ends = rig.run(Arc::new(source), Box::new(sink), &settings);
            // A cancel in the last steps may come too late: then all of it has come, and both say so.
            let published = scratch.destination().exists();
            assert_eq!(ends.joiner.is_ok(), published, "{give:?} {take:?} by {by:?}: {:?}", ends.joiner);
            if !published {
                assert_eq!(scratch.residue(), Vec::<String>::new(), "{give:?} {take:?} by {by:?}");
                for end in [ends.provider, ends.joiner] {
                    let error = end.expect_err("nothing was published");
                    assert_eq!(error.reason, Reason::Cancelled, "{give:?} {take:?}: {error:?}");
                    assert!(by.contains(&error.side), "{give:?} {take:?} by {by:?}: {error:?}");
                }
            }
        }
    }
}

// Catalogue: F75
/// A handle that was cancelled before its transfer began.
pub fn a_cancel_before_the_start_is_heard(rig: &Rig<'_>) {
    for by in [Side::Provider, Side::Joiner] {
        let settings = Settings::default();
        match by {
            Side::Provider => settings.provider.control.cancel(),
            Side::Joiner => settings.joiner.control.cancel(),
        }
        let sink = MemorySink::new(1 << 30);
        let received = sink.published();
        let listener = rig.subject.listen();
        let address = listener.address();
        let (dialler, answer) = thread::scope(|scope| {
            let answer = scope.spawn(|| {
                let call = listener.accept()?;
                Some(match rig.way {
                    Way::Fetch => call.provide(memory(5_000_000), &settings.provider),
                    Way::Push => call.join(Box::new(MemorySink::new(1 << 30)), &settings.joiner),
                })
            });
            let dialler = match rig.way {
                Way::Fetch => rig.subject.join(address, Box::new(sink), &settings.joiner),
                Way::Push => rig.subject.provide(address, memory(5_000_000), &settings.provider),
            };
            listener.stop();
            (dialler, answer.join().unwrap())
        });
        let error = dialler.unwrap_err();
        assert_eq!((error.reason, error.side), (Reason::Cancelled, by));
        if let Some(answer) = answer {
            assert_eq!(answer.unwrap_err().reason, Reason::Cancelled);
        }
        assert!(received.take().is_none());
    }
}

// Catalogue: F75, F76
/// A joiner that says Ok has published, one that fails has not, whenever the cancel comes.
pub fn a_cancel_while_it_is_published_tells_the_truth(rig: &Rig<'_>) {
    for by in [Side::Provider, Side::Joiner] {
        let scratch = Scratch::new();
        write(&scratch.source(), b"state");
        let settings = Settings::default();
        let controls = [&settings.provider, &settings.joiner].map(|party| Arc::clone(&party.control));
        let sink = MeddledSink::new(landing(&scratch), move |now| {
            if now == Taking::Publish {
                controls[usize::from(by == Side::Joiner)].cancel();
                // Long enough for a joiner that gives up while its sink publishes.
                let deadline = Instant::now() + Duration::from_millis(500);
                while controls[1].stats().stage != Stage::Over && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Ok(())
        });
        let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
        let ends = rig.run(Arc::new(source), Box::new(sink), &settings);
        let published = scratch.destination().exists();
        assert_eq!(ends.joiner.is_ok(), published, "cancelled by the {by}: {:?}", ends.joiner);
        assert!(published || ends.provider.is_err(), "a provider is not told of what never was");
    }
}

/// Runs a test again in a process of its own, where nothing else uses threads and descriptors.
fn alone(test: impl FnOnce()) {
    const ALONE: &str = "LONGHAUL_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let name = thread::current().name().expect("tests run on threads of their name").to_owned();
    let program = std::env::current_exe().expect("a test is a program");
    let output = Command::new(program).args([&name, "--exact", "--nocapture"]).env(ALONE, "1").output();
    let output = output.expect("it runs again");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

/// Threads and descriptors of this process.
fn held() -> (usize, usize) {
    let count = |path| std::fs::read_dir(path).expect("Linux tells").count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Fifty cancelled transfers leave no thread, descriptor or buffer.
pub fn cancelled_transfers_release_everything(rig: &Rig<'_>) {
    if !std::path::Path::new("/proc/self/task").exists() {
        return;
    }
    alone(|| {
        cancelled_in_the_middle(rig, 2_000_000, Side::Provider);
        let mut before = held();
        eventually("the first has settled", || {
            let last = std::mem::replace(&mut before, held());
            last == before
        });
        for n in 0..50 {
            let by = if n % 2 == 0 { Side::Provider } else { Side::Joiner };
            cancelled_in_the_middle(rig, 2_000_000, by);
        }
        eventually("threads and descriptors are back", || {
            let now = held();
            now.0 <= before.0 && now.1 <= before.1
        });
    });
}

/// Stopping a listener ends the waiting of `accept`, and no running session.
pub fn a_session_outlives_its_listener(rig: &Rig<'_>) {
    let listener: Arc<dyn super::Listen> = Arc::from(rig.subject.listen());
    let stopping = Mutex::new(Some(Arc::clone(&listener)));
    let source = Meddled::new(MemorySource::new(noise(1, 9_000_000).into()), move |now| {
        if now == Giving::Read
            && let Some(listener) = stopping.lock().unwrap().take()
        {
            listener.stop();
        }
        Ok(())
    });
    let sink = MemorySink::new(1 << 30);
    let received = sink.published();
    // Its only data lane stands when the first bytes are read.
    let settings = Settings::new(Integrity::Crc32c, 1);
    rig.run_at(&*listener, Arc::new(source), Box::new(sink), &settings).agreed();
    assert!(received.take().unwrap() == noise(1, 9_000_000));
    assert!(listener.accept().is_none(), "it is stopped");
    let (sender, waiting) = channel();
    let second: Arc<dyn super::Listen> = Arc::from(rig.subject.listen());
    let waits = Arc::clone(&second);
    let accepting = thread::spawn(move || {
        sender.send(()).unwrap();
        waits.accept().is_none()
    });
    waiting.recv().unwrap();
    second.stop();
    assert!(accepting.join().unwrap());
}

fn dials(rig: &Rig<'_>, address: SocketAddr, settings: &Settings) -> End {
    match rig.way {
        Way::Fetch => rig.subject.join(address, Box::new(MemorySink::new(1 << 30)), &settings.joiner),
        Way::Push => rig.subject.provide(address, memory(10), &settings.provider),
    }
}

/// A full listener is no closed socket: it says when to ask again, and takes the next.
pub fn a_full_listener_says_when_to_come_back(rig: &Rig<'_>) {
    let listener = rig.subject.listen();
    let address = listener.address();
    let retry_after = Duration::from_millis(1234);
    let turned_away = thread::scope(|scope| {
        scope.spawn(|| listener.accept().expect("somebody calls").busy(retry_after));
        dials(rig, address, &Settings::default()).unwrap_err()
    });
    assert_eq!((turned_away.reason, turned_away.retry_after), (Reason::Busy, Some(retry_after)));
    assert!(turned_away.is_retryable());
    let sink = Box::new(MemorySink::new(1 << 30));
    rig.run_at(&*listener, memory(10), sink, &Settings::default()).agreed();
}

// Catalogue: F1
/// An address where nobody listens.
pub fn nobody_there_is_an_error(rig: &Rig<'_>) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = dials(rig, address, &Settings::default()).unwrap_err();
    assert_eq!((error.reason, error.phase), (Reason::Unreachable, Phase::Connect));
    assert!(error.is_retryable() && error.message.contains(&address.to_string()), "{error:?}");
}

/// Two providers, or two joiners, are told apart before anything is surveyed.
pub fn two_of_the_same_role_refuse_each_other(rig: &Rig<'_>) {
    let listener = rig.subject.listen();
    let address = listener.address();
    let settings = Settings::default();
    let party = Party::new(3);
    let (dialler, answer) = thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let call = listener.accept().expect("somebody calls");
            match rig.way {
                Way::Fetch => call.join(Box::new(MemorySink::new(1 << 30)), &party),
                Way::Push => call.provide(memory(10), &party),
            }
        });
        (dials(rig, address, &settings), answer.join().unwrap())
    });
    for error in [dialler.unwrap_err(), answer.unwrap_err()] {
        assert_eq!((error.reason, error.phase), (Reason::Incompatible, Phase::Init), "{error:?}");
    }
}
