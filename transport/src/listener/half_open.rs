//! Connections that have not said yet what they are: only so many at once, and none of them can keep others out.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};

use super::origin::Origin;

/// How many there may be.
const HALF_OPEN: usize = 64;

/// How many that gave way may still be listened to: whoever is closed with words unread does not hear why.
const LEAVING: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct HalfOpen {
    /// In the order in which they came.
    slots: BTreeMap<u64, (Origin, TcpStream)>,
    /// Those that gave way, and have not ended.
    leaving: BTreeMap<u64, TcpStream>,
    next: u64,
}

impl HalfOpen {
    /// Takes one more, and says by which number. If all slots are taken, the oldest of the origin that holds most
    /// gives way, and is to be told so: whoever speaks soon gets through, from there too.
    pub(super) fn take(&mut self, origin: Origin, stream: TcpStream) -> (u64, Option<&TcpStream>) {
        let number = self.next;
        self.next += 1;
        self.slots.insert(number, (origin, stream));
        if self.slots.len() <= HALF_OPEN {
            return (number, None);
        }
        let crowded = Origin::most_crowded(self.slots.values().map(|(origin, _)| *origin));
        let oldest = self.slots.iter().find(|(_, (origin, _))| Some(*origin) == crowded);
        let Some(oldest) = oldest.map(|(number, _)| *number) else { return (number, None) };
        if let Some((_, stream)) = self.slots.remove(&oldest) {
            self.leaving.insert(oldest, stream);
        }
        if self.leaving.len() > LEAVING
            && let Some((_, stream)) = self.leaving.pop_first()
        {
            // Its own thread ends by the end that it reads.
            let _ = stream.shutdown(Shutdown::Both);
        }
        (number, self.leaving.get(&oldest))
    }

    /// It has said what it is, or is gone. `false` if it gave way before.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        self.leaving.remove(&number);
        self.slots.remove(&number).is_some()
    }

    /// Closes all.
    pub(super) fn close(&self) {
        for stream in self.slots.values().map(|(_, stream)| stream).chain(self.leaving.values()) {
            // Gone already is as good as closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpListener};

    use super::*;

    // Catalogue: F79
    #[test]
    fn the_oldest_of_the_origin_that_holds_most_gives_way() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let origin = |last: u8| Origin::from(IpAddr::from([10, 0, 0, last]));
        let mut half_open = HalfOpen::default();
        let (quiet, none) = half_open.take(origin(1), stream());
        assert!(none.is_none());
        let crowd: Vec<u64> = (1..HALF_OPEN).map(|_| half_open.take(origin(2), stream()).0).collect();
        for oldest in &crowd[..3] {
            let (_, gave_way) = half_open.take(origin(2), stream());
            assert!(gave_way.is_some() && !half_open.leave(*oldest), "its own oldest");
        }
        let (_, gave_way) = half_open.take(origin(3), stream());
        assert!(gave_way.is_some() && !half_open.leave(crowd[3]), "not one of those who hold few");
        assert!(half_open.leave(quiet) && half_open.leave(crowd[4]));
        assert!(half_open.take(origin(2), stream()).1.is_none(), "there is room again");
    }

    // Catalogue: F79
    #[test]
    fn those_who_gave_way_and_stay_are_bounded_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut half_open = HalfOpen::default();
        for _ in 0..HALF_OPEN + LEAVING + 20 {
            half_open.take(Origin::from(IpAddr::from([10, 0, 0, 1])), stream.try_clone().unwrap());
        }
        assert_eq!((half_open.slots.len(), half_open.leaving.len()), (HALF_OPEN, LEAVING));
        assert!(!half_open.leave(50), "it gave way");
        assert_eq!(half_open.leaving.len(), LEAVING - 1);
    }
}
