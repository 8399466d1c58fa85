//! Where a message stands next to what was delivered: each is delivered once, in its sender's order.

use super::{Message, Verdict};
use crate::digest::{Digest, DigestError, Entry, SequenceNumber};

/// What a member must do with `message` when it has delivered `delivered`: the next one of its sender is
/// delivered, an earlier one dropped, and one behind a gap shows what is missing.
pub fn place<const MEMBERS: usize>(delivered: &Digest<MEMBERS>, message: &Message) -> Verdict {
    let last = delivered.entry(message.sender).map_or(SequenceNumber::NONE, |entry| entry.delivered());
    if message.sequence <= last {
        return Verdict::Drop;
    }
    match last.next() {
        Some(from) if message.sequence > from => Verdict::SendAgain { from },
        _ => Verdict::Deliver,
    }
}

/// Counts `message` as delivered.
///
/// # Errors
/// [`DigestError::Full`]: more senders than there is room for.
pub fn count<const MEMBERS: usize>(
    delivered: &mut Digest<MEMBERS>,
    message: &Message,
) -> Result<(), DigestError> {
    let Message { sender, sequence, .. } = *message;
    let received = delivered.entry(sender).map_or(sequence, |entry| entry.received().max(sequence));
    delivered.insert(Entry::new(sender, sequence, received)?)
}

#[cfg(test)]
mod tests {
    use super::super::Handle;
    use super::*;
    use crate::id::MemberId;

    // Catalogue: B44
    #[test]
    fn each_message_is_delivered_once_and_in_order_up_to_the_highest_number() {
        let sender = MemberId([1; 16]);
        let verdict = |last: u64, sequence: u64| {
            let mut delivered = Digest::<2>::new();
            let (last, sequence) = (SequenceNumber(last), SequenceNumber(sequence));
            delivered.insert(Entry::new(sender, last, last).unwrap()).unwrap();
            place(&delivered, &Message { sender, sequence, len: 0, handle: Handle(0) })
        };
        assert_eq!(verdict(4, 5), Verdict::Deliver);
        assert_eq!((verdict(4, 4), verdict(4, 0)), (Verdict::Drop, Verdict::Drop));
        assert_eq!(verdict(4, 6), Verdict::SendAgain { from: SequenceNumber(5) });
        assert_eq!(verdict(4, u64::MAX), Verdict::SendAgain { from: SequenceNumber(5) });
        assert_eq!(verdict(u64::MAX, u64::MAX), Verdict::Drop);
        assert_eq!(verdict(u64::MAX - 1, u64::MAX), Verdict::Deliver);
    }
}
