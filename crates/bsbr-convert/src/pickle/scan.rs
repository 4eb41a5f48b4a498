//! A scan of a pickle without execution.
//!
//! Only strings are tracked through the stack and the memo, because a name may be composed of
//! them. For other values only the size is tracked, because fetching them from the memo copies
//! them.

use std::collections::HashMap;

use super::cursor::{Cursor, MAX_STRING};
use crate::error::shorten;

/// The maximum number of instructions. A tensor takes about 50.
const MAX_STEPS: usize = 1 << 18;
/// The longest integer, in bytes.
const MAX_INTEGER: usize = 16;
/// The maximum number of values in a tuple: sizes, strides and the arguments of a tensor.
const MAX_TUPLE: usize = 16;
/// The approximate memory of a value besides its text, in bytes.
const VALUE_SIZE: u64 = 128;
/// The maximum number of bytes copied through the memo.
const MAX_COPIED: u64 = 64 << 20;

/// Modules, with the names in them that describe tensors and their dictionary.
const ALLOWED: [(&str, &str); 4] = [
    ("collections", "OrderedDict"),
    (
        "torch._utils",
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter",
    ),
    (
        "torch",
        "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage \
         CharStorage ByteStorage BoolStorage uint16 uint32 uint64",
    ),
    ("torch.storage", "UntypedStorage"),
];

/// Why a pickle is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It contains a name that is not allowed.
    Name(String),
    /// It is damaged, or larger than the description of a model.
    At {
        /// Offset in the pickle, in bytes.
        offset: usize,
        /// The error at this offset.
        message: String,
    },
}

/// Why the scan ends.
pub(super) enum Stop {
    Name(String),
    Wrong(String),
}

/// The result of an instruction.
pub(super) type Step<T = ()> = Result<T, Stop>;

/// A value on the stack, as far as it is tracked.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: Option<&'a str>,
    /// The approximate memory of the value and its contents, in bytes.
    size: u64,
}

/// An empty value.
const EMPTY: Value<'static> = Value {
    text: None,
    size: VALUE_SIZE,
};

struct Scanner<'a> {
    cursor: Cursor<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    copied: u64,
}

