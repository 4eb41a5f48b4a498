//! Input longer than the position table.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{assert_close, distance, floats, ids, load, single};
use bsbr_gpt2::{
    ConfigError, GenerationConfig, Gpt2, Gpt2Config, InputError, PositionExtension, TokenBatch,
};

fn extended(extension: PositionExtension) -> Gpt2 {
    load("base")
        .with_position_extension(extension)
        .expect("an extension that fits")
}

/// Position embeddings alone: the embedding less that of the token.
fn positions(model: &Gpt2, count: u32) -> Vec<Vec<f32>> {
    let batch = single(&ids(count));
    let tokens = model.wte.forward(batch.to_tensor(&model.device()));
    let all = floats(model.embed(&batch, 0) - tokens);
    all.chunks(20).map(<[f32]>::to_vec).collect()
}

#[test]
fn longer_input_is_an_error_unless_an_extension_is_chosen() {
    let error = InputError::TooLong {
        seq_len: 65,
        n_positions: 64,
    };
    let batch = single(&ids(65));
    let model = load("base");
    assert_eq!(model.hidden_states(&batch).err(), Some(error.clone()));
    assert_eq!(model.all_hidden_states(&batch).err(), Some(error.clone()));
    // A row's own length counts, not its padding.
    let padded = TokenBatch::padded(&[ids(65), ids(3)]).expect("rows");
    assert_eq!(model.hidden_states(&padded).err(), Some(error));

    let repeat = extended(PositionExtension::RepeatLast { window: 16 });
    assert_eq!(repeat.max_positions(), None);
    repeat.hidden_states(&batch).expect("no limit");
    let stretched = extended(PositionExtension::Interpolate { positions: 100 });
    assert_eq!(stretched.max_positions(), Some(100));
    let states = |count| stretched.hidden_states(&single(&ids(count)));
    states(100).expect("100 positions");
    let error = InputError::TooLong {
        seq_len: 101,
        n_positions: 100,
    };
    assert_eq!(states(101).err(), Some(error));
}

#[test]
fn the_last_window_repeats() {
    let table = floats(load("base").wpe.weight.val());
    let found = positions(&extended(PositionExtension::RepeatLast { window: 16 }), 100);
    for (position, found) in found.iter().enumerate() {
        let row = if position < 64 {
            position
        } else {
            48 + (position - 64) % 16
        };
        assert_close(
            found,
            &table[row * 20..(row + 1) * 20],
            &format!("position {position}"),
        );
    }
    let (plain, repeating) = (
        load("base"),
        extended(PositionExtension::RepeatLast { window: 1 }),
    );
    let short = single(&ids(64));
    let states = |model: &Gpt2| floats(model.hidden_states(&short).expect("64 positions"));
    assert_eq!(
        states(&plain),
        states(&repeating),
        "what fits stays as it was"
    );
}

#[test]
fn the_table_stretches_linearly() {
    let table = floats(load("base").wpe.weight.val());
    // 127 positions: every other one is a row of the table, those between are means of two.
    let found = positions(
        &extended(PositionExtension::Interpolate { positions: 127 }),
        127,
    );
    for (position, found) in found.iter().enumerate() {
        let row = |row: usize| &table[row * 20..(row + 1) * 20];
        let (low, high) = (row(position / 2), row(position.div_ceil(2)));
        let mean: Vec<f32> = low.iter().zip(high).map(|(a, b)| (a + b) / 2.0).collect();
        assert_close(found, &mean, &format!("position {position}"));
    }
    let same = extended(PositionExtension::Interpolate { positions: 64 });
    let states = |model: &Gpt2| floats(model.hidden_states(&single(&ids(64))).expect("fits"));
    assert_eq!(states(&load("base")), states(&same));
}

#[test]
fn extended_positions_go_through_the_cache_too() {
    for extension in [
        PositionExtension::Interpolate { positions: 90 },
        PositionExtension::RepeatLast { window: 20 },
    ] {
        let model = extended(extension);
        let at_once = floats(model.hidden_states(&single(&ids(90))).expect("fits"));
        let mut cache = model.new_cache();
        let mut pieces = Vec::new();
        for piece in ids(90).chunks(35) {
            let hidden = model
                .forward_cached(&single(piece), &mut cache)
                .expect("fits");
            pieces.extend(floats(hidden));
        }
        assert_close(&pieces, &at_once, &format!("{extension:?}"));

        let settings = GenerationConfig {
            max_new_tokens: 41,
            ..Default::default()
        };
        let new = model.generate(&single(&ids(50)), &settings).expect("fits");
        assert_eq!(new[0].len(), 41);

        // Rows of unequal length get what they get alone.
        let rows = TokenBatch::padded(&[ids(90), ids(70)]).expect("rows");
        let together = floats(model.hidden_states(&rows).expect("fits"));
        let alone = floats(model.hidden_states(&single(&ids(70))).expect("fits"));
        assert_close(
            &together[together.len() - alone.len()..],
            &alone,
            "a padded row",
        );
        assert!(distance(&together[..alone.len()], &alone) < crate::common::TOLERANCE);
    }
}

