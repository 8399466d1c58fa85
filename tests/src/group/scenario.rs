//! The scenario language of groups: one case a line.
//!
//! ```text
//! NAME: group; CLAUSE; CLAUSE; ...       empty lines and lines that begin with # are left out
//!
//! a provider dies at its latch: group; kill provider of 3 at 60ms for 1s; expect serves 2
//! ```
//!
//! | clause | means | without it |
//! | --- | --- | --- |
//! | `group` | the line is of this language; the first clause | |
//! | `members N` | hosts 0 to N - 1 have a state from the start | 3 |
//! | `join at TIME` | one more host starts, and joins; may be repeated | one at 20ms |
//! | `total order` | all messages in one order | order per sender |
//! | `fuzzy` | captures are scans | atomic |
//! | `by copy`, `streaming`, `flush`, `prefetch` | the state is fetched so; `copy` and `prefetch` in total order | a live transfer |
//! | `quorum`, `all` | by copy, from most or from all | from one |
//! | `strict` | the channel brings all once and in order, and nothing again | late, twice, and again when asked |
//! | `queue N` | bytes that a joiner may queue | 1048576 |
//! | `latency TIME`, `write every TIME` | the longest time of a packet; between two writes of a member | 1ms, 4ms |
//! | `two phases one in N` | of the writes; 0: none | 3 |
//! | `lost one in N`, `flips one in N` | messages come late, payloads are not what was announced; 0: never | 0, 0 |
//! | `bulk N of TIME`, `staging TIME` | pieces of the bulk, and each one's time; the time to stage what came | 8 of 4ms, 1ms |
//! | `lease TIME`, `budget TIME`, `log N` | of the latch; bytes of log that are kept | 100ms, 10ms, 1048576 |
//! | `policy throttle`, `wait`, `fail`, `latch` | when the log does not converge | `latch` |
//! | `skew N` | how far clocks run off, in thousandths | 0 |
//! | `kill N at TIME for TIME`, `kill provider of N at ...`, `sleep N at ...`, `isolate N at ...`, `retire N at ...` | see the faults | |
//! | `block A->B at TIME for TIME`, `cut N at TIME`, `lose N at TIME`, `leap N at TIME by TIME` | | |
//! | `rejoin N at TIME` | a member that has a state gets another one | never |
//! | `calm at TIME`, `quiet after TIME` | faults stop; so long after that writers do | 300ms, 300ms |
//! | `expect serves N`, `rejoins N`, `stays N`, `aborts N`, `doubts N`, `releases N`, `pending N` | at least so many | any |
//! | `expect while writing` | all serve before writers stop | any |
//! | `seed N` | of what is left to chance | 1 |
//!
//! Times are whole numbers of `ns`, `us`, `ms` or `s`.

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use longhaul_core::transfer::fetch::{Protocol, Want};
use longhaul_core::transfer::live::Policy;

use super::case::Case;
use super::faults::{Fault, Timed};
use crate::seeds;

