//! What must hold, whatever happens.
//!
//! - What is published is exactly the provider's state, or the old one is untouched.
//! - Nothing is claimed, as durable or as published, before a power cut can't take it any more.
//! - Both sides end within bounded time; once faults stop, everything succeeds.
//! - Without faults everything succeeds at the first attempt.
//! - Nobody breaks the protocol, unless bits were flipped; memory stays bounded.

use std::rc::Rc;

use longhaul_core::id::ItemId;
use longhaul_state::item::What;
use longhaul_state::landing::journal::Content as Kept;

use super::disk::{Disk, Ino, Kind, View};
use super::extents::Extents;
use super::state::{Entry, State};

/// Whether the tree at `root` is `state`, to the last attribute; if not, what is different.
///
/// `staged`: before publishing, the root may have a right to write that it will lose.
pub(crate) fn compare(disk: &Disk, root: Ino, view: View, state: &State, staged: bool) -> Result<(), String> {
    let mut found = 0;
    count(disk, root, view, &mut found);
    if found != state.items.len() {
        return Err(format!("{found} items, not {}", state.items.len()));
    }
    for entry in &state.items {
        let name = &entry.item.name;
        let ino = disk.resolve(root, name.as_bytes(), view).ok_or_else(|| format!("{name} is missing"))?;
        compare_item(disk, root, ino, view, state, entry, staged)
            .map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}

fn count(disk: &Disk, ino: Ino, view: View, found: &mut usize) {
    *found += 1;
    for (_, inner) in disk.entries(ino, view) {
        count(disk, inner, view, found);
    }
}

fn compare_item(
    disk: &Disk,
    root: Ino,
    ino: Ino,
    view: View,
    state: &State,
    entry: &Entry,
    staged: bool,
) -> Result<(), String> {
    let Entry { item, content, .. } = entry;
    let kind = match &item.what {
        What::SymbolicLink { target } => {
            return if *disk.kind(ino) == Kind::Link(target.clone()) {
                Ok(())
            } else {
                Err("no link, or to another target".into())
            };
        }
        What::HardLink { to } => {
            let first = &state.items[to.0 as usize].item.name;
            let same = disk.resolve(root, first.as_bytes(), view) == Some(ino);
            return if same { Ok(()) } else { Err("not the same file as its first name".into()) };
        }
        What::Directory => Kind::Directory,
        What::File { .. } | What::Stream => Kind::File,
    };
    if *disk.kind(ino) != kind {
        return Err(format!("a {:?}", disk.kind(ino)));
    }
    let attributes = disk.attributes(ino, view);
    let mode = u32::from(item.mode);
    let writable = staged && ino == root && kind == Kind::Directory;
    let mode_fits = attributes.mode == mode || writable && attributes.mode == mode | 0o200;
    let mtime = (item.what != What::Stream).then_some(item.mtime);
    if !mode_fits || attributes.mtime != mtime {
        return Err(format!("{attributes:?}, not mode {mode:o} and {mtime:?}"));
    }
    if kind == Kind::File {
        let (extents, size) = disk.content(ino, view);
        let exact = extents
            .iter()
            .all(|(offset, piece)| piece.key == content.key && piece.at == offset && piece.broken == 0);
        if size != content.size || !exact {
            return Err(format!("{size} bytes {extents:?}, not {content:?}"));
        }
        if !extents.iter().map(|(offset, piece)| (offset, piece.len)).eq(content.extents.iter().copied()) {
            return Err(format!("{extents:?}, not {content:?}"));
        }
    }
    Ok(())
}

/// The tree must be the state.
pub(crate) fn assert_holds(disk: &Disk, root: Ino, view: View, state: &State, staged: bool, words: &str) {
    if let Err(what) = compare(disk, root, view, state, staged) {
        panic!("{words}: {what}");
    }
}

/// What is gone on with is what is offered.
pub(crate) fn assert_kept(disk: &Disk, file: Ino, entry: &Entry, kept: &Kept) {
    let len = kept.len(entry.content.size);
    let (extents, _) = disk.content(file, View::Cache);
    let mut there = extents.clone();
    there.truncate(len);
    let mut expected = Extents::default();
    for &(offset, extent) in &entry.content.extents {
        if offset < len {
            let piece = entry.content.read(offset, extent.min(len - offset)).expect("an extent");
            expected.write(offset, piece);
        }
    }
    assert_eq!(there, expected, "{}: what was kept is not what is offered", entry.item.name);
}

/// A power cut can't take the items before `before` any more.
pub(crate) fn assert_durable_before(disk: &Disk, root: Ino, state: &State, before: ItemId) {
    for entry in &state.items[..before.0 as usize] {
        let name = &entry.item.name;
        let found = disk.resolve(root, name.as_bytes(), View::Disk);
        let found = found.ok_or_else(|| "missing".to_owned());
        let compared = found.and_then(|ino| compare_item(disk, root, ino, View::Disk, state, entry, true));
        if let Err(what) = compared {
            panic!("claimed durable before {before}, and a power cut would take it: {name}: {what}");
        }
    }
}

/// Whether the destination is the state, as processes see it.
pub(crate) fn is_published(disk: &Disk, destination: &[u8], state: &State) -> bool {
    let found = disk.look_up(Disk::PARENT, destination, View::Cache);
    found.is_some_and(|found| compare(disk, found, View::Cache, state, false).is_ok())
}

/// A power cut can't take the published state any more.
pub(crate) fn assert_published(disk: &Disk, destination: &[u8], state: &State) {
    for view in [View::Cache, View::Disk] {
        let found = disk.look_up(Disk::PARENT, destination, view);
        let found = found.unwrap_or_else(|| panic!("said to be published, and is not there ({view:?})"));
        assert_holds(disk, found, view, state, false, "said to be published, and is not");
    }
}

/// The destination is the new state, or an earlier one (or nothing, where nothing was).
pub(crate) fn assert_whole(
    disk: &Disk,
    destination: &[u8],
    new: &State,
    earlier: &[Rc<State>],
    may_be_absent: bool,
) {
    let Some(found) = disk.look_up(Disk::PARENT, destination, View::Cache) else {
        assert!(may_be_absent, "the old state is gone, and nothing is in its place");
        return;
    };
    // A state is moved with the right to write, which it loses a moment later.
    let is = |state: &State| compare(disk, found, View::Cache, state, true);
    if let Err(what) = is(new) {
        let kept = earlier.iter().any(|state| is(state).is_ok());
        assert!(kept, "the destination is neither an old state nor the new one: {what}");
    }
}

/// The destination is one of these states, and a power cut can't take it any more.
pub(crate) fn assert_durable_whole<'a>(
    disk: &Disk,
    destination: &[u8],
    mut states: impl Iterator<Item = &'a Rc<State>>,
) {
    let found = disk.look_up(Disk::PARENT, destination, View::Disk).expect("what is seen through is durable");
    let same = |state: &Rc<State>| compare(disk, found, View::Disk, state, false).is_ok();
    assert!(states.any(same), "what was seen through is no state, or a power cut would take it");
}