#[test]
fn extensions_that_do_not_fit_are_refused_by_name() {
    for (extension, setting) in [
        (
            PositionExtension::Interpolate { positions: 63 },
            "positions",
        ),
        (
            PositionExtension::Interpolate {
                positions: usize::MAX,
            },
            "positions",
        ),
        (PositionExtension::RepeatLast { window: 0 }, "window"),
        (PositionExtension::RepeatLast { window: 65 }, "window"),
    ] {
        let error = load("base")
            .with_position_extension(extension)
            .expect_err(setting);
        let ConfigError::Extension { setting: found, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*found, setting);
    }
}

#[test]
fn an_extended_table_is_what_the_extension_embeds() {
    for extension in [
        PositionExtension::RepeatLast { window: 20 },
        PositionExtension::Crossfade {
            window: 20,
            fade: 5,
        },
        PositionExtension::Interpolate { positions: 100 },
        PositionExtension::Hierarchical,
    ] {
        let model = load("base").extended(100, extension).expect("a table");
        assert_eq!(model.config().n_positions, 100);
        assert_eq!(model.position_extension(), PositionExtension::None);
        let record = model.config().extended_positions().expect("a record");
        assert_eq!((record.trained, record.extension), (64, extension));
        let json = model.config().to_json().expect("a configuration");
        let again = Gpt2Config::from_json(&json).expect("a configuration");
        assert_eq!(again.extended_positions(), Some(record));

        let states = |model: &Gpt2| floats(model.hidden_states(&single(&ids(100))).expect("fits"));
        assert_close(
            &states(&model),
            &states(&extended(extension)),
            &extension.to_string(),
        );
        let error = model.extended(200, extension).expect_err("extended before");
        assert!(
            error.to_string().contains("of which only 64 were trained"),
            "{error}"
        );
    }
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let repeat = PositionExtension::RepeatLast { window: 20 };
    for (positions, extension) in [
        (63, repeat),
        (usize::MAX, repeat),
        (101, PositionExtension::Interpolate { positions: 100 }),
        (65, PositionExtension::None),
        (64 * 64 + 1, PositionExtension::Hierarchical),
    ] {
        let error = load("base").extended(positions, extension);
        let error = error.expect_err("no such table");
        assert!(error.to_string().contains("`positions`"), "{error}");
    }
    let error = load("base").extended(100, PositionExtension::RepeatLast { window: 65 });
    assert!(
        error
            .expect_err("no such window")
            .to_string()
            .contains("`window`")
    );
    for damage in [
        r#""trained": 0"#,
        r#""trained": 101"#,
        r#""trained": 64, "more": 1"#,
    ] {
        let model = load("base").extended(100, repeat).expect("a table");
        let json = model.config().to_json().expect("a configuration");
        let damaged = json.replace(r#""trained": 64"#, damage);
        assert_ne!(json, damaged);
        let error = Gpt2Config::from_json(&damaged).expect_err(damage);
        assert!(error.to_string().contains("bsbr"), "{error}");
    }
}

#[test]
fn tokens_stand_where_they_are_put() {
    let model = load("base");
    let rows = TokenBatch::padded(&[ids(9), ids(5)]).expect("rows");
    let plain: Vec<usize> = (3..12).chain([3, 3, 3, 3]).chain(3..8).collect();
    assert_eq!(
        floats(model.embed_at(&rows, &plain)),
        floats(model.embed(&rows, 3))
    );
    let batch = single(&ids(3));
    let alone = |id: u32, at: usize| floats(model.embed(&single(&[id]), at));
    let apart = [alone(7, 2), alone(38, 40), alone(69, 63)].concat();
    assert_eq!(floats(model.embed_at(&batch, &[2, 40, 63])), apart);

    model.check_at(&batch, &[2, 40, 63]).expect("positions");
    let error = InputError::TooLong {
        seq_len: 65,
        n_positions: 64,
    };
    assert_eq!(model.check_at(&batch, &[2, 64, 63]), Err(error));
    let error = InputError::Positions {
        found: 2,
        expected: 3,
    };
    assert_eq!(model.check_at(&batch, &[2, 3]), Err(error));
    assert!(model.check_at(&single(&[97]), &[0]).is_err());
}