/// Scans the pickle at the start of `bytes` and returns its length.
///
/// # Errors
///
/// [`Refusal`] names what is not allowed, or gives the position of an error.
pub(super) fn scan(bytes: &[u8]) -> Result<usize, Refusal> {
    let mut scanner = Scanner {
        cursor: Cursor::new(bytes),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    for _ in 0..MAX_STEPS {
        let offset = scanner.cursor.position();
        match scanner.step() {
            Ok(false) => {}
            Ok(true) => return Ok(scanner.cursor.position()),
            Err(Stop::Name(name)) => return Err(Refusal::Name(name)),
            Err(Stop::Wrong(message)) => return Err(Refusal::At { offset, message }),
        }
    }
    Err(Refusal::At {
        offset: scanner.cursor.position(),
        message: format!("more than {MAX_STEPS} instructions"),
    })
}

impl<'a> Scanner<'a> {
    /// One instruction; true if it ends the pickle.
    fn step(&mut self) -> Step<bool> {
        let op = self.cursor.byte()?;
        match op {
            b'.' => {
                self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return Err("values are left over at its end".into());
                }
                return Ok(true);
            }
            // PROTO, FRAME
            0x80 => {
                let version = self.cursor.byte()?;
                if version > 5 {
                    return Err(format!("protocol {version}, expected at most 5").into());
                }
            }
            0x95 => self.cursor.skip(8)?,
            // NONE, NEWTRUE, NEWFALSE, empty tuple, list, dict and set
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | 0x8f => self.stack.push(EMPTY),
            // Numbers
            b'K' => self.skip_and_push(1)?,
            b'M' => self.skip_and_push(2)?,
            b'J' => self.skip_and_push(4)?,
            b'G' => self.skip_and_push(8)?,
            b'I' | b'L' | b'F' => {
                self.cursor.line()?;
                self.stack.push(EMPTY);
            }
            0x8a | 0x8b => {
                let width = if op == 0x8a { 1 } else { 4 };
                let length = self.cursor.length(width, MAX_INTEGER)?;
                self.skip_and_push(length)?;
            }
            // Strings: UNICODE, (SHORT_)BINUNICODE(8), (SHORT_)BINSTRING
            b'V' | 0x8c | b'U' | b'X' | b'T' | 0x8d => {
                let text = match op {
                    b'V' => self.cursor.line()?,
                    0x8c | b'U' => self.cursor.text(1)?,
                    0x8d => self.cursor.text(8)?,
                    _ => self.cursor.text(4)?,
                };
                self.stack.push(Value {
                    text: Some(text),
                    size: VALUE_SIZE + text.len() as u64,
                });
            }
            // Bytes: (SHORT_)BINBYTES(8), BYTEARRAY8
            b'C' | b'B' | 0x8e | 0x96 => {
                let width = match op {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                };
                let length = self.cursor.length(width, MAX_STRING)?;
                self.skip_and_push(length)?;
            }
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.mark_on_top() => {
                self.marks.pop();
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.copy(top)?;
                self.stack.push(top);
            }
            // Tuples
            b't' => {
                let (count, size) = self.pop_to_mark()?;
                if count > MAX_TUPLE {
                    return Err(
                        format!("a tuple of {count} values, expected at most {MAX_TUPLE}").into(),
                    );
                }
                self.push_sized(size);
            }
            0x85..=0x87 => self.replace(usize::from(op - 0x84))?,
            // LIST, DICT, FROZENSET
            b'l' | b'd' | 0x91 => {
                let (_, size) = self.pop_to_mark()?;
                self.push_sized(size);
            }
            // APPEND, SETITEM, APPENDS, SETITEMS, ADDITEMS: the container stays
            b'a' => self.replace(2)?,
            b's' => self.replace(3)?,
            b'e' | b'u' | 0x90 => {
                let (_, size) = self.pop_to_mark()?;
                let container = self.pop()?;
                self.push_sized(container.size + size);
            }
            // Memo: GET, BINGET, LONG_BINGET, PUT, BINPUT, LONG_BINPUT, MEMOIZE
            b'g' | b'h' | b'j' => {
                let index = self.memo_index(op)?;
                let value = *self
                    .memo
                    .get(&index)
                    .ok_or_else(|| format!("memo {index} was never set"))?;
                self.copy(value)?;
                self.stack.push(value);
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let index = self.memo_index(op)?;
                let top = self.top()?;
                self.copy(top)?;
                self.memo.insert(index, top);
            }
            // GLOBAL, STACK_GLOBAL; and INST, which names and calls in one
            b'c' | b'i' => {
                let module = self.cursor.line()?;
                let name = self.cursor.line()?;
                allow(module, name)?;
                if op == b'i' {
                    return Err("instruction INST, which state dicts do not use".into());
                }
                self.stack.push(EMPTY);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (module.text, name.text) else {
                    return Err("a name that is not made of strings".into());
                };
                allow(module, name)?;
                self.stack.push(EMPTY);
            }
            // BINPERSID: a storage; REDUCE: a call; BUILD: attributes
            b'Q' => self.replace(1)?,
            b'R' | b'b' => self.replace(2)?,
            _ => {
                return Err(format!("instruction 0x{op:02x}, which state dicts do not use").into());
            }
        }
        Ok(false)
    }

    fn skip_and_push(&mut self, length: usize) -> Step {
        self.cursor.skip(length)?;
        self.push_sized(length as u64);
        Ok(())
    }

    /// Pushes a value with contents of `size`.
    fn push_sized(&mut self, size: u64) {
        self.stack.push(Value {
            text: None,
            size: VALUE_SIZE + size,
        });
    }

    /// Counts a copy of a value.
    fn copy(&mut self, value: Value<'a>) -> Step {
        self.copied += value.size;
        if self.copied > MAX_COPIED {
            return Err(format!("it copies more than {MAX_COPIED} bytes").into());
        }
        Ok(())
    }

    fn memo_index(&mut self, op: u8) -> Step<u32> {
        let index = match op {
            b'h' | b'q' => self.cursor.number(1)?,
            b'j' | b'r' => self.cursor.number(4)?,
            0x94 => self.memo.len() as u64,
            _ => {
                let line = self.cursor.line()?;
                line.parse().map_err(|_| "a memo that is not a number")?
            }
        };
        Ok(u32::try_from(index).map_err(|_| "a memo out of bounds")?)
    }

    fn mark_on_top(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    fn top(&self) -> Step<Value<'a>> {
        if self.mark_on_top() {
            return Err("a mark where a value should be".into());
        }
        Ok(*self.stack.last().ok_or("a value is missing")?)
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Pops everything above the last mark; returns the number of values and their size.
    fn pop_to_mark(&mut self) -> Step<(usize, u64)> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        let values = self.stack.drain(mark.min(self.stack.len())..);
        let count = values.len();
        Ok((count, values.map(|value| value.size).sum()))
    }

    /// Pops `count` values and pushes one that contains them.
    fn replace(&mut self, count: usize) -> Step {
        let mut size = 0;
        for _ in 0..count {
            size += self.pop()?.size;
        }
        self.push_sized(size);
        Ok(())
    }
}

fn allow(module: &str, name: &str) -> Step {
    let mut modules = ALLOWED.iter().filter(|(known, _)| *known == module);
    let allowed = modules.any(|(_, names)| names.split(' ').any(|known| known == name));
    if allowed {
        Ok(())
    } else {
        Err(Stop::Name(shorten(&format!("{module}.{name}"), 120)))
    }
}
