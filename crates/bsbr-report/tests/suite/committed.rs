//! Committed records render to committed Markdown, byte for byte.
//!
//! `BSBR_BLESS=1 cargo test -p bsbr-report --test suite committed` writes both anew.

use std::path::{Path, PathBuf};

use bsbr_report::experiments;
use bsbr_report::record::Records;
use bsbr_report::render::Report;
use bsbr_report::reported::read_claims;
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::store::Store;

use crate::common;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn spec() -> Spec {
    let mut spec = common::specs(&Overrides::default())
        .into_iter()
        .find(|spec| spec.method.experiment == "agreement")
        .unwrap();
    spec.method
        .arms
        .retain(|arm| ["dense", "lookups", "local"].contains(&arm.id.as_str()));
    spec
}

fn markdown(records: &Records, out: &Path) -> String {
    let spec = spec();
    let claims = read_claims(&common::assets().join("reported.toml")).unwrap();
    let experiment = experiments::build(&spec, &claims).unwrap();
    let report = Report {
        model: records.first().unwrap().model.clone(),
        arms: spec.method.arms,
        quick: false,
        overview: Vec::new(),
        sections: vec![experiment.render(records).unwrap()],
    };
    report.write(out).unwrap();
    std::fs::read_to_string(out.join("agreement.md")).unwrap()
}

#[test]
fn committed_records_render_to_the_committed_text() {
    let store = Store::new(fixtures().join("records"));
    let expected = fixtures().join("agreement.md");
    let folder = tempfile::tempdir().unwrap();
    if std::env::var_os("BSBR_BLESS").is_some() {
        for record in common::agreement(&spec(), 2).iter() {
            store.save(record).unwrap();
        }
        let text = markdown(&store.all("agreement").unwrap(), folder.path());
        std::fs::write(&expected, text).unwrap();
    }
    let records = store.all("agreement").unwrap();
    assert!(records.iter().count() > 0);
    assert_eq!(
        markdown(&records, folder.path()),
        std::fs::read_to_string(expected).unwrap()
    );
}
