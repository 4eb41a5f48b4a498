//! Page headers of a column, checked before memory is allocated.
//!
//! `parquet` allocates what a page header says. Headers come from untrusted files, so they are
//! parsed first. Unknown parts are refused, because `parquet` could interpret them differently: it
//! keeps the last of duplicate fields, ignores types, and truncates numbers to the expected bits.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::thrift::{Thrift, field, unknown};

/// The size limit of a decompressed page, in bytes.
const MAX_PAGE: u64 = 256 << 20;
/// The maximum expansion of Snappy: its longest copies are 64 bytes from 3.
const SNAPPY_RATIO: u64 = 24;
/// The size that a page without values may have.
const SMALLEST: u64 = 64;

/// Types of pages.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// The position of a column's pages, and their compression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub start: u64,
    pub length: u64,
    pub snappy: bool,
    pub rows: u64,
}

/// The needed part of a page header.
#[derive(Debug, Default)]
struct Header {
    kind: Option<i64>,
    /// The page type that the header describes in detail.
    described: Option<i64>,
    unpacked: Option<i64>,
    packed: Option<i64>,
    values: Option<i64>,
    encoding: Option<i64>,
}

/// Checks that the size of every page of a column is plausible for its bytes, that its encoding
/// has a bounded size, and that the pages hold a value for each row.
///
/// # Errors
///
/// The error, in words.
pub(super) fn check(file: &File, chunk: Chunk) -> Result<(), String> {
    let mut file = file.try_clone().map_err(|error| error.to_string())?;
    let (mut at, end) = (chunk.start, chunk.start + chunk.length);
    let mut values = 0u64;
    while at < end {
        file.seek(SeekFrom::Start(at))
            .map_err(|error| error.to_string())?;
        let mut thrift = Thrift {
            input: BufReader::new(Read::by_ref(&mut file)).take(end - at),
        };
        let header = thrift.header().map_err(|error| {
            let place = at - chunk.start;
            format!("no page header {place} bytes into the column ({error})")
        })?;
        at = end - thrift.input.limit();
        let packed = size(header.packed)?;
        if packed > end - at {
            return Err(format!(
                "a page of {packed} bytes where {} are left",
                end - at
            ));
        }
        values += check_page(&header, packed, chunk.snappy)?;
        at += packed;
    }
    match values == chunk.rows {
        true => Ok(()),
        false => Err(format!("{values} values for {} rows", chunk.rows)),
    }
}

/// Checks one page, and returns the number of its values.
fn check_page(header: &Header, packed: u64, snappy: bool) -> Result<u64, String> {
    let unpacked = size(header.unpacked)?;
    let most = match snappy {
        true => packed.saturating_mul(SNAPPY_RATIO) + SMALLEST,
        false => packed,
    };
    if unpacked > most.min(MAX_PAGE) {
        return Err(format!(
            "a page that claims {unpacked} bytes, from {packed} in the file"
        ));
    }
    let values = size(header.values)?;
    let encoding = header.encoding.unwrap_or(-1);
    match header.kind {
        // PLAIN; each text is preceded by its length in four bytes.
        Some(DICTIONARY) if matches!(encoding, 0 | 2) => match values <= unpacked / 4 {
            true => Ok(0),
            false => Err(format!(
                "a dictionary of {values} texts in {unpacked} bytes"
            )),
        },
        // PLAIN, PLAIN_DICTIONARY and RLE_DICTIONARY.
        Some(DATA | DATA_V2) if matches!(encoding, 0 | 2 | 8) => Ok(values),
        Some(kind) => Err(format!(
            "a page of type {kind} in encoding {encoding}, which is not supported"
        )),
        None => Err("a page without a type".to_owned()),
    }
}

fn size(found: Option<i64>) -> Result<u64, String> {
    match found.map(u64::try_from) {
        Some(Ok(size)) => Ok(size),
        Some(Err(_)) => Err("a page with a negative size".to_owned()),
        None => Err("a page without its sizes".to_owned()),
    }
}

impl<R: Read> Thrift<R> {
    fn header(&mut self) -> Result<Header, String> {
        let mut header = Header::default();
        let mut last = 0;
        while let Some(found) = self.field(&mut last)? {
            match found {
                (1, field::I32) => header.kind = Some(self.number()?),
                (2, field::I32) => header.unpacked = Some(self.number()?),
                (3, field::I32) => header.packed = Some(self.number()?),
                // A checksum.
                (4, field::I32) => self.number().map(drop)?,
                // In the order of the types.
                (number @ 5..=8, field::STRUCT) => self.page(&mut header, i64::from(number) - 5)?,
                other => return Err(unknown(other)),
            }
        }
        match header.described == header.kind {
            true => Ok(header),
            false => Err("it does not describe a page of its type".to_owned()),
        }
    }

