//! Arms at several values of a setting, as lines.

use crate::experiments::common::dense_place;
use crate::present::subject::{Line, Subject};
use crate::spec::ArmSpec;

/// The swept arms of a specification, grouped by their common settings. The first colour is that
/// of the dense model.
pub(super) fn lines(arms: &[ArmSpec]) -> Vec<Line> {
    let mut all: Vec<(&str, &str, Line)> = Vec::new();
    for arm in arms.iter().filter(|arm| arm.swept) {
        let Some((base, value)) = arm.id.rsplit_once('-') else {
            continue;
        };
        let Ok(value) = value.parse() else {
            continue;
        };
        let point = (value, arm.id.clone());
        if let Some((.., line)) = all.iter_mut().find(|(known, ..)| *known == base) {
            line.points.push(point);
            continue;
        }
        let (label, last) = arm.label.rsplit_once(", ").unwrap_or(("", &arm.label));
        let setting = last.rsplit_once(' ').map_or(last, |(setting, _)| setting);
        let line = Line {
            label: label.to_owned(),
            arm: all.len() + 1,
            strong: all.is_empty(),
            points: vec![point],
        };
        all.push((base, setting, line));
    }
    // Several settings of one arm are distinguished by their names.
    let several = all.iter().any(|(_, setting, _)| *setting != all[0].1);
    let line = |(_, setting, line): (&str, &str, Line)| Line {
        label: match several {
            true => setting.to_owned(),
            false => line.label.clone(),
        },
        ..line
    };
    all.into_iter().map(line).collect()
}

/// The rows of a table in the colours of the figure: one for all values of a line.
pub(super) fn subjects(arms: &[ArmSpec]) -> Vec<Subject> {
    let lines = lines(arms);
    let mut others = (lines.len() + 1)..;
    let mut subjects = Subject::arms(arms);
    for (place, subject) in subjects.iter_mut().enumerate() {
        let own = |line: &&Line| line.points.iter().any(|(_, id)| *id == subject.id);
        subject.arm = match lines.iter().find(own) {
            Some(line) => Some(line.arm),
            None if Some(place) == dense_place(arms) => Some(0),
            None => others.next(),
        };
    }
    subjects
}
