//! The records of a folder in a model's card.

use bsbr_report::card;
use bsbr_report::spec::Overrides;
use bsbr_report::store::Store;

use crate::common;

/// The card of the `moments` arm, of records that each name a text, a day and a number of samples.
fn card_of(runs: [(&str, &str, u64); 2]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let specs = common::specs(&Overrides::default());
    let mut all = specs.iter();
    let spec = all.find(|spec| spec.method.experiment == "agreement");
    let spec = spec.unwrap();
    let store = Store::new(folder.path().join("records"));
    for (texts, date, samples) in runs {
        for mut record in common::agreement(spec, samples).iter().cloned() {
            record.unit = format!("{}-{texts}", record.unit);
            record.identity.data = texts.to_owned();
            record.run.texts = texts.to_owned();
            record.run.date = date.to_owned();
            store.save(&record).unwrap();
        }
    }
    let moments = spec.method.arms.iter().find(|arm| arm.id == "moments");
    let arm = &moments.unwrap().config;
    card::measured(folder.path(), &specs, &"0".repeat(64), arm).unwrap()
}

#[test]
fn the_card_uses_only_the_newest_run_and_none_is_mixed_into_it() {
    let text = card_of([
        ("first texts", "2026-01-02", 2),
        ("others", "2026-01-01", 7),
    ]);
    assert!(text.contains("Texts: first texts."), "{text}");
    let domains = common::DOMAINS.len();
    assert!(text.contains(&format!("| {} |", 2 * domains)), "{text}");

    // Of a day's runs, that with the most samples.
    let text = card_of([
        ("first texts", "2026-01-02", 2),
        ("others", "2026-01-02", 7),
    ]);
    assert!(text.contains("Texts: others."), "{text}");
    assert!(text.contains(&format!("| {} |", 7 * domains)), "{text}");
}
