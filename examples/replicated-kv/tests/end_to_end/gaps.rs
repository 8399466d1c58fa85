//! A wire that loses frames, and damages some: a replica asks again, and applies each record once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use replicated_kv::load::Random;
use replicated_kv::member::{Frame, read_frame, write_frame};
use tempfile::TempDir;

use crate::rig::{Member, one_root, random};

/// Lies between a replica and its primary.
struct Wire {
    primary: String,
    random: Mutex<Random>,
    lost: AtomicU64,
    damaged: AtomicU64,
    asked_again: AtomicU64,
}

impl Wire {
    fn start(primary: &Member, random: Random) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wire = Arc::new(Self {
            primary: primary.address.clone(),
            random: Mutex::new(random),
            lost: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            asked_again: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&wire);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let wire = Arc::clone(&accepting);
                // An end is an end: both sides see it.
                thread::spawn(move || wire.connection(&stream));
            }
        });
        (wire, address)
    }

    fn connection(&self, replica: &TcpStream) -> io::Result<()> {
        let primary = TcpStream::connect(&self.primary)?;
        let mut preamble = [0; 4];
        (&*replica).read_exact(&mut preamble)?;
        (&primary).write_all(&preamble)?;
        thread::scope(|scope| {
            scope.spawn(|| {
                self.upwards(replica, &primary);
                let _ = (replica.shutdown(Shutdown::Both), primary.shutdown(Shutdown::Both));
            });
            self.downwards(&primary, replica);
            let _ = (replica.shutdown(Shutdown::Both), primary.shutdown(Shutdown::Both));
        });
        Ok(())
    }

    fn upwards(&self, mut from: &TcpStream, mut to: &TcpStream) {
        while let Ok(Some(frame)) = read_frame(&mut from) {
            if matches!(frame, Frame::From { .. }) {
                self.asked_again.fetch_add(1, Ordering::Relaxed);
            }
            if write_frame(&mut to, &frame).is_err() {
                return;
            }
        }
    }

    fn downwards(&self, mut from: &TcpStream, mut to: &TcpStream) {
        while let Ok(Some(frame)) = read_frame(&mut from) {
            let is_record = matches!(frame, Frame::Record { .. });
            let (is_lost, is_damaged) = {
                let mut random = self.random.lock().unwrap();
                (is_record && random.one_in(10), is_record && random.one_in(60))
            };
            if is_lost {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let mut bytes = Vec::new();
            write_frame(&mut bytes, &frame).unwrap();
            if is_damaged {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                let bit = self.random.lock().unwrap().below((bytes.len() as u64 - 4) * 8);
                // Not the length: a frame that claims to be longer is waited for.
                let byte = (bit / 8) as usize;
                bytes[if byte < 4 { byte } else { byte + 4 }] ^= 1 << (bit % 8);
            }
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

// Catalogue: F77
#[test]
fn what_is_lost_on_the_wire_is_asked_for_again_and_what_is_damaged_is_never_applied() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let (wire, address) = Wire::start(&primary, random());
    let replica = Member::replica_at(&home.path().join("r"), &address);
    let mut client = primary.connect();
    for n in 0..150 {
        client.ask(&format!("PUT key/{n} {}", "x".repeat(50))).unwrap();
    }
    one_root(&[&primary, &replica]);
    assert!(wire.lost.load(Ordering::Relaxed) > 0 && wire.asked_again.load(Ordering::Relaxed) > 0);
    assert!(wire.damaged.load(Ordering::Relaxed) > 0);
}
