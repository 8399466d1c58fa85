//! Small files through the landing machine, on a disk where everything works at once.

use longhaul_core::id::ItemId;
use longhaul_core::item::{Timestamp, Version};
use longhaul_state::item::{Item, Name, What};
use longhaul_state::landing::{
    Destination, Executor, FileOp, Landing, LandingOptions, OpError, OpReply, Probed, Space, run,
};
use longhaul_state::source::{Shape, Survey};

use super::Path;

/// Names: a step takes the next one, round and round.
const NAMES: u32 = 4096;

pub(super) fn small_file() -> Path {
    let mut landing = Landing::new(LandingOptions::default());
    let survey =
        Survey { shape: Shape::Directory, items: 1 << 30, bytes: Some(1 << 40), ..Survey::default() };
    landing.begin(&survey);
    carry_out(&mut landing);
    let items: Vec<Item> = (0..NAMES).map(item).collect();
    let mut next = 0_u32;
    let mut step = move || {
        landing.put(ItemId(next), &items[(next % NAMES) as usize]);
        next = next.wrapping_add(1);
        carry_out(&mut landing)
    };
    // Past the first ones, which the machine remembers by name.
    for _ in 0..NAMES {
        step();
    }
    Path::new("landing/small file", step)
}

fn carry_out(landing: &mut Landing) -> u64 {
    let mut done = 0;
    run(landing, &mut Agreeable, b"content", &mut || {
        done += 1;
        true
    })
    .expect("everything works here");
    done
}

/// Does nothing, and says that it worked.
struct Agreeable;

impl Executor for Agreeable {
    fn execute(&mut self, op: &FileOp, _payload: &[u8]) -> Result<OpReply, OpError> {
        Ok(match op {
            FileOp::Inspect => OpReply::Destination(Destination::Absent),
            FileOp::MeasureSpace => OpReply::Space(Space {
                free_bytes: None,
                free_inodes: None,
                longest_name: None,
                syncs_tree: true,
                caveat: None,
            }),
            FileOp::Probe => OpReply::Probed(Probed { no_replace: true, exchange: true }),
            _ => OpReply::Done,
        })
    }
}

fn item(n: u32) -> Item {
    let name = format!("directory-{}/file-{n:06}", n / 64).into_bytes();
    Item {
        name: Name::new(name).expect("it is a name"),
        mode: 0o644,
        mtime: Timestamp::default(),
        version: Version::default(),
        what: What::File { size: 7, linked: false, sparse: false },
    }
}
