//! The scenario language: one case a line.
//!
//! ```text
//! NAME: CLAUSE; CLAUSE; ...          empty lines and lines that begin with # are left out
//!
//! the connection of a large file is cut: files 3; big 1; cut 0-1 lane 1 at 5ms; expect published
//! ```
//!
//! | clause | means | without it |
//! | --- | --- | --- |
//! | `members N` | hosts 0 to N - 1, a member on each | 2 |
//! | `give A->B` | A gives a state of its own to B; may be repeated; what two hosts give each other is one session, a task each | `give 0->1` |
//! | `provider dials`, `joiner dials` | who dials whom | `joiner dials` |
//! | `state directory`, `file`, `stream` | what each state is | `directory` |
//! | `files N`, `big N`, `links N` | small files, files of some runs, symbolic links (and as many sets of hard links at most) | 10, 0, 2 |
//! | `lanes N`, `chunk SIZE`, `reads N` | data lanes, chunk, reads under way a lane | 2, 64k, 2 |
//! | `integrity none`, `crc32c`, `blake3` | checksums | `crc32c` |
//! | `old`, `no replace` | destinations hold an old state; it may not be replaced | nothing there |
//! | `latency TIME`, `bandwidth SIZE` | the longest delay of a packet; bytes a second and connection | 2ms, 1g |
//! | `flips one in N` | a delivery has a flipped bit | never |
//! | `read errors one in N`, `write errors ...`, `sync errors ...` | a call of that kind fails | never |
//! | `deaths one in N` | a joiner's process is killed, or its power goes, before a step of a landing | never |
//! | `cut A-B lane N at TIME` | that connection of each session between the two breaks | |
//! | `block A->B at TIME for TIME` | nothing gets from A to B | |
//! | `kill A at TIME for TIME` | the process is killed, and starts again after that time | |
//! | `crash A at TIME for TIME` | the power goes, and comes back | |
//! | `sleep A at TIME for TIME` | the process is stopped; time goes on | |
//! | `leap A at TIME by TIME` | the clock leaps forward | |
//! | `freeze A at TIME for TIME` | the clock stands still | |
//! | `change at TIME for TIME` | all processes are killed, and start again after that time; what they give has changed meanwhile | |
//! | `snapshot A at TIME` | the disk is remembered, as a power cut would leave it | |
//! | `rollback A at TIME for TIME` | the disk is what was remembered last, or what it began with; all processes start again after that time | |
//! | `older A at TIME for TIME` | the process is killed, and one that knows no journal of today's takes its place for that time | |
//! | `calm at TIME` | faults stop: errors, flips, blocks; what follows must succeed | 2s |
//! | `expect published`, `expect fails REASON` | how it ends; what fails is not tried again | `published` |
//! | `attempts N` | no more plans than that are begun | any |
//! | `resumes N`, `loses N lanes` | at least so many connections are replaced, data lanes die alone | any |
//! | `keeps N`, `recovers N` | at least so many items are gone on with, states seen through for a process that is gone | any |
//! | `no resume` | a lost connection fails its session | it goes on |
//! | `checkpoint every N` | after N items a joiner makes durable what it has | only at the end |
//! | `journal every N` | a joiner keeps a journal, brought up to date after N items; a process that starts again goes on from it | none |
//! | `seed N` | of what is left to chance | 1 |
//!
//! Times are whole numbers of `ns`, `us`, `ms` or `s`; sizes may end with `k`, `m` or `g` (powers of 1024).

use std::fmt::{self, Write};

use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::source::Shape;

use super::case::{Case, Expected, Give};
use super::faults::{Fault, Timed};
use super::member::SESSIONS;
use super::session::LANES;
use crate::seeds;

const TIMES: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1)];
const SIZES: [(&str, u64); 3] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
const SHAPES: [(&str, Shape); 3] =
    [("directory", Shape::Directory), ("file", Shape::File), ("stream", Shape::Stream)];
const INTEGRITIES: [Integrity; 3] = [Integrity::None, Integrity::Crc32c, Integrity::Blake3];

