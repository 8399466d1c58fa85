//! What a channel offers, and what a protocol needs of it.

use core::fmt;

/// A set of promises about a group's channel and its surroundings.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties(u8);

/// Each promise and its words.
const WORDS: [(Properties, &str); 5] = [
    (Properties::FIFO, "each sender's messages in the order in which it sent them"),
    (Properties::TOTAL_ORDER, "all messages in the same order at every member"),
    (Properties::SEND_AGAIN, "messages that are kept while a pin asks for it, and sent again"),
    (Properties::VIEWS, "views: who is a member, agreed by all"),
    (Properties::LOG, "a log of what was completed, kept by the application"),
];

impl Properties {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Each sender's messages come in the order in which it sent them, none left out.
    pub const FIFO: Self = Self(1);
    /// All messages come in the same order at every member. What comes so is also [`Properties::FIFO`].
    pub const TOTAL_ORDER: Self = Self(1 << 1 | 1);
    /// Messages are kept while a pin asks for it, and sent again on demand.
    pub const SEND_AGAIN: Self = Self(1 << 2);
    /// Who is a member is known, and agreed by all.
    pub const VIEWS: Self = Self(1 << 3);
    /// The application keeps a log of what was completed.
    pub const LOG: Self = Self(1 << 4);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is promised here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Checks what a protocol needs against what is offered here.
    ///
    /// # Errors
    /// What is missing.
    pub const fn meet(self, needs: Self) -> Result<(), Missing> {
        if self.has(needs) { Ok(()) } else { Err(Missing(Self(needs.0 & !self.0))) }
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Fifo is part of total order: of what is missing only that part may be left to say.
        let named =
            WORDS.iter().filter(|(one, _)| self.has(*one) || (*one == Self::TOTAL_ORDER && self.0 & 2 != 0));
        for (n, (_, words)) in named.enumerate() {
            write!(f, "{}{words}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Properties({self})")
    }
}

/// What a protocol needs and its surroundings do not offer: it is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub Properties);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the protocol needs what the channel does not offer: {}", self.0)
    }
}

impl core::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn total_order_is_also_order_per_sender_and_not_the_other_way_round() {
        assert_eq!(Properties::TOTAL_ORDER.meet(Properties::FIFO), Ok(()));
        let missing = Properties::FIFO.meet(Properties::TOTAL_ORDER).unwrap_err();
        assert!(missing.to_string().contains("the same order at every member"), "{missing}");
        assert!(!missing.to_string().contains("each sender's"), "{missing}");
    }
}
