//! What a survey says of names is compared with what the destination's file system takes. Builds that can't ask it that
//! find out when the item is made.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

use std::fs;
use std::sync::Arc;

use longhaul::state::{DirectoryOptions, DirectorySource, SourceError};
use longhaul::{Content, ErrorKind, Item, Progress, Serve, Side, Source, Survey, Walk};

/// A directory that is said to hold a longer name than it does.
struct LongNames(DirectorySource);

impl Source for LongNames {
    fn survey(&self, progress: &dyn Progress) -> Result<Survey, SourceError> {
        Ok(Survey { longest_name: 256, ..self.0.survey(progress)? })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        self.0.walk()
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Content>, SourceError> {
        self.0.open(item)
    }
}

// Catalogue: F41
#[test]
fn a_name_that_the_destination_does_not_take_is_refused_before_the_first_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let (state, place) = (scratch.path().join("state"), scratch.path().join("place"));
    fs::create_dir(&state).unwrap();
    fs::create_dir(&place).unwrap();
    fs::write(state.join("large"), vec![7; 2 << 20]).unwrap();
    let source = move || {
        let directory = DirectorySource::new(&state, DirectoryOptions::default())?;
        Ok(Arc::new(LongNames(directory)) as Arc<dyn Source>)
    };
    let provider = Serve::sources(source).listen("127.0.0.1:0").start().unwrap();
    let transfer = longhaul::fetch(provider.local_addr().to_string()).into(place.join("copy"));
    let watch = transfer.watch();
    let error = transfer.wait().unwrap_err();
    assert_eq!((error.kind(), error.side()), (ErrorKind::Destination, Some(Side::Joiner)), "{error}");
    assert!(error.message().contains("256 bytes") && error.message().contains("takes 255"), "{error}");
    assert_eq!(watch.stats().bytes, 0);
    assert!(fs::read_dir(&place).unwrap().next().is_none(), "nothing is left beside it");
}
