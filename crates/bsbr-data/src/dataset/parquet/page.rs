//! What the pages of a column say of themselves, read before anything is made for them.
//!
//! `parquet` makes room for a page as its header asks. These headers come from a file that may
//! lie, so they are walked first: this is the part of Thrift's compact form that they use.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, copy, sink};

/// The most bytes of a page, once it is unpacked.
const MAX_PAGE: u64 = 256 << 20;
/// How much Snappy may at most make of a byte: its longest copies are 64 bytes in 3.
const SNAPPY_RATIO: u64 = 24;
/// Bytes that a page of no values may take all the same.
const SMALLEST: u64 = 64;
/// The deepest nesting of a header: the header, the page's own, its statistics.
const MAX_DEPTH: u32 = 8;

/// Types of pages.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// Where a column's pages are, and how they are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub start: u64,
    pub length: u64,
    pub snappy: bool,
    pub rows: u64,
}

/// A page's header, as far as it matters here.
#[derive(Debug, Default)]
struct Header {
    kind: Option<i64>,
    unpacked: Option<i64>,
    packed: Option<i64>,
    values: Option<i64>,
    encoding: Option<i64>,
}

/// Checks that every page of a column is as large as its bytes allow, in an encoding whose size
/// its bytes bound, and that the pages hold a value for each row.
///
/// # Errors
///
/// What is wrong, in words.
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
            format!("no header of a page {place} bytes into the column ({error})")
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

/// Checks one page, and gives how many values of rows are in it.
fn check_page(header: &Header, packed: u64, snappy: bool) -> Result<u64, String> {
    let unpacked = size(header.unpacked)?;
    let most = match snappy {
        true => packed.saturating_mul(SNAPPY_RATIO) + SMALLEST,
        false => packed,
    };
    if unpacked > most.min(MAX_PAGE) {
        return Err(format!(
            "a page that claims to be {unpacked} bytes, of {packed} in the file"
        ));
    }
    let values = size(header.values)?;
    let encoding = header.encoding.unwrap_or(-1);
    match header.kind {
        // PLAIN; each text has its length before it, four bytes.
        Some(DICTIONARY) if matches!(encoding, 0 | 2) => match values <= unpacked / 4 {
            true => Ok(0),
            false => Err(format!(
                "a dictionary of {values} texts in {unpacked} bytes"
            )),
        },
        // PLAIN, PLAIN_DICTIONARY and RLE_DICTIONARY.
        Some(DATA | DATA_V2) if matches!(encoding, 0 | 2 | 8) => Ok(values),
        Some(kind) => Err(format!(
            "a page of type {kind} in encoding {encoding}, which is not read here"
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

/// Reads Thrift's compact form.
struct Thrift<R> {
    input: R,
}

/// Types of fields.
mod field {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const STRUCT: u8 = 12;
}

impl<R: Read> Thrift<R> {
    fn header(&mut self) -> Result<Header, String> {
        let mut header = Header::default();
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            match (id, kind) {
                (1, field::I32) => header.kind = Some(self.number()?),
                (2, field::I32) => header.unpacked = Some(self.number()?),
                (3, field::I32) => header.packed = Some(self.number()?),
                // Where the encoding stands in the header of each type.
                (5 | 7, field::STRUCT) => self.page(&mut header, 2)?,
                (8, field::STRUCT) => self.page(&mut header, 4)?,
                (_, kind) => self.skip(kind, MAX_DEPTH)?,
            }
        }
        Ok(header)
    }

    /// The header of the page's own type.
    fn page(&mut self, header: &mut Header, encoding: i64) -> Result<(), String> {
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            match (id, kind) {
                (1, field::I32) => header.values = Some(self.number()?),
                (id, field::I32) if id == encoding => header.encoding = Some(self.number()?),
                (_, kind) => self.skip(kind, MAX_DEPTH)?,
            }
        }
        Ok(())
    }

    /// The next field's number and type; `None` at the end of the struct.
    fn field(&mut self, last: &mut i64) -> Result<Option<(i64, u8)>, String> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *last = match byte >> 4 {
            0 => self.number()?,
            step => last.saturating_add(i64::from(step)),
        };
        Ok(Some((*last, byte & 0xf)))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Result<(), String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err("it is nested too deeply".to_owned());
        };
        match kind {
            field::TRUE | field::FALSE => Ok(()),
            field::BYTE => self.byte().map(drop),
            field::I16 | field::I32 | field::I64 => self.varint().map(drop),
            field::DOUBLE => self.pass(8),
            field::BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            field::LIST | field::SET => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                (0..count).try_for_each(|_| match head & 0xf {
                    // In a list a truth value takes a byte.
                    field::TRUE | field::FALSE => self.byte().map(drop),
                    kind => self.skip(kind, depth),
                })
            }
            field::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            other => Err(format!("a field of type {other}")),
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.input
            .read_exact(&mut byte)
            .map_err(|error| error.to_string())?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    /// A number with its sign in the lowest bit.
    fn number(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn pass(&mut self, count: u64) -> Result<(), String> {
        let passed = copy(&mut Read::by_ref(&mut self.input).take(count), &mut sink());
        match passed.map_err(|error| error.to_string())? == count {
            true => Ok(()),
            false => Err(format!("{count} bytes where fewer are left")),
        }
    }
}
