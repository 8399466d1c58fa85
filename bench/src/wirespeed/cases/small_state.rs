//! W4: 1 KiB, from the start of the command that fetches it to its end.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bare::small;
use crate::plan::{Case, Plan, interleave};
use crate::report::{Report, Table};
use crate::side::{Measured, Side};
use crate::tree::{Before, Landings};

const BARE: &str = "bare program";
/// What the command may take more than the bare program.
const MORE: Duration = Duration::from_millis(2);
/// As `--transport` takes them.
const TRANSPORTS: [&str; 3] = ["auto", "std", "uring"];
/// A command that does not listen by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn measure(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let mut table = Table::new("W4", "1 KiB, command to command");
    let (bare, address) = Side::listen(&["bare-serve"])?;
    let longhaul = std::env::current_exe()?.with_file_name("longhaul");
    let state = plan.dir.join("small");
    std::fs::write(&state, [0x5a; small::BYTES])?;
    let landings = &Landings::new(&plan.dir, "w4", Before::Removed);
    let program = std::env::current_exe()?;
    let provider = Serving::start(&longhaul, &state)
        .inspect_err(|why| report.note(format!("{} is left out: {why}", longhaul.display())))
        .ok();
    let mut cases = vec![Case::new(BARE, || {
        fetches(plan, landings, &|to| {
            let mut command = Command::new(&program);
            command.arg("bare-fetch").arg(&address).arg(to);
            command
        })
    })];
    for transport in TRANSPORTS.iter().filter(|_| provider.is_some()) {
        let (longhaul, provider) = (&longhaul, &provider);
        cases.push(Case::new(row(transport), move || {
            fetches(plan, landings, &|to| {
                let mut command = Command::new(longhaul);
                let address = provider.iter().map(|provider| &provider.address);
                command.arg("fetch").args(address).arg(to).args(["-q", "--transport", transport]);
                command
            })
        }));
    }
    interleave(plan, cases, &mut table)?;
    bare.kill()?;
    for transport in TRANSPORTS {
        table.more(row(transport), BARE, MORE);
    }
    Ok(table)
}

fn row(transport: &str) -> String {
    format!("longhaul fetch, {transport}")
}

/// Fetches some times; how long one of them took in the middle.
fn fetches(plan: &Plan, landings: &Landings, fetch: &dyn Fn(&Path) -> Command) -> io::Result<Measured> {
    let mut times = Vec::with_capacity(plan.fetches);
    for _ in 0..plan.fetches {
        let mut command = fetch(&landings.next()?);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        times.push(started.elapsed().as_secs_f64());
        if !status.success() {
            return Err(io::Error::other(format!("{command:?} ended with {status}")));
        }
    }
    times.sort_by(f64::total_cmp);
    let seconds = times.get(times.len() / 2).copied().unwrap_or(0.0);
    Ok(Measured { bytes: small::BYTES as u64, seconds, ..Measured::default() })
}

/// A provider, until this is dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(longhaul: &Path, state: &Path) -> io::Result<Self> {
        let file = state.with_extension("address");
        let child = Command::new(longhaul)
            .arg("serve")
            .arg(state)
            .args(["-q", "--listen", "127.0.0.1:0", "--addr-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut serving = Self { child, address: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while serving.address.is_empty() {
            if Instant::now() > deadline || serving.child.try_wait()?.is_some() {
                return Err(io::Error::other("it does not listen"));
            }
            std::fs::read_to_string(&file).unwrap_or_default().trim().clone_into(&mut serving.address);
            std::thread::yield_now();
        }
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It is ours, and it may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
