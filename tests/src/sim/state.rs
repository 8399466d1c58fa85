//! Model states: what a provider has, and what a destination must hold once it is published.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity};
use longhaul_core::item::{Timestamp, Version};
use longhaul_state::item::{Item, Name, What};
use longhaul_state::root::RootBuilder;
use longhaul_state::source::Shape;

use super::Random;
use super::content::Content;

/// What a state is made of: numbers that a case names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) shape: Shape,
    /// Files of up to some hundred KiB.
    pub(crate) files: u64,
    /// Files of several runs, some with holes.
    pub(crate) big: u64,
    /// Symbolic and hard links.
    pub(crate) links: u64,
}

/// A whole state, in the order of the walk.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) shape: Shape,
    pub(crate) items: Vec<Entry>,
    pub(crate) bytes: u64,
}

/// One item with its content.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) item: Item,
    pub(crate) content: Content,
    pub(crate) checksum: Checksum,
}

impl State {
    /// The state that `random` gives this size.
    pub(crate) fn draw(size: &Size, integrity: Integrity, random: &mut Random) -> Self {
        let mut drawing = Drawing { integrity, items: Vec::new(), random };
        match size.shape {
            Shape::Directory => drawing.directory(size),
            Shape::File => drawing.file("", size.big > 0, false),
            Shape::Stream => drawing.stream(size.big > 0),
        }
        let items = drawing.items;
        let bytes = items.iter().map(|entry| entry.content.size).sum();
        Self { shape: size.shape, items, bytes }
    }

    /// The same items, some of them with other content.
    pub(crate) fn changed(&self, integrity: Integrity, random: &mut Random) -> Self {
        let mut drawing = Drawing { integrity, items: Vec::new(), random };
        for Entry { item, content, checksum } in &self.items {
            let small = matches!(item.what, What::File { sparse: false, .. }) && content.size < 1 << 20;
            if small && drawing.random.one_in(3) {
                let content = Content::whole(drawing.random.next(), drawing.size(false));
                let What::File { linked, .. } = item.what else { unreachable!("just looked") };
                let what = What::File { size: content.size, linked, sparse: false };
                drawing.put(&String::from_utf8_lossy(item.name.as_bytes()), what, content);
            } else {
                let (item, content, checksum) = (item.clone(), content.clone(), *checksum);
                drawing.items.push(Entry { item, content, checksum });
            }
        }
        let items = drawing.items;
        let bytes = items.iter().map(|entry| entry.content.size).sum();
        Self { shape: self.shape, items, bytes }
    }

    /// The sum of all items, as a provider makes it.
    pub(crate) fn root(&self, integrity: Integrity) -> RootBuilder {
        let mut builder = RootBuilder::new(integrity);
        for (n, Entry { item, content, checksum }) in self.items.iter().enumerate() {
            builder.add(ItemId(n as u32), item, content.size, checksum).expect("links follow their files");
        }
        builder
    }
}

struct Drawing<'a> {
    integrity: Integrity,
    items: Vec<Entry>,
    random: &'a mut Random,
}

impl Drawing<'_> {
    fn directory(&mut self, size: &Size) {
        let mut linked = Vec::new();
        let big_at: Vec<u64> = (0..size.big).map(|_| self.random.below(size.files + 1)).collect();
        for n in 0..=size.files {
            for (k, _) in big_at.iter().enumerate().filter(|(_, at)| **at == n) {
                self.file(&format!("b{k}"), true, false);
            }
            if n < size.files {
                let is_linked = (linked.len() as u64) < size.links && self.random.one_in(4);
                self.file(&format!("d{}/f{n}", n % 7), false, is_linked);
                if is_linked {
                    linked.push(ItemId(self.items.len() as u32 - 1));
                }
            }
        }
        for n in 0..size.links {
            let target = b"d0"[..].into();
            self.put(&format!("l{n}"), What::SymbolicLink { target }, Content::default());
        }
        for (n, to) in linked.into_iter().enumerate() {
            self.put(&format!("h{n}"), What::HardLink { to }, Content::default());
        }
        for n in 0..size.files.min(7) {
            self.put(&format!("d{n}"), What::Directory, Content::default());
        }
        self.put("", What::Directory, Content::default());
    }

    fn file(&mut self, name: &str, big: bool, linked: bool) {
        let sparse = big && self.random.one_in(2);
        let content = if sparse { self.sparse() } else { Content::whole(self.random.next(), self.size(big)) };
        self.put(name, What::File { size: content.size, linked, sparse }, content);
    }

    fn stream(&mut self, big: bool) {
        let content = Content::whole(self.random.next(), self.size(big));
        self.put("", What::Stream, content);
    }

    fn size(&mut self, big: bool) -> u64 {
        match self.random.below(if big { 1 } else { 8 }) {
            0 if big => (16 << 20) + self.random.below(40 << 20),
            0 => 0,
            1 => 1,
            2..6 => self.random.below(20_000),
            6 => self.random.below(400_000),
            _ => 4096 * self.random.below(100),
        }
    }

    /// Larger than a run, with little in it.
    fn sparse(&mut self) -> Content {
        let size = 1 + self.random.below(60 << 20);
        let mut extents: Vec<(u64, u64)> = Vec::new();
        let mut at = self.random.below(30 << 20) / 4096 * 4096;
        while at < size && extents.len() < 5 {
            let len = (1 + self.random.below(30_000)).min(size - at);
            extents.push((at, len));
            at += (len + self.random.below(40 << 20)).div_ceil(4096) * 4096 + 4096;
        }
        Content { key: self.random.next(), size, extents }
    }

    fn put(&mut self, name: &str, what: What, content: Content) {
        // Some sources do not mark their content.
        let is_marked = !content.key.is_multiple_of(8);
        let mark = content.key.to_le_bytes();
        let version = Version::new(if is_marked { &mark } else { b"" }).expect("a short mark");
        let item = Item {
            name: Name::new(name.as_bytes()).expect("a legal name"),
            mode: self.random.below(0o1000) as u16,
            mtime: Timestamp {
                seconds: self.random.next().cast_signed() >> 30,
                nanos: self.random.below(1_000_000_000) as u32,
            },
            version,
            what,
        };
        let has_content = item.as_wire().what.has_content();
        let checksum = if has_content { content.checksum(self.integrity) } else { Checksum::None };
        self.items.push(Entry { item, content, checksum });
    }
}