/// The cases of a file, each with the number of its line.
///
/// # Errors
/// The first line that is no case, and why.
pub fn parse_all(text: &str) -> Result<Vec<(usize, Case)>, String> {
    seeds::parse_all(text, parse)
}

/// The case that a line writes down.
///
/// # Errors
/// The clause that is wrong, and what was expected in its place.
pub fn parse(line: &str) -> Result<Case, String> {
    let (name, clauses) = line.split_once(':').ok_or("a case is `NAME: CLAUSE; CLAUSE; ...`")?;
    let mut case = Case { name: name.trim().to_owned(), ..Case::default() };
    let mut gives = Vec::new();
    for clause in clauses.split(';').map(str::trim).filter(|clause| !clause.is_empty()) {
        let mut words = Words { clause, rest: clause.split_whitespace() };
        words.clause(&mut case, &mut gives)?;
        words.end()?;
    }
    if !gives.is_empty() {
        case.transfers = gives;
    }
    case.faults.sort_by_key(|timed| timed.at);
    check(&case)?;
    Ok(case)
}

/// What no clause alone can tell.
fn check(case: &Case) -> Result<(), String> {
    let named = case.transfers.iter().flat_map(|give| [give.provider, give.joiner]);
    let named = named.chain(case.faults.iter().map(|timed| timed.fault.highest_host()));
    if let Some(host) = named.max().filter(|host| *host >= case.members) {
        return Err(format!(
            "host {host} is named, and the hosts are 0 to {}",
            case.members.saturating_sub(1)
        ));
    }
    if let Some(give) = case.transfers.iter().find(|give| give.provider == give.joiner) {
        return Err(format!("`give {give}`: to itself"));
    }
    if case.lanes == 0 || usize::from(case.lanes) >= LANES {
        return Err(format!("`lanes {}`: 1 to {} data lanes", case.lanes, LANES - 1));
    }
    if case.reads == 0 || case.reads > 8 {
        return Err(format!("`reads {}`: 1 to 8 reads a lane", case.reads));
    }
    if case.transfers.len() > SESSIONS {
        return Err(format!("at most {SESSIONS} transfers"));
    }
    if case.wires.latency == 0 || case.wires.bandwidth == 0 {
        return Err("a packet takes some time, and a second takes some bytes".into());
    }
    if case.integrity == Integrity::None && case.rates.flips > 0 {
        return Err("without checksums nobody can tell that bits flipped".into());
    }
    Ok(())
}

