//! Results as a person reads them.

use std::path::Path;

use indicatif::BinaryBytes;
use longhaul::{Summary, Survey};

use crate::args::Common;

/// One or two lines about a transfer that succeeded.
pub(crate) fn summary(verb: &str, summary: &Summary, place: &str) -> String {
    let mut text = format!(
        "{verb} {} items, {} in {:.2} s ({}/s): {place}\nroot {}",
        summary.items,
        BinaryBytes(summary.bytes),
        summary.duration.as_secs_f64(),
        BinaryBytes(summary.bytes_per_second() as u64),
        summary.root,
    );
    if !summary.confirmed {
        text.push_str("\nthe joiner did not say whether it has published");
    }
    if let Some(caveat) = summary.caveat {
        text.push_str("\ndurability: ");
        text.push_str(caveat);
    }
    text
}

/// What would come.
pub(crate) fn dry_run(survey: &Survey, destination: &Path) -> String {
    let bytes = survey.bytes.map_or("bytes of unknown number".into(), |bytes| BinaryBytes(bytes).to_string());
    format!("would fetch {} items, {bytes}, into {}: nothing was moved", survey.items, destination.display())
}

/// `--buffer-memory` in bytes.
pub(crate) fn buffer_bytes(common: &Common) -> usize {
    usize::try_from(common.buffer_memory.as_u64()).unwrap_or(usize::MAX)
}