    /// The header of a page type.
    fn page(&mut self, header: &mut Header, kind: i64) -> Result<(), String> {
        if header.described.replace(kind).is_some() {
            return Err("it describes two types of pages".to_owned());
        }
        let mut last = 0;
        while let Some(found) = self.field(&mut last)? {
            match (kind, found) {
                (DATA | DICTIONARY | DATA_V2, (1, field::I32)) => {
                    header.values = Some(self.number()?);
                }
                (DATA | DICTIONARY, (2, field::I32)) | (DATA_V2, (4, field::I32)) => {
                    header.encoding = Some(self.number()?);
                }
                // Encodings of levels; numbers of nulls and rows; sizes of levels.
                (DATA, (3 | 4, field::I32)) | (DATA_V2, (2 | 3 | 5 | 6, field::I32)) => {
                    self.number().map(drop)?;
                }
                // Whether it is sorted, or compressed.
                (DICTIONARY, (3, field::TRUE | field::FALSE))
                | (DATA_V2, (7, field::TRUE | field::FALSE)) => {}
                (DATA, (5, field::STRUCT)) | (DATA_V2, (8, field::STRUCT)) => self.statistics()?,
                (_, other) => return Err(unknown(other)),
            }
        }
        Ok(())
    }

    /// The minimum and maximum value, and counts.
    fn statistics(&mut self) -> Result<(), String> {
        let mut last = 0;
        while let Some(found) = self.field(&mut last)? {
            match found {
                (1 | 2 | 5 | 6, field::BINARY) => {
                    let length = self.varint()?;
                    self.pass(length)?;
                }
                (3 | 4 | 9, field::I64) => self.varint().map(drop)?,
                (7 | 8, field::TRUE | field::FALSE) => {}
                other => return Err(unknown(other)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 10 bytes and 3 values of this type, described by `rest`: for each field the step
    /// to its number, its type, and its value.
    fn header(kind: u8, rest: &[u8]) -> Result<Header, String> {
        let sizes = [0x15, 2 * kind, 0x15, 20, 0x15, 20];
        let bytes = [&sizes[..], rest, &[0]].concat();
        let mut thrift = Thrift {
            input: bytes.as_slice(),
        };
        let header = thrift.header()?;
        match thrift.input {
            [] => Ok(header),
            rest => Err(format!("{} bytes are left", rest.len())),
        }
    }

    /// Three values in dictionary encoding; levels in runs.
    const VALUES: [u8; 8] = [0x15, 6, 0x15, 16, 0x15, 6, 0x15, 6];

    /// The struct of a data page two fields further, with additional fields.
    fn data(more: &[u8]) -> Vec<u8> {
        [&[0x2c][..], &VALUES, more, &[0]].concat()
    }

    #[test]
    fn headers_as_writers_write_them_are_read() {
        let statistics = [
            0x1c, 0x18, 1, b'z', 0x18, 1, b'a', 0x16, 0, 0x16, 4, 0x18, 1, b'z', 0x18, 1, b'a',
            0x11, 0x12, 0x16, 0, 0,
        ];
        let checksum = [&[0x15, 8, 0x1c][..], &VALUES, &[0]].concat();
        let dictionary = [0x4c, 0x15, 6, 0x15, 0, 0x12, 0];
        let v2 = [
            0x5c, 0x15, 6, 0x15, 0, 0x15, 6, 0x15, 16, 0x15, 0, 0x15, 0, 0x11, 0,
        ];
        let cases: [(u8, &[u8], i64); 5] = [
            (0, &data(&[]), 8),
            (0, &data(&statistics), 8),
            (0, &checksum, 8),
            (2, &dictionary, 0),
            (3, &v2, 8),
        ];
        for (kind, rest, encoding) in cases {
            let header = header(kind, rest).unwrap();
            assert_eq!(header.kind, Some(kind.into()));
            assert_eq!([header.unpacked, header.packed], [Some(10); 2]);
            assert_eq!([header.values, header.encoding], [Some(3), Some(encoding)]);
        }
        // Such a page is not read, but it is consistent.
        assert!(header(1, &[0x3c, 0]).is_ok());
    }

    /// For each of these, `parquet` would have used other numbers than those checked.
    #[test]
    fn headers_that_can_be_read_in_two_ways_are_refused() {
        // A dictionary page followed by a data page with a small size, or one in place of the
        // other.
        let two = [data(&[]), [0x2c, 0x15, 2, 0x15, 0, 0].to_vec()].concat();
        assert!(header(0, &two).unwrap_err().contains("two types"));
        assert!(header(2, &data(&[])).unwrap_err().contains("of its type"));
        assert!(header(0, &[]).unwrap_err().contains("of its type"));
        // Field 65,538, whose lowest 16 bits are 2, holds another size.
        let far = [&data(&[])[..], &[0x05, 0x84, 0x80, 0x08, 0x7e]].concat();
        assert!(header(0, &far).unwrap_err().contains("out of order"));
        // Field 1 once more, as a number of 64 bits, makes it a page of another type.
        let again = [&data(&[])[..], &[0x06, 2, 4]].concat();
        assert!(header(0, &again).unwrap_err().contains("out of order"));
        // The checksum as a number of 64 bits.
        let other = [&[0x16, 8][..], &[0x1c], &VALUES, &[0]].concat();
        assert!(
            header(0, &other)
                .unwrap_err()
                .contains("field 4 of unknown type 6")
        );
        // Three booleans, which take a byte each or none.
        let booleans = data(&[0x1c, 0x19, 0x31, 1, 1, 1, 0]);
        assert!(
            header(0, &booleans)
                .unwrap_err()
                .contains("field 1 of unknown type 9")
        );
        // A number of 33 bits, of which `parquet` keeps 32.
        let mut large = data(&[]);
        large.splice(2..3, [0x86, 0x80, 0x80, 0x80, 0x20]);
        assert!(header(0, &large).unwrap_err().contains("32 bits"));
    }
}