/// Puts a state at a destination, durably: what was there before.
pub(crate) fn plant(disk: &mut Disk, destination: &[u8], state: &State) {
    let kind = |what: &What| match what {
        What::Directory => Kind::Directory,
        What::SymbolicLink { target } => Kind::Link(target.clone()),
        _ => Kind::File,
    };
    let root = state.items.last().expect("a state has a root");
    let top = disk.create(Disk::PARENT, destination, kind(&root.item.what), 0).expect("an empty disk");
    // Parents come behind what they hold.
    for Entry { item, content, .. } in state.items.iter().rev() {
        let name = item.name.as_bytes();
        let at = name.iter().rposition(|&byte| byte == b'/');
        let (above, leaf) = at.map_or((&b""[..], name), |at| (&name[..at], &name[at + 1..]));
        let above = disk.resolve(top, above, View::Cache).expect("parents were made");
        let made = if name.is_empty() {
            top
        } else {
            disk.create(above, leaf, kind(&item.what), 0).expect("names are unique")
        };
        for &(offset, len) in &content.extents {
            let piece = content.read(offset, len).expect("an extent");
            disk.write(made, offset, piece).expect("an empty disk");
        }
        disk.set_len(made, content.size);
        let mtime = (item.what != What::Stream).then_some(item.mtime);
        disk.set_attributes(made, item.mode.into(), mtime);
    }
    disk.sync_all(0).expect("an empty disk");
}
