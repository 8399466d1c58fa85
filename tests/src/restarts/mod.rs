//! The restarts rig: the real joiner and the real provider are killed again and again, at drawn moments of one
//! transfer, and started again.
//!
//! ```text
//! fetch ──▶ Between ──▶ serve      the moment is drawn in bytes of content, which the proxy counts
//!   └─ killed, the same command      └─ killed, started again at its address
//! ```
//!
//! A kill costs what was sent and is not kept: what the proxy carried of content, less what the journal claims
//! more than before. There is a [`Bound`].

mod meter;
mod serving;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longhaul_state::landing::Staging;
use longhaul_state::pool::DEFAULT_MEMORY;
use longhaul_state::sink::UNCLAIMED;
use longhaul_state::transfer::Options;

use crate::between::Between;
use crate::command::Running;
use crate::drawn::State;
use crate::sim::Random;
use meter::Meter;
use serving::Serving;

/// One transfer is over by then, or hangs.
const PATIENCE: Duration = Duration::from_mins(5);
/// How a joiner ends whose provider was killed: it was lost, or the next one knows nothing of the session.
const LOST: i32 = 10;

/// How large a run is.
#[derive(Clone, Debug)]
pub struct Size {
    /// Bytes of the state.
    pub bytes: u64,
    /// Small files in it.
    pub files: usize,
    /// Kills of each side.
    pub kills: usize,
    /// What all is drawn by.
    pub seed: u64,
    /// Each kill is told on stderr as it happens.
    pub trace: bool,
}

/// What a kill may cost at most, in bytes of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// What the joiner may have taken in and not claimed.
    pub unclaimed: u64,
    /// What it may have in its buffers beyond that, where it waits until more is claimed.
    pub buffers: u64,
    /// What the proxy may have carried and the joiner not read: what the sockets between them take, as the system says.
    pub sockets: u64,
}

impl Bound {
    fn of_this_system() -> Result<Self, String> {
        let lanes = u64::from(Options::default().lanes);
        let sockets = most("tcp_wmem")? + most("tcp_rmem")?;
        Ok(Self { unclaimed: UNCLAIMED, buffers: DEFAULT_MEMORY as u64, sockets: lanes * sockets })
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.unclaimed + self.buffers + self.sockets
    }
}

/// The last of the three numbers of a system's setting: the most that a socket's buffer grows to.
fn most(setting: &str) -> Result<u64, String> {
    let path = Path::new("/proc/sys/net/ipv4").join(setting);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let most = text.split_whitespace().nth(2).and_then(|most| most.parse().ok());
    most.ok_or_else(|| format!("{}: no three numbers", path.display()))
}

/// What a run has seen.
#[derive(Clone, Debug, Default)]
pub struct Restarted {
    /// What each kill of a joiner has cost, in bytes of content that were sent again.
    pub joiners: Vec<u64>,
    /// What each kill of a provider has cost.
    pub providers: Vec<u64>,
    /// Transfers that came to their end.
    pub transfers: u64,
    /// Bytes of content that the proxy carried in all.
    pub carried: u64,
    /// What each kill may have cost.
    pub bound: Bound,
}

