//! What must be synced before a state may be published.

use crate::item::Name;

/// Up to this many files and directories are synced one by one; more by one sync of the file
/// system, and their names are forgotten: memory stays constant.
pub(super) const FEW: usize = 64;

/// Names written since the last sync.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    files: Vec<Name>,
    directories: Vec<Name>,
    many: bool,
}

impl Dirty {
    pub(super) fn file(&mut self, name: &Name) {
        self.parent_of(name);
        if self.has_room() {
            self.files.push(name.clone());
        }
    }

    pub(super) fn directory(&mut self, name: &Name) {
        if !self.directories.contains(name) && self.has_room() {
            self.directories.push(name.clone());
        }
    }

    /// The directory that holds `name` got an entry.
    pub(super) fn parent_of(&mut self, name: &Name) {
        if self.many {
            return;
        }
        if let Some(parent) = parent(name) {
            self.directory(&parent);
        }
    }

    /// The directories on the way to `name` were made, or some of them.
    pub(super) fn parents_of(&mut self, name: &Name) {
        let mut above = parent(name);
        while let Some(directory) = above {
            if self.many {
                return;
            }
            self.directory(&directory);
            above = parent(&directory);
        }
    }

    pub(super) fn forget_file(&mut self, name: &Name) {
        self.files.retain(|file| file != name);
    }

    pub(super) fn is_many(&self) -> bool {
        self.many
    }

    /// Takes the files, and the directories with the deepest first.
    pub(super) fn take(&mut self) -> (Vec<Name>, Vec<Name>) {
        let mut taken = std::mem::take(self);
        taken.directories.sort_by_key(|name| std::cmp::Reverse(name.as_name().parts().count()));
        (taken.files, taken.directories)
    }

    fn has_room(&mut self) -> bool {
        if !self.many && self.files.len() + self.directories.len() >= FEW {
            *self = Self { many: true, ..Self::default() };
        }
        !self.many
    }
}

/// The directory that holds `name`; `None` for the root.
fn parent(name: &Name) -> Option<Name> {
    if name.is_root() {
        return None;
    }
    let bytes = name.as_bytes();
    let end = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    Some(Name::new(&bytes[..end]).expect("what stands before a slash of a name is a name"))
}
