//! Data paths on which nobody sees the bytes: with what they can't be had together.

use longhaul_core::integrity::Integrity;
use longhaul_state::transfer::{Control, DataPath, Event};

use crate::error::{Error, ErrorKind};
use crate::settings::{Settings, Transport};

/// Whether this build has them.
pub(crate) const AVAILABLE: bool = cfg!(all(target_os = "linux", not(longhaul_portable)));

impl Settings {
    /// What is wrong with the data path, whichever side this is.
    pub(crate) fn wrong_data_path(&self) -> Option<String> {
        let name = self.data_path.name();
        if self.data_path.is_spliced() && !AVAILABLE {
            return Some(format!("this build has no data path {name}: choose auto"));
        }
        (self.data_path == DataPath::RingSplice && self.transport == Transport::Std).then(|| {
            format!("the data path {name} needs a ring: choose the transport uring, or the path splice")
        })
    }

    /// Says everything that is wrong with a joiner's: it demands the integrity.
    pub(crate) fn check_joiner(&self) -> Result<(), Error> {
        self.check()?;
        if self.data_path.is_spliced() && self.integrity != Integrity::None {
            let (path, integrity) = (self.data_path.name(), self.integrity);
            let words =
                format!("on the data path {path} nobody sees the bytes: {integrity} of them can't be had");
            let hint = "choose --integrity none, with which nothing is verified, or another --data-path";
            return Err(Error::new(ErrorKind::Usage, words).with_hint(hint));
        }
        Ok(())
    }

    /// Which transport the data path leaves. `control` hears of it if that is not what was asked for by name.
    pub(crate) fn wanted_transport(&self, control: &Control) -> Transport {
        match self.data_path {
            DataPath::Splice => {}
            // Of all that moves there is nothing too small for the path that was asked for.
            DataPath::RingSplice => return Transport::Uring,
            _ => return self.transport,
        }
        if self.transport == Transport::Uring {
            let words =
                "splice is a path of blocking calls, which move the bytes: the ring's own is ring-splice";
            tracing::warn!("{words}");
            control.emit(&Event::Warning(words.into()));
        }
        Transport::Std
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(transport: Transport, data_path: DataPath, integrity: Integrity) -> Settings {
        Settings { integrity, transport, data_path, ..Settings::default() }
    }

    #[test]
    fn whoever_wants_checksums_or_has_no_ring_is_told_what_to_choose() {
        let unchecked = Integrity::None;
        let refused = [
            (settings(Transport::Auto, DataPath::Splice, Integrity::Crc32c), "--integrity none"),
            (settings(Transport::Uring, DataPath::RingSplice, Integrity::Blake3), "--integrity none"),
            (settings(Transport::Std, DataPath::RingSplice, unchecked), "the path splice"),
        ];
        for (settings, advice) in refused {
            let error = settings.check_joiner().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let told = format!("{} {}", error.message(), error.hint().unwrap_or_default());
            assert!(!AVAILABLE || told.contains(advice), "{told}");
        }
        let taken = [
            settings(Transport::Auto, DataPath::Splice, unchecked),
            settings(Transport::Uring, DataPath::RingSplice, unchecked),
            settings(Transport::Auto, DataPath::Buffered, Integrity::Crc32c),
        ];
        for settings in taken {
            assert!(!AVAILABLE || settings.check_joiner().is_ok());
        }
        // Which integrity there is to be, a provider hears from its joiner.
        let provider = settings(Transport::Auto, DataPath::Splice, Integrity::Crc32c);
        assert_eq!(provider.check().is_ok(), AVAILABLE);
    }
}
