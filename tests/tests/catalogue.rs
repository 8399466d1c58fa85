//! The catalogue holds together: every row has a test or a reason, every mark a row and a test.

use std::path::Path;

use longhaul_tests::catalogue::{Catalogue, Results};

#[test]
fn every_row_has_a_test_or_a_reason_and_every_mark_is_of_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let catalogue = Catalogue::read(root).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(catalogue.marked().iter().all(|marked| marked.names().next().is_some()), "each has a name");
    println!("{}", catalogue.report(&Results::default()));
}
