//! The footer of a file, checked before `parquet` parses it.
//!
//! `parquet` passes over the elements of an unknown list one by one, and a truth value there takes no
//! bytes: a footer of some bytes could make it count to two thousand million, and do so again for
//! every such list. It reads the fields that it knows without regard to their types. Therefore known
//! fields must have their types, and every element must take a byte.

use super::thrift::{Thrift, field, unknown};

/// The maximum depth of structs and lists. Known ones have 9.
const MAX_DEPTH: usize = 32;

/// The type of a known field.
#[derive(Debug, Clone, Copy)]
enum Type {
    Truth,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    Struct(Fields),
    List(&'static Type),
}

/// The known fields of a struct, or the variants of a union.
type Fields = &'static [(u16, Type)];

use Type::{Binary, Double, I8, I16, I32, I64, List, Struct, Truth};

/// `FileMetaData`, with the names of `parquet.thrift` below it.
const FILE: Fields = &[
    (1, I32),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, I64),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(COLUMN_ORDER))),
];
const SCHEMA_ELEMENT: Fields = &[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, Binary),
    (5, I32),
    (6, I32),
    (7, I32),
    (8, I32),
    (9, I32),
    (10, Struct(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: Fields = &[
    (1, Struct(&[])),
    (2, Struct(&[])),
    (3, Struct(&[])),
    (4, Struct(&[])),
    (5, Struct(&[(1, I32), (2, I32)])),
    (6, Struct(&[])),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, I8), (2, Truth)])),
    (11, Struct(&[])),
    (12, Struct(&[])),
    (13, Struct(&[])),
    (14, Struct(&[])),
    (15, Struct(&[])),
    (16, Struct(&[(1, I8)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, I32)])),
];
const TIME: Fields = &[(1, Truth), (2, Struct(TIME_UNIT))];
const TIME_UNIT: Fields = &[(1, Struct(&[])), (2, Struct(&[])), (3, Struct(&[]))];
const ROW_GROUP: Fields = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, I64),
    (3, I64),
    (4, List(&Struct(&[(1, I32), (2, Truth), (3, Truth)]))),
    (5, I64),
    (6, I64),
    (7, I16),
];
const COLUMN_CHUNK: Fields = &[
    (1, Binary),
    (2, I64),
    (3, Struct(COLUMN)),
    (4, I64),
    (5, I32),
    (6, I64),
    (7, I32),
];
const COLUMN: Fields = &[
    (1, I32),
    (2, List(&I32)),
    (3, List(&Binary)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (8, List(&Struct(KEY_VALUE))),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, Struct(&[(1, I64), (2, List(&I64)), (3, List(&I64))])),
    (17, Struct(&[(1, Struct(BOUNDING_BOX)), (2, List(&I32))])),
];
const STATISTICS: Fields = &[
    (1, Binary),
    (2, Binary),
    (3, I64),
    (4, I64),
    (5, Binary),
    (6, Binary),
    (7, Truth),
    (8, Truth),
    (9, I64),
];
const BOUNDING_BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];
const KEY_VALUE: Fields = &[(1, Binary), (2, Binary)];
const COLUMN_ORDER: Fields = &[(1, Struct(&[])), (2, Struct(&[]))];

impl Type {
    fn is(self, kind: u8) -> bool {
        match self {
            Truth => matches!(kind, field::TRUE | field::FALSE),
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

fn fields(thrift: &mut Thrift<&[u8]>, known: Fields, depth: usize) -> Result<(), String> {
    let mut last = 0;
    while let Some((number, kind)) = thrift.field(&mut last)? {
        let known = known.iter().find(|(known, _)| *known == number);
        let known = known.map(|(_, known)| *known);
        if known.is_some_and(|known| !known.is(kind)) {
            return Err(unknown((number, kind)));
        }
        value(thrift, kind, known, depth)?;
    }
    Ok(())
}

fn value(
    thrift: &mut Thrift<&[u8]>,
    kind: u8,
    known: Option<Type>,
    depth: usize,
) -> Result<(), String> {
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
            Some(Struct(known)) => fields(thrift, known, depth),
            _ => fields(thrift, &[], depth),
        },
        field::LIST => {
            let head = thrift.byte()?;
            let (kind, count) = match (head & 0xf, head >> 4) {
                (kind, 0xf) => (kind, thrift.varint()?),
                (kind, count) => (kind, count.into()),
            };
            let known = match known {
                Some(List(known)) => Some(*known),
                _ => None,
            };
            if known.is_some_and(|known| !known.is(kind)) {
                return Err(format!("a list of elements of type {kind}"));
            }
            if Truth.is(kind) && count > 0 {
                return Err(format!("a list of {count} truth values, which none has"));
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
            assert!(footer(&list).unwrap_err().contains("truth values"));
            let nested = [&[0x7c, 0x19, 0x19, kind][..], &many, &[0]].concat();
            assert!(footer(&nested).unwrap_err().contains("truth values"));
        }
        // A map of truth values.
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
