//! `longhaul verify`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use longhaul::{Comparison, Error, ErrorKind, Progress, Receipt};

use crate::args::Verify;
use crate::json;
use crate::output::{Output, describe};
use crate::signals::Interrupt;

/// Differences that are shown to a person.
const SHOWN: usize = 20;

/// Returns what to exit with.
pub(crate) fn run(args: &Verify, output: &Output) -> Result<u8, Error> {
    let expected = args.receipt.as_deref().map(read_receipt).transpose()?;
    let mut verify = longhaul::verify(&args.path)
        .hard_links(args.hard_links.into())
        .progress(Arc::new(Stop(output.interrupt().clone())));
    if let Some(integrity) = args.integrity {
        verify = verify.integrity(integrity.into());
    }
    let comparison = match (&args.other, &expected) {
        (Some(other), _) => verify.compare(other)?,
        (None, Some(receipt)) => {
            if args.integrity.is_some_and(|integrity| receipt.root.integrity != integrity.into()) {
                let message = format!("the receipt's root is {}", receipt.root.integrity);
                return Err(Error::new(ErrorKind::Usage, message).with_hint("leave --integrity out"));
            }
            verify.check(receipt)?
        }
        (None, None) => {
            let receipt = verify.receipt()?;
            output.object(&json::verified(&receipt, false));
            output.answer(&receipt.root.to_string());
            return Ok(0);
        }
    };
    if comparison.is_same() {
        output.object(&json::verified(&comparison.state, true));
        output.answer(&format!("{}\nthe same", comparison.state.root));
        return Ok(0);
    }
    Ok(tell(&comparison, output))
}

fn tell(comparison: &Comparison, output: &Output) -> u8 {
    let Comparison { state, other, .. } = comparison;
    let error =
        Error::new(ErrorKind::Integrity, format!("the states differ: {} and {}", state.root, other.root));
    let code = output.exit_code(&error);
    for difference in comparison.differences.iter().take(SHOWN) {
        output.answer(&difference.to_string());
    }
    let shown = comparison.differences.len().min(SHOWN) as u64;
    if comparison.differences.is_empty() {
        output.answer(&format!(
            "{} items, {} bytes here; {} items, {} bytes there",
            state.items, state.bytes, other.items, other.bytes
        ));
    } else if comparison.differences_total > shown {
        output.answer(&format!("and {} more", comparison.differences_total - shown));
    }
    output.note(&describe(&error));
    output.object(&json::different(comparison, &error, code));
    code
}

fn read_receipt(path: &Path) -> Result<Receipt, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("{} can't be read: {error}", path.display())).with_cause(error)
    })?;
    Receipt::from_json(&text)
}

/// A signal stops the reading.
struct Stop(Interrupt);

impl Progress for Stop {
    fn advance(&self, _done: u64) -> bool {
        !self.0.is_interrupted()
    }
}
