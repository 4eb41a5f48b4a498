//! Thrift's compact protocol, as far as page headers and footers use it.

use std::io::{Read, copy, sink};

/// A reader of values.
pub(super) struct Thrift<R> {
    pub input: R,
}

/// Types of fields and of elements.
pub(super) mod field {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const I8: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const STRUCT: u8 = 12;
}

impl<R: Read> Thrift<R> {
    /// The next field's number, which must exceed `last`, and its type; `None` at the end of the
    /// struct.
    pub fn field(&mut self, last: &mut u16) -> Result<Option<(u16, u8)>, String> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let number = match byte >> 4 {
            // The number in full.
            0 => self.signed()?,
            step => i64::from(*last) + i64::from(step),
        };
        // In 16 bits, a larger number could be any.
        match u16::try_from(number) {
            Ok(number) if number > *last && number <= i16::MAX as u16 => *last = number,
            _ => return Err("a field out of order".to_owned()),
        }
        Ok(Some((*last, byte & 0xf)))
    }

    pub fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.input
            .read_exact(&mut byte)
            .map_err(|error| error.to_string())?;
        Ok(byte[0])
    }

    pub fn varint(&mut self) -> Result<u64, String> {
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

    /// A number in zigzag encoding.
    fn signed(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of 32 bits in zigzag encoding.
    pub fn number(&mut self) -> Result<i64, String> {
        let number = self.signed()?;
        match i32::try_from(number) {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(format!("{number} where 32 bits are expected")),
        }
    }

    pub fn pass(&mut self, count: u64) -> Result<(), String> {
        let passed = copy(&mut Read::by_ref(&mut self.input).take(count), &mut sink());
        match passed.map_err(|error| error.to_string())? == count {
            true => Ok(()),
            false => Err(format!("{count} bytes where fewer are left")),
        }
    }
}

pub(super) fn unknown((number, kind): (u16, u8)) -> String {
    format!("a field {number} of unknown type {kind}")
}
