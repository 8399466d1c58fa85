//! `longhaul staging`: what interrupted transfers have left.

use std::path::Path;
use std::time::{Duration, SystemTime};

use longhaul::state::Staging;
use longhaul::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::args::{StagingArgs, StagingCommand};
use crate::output::Output;

pub(crate) fn run(args: &StagingArgs, output: &Output) -> Result<(), Error> {
    match &args.command {
        StagingCommand::List { directory, .. } => {
            let found = Staging::list(directory).map_err(|error| unreadable(directory, error))?;
            for staging in &found {
                output.result(&words(staging));
            }
            if found.is_empty() {
                output.result("nothing is staged here");
            }
            output
                .object(&json!({ "result": "ok", "staging": found.iter().map(object).collect::<Vec<_>>() }));
        }
        StagingCommand::Show { destination, .. } => {
            let found = Staging::of(destination).map_err(|error| unreadable(destination, error))?;
            let staging = found.ok_or_else(|| nothing(destination))?;
            output.result(&words(&staging));
            output.object(&json!({ "result": "ok", "staging": object(&staging) }));
        }
        StagingCommand::Discard { destination, .. } => {
            if !Staging::discard(destination)? {
                return Err(nothing(destination));
            }
            output.result(&format!("what was staged for {} is given up", destination.display()));
            output.object(&json!({ "result": "ok" }));
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("{} can't be looked at: {error}", path.display());
    Error::new(ErrorKind::Destination, message).with_cause(error)
}

fn nothing(destination: &Path) -> Error {
    let message = format!("nothing is staged for {}", destination.display());
    Error::new(ErrorKind::Usage, message).with_hint("longhaul staging list DIR shows what is staged in DIR")
}

/// For a person.
fn words(staging: &Staging) -> String {
    let what = match &staging.journal {
        Err(error) => error.to_string(),
        Ok(None) => "no journal: the next transfer begins anew".into(),
        Ok(Some((journal, claimed))) if journal.ready.is_some() => {
            format!("complete: the next transfer publishes it ({} bytes)", claimed.bytes)
        }
        Ok(Some((journal, claimed))) => {
            let since = SystemTime::UNIX_EPOCH + Duration::from_secs(journal.since);
            let age = since.elapsed().unwrap_or_default().as_secs();
            format!(
                "{} whole files, {} bytes durable; run {}, begun {} ago",
                claimed.files,
                claimed.bytes,
                journal.run,
                humantime::format_duration(Duration::from_secs(age)),
            )
        }
    };
    let held = staging.held.as_ref().map_or(String::new(), |who| format!("; held by {who}"));
    format!("{}: {what}{held}", staging.destination.display())
}

/// For a machine.
fn object(staging: &Staging) -> Value {
    let journal = match &staging.journal {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(None) => Value::Null,
        Ok(Some((journal, claimed))) => json!({
            "run": journal.run,
            "since": journal.since,
            "files": claimed.files,
            "bytes": claimed.bytes,
            "ready": journal.ready.is_some(),
        }),
    };
    json!({
        "destination": staging.destination.display().to_string(),
        "path": staging.path.display().to_string(),
        "held": staging.held,
        "journal": journal,
    })
}