struct Words<'a> {
    clause: &'a str,
    rest: std::str::SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn clause(&mut self, case: &mut Case, gives: &mut Vec<Give>) -> Result<(), String> {
        match self.next("a clause")? {
            "seed" => case.seed = self.number()?,
            "members" => case.members = self.number()? as usize,
            "give" => {
                let (provider, joiner) = self.pair("->")?;
                gives.push(Give { provider, joiner });
            }
            who @ ("provider" | "joiner") => {
                self.word("dials")?;
                case.joiner_dials = who == "joiner";
            }
            "state" => case.size.shape = self.one_of(&SHAPES)?,
            "files" => case.size.files = self.number()?,
            "big" => case.size.big = self.number()?,
            "links" => case.size.links = self.number()?,
            "lanes" => case.lanes = self.number()? as u16,
            "reads" => case.reads = self.number()? as u8,
            "chunk" => {
                let bytes = self.size()?;
                let chunk = u32::try_from(bytes).ok().and_then(ChunkLen::new);
                case.chunk =
                    chunk.ok_or_else(|| self.wrong("a power of two of 4k to 4m", &bytes.to_string()))?;
            }
            "integrity" => case.integrity = self.one_of(&INTEGRITIES.map(|kind| (kind.name(), kind)))?,
            "old" => case.old = true,
            "no" if self.one_of(&[("replace", true), ("resume", false)])? => case.replace = false,
            "no" => case.resume = false,
            "checkpoint" => {
                self.word("every")?;
                case.checkpoint_every = self.number()?;
            }
            "journal" => {
                self.word("every")?;
                case.journal_every = self.number()?;
            }
            "latency" => case.wires.latency = self.time()?,
            "bandwidth" => case.wires.bandwidth = self.size()?,
            "flips" => case.rates.flips = self.one_in()?,
            "read" => case.rates.read_errors = self.errors()?,
            "write" => case.rates.write_errors = self.errors()?,
            "sync" => case.rates.sync_errors = self.errors()?,
            "deaths" => case.rates.deaths = self.one_in()?,
            "calm" => {
                self.word("at")?;
                case.calm = self.time()?;
            }
            "attempts" => case.attempts = Some(self.number()?),
            "resumes" => case.resumes = self.number()?,
            "loses" => {
                case.loses = self.number()?;
                self.word("lanes")?;
            }
            "keeps" => case.keeps = self.number()?,
            "recovers" => case.recovers = self.number()?,
            "expect" => case.expected = self.expected()?,
            fault => {
                let timed = self.fault(fault)?;
                case.faults.push(timed);
            }
        }
        Ok(())
    }

    fn fault(&mut self, kind: &str) -> Result<Timed, String> {
        let known = [
            "cut", "block", "kill", "crash", "sleep", "leap", "freeze", "change", "snapshot", "rollback",
            "older",
        ];
        if !known.contains(&kind) {
            return Err(self.wrong("a clause of the scenario language", kind));
        }
        if kind == "cut" {
            let between = self.pair("-")?;
            self.word("lane")?;
            let lane = self.number()? as usize;
            self.word("at")?;
            return Ok(Timed { at: self.time()?, fault: Fault::Cut { between, lane } });
        }
        let hosts = match kind {
            "block" => self.pair("->")?,
            "change" => (0, 0),
            _ => (self.number()? as usize, 0),
        };
        self.word("at")?;
        let at = self.time()?;
        if kind == "snapshot" {
            return Ok(Timed { at, fault: Fault::Snapshot { host: hosts.0 } });
        }
        self.word(if kind == "leap" { "by" } else { "for" })?;
        let nanos = self.time()?;
        let host = hosts.0;
        let fault = match kind {
            "block" => Fault::Block { from: hosts.0, to: hosts.1, nanos },
            "kill" => Fault::Kill { host, nanos },
            "crash" => Fault::Crash { host, nanos },
            "sleep" => Fault::Sleep { host, nanos },
            "leap" => Fault::Leap { host, nanos },
            "change" => Fault::Change { nanos },
            "rollback" => Fault::RollBack { host, nanos },
            "older" => Fault::Older { host, nanos },
            _ => Fault::Freeze { host, nanos },
        };
        Ok(Timed { at, fault })
    }

    fn expected(&mut self) -> Result<Expected, String> {
        match self.next("`published` or `fails REASON`")? {
            "published" => Ok(Expected::Published),
            "fails" => {
                let reasons: Vec<(&str, Reason)> =
                    Reason::ALL.iter().map(|reason| (reason.name(), *reason)).collect();
                Ok(Expected::Fails(self.one_of(&reasons)?))
            }
            other => Err(self.wrong("`published` or `fails REASON`", other)),
        }
    }

    fn next(&mut self, expected: &str) -> Result<&'a str, String> {
        self.rest.next().ok_or_else(|| format!("`{}`: {expected} is missing", self.clause))
    }

    fn end(&mut self) -> Result<(), String> {
        self.rest.next().map_or(Ok(()), |word| Err(self.wrong("the end of the clause", word)))
    }

    fn wrong(&self, expected: &str, found: &str) -> String {
        format!("`{}`: expected {expected}, found `{found}`", self.clause)
    }

    fn word(&mut self, expected: &str) -> Result<(), String> {
        let found = self.next(&format!("`{expected}`"))?;
        if found == expected { Ok(()) } else { Err(self.wrong(&format!("`{expected}`"), found)) }
    }

    fn number(&mut self) -> Result<u64, String> {
        let word = self.next("a number")?;
        word.parse().map_err(|_| self.wrong("a number", word))
    }

    fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, String> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        let word = self.next(&expected)?;
        let found = choices.iter().find(|(name, _)| *name == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| self.wrong(&expected, word))
    }

    fn pair(&mut self, between: &str) -> Result<(usize, usize), String> {
        let expected = format!("two hosts, as `0{between}1`");
        let word = self.next(&expected)?;
        let pair = word.split_once(between).and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        pair.ok_or_else(|| self.wrong(&expected, word))
    }

    fn errors(&mut self) -> Result<u64, String> {
        self.word("errors")?;
        self.one_in()
    }

    fn one_in(&mut self) -> Result<u64, String> {
        self.word("one")?;
        self.word("in")?;
        self.number()
    }

    fn time(&mut self) -> Result<u64, String> {
        let word = self.next("a time")?;
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = TIMES.iter().find(|(unit, _)| *unit == &word[digits.len()..]);
        let nanos = unit.and_then(|(_, nanos)| digits.parse::<u64>().ok()?.checked_mul(*nanos));
        nanos.ok_or_else(|| self.wrong("a time, as `5ms`", word))
    }

    fn size(&mut self) -> Result<u64, String> {
        let word = self.next("a size")?;
        let unit = SIZES.iter().find(|(unit, _)| word.ends_with(unit));
        let (digits, bytes) = unit.map_or((word, 1), |(unit, bytes)| (word.trim_end_matches(unit), *bytes));
        let size = digits.parse::<u64>().ok().and_then(|digits| digits.checked_mul(bytes));
        size.ok_or_else(|| self.wrong("a size, as `64k`", word))
    }
}

