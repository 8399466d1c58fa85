//! The joiner's process: it gets the state, serves, and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul::live::{Fetched, Member};
use serde_json::json;

use crate::engine::Engine;
use crate::provider::{At, Everything, config};
use crate::run::tell;

const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn run(address: &str, priority: At) -> Result<(), Box<dyn std::error::Error>> {
    let engine = Arc::new(Engine::default());
    let builder = Member::builder(config(2)?, engine as _, Arc::new(Everything));
    let member = builder.listen("127.0.0.1:0").priority(priority.priority()).join()?;
    let started = Instant::now();
    let fetched = member.fetch_state(&[address], b"", TIMEOUT)?.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    let Fetched::State(state) = fetched else { return Err("there was no state to be had".into()) };
    let bulk = state.bulk.ok_or("nothing was moved")?;
    Ok(tell(&json!({ "seconds": seconds, "bytes": bulk.bytes, "root": bulk.root.to_string() }))?)
}