impl Restarted {
    /// Median and largest of what `kills` have cost.
    #[must_use]
    pub fn costs(kills: &[u64]) -> (u64, u64) {
        let mut sorted = kills.to_vec();
        sorted.sort_unstable();
        (sorted.get(sorted.len() / 2).copied().unwrap_or(0), sorted.last().copied().unwrap_or(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Joiner,
    Provider,
}

/// Kills each side as often as `size` says; the state is made in `source`, and copied into `home`.
///
/// # Errors
/// The first promise that was broken.
pub fn restarts(longhaul: &Path, source: &Path, home: &Path, size: &Size) -> Result<Restarted, String> {
    let mut random = Random::new(size.seed);
    let mut rig = Rig::new(longhaul, source, home, size)?;
    let mut victims = [vec![Victim::Joiner; size.kills], vec![Victim::Provider; size.kills]].concat();
    for at in (1..victims.len()).rev() {
        victims.swap(at, random.below(at as u64 + 1) as usize);
    }
    while let Some(victim) = victims.pop() {
        let left = rig.bytes.saturating_sub(rig.claimed()?).max(1);
        // Spread over what is left to come, as the kills are.
        let moment = random.within(1, (2 * left / (victims.len() as u64 + 2)).max(1));
        if !rig.run_until(victim, moment)? {
            // It was over before: this kill is for the next transfer.
            victims.push(victim);
            rig.begin_anew()?;
        }
    }
    rig.run_to_the_end()?;
    rig.judge()?;
    Ok(rig.seen)
}

struct Rig {
    longhaul: PathBuf,
    state: State,
    bytes: u64,
    serving: Serving,
    meter: Arc<Meter>,
    between: Between,
    /// Where the copies come to be, and the copy.
    home: PathBuf,
    copy: PathBuf,
    /// What the proxy has carried of the transfer under way, and how often it was cut short.
    carried: u64,
    kills: u64,
    trace: bool,
    seen: Restarted,
}

impl Rig {
    fn new(longhaul: &Path, source: &Path, home: &Path, size: &Size) -> Result<Self, String> {
        let state = State::draw(size.seed, size.bytes, size.files);
        state.make(source).map_err(|error| error.to_string())?;
        let serving = Serving::start(longhaul, source)?;
        let meter = Arc::new(Meter::default());
        let watch = Arc::clone(&meter) as Arc<_>;
        let between = Between::new(serving.address, &[], watch).map_err(|error| error.to_string())?;
        Ok(Self {
            longhaul: longhaul.to_owned(),
            bytes: state.bytes(),
            state,
            serving,
            meter,
            between,
            copy: home.join("copy"),
            home: home.to_owned(),
            carried: 0,
            kills: 0,
            trace: size.trace,
            seen: Restarted { bound: Bound::of_this_system()?, ..Restarted::default() },
        })
    }

    fn fetch(&self) -> Result<Running, String> {
        let address = self.between.address().to_string();
        Running::start(&self.longhaul, ["fetch".as_ref(), address.as_ref(), self.copy.as_os_str()])
    }

    /// Bytes that the next run need not ask for.
    fn claimed(&self) -> Result<u64, String> {
        let staging = Staging::of(&self.copy).map_err(|error| error.to_string())?;
        let Some(staging) = staging else { return Ok(0) };
        let journal = staging.journal.map_err(|error| format!("the journal: {error}"))?;
        Ok(journal.map_or(0, |(_, claimed)| claimed.bytes))
    }

    /// Runs the command until so much content has come, and kills the victim. `false` if it came to its end.
    fn run_until(&mut self, victim: Victim, moment: u64) -> Result<bool, String> {
        let before = self.claimed()?;
        let fetch = self.fetch()?;
        match victim {
            Victim::Joiner => self.meter.at(moment, fetch.killer()),
            Victim::Provider => self.meter.at(moment, self.serving.killer()),
        }
        let ended = fetch.wait(PATIENCE)?;
        let killed = self.meter.has_acted();
        if killed && victim == Victim::Provider {
            self.serving.listens_again()?;
        }
        self.between.settled();
        let carried = self.meter.read();
        (self.carried, self.seen.carried) = (self.carried + carried, self.seen.carried + carried);
        let expected = match victim {
            _ if !killed => ended.code == Some(0),
            Victim::Joiner => ended.code.is_none(),
            // Killed with its last words on the way, it was not missed.
            Victim::Provider => ended.code == Some(LOST) || ended.code == Some(0),
        };
        if !expected {
            return Err(format!("after {moment} bytes, {victim:?} to be killed: {ended:?}"));
        }
        if !killed {
            return Ok(false);
        }
        self.kills += 1;
        // Published: all is kept.
        let after = if self.copy.exists() { self.bytes } else { self.claimed()? };
        if after < before {
            return Err(format!("{before} bytes were claimed, and then {after}"));
        }
        let cost = (before + carried).saturating_sub(after);
        if self.trace {
            eprintln!(
                "the {victim:?} killed after {moment} bytes: {before} were kept, {carried} came, {after} are kept"
            );
        }
        if cost > self.seen.bound.bytes() {
            return Err(format!(
                "killing the {victim:?} after {moment} bytes cost {cost}: more than {:?}",
                self.seen.bound
            ));
        }
        match victim {
            Victim::Joiner => self.seen.joiners.push(cost),
            Victim::Provider => self.seen.providers.push(cost),
        }
        Ok(true)
    }

    /// The last run is let alone.
    fn run_to_the_end(&mut self) -> Result<(), String> {
        let before = self.claimed()?;
        let ended = self.fetch()?.wait(PATIENCE)?;
        self.between.settled();
        let carried = self.meter.read();
        (self.carried, self.seen.carried) = (self.carried + carried, self.seen.carried + carried);
        // A joiner that was killed when it had published says that it is there.
        let resumed = ended.last["bytes_resumed"].as_u64().unwrap_or(0);
        match ended.code {
            Some(0) if resumed < before => {
                Err(format!("of {before} bytes that were claimed it kept {resumed}"))
            }
            Some(0) => Ok(()),
            _ if self.copy.exists() => Ok(()),
            _ => Err(format!("let alone: {ended:?}")),
        }
    }

    /// What stands at the end of a transfer, and what it took.
    fn judge(&mut self) -> Result<(), String> {
        self.state.compare(&self.copy)?;
        let left: Vec<_> = fs::read_dir(&self.home).into_iter().flatten().flatten().collect();
        if left.len() != 1 {
            let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
            return Err(format!("what is left: {names:?}"));
        }
        let bound = self.bytes + self.kills * self.seen.bound.bytes();
        if self.carried > bound || self.carried < self.bytes {
            return Err(format!(
                "{} bytes were carried for {}, in {} kills",
                self.carried, self.bytes, self.kills
            ));
        }
        self.seen.transfers += 1;
        (self.carried, self.kills) = (0, 0);
        Ok(())
    }

    fn begin_anew(&mut self) -> Result<(), String> {
        self.judge()?;
        fs::remove_dir_all(&self.copy).map_err(|error| error.to_string())
    }
}