impl fmt::Display for Give {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.provider, self.joiner)
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = time(self.at);
        match self.fault {
            Fault::Cut { between: (a, b), lane } => write!(f, "cut {a}-{b} lane {lane} at {at}"),
            Fault::Block { from, to, nanos } => write!(f, "block {from}->{to} at {at} for {}", time(nanos)),
            Fault::Kill { host, nanos } => write!(f, "kill {host} at {at} for {}", time(nanos)),
            Fault::Crash { host, nanos } => write!(f, "crash {host} at {at} for {}", time(nanos)),
            Fault::Sleep { host, nanos } => write!(f, "sleep {host} at {at} for {}", time(nanos)),
            Fault::Leap { host, nanos } => write!(f, "leap {host} at {at} by {}", time(nanos)),
            Fault::Freeze { host, nanos } => write!(f, "freeze {host} at {at} for {}", time(nanos)),
            Fault::Change { nanos } => write!(f, "change at {at} for {}", time(nanos)),
            Fault::Snapshot { host } => write!(f, "snapshot {host} at {at}"),
            Fault::RollBack { host, nanos } => write!(f, "rollback {host} at {at} for {}", time(nanos)),
            Fault::Older { host, nanos } => write!(f, "older {host} at {at} for {}", time(nanos)),
        }
    }
}

