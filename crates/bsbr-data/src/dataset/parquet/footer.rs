//! The footer of a file, checked before `parquet` parses it.
//!
//! `parquet` skips the elements of an unknown list one by one, and a boolean there takes no bytes: a
//! footer of a few bytes could make it count to two billion, and do so again for every such list. It
//! reads the fields that it knows without regard to their types. Therefore known fields must have
//! their types, and every element must take a byte.

use super::thrift::{Thrift, field, unknown};

/// The maximum depth of structs and lists. Known ones have 9.
const MAX_DEPTH: usize = 32;

/// The type of a known field.
#[derive(Debug, Clone, Copy)]
enum Type {
    /// No field has this number.
    Unknown,
    Boolean,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    /// The fields of a struct, or the variants of a union, in the order of their numbers from 1 on.
    Struct(&'static [Type]),
    List(&'static Type),
}

use Type::{Binary, Boolean, Double, I8, I16, I32, I64, List, Struct, Unknown};

/// Structs of `parquet.thrift`, parts before the whole.
const EMPTY: Type = Struct(&[]);
const PAIR: Type = Struct(&[Binary, Binary]);
const PAIRS: Type = List(&PAIR);
const CODES: Type = List(&I32);
const NUMBERS: Type = List(&I64);
const NAMES: Type = List(&Binary);
const UNIT: Type = Struct(&[EMPTY, EMPTY, EMPTY]);
const TIME: Type = Struct(&[Boolean, UNIT]);
const DECIMAL: Type = Struct(&[I32, I32]);
const INTEGER: Type = Struct(&[I8, Boolean]);
const VARIANT: Type = Struct(&[I8]);
const GEOMETRY: Type = Struct(&[Binary]);
const GEOGRAPHY: Type = Struct(&[Binary, I32]);
const LOGICAL: Type = Struct(&[
    EMPTY, EMPTY, EMPTY, EMPTY, DECIMAL, EMPTY, TIME, TIME, Unknown, INTEGER, EMPTY, EMPTY, EMPTY,
    EMPTY, EMPTY, VARIANT, GEOMETRY, GEOGRAPHY,
]);
const ELEMENT: Type = Struct(&[I32, I32, I32, Binary, I32, I32, I32, I32, I32, LOGICAL]);
const SCHEMA: Type = List(&ELEMENT);
const STATISTICS: Type = Struct(&[
    Binary, Binary, I64, I64, Binary, Binary, Boolean, Boolean, I64,
]);
const ENCODING: Type = Struct(&[I32, I32, I32]);
const ENCODINGS: Type = List(&ENCODING);
const SIZES: Type = Struct(&[I64, NUMBERS, NUMBERS]);
const BOX: Type = Struct(&[Double; 8]);
const SPACE: Type = Struct(&[BOX, CODES]);
const COLUMN: Type = Struct(&[
    I32, CODES, NAMES, I32, I64, I64, I64, PAIRS, I64, I64, I64, STATISTICS, ENCODINGS, I64, I32,
    SIZES, SPACE,
]);
const CHUNK: Type = Struct(&[Binary, I64, COLUMN, I64, I32, I64, I32]);
const CHUNKS: Type = List(&CHUNK);
const SORTED: Type = Struct(&[I32, Boolean, Boolean]);
const SORTING: Type = List(&SORTED);
const GROUP: Type = Struct(&[CHUNKS, I64, I64, SORTING, I64, I64, I16]);
const GROUPS: Type = List(&GROUP);
const ORDER: Type = Struct(&[EMPTY, EMPTY]);
const ORDERS: Type = List(&ORDER);
/// The fields of `FileMetaData`.
const FILE: &[Type] = &[I32, SCHEMA, I64, GROUPS, PAIRS, Binary, ORDERS];

impl Type {
    fn is(self, kind: u8) -> bool {
        match self {
            Unknown => true,
            Boolean => matches!(kind, field::TRUE | field::FALSE),
            I8 => kind == field::I8,
            I16 => kind == field::I16,
            I32 => kind == field::I32,
            I64 => kind == field::I64,
            Double => kind == field::DOUBLE,
            Binary => kind == field::BINARY,
            Struct(_) => kind == field::STRUCT,
            List(_) => kind == field::LIST,
        }
    }
}

/// Checks a footer.
///
/// # Errors
///
/// The error, in words.
pub(super) fn check(footer: &[u8]) -> Result<(), String> {
    let mut thrift = Thrift { input: footer };
    fields(&mut thrift, FILE, MAX_DEPTH)
}

fn fields(thrift: &mut Thrift<&[u8]>, known: &[Type], depth: usize) -> Result<(), String> {
    let mut last = 0;
    while let Some((number, kind)) = thrift.field(&mut last)? {
        // Numbers ascend from 1.
        let known = known.get(usize::from(number) - 1);
        let known = known.copied().unwrap_or(Unknown);
        if !known.is(kind) {
            return Err(unknown((number, kind)));
        }
        value(thrift, kind, known, depth)?;
    }
    Ok(())
}

fn value(thrift: &mut Thrift<&[u8]>, kind: u8, known: Type, depth: usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("structs within structs")?;
    match kind {
        field::TRUE | field::FALSE => Ok(()),
        field::I8 => thrift.byte().map(drop),
        field::I16 | field::I32 | field::I64 => thrift.varint().map(drop),
        field::DOUBLE => thrift.pass(8),
        field::BINARY => {
            let length = thrift.varint()?;
            thrift.pass(length)
        }
        field::STRUCT => match known {
            Struct(known) => fields(thrift, known, depth),
            _ => fields(thrift, &[], depth),
        },
        field::LIST => {
            let head = thrift.byte()?;
            let (kind, count) = match (head & 0xf, head >> 4) {
                (kind, 0xf) => (kind, thrift.varint()?),
                (kind, count) => (kind, count.into()),
            };
            let known = match known {
                List(known) => *known,
                _ => Unknown,
            };
            if !known.is(kind) {
                return Err(format!("a list of elements of type {kind}"));
            }
            if Boolean.is(kind) && count > 0 {
                return Err(format!("a list of {count} booleans, which no footer has"));
            }
            (0..count).try_for_each(|_| value(thrift, kind, known, depth))
        }
        kind => Err(format!("a value of unknown type {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1, no schema, no rows, and further fields.
    fn footer(more: &[u8]) -> Result<(), String> {
        check(&[&[0x15, 2, 0x19, 0x0c, 0x16, 0], more, &[0]].concat())
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        // Field 10: a number, a list of texts, a struct with a list of lists.
        for more in [
            &[0x75, 1][..],
            &[0x79, 0x28, 1, b'a', 0],
            &[0x7c, 0x19, 0x29, 0x13, 5, 0x06, 0],
            // Field 32,767, which is reserved for extensions, with its number in full.
            &[0x08, 0xfe, 0xff, 0x03, 2, 1, 2],
        ] {
            assert_eq!(footer(more), Ok(()), "{more:?}");
        }
    }

    #[test]
    fn elements_without_bytes_are_refused() {
        let many = [0xff, 0xff, 0xff, 0xff, 0x07];
        for kind in [0xf1, 0xf2] {
            let list = [&[0x79, kind][..], &many].concat();
            assert!(footer(&list).unwrap_err().contains("booleans"));
            let nested = [&[0x7c, 0x19, 0x19, kind][..], &many, &[0]].concat();
            assert!(footer(&nested).unwrap_err().contains("booleans"));
        }
        // A map of booleans.
        let map = [&[0x7b][..], &many, &[0x11]].concat();
        assert!(footer(&map).unwrap_err().contains("type 11"));
        // The end of the footer ends any other list.
        let numbers = [&[0x79, 0xf5][..], &many].concat();
        assert!(footer(&numbers).is_err());
    }

    /// `parquet` would have read the bytes of the text as a list of pairs.
    #[test]
    fn known_fields_of_other_types_are_refused() {
        let pairs = [0x28, 3, 0x19, 0xf1, 0x0f];
        assert!(
            footer(&pairs)
                .unwrap_err()
                .contains("field 5 of unknown type 8")
        );
        let names = [0x29, 0x18, 1, b'a'];
        assert!(footer(&names).unwrap_err().contains("elements of type 8"));
    }

    #[test]
    fn deep_structs_are_refused() {
        let deep = [&[0x7c][..], &[0x1c; 100], &[0; 100]].concat();
        assert!(footer(&deep).unwrap_err().contains("within"));
    }
}