const TIMES: [(&str, u64); 4] = [("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000)];
const POLICIES: [(&str, Policy); 4] = [
    ("throttle", Policy::Throttle),
    ("wait", Policy::Wait),
    ("fail", Policy::Fail),
    ("latch", Policy::LatchNow),
];
const PROTOCOLS: [(&str, Protocol); 4] = [
    ("copy", Protocol::Copy),
    ("streaming", Protocol::Streaming),
    ("flush", Protocol::Flush),
    ("prefetch", Protocol::Prefetch),
];

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
/// The clause that is wrong.
pub fn parse(line: &str) -> Result<Case, String> {
    let (name, clauses) = line.split_once(':').ok_or("a case is `NAME: group; CLAUSE; ...`")?;
    let mut clauses = clauses.split(';').map(str::trim).filter(|clause| !clause.is_empty());
    if clauses.next() != Some("group") {
        return Err("the first clause of a group's case is `group`".into());
    }
    let mut case = Case { name: name.trim().to_owned(), ..Case::default() };
    let mut joiners = Vec::new();
    for clause in clauses {
        let mut words = clause.split_whitespace();
        let read = read(&mut words, &mut case, &mut joiners);
        if read.is_none() || words.next().is_some() {
            return Err(format!("`{clause}`: no clause of a group's case"));
        }
    }
    if !joiners.is_empty() {
        case.joiners = joiners;
    }
    case.faults.sort_by_key(|timed| timed.at);
    let highest = case.faults.iter().map(|timed| timed.fault.highest_host()).max().unwrap_or(0);
    let small = case.members > 0 && case.hosts() <= 7 && highest < case.hosts();
    if small { Ok(case) } else { Err("a group has one to seven hosts, numbered from 0".into()) }
}

fn read(words: &mut SplitWhitespace<'_>, case: &mut Case, joiners: &mut Vec<u64>) -> Option<()> {
    match words.next()? {
        "members" => case.members = number(words)?,
        "join" => joiners.push(timed(words, "at")?),
        "total" => {
            word(words, "order")?;
            case.total = true;
        }
        "fuzzy" => case.fuzzy = true,
        "latency" => case.latency = time(words)?,
        "write" => case.every = timed(words, "every")?,
        "two" => {
            word(words, "phases")?;
            case.two_phase_one_in = one_in(words)?;
        }
        "lost" => case.lost_one_in = one_in(words)?,
        "flips" => case.flips_one_in = one_in(words)?,
        "bulk" => {
            case.pieces = number(words)?;
            case.piece = timed(words, "of")?;
        }
        "staging" => case.staging = time(words)?,
        "lease" => case.lease = time(words)?,
        "budget" => case.budget = time(words)?,
        "log" => case.log_bytes = number(words)?,
        "policy" => {
            let named = words.next()?;
            case.policy = POLICIES.into_iter().find(|(name, _)| *name == named)?.1;
        }
        "skew" => case.skew = number(words)?,
        "calm" => case.calm = timed(words, "at")?,
        "quiet" => case.quiet = timed(words, "after")?,
        "seed" => case.seed = number(words)?,
        "expect" => expect(words, case)?,
        "by" => {
            let named = words.next()?;
            let protocol = PROTOCOLS.into_iter().find(|(name, _)| *name == named)?.1;
            case.protocol = Some(protocol);
            case.total = matches!(protocol, Protocol::Copy | Protocol::Prefetch);
        }
        "quorum" => case.want = Want::Quorum,
        "all" => case.want = Want::All,
        "strict" => case.strict = true,
        "queue" => case.queue_bytes = number(words)?,
        fault => {
            let timed = read_fault(fault, words)?;
            case.faults.push(timed);
        }
    }
    Some(())
}

fn expect(words: &mut SplitWhitespace<'_>, case: &mut Case) -> Option<()> {
    let expected = &mut case.expected;
    match words.next()? {
        "serves" => expected.served = number(words)?,
        "rejoins" => expected.rejoined = number(words)?,
        "stays" => expected.stayed = number(words)?,
        "aborts" => expected.aborted = number(words)?,
        "doubts" => expected.doubts = number(words)?,
        "releases" => expected.released = number(words)?,
        "pending" => expected.pending = number(words)?,
        "while" => {
            word(words, "writing")?;
            expected.while_writing = true;
        }
        _ => return None,
    }
    Some(())
}

fn read_fault(fault: &str, words: &mut SplitWhitespace<'_>) -> Option<Timed> {
    let first = words.next()?;
    let host = || first.parse::<usize>().ok();
    Some(match fault {
        "kill" if first == "provider" => {
            let host = {
                word(words, "of")?;
                number(words)?
            };
            let (at, down) = (timed(words, "at")?, timed(words, "for")?);
            Timed { at, fault: Fault::KillProviderOf { host, down } }
        }
        "kill" => {
            let (at, down) = (timed(words, "at")?, timed(words, "for")?);
            Timed { at, fault: Fault::Kill { host: host()?, down } }
        }
        "sleep" => {
            let (at, time) = (timed(words, "at")?, timed(words, "for")?);
            Timed { at, fault: Fault::Sleep { host: host()?, time } }
        }
        "isolate" => {
            let (at, time) = (timed(words, "at")?, timed(words, "for")?);
            Timed { at, fault: Fault::Isolate { host: host()?, time } }
        }
        "retire" => {
            let (at, time) = (timed(words, "at")?, timed(words, "for")?);
            Timed { at, fault: Fault::Retire { host: host()?, time } }
        }
        "block" => {
            let (from, to) = first.split_once("->")?;
            let (at, time) = (timed(words, "at")?, timed(words, "for")?);
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            Timed { at, fault: Fault::Block { from, to, time } }
        }
        "rejoin" => Timed { at: timed(words, "at")?, fault: Fault::Rejoin { host: host()? } },
        "lose" => Timed { at: timed(words, "at")?, fault: Fault::Lose { host: host()? } },
        "cut" => Timed { at: timed(words, "at")?, fault: Fault::Cut { host: host()? } },
        "leap" => {
            let (at, by) = (timed(words, "at")?, timed(words, "by")?);
            Timed { at, fault: Fault::Leap { host: host()?, by } }
        }
        _ => return None,
    })
}

fn word(words: &mut SplitWhitespace<'_>, expected: &str) -> Option<()> {
    (words.next()? == expected).then_some(())
}

fn number<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn one_in(words: &mut SplitWhitespace<'_>) -> Option<u64> {
    word(words, "one")?;
    word(words, "in")?;
    number(words)
}

fn timed(words: &mut SplitWhitespace<'_>, before: &str) -> Option<u64> {
    word(words, before)?;
    time(words)
}

fn time(words: &mut SplitWhitespace<'_>) -> Option<u64> {
    let text = words.next()?;
    let (digits, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let nanos = TIMES.into_iter().find(|(name, _)| *name == unit)?.1;
    digits.parse::<u64>().ok()?.checked_mul(nanos)
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: group; {self:?}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_what_is_none_is_refused() {
        let case = parse("a: group; members 2; join at 5ms; join at 7ms; kill provider of 2 at 60ms for 1s")
            .unwrap();
        assert_eq!((case.members, case.joiners.len(), case.faults[0].at), (2, 2, 60_000_000));
        assert!(parse("a: group; kill 9 at 1ms for 1ms").unwrap_err().contains("hosts"));
        assert!(parse("a: group; sleep 1 at noon for 1s").unwrap_err().contains("sleep"));
        assert!(parse("a: members 2").is_err());
    }
}