impl fmt::Display for Case {
    /// The line that parses to this case; what every case has is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        let mut clauses = String::new();
        let mut say = |differs: bool, clause: String| {
            if differs {
                // Writing to a string can't fail.
                let _ = write!(clauses, "; {clause}");
            }
        };
        say(self.seed != usual.seed, format!("seed {}", self.seed));
        say(self.members != usual.members, format!("members {}", self.members));
        for give in &self.transfers {
            say(self.transfers != usual.transfers, format!("give {give}"));
        }
        say(!self.joiner_dials, "provider dials".into());
        let shape = SHAPES.iter().find(|(_, shape)| *shape == self.size.shape).map_or("", |(name, _)| name);
        say(self.size.shape != usual.size.shape, format!("state {shape}"));
        say(self.size.files != usual.size.files, format!("files {}", self.size.files));
        say(self.size.big != usual.size.big, format!("big {}", self.size.big));
        say(self.size.links != usual.size.links, format!("links {}", self.size.links));
        say(self.lanes != usual.lanes, format!("lanes {}", self.lanes));
        say(self.chunk != usual.chunk, format!("chunk {}", size(self.chunk.bytes().into())));
        say(self.reads != usual.reads, format!("reads {}", self.reads));
        say(self.integrity != usual.integrity, format!("integrity {}", self.integrity));
        say(self.old, "old".into());
        say(!self.replace, "no replace".into());
        say(!self.resume, "no resume".into());
        say(self.checkpoint_every > 0, format!("checkpoint every {}", self.checkpoint_every));
        say(self.journal_every > 0, format!("journal every {}", self.journal_every));
        say(self.wires.latency != usual.wires.latency, format!("latency {}", time(self.wires.latency)));
        say(
            self.wires.bandwidth != usual.wires.bandwidth,
            format!("bandwidth {}", size(self.wires.bandwidth)),
        );
        for (what, rate) in [
            ("flips", self.rates.flips),
            ("read errors", self.rates.read_errors),
            ("write errors", self.rates.write_errors),
            ("sync errors", self.rates.sync_errors),
            ("deaths", self.rates.deaths),
        ] {
            say(rate > 0, format!("{what} one in {rate}"));
        }
        for timed in &self.faults {
            say(true, timed.to_string());
        }
        say(self.calm != usual.calm, format!("calm at {}", time(self.calm)));
        say(self.attempts.is_some(), format!("attempts {}", self.attempts.unwrap_or_default()));
        say(self.resumes > 0, format!("resumes {}", self.resumes));
        say(self.loses > 0, format!("loses {} lanes", self.loses));
        say(self.keeps > 0, format!("keeps {}", self.keeps));
        say(self.recovers > 0, format!("recovers {}", self.recovers));
        match self.expected {
            Expected::Published => say(true, "expect published".into()),
            Expected::Fails(reason) => say(true, format!("expect fails {reason}")),
        }
        write!(f, "{}: {}", self.name, clauses.trim_start_matches("; "))
    }
}

fn time(nanos: u64) -> String {
    let unit = TIMES.iter().find(|(_, unit)| nanos.is_multiple_of(*unit) && nanos > 0);
    unit.map_or_else(|| "0s".into(), |(name, unit)| format!("{}{name}", nanos / unit))
}

fn size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(_, unit)| bytes.is_multiple_of(*unit) && bytes > 0);
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_seed_draws_is_a_line_that_says_the_same() {
        for seed in 0..2000 {
            let case = Case::draw(seed);
            assert_eq!(parse(&case.to_string()), Ok(case));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (line, words) in [
            ("no colon", "a case is `NAME: CLAUSE; CLAUSE; ...`"),
            ("x: files many", "`files many`: expected a number, found `many`"),
            ("x: files", "`files`: a number is missing"),
            ("x: files 3 4", "`files 3 4`: expected the end of the clause, found `4`"),
            (
                "x: explode 1 at 3ms",
                "`explode 1 at 3ms`: expected a clause of the scenario language, found `explode`",
            ),
            ("x: cut 0-1 lan 2", "`cut 0-1 lan 2`: expected `lane`, found `lan`"),
            ("x: cut 01 lane 2", "`cut 01 lane 2`: expected two hosts, as `0-1`, found `01`"),
            ("x: kill 1 at soon for 1s", "`kill 1 at soon for 1s`: expected a time, as `5ms`, found `soon`"),
            ("x: kill 2 at 1s for 1s", "host 2 is named, and the hosts are 0 to 1"),
            ("x: chunk 5k", "`chunk 5k`: expected a power of two of 4k to 4m, found `5120`"),
            ("x: give 1->1", "`give 1->1`: to itself"),
            ("x: lanes 9", "`lanes 9`: 1 to 3 data lanes"),
        ] {
            assert_eq!(parse(line), Err(words.to_owned()), "{line}");
        }
        assert_eq!(parse_all("\n# c\n\nx: files\n").unwrap_err(), "line 4: `files`: a number is missing");
    }
}
