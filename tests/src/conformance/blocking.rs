//! A user's source or sink that does not come back: its session ends by the stall timeout, and waits for nobody.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::reason::Reason;
use longhaul_state::sink::MemorySink;
use longhaul_state::source::MemorySource;
use longhaul_state::transfer::{Control, Stage};

use super::doubles::{Giving, Meddled, MeddledSink, Taking};
use super::tree::noise;
use super::{Party, Rig, Settings};

/// Large enough for data lanes.
const LEN: usize = 5_000_000;

fn memory() -> MemorySource {
    MemorySource::new(noise(1, LEN).into())
}

/// Comes back when the session that called is over, which does not wait for it.
fn until_over(party: &Party) -> impl Fn() + Send + Sync + use<> {
    let control: Arc<Control> = Arc::clone(&party.control);
    move || super::eventually("the session is over", || control.stats().stage == Stage::Over)
}

fn impatient() -> Settings {
    let mut settings = Settings::default();
    for party in [&mut settings.provider, &mut settings.joiner] {
        party.options.stall_timeout = Duration::from_millis(400);
    }
    settings
}

/// Survey, walk, next, open, read, close.
pub fn a_source_that_blocks_anywhere_stalls_the_session(rig: &Rig<'_>) {
    for at in Giving::ALL {
        let settings = impatient();
        let wait = until_over(&settings.provider);
        let source = Meddled::new(memory(), move |now| {
            if now == at {
                wait();
            }
            Ok(())
        });
        rig.run(Arc::new(source), Box::new(MemorySink::new(1 << 30)), &settings).failed(Reason::Stalled);
    }
}

/// Open, write, finish. To begin, to sync and to publish may rightly take long: there the disk's own moves are the
/// progress, whoever causes them.
pub fn a_sink_that_blocks_anywhere_stalls_the_session(rig: &Rig<'_>) {
    for at in [Taking::Open, Taking::Write, Taking::Finish] {
        let settings = impatient();
        let wait = until_over(&settings.joiner);
        let sink = MemorySink::new(1 << 30);
        let received = sink.published();
        let meddled = MeddledSink::new(sink, move |now| {
            if now == at {
                wait();
            }
            Ok(())
        });
        rig.run(Arc::new(memory()), Box::new(meddled), &settings).failed(Reason::Stalled);
        assert!(received.take().is_none(), "{at:?}");
    }
}
