//! A scan of a pickle without execution.
//!
//! Only strings are tracked through the stack and the memo, because a name may be composed of
//! them. For other values only the size is tracked, because fetching them from the memo copies
//! them.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

use super::malformed;
use crate::error::{LoadError, shorten};

/// The size limit of a pickle, in bytes. A tensor takes about 150.
const MAX_PICKLE: usize = 4 << 20;
/// The maximum number of instructions. A tensor takes about 50.
const MAX_STEPS: usize = 1 << 18;
/// The limit of strings, in bytes: names of tensors and of storages.
const MAX_STRING: usize = 512;
/// The longest integer, in bytes.
const MAX_INTEGER: usize = 16;
/// The maximum number of values in a tuple: sizes, strides and the arguments of a tensor.
const MAX_TUPLE: usize = 16;
/// The approximate memory of a value besides its text, in bytes.
const VALUE_SIZE: usize = 128;
/// The maximum number of bytes copied through the memo.
const MAX_COPIED: usize = 64 << 20;

/// Whether a name describes tensors or their dictionary.
fn is_allowed(module: &str, name: &str) -> bool {
    let names = match module {
        "collections" => "OrderedDict",
        "torch._utils" => {
            "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter"
        }
        "torch" => {
            "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage \
             ShortStorage CharStorage ByteStorage BoolStorage uint16 uint32 uint64"
        }
        "torch.storage" => "UntypedStorage",
        _ => return false,
    };
    names.split(' ').any(|known| known == name)
}

/// A value on the stack, as far as it is tracked.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: Option<&'a str>,
    /// The approximate memory of the value and its contents, in bytes.
    size: usize,
}

struct Scanner<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// The position in the bytes.
    at: usize,
    /// The position of the instruction.
    instruction: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    copied: usize,
}

/// Scans the pickle of the file `path` that starts at `start` of `bytes`; returns its end.
///
/// # Errors
///
/// [`LoadError`] with the name that is not allowed, or the position of an error.
pub(super) fn scan(path: &Path, bytes: &[u8], start: usize) -> Result<usize, LoadError> {
    let mut scanner = Scanner {
        path,
        bytes: bytes.get(..start + MAX_PICKLE).unwrap_or(bytes),
        at: start,
        instruction: start,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    for _ in 0..MAX_STEPS {
        scanner.instruction = scanner.at;
        if scanner.step()? {
            return Ok(scanner.at);
        }
    }
    Err(scanner.wrong(format!("more than {MAX_STEPS} instructions")))
}

/// The result of an instruction.
type Step<T = ()> = Result<T, LoadError>;

impl<'a> Scanner<'a> {
    /// One instruction; true if it ends the pickle.
    fn step(&mut self) -> Step<bool> {
        let op = self.number(1)? as u8;
        match op {
            b'.' => {
                self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() {
                    return Err(self.wrong("values are left over at its end"));
                }
                return Ok(true);
            }
            // PROTO, FRAME
            0x80 => {
                let version = self.number(1)?;
                if version > 5 {
                    return Err(self.wrong(format!("protocol {version}, expected at most 5")));
                }
            }
            0x95 => _ = self.take(8)?,
            // NONE, NEWTRUE, NEWFALSE, empty tuple, list, dict and set
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' | 0x8f => self.push(0),
            // Numbers
            b'K' => self.take_and_push(1)?,
            b'M' => self.take_and_push(2)?,
            b'J' => self.take_and_push(4)?,
            b'G' => self.take_and_push(8)?,
            b'I' | b'L' | b'F' => {
                self.line()?;
                self.push(0);
            }
            // LONG1, LONG4, (SHORT_)BINBYTES(8), BYTEARRAY8
            0x8a | 0x8b | b'C' | b'B' | 0x8e | 0x96 => {
                let length = match op {
                    0x8a => self.length(1, MAX_INTEGER)?,
                    0x8b => self.length(4, MAX_INTEGER)?,
                    b'C' => self.length(1, MAX_STRING)?,
                    b'B' => self.length(4, MAX_STRING)?,
                    _ => self.length(8, MAX_STRING)?,
                };
                self.take_and_push(length)?;
            }
            // Strings: UNICODE, (SHORT_)BINUNICODE(8), (SHORT_)BINSTRING
            b'V' | 0x8c | b'U' | b'X' | b'T' | 0x8d => {
                let text = match op {
                    b'V' => self.line()?,
                    0x8c | b'U' => self.text(1)?,
                    0x8d => self.text(8)?,
                    _ => self.text(4)?,
                };
                self.stack.push(Value {
                    text: Some(text),
                    size: VALUE_SIZE + text.len(),
                });
            }
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.mark_on_top() => _ = self.marks.pop(),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_to_mark()?,
            b'2' => {
                let top = self.copy_top()?;
                self.stack.push(top);
            }
            // TUPLE, LIST, DICT, FROZENSET
            b't' | b'l' | b'd' | 0x91 => {
                let (count, size) = self.pop_to_mark()?;
                if op == b't' && count > MAX_TUPLE {
                    let message =
                        format!("{count} values in a tuple, expected at most {MAX_TUPLE}");
                    return Err(self.wrong(message));
                }
                self.push(size);
            }
            // TUPLE1, TUPLE2, TUPLE3
            0x85..=0x87 => self.replace(usize::from(op - 0x84))?,
            // APPEND, SETITEM, APPENDS, SETITEMS, ADDITEMS: the container stays
            b'a' => self.replace(2)?,
            b's' => self.replace(3)?,
            b'e' | b'u' | 0x90 => {
                let (_, size) = self.pop_to_mark()?;
                let container = self.pop()?;
                self.push(container.size + size);
            }
            // Memo: GET, BINGET, LONG_BINGET, PUT, BINPUT, LONG_BINPUT, MEMOIZE
            b'g' | b'h' | b'j' => {
                let index = self.memo_index(op)?;
                let value = self.memo.get(&index).copied();
                let value =
                    value.ok_or_else(|| self.wrong(format!("memo {index} was never set")))?;
                self.copy(value)?;
                self.stack.push(value);
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let index = self.memo_index(op)?;
                let top = self.copy_top()?;
                self.memo.insert(index, top);
            }
            // GLOBAL, STACK_GLOBAL; and INST, which names and calls in one
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_named(module, name)?;
                if op == b'i' {
                    return Err(self.wrong("instruction INST, which state dicts do not use"));
                }
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (module.text, name.text) else {
                    return Err(self.wrong("a name that is not made of strings"));
                };
                self.push_named(module, name)?;
            }
            // BINPERSID: a storage; REDUCE: a call; BUILD: attributes
            b'Q' => self.replace(1)?,
            b'R' | b'b' => self.replace(2)?,
            _ => {
                let message = format!("instruction 0x{op:02x}, which state dicts do not use");
                return Err(self.wrong(message));
            }
        }
        Ok(false)
    }

    fn push_named(&mut self, module: &str, name: &str) -> Step {
        if !is_allowed(module, name) {
            return Err(LoadError::ForbiddenName {
                path: self.path.into(),
                name: shorten(&format!("{module}.{name}"), 120),
            });
        }
        self.push(0);
        Ok(())
    }

    /// Pushes a value with contents of `size`.
    fn push(&mut self, size: usize) {
        let size = VALUE_SIZE + size;
        self.stack.push(Value { text: None, size });
    }

    fn take_and_push(&mut self, length: usize) -> Step {
        self.take(length)?;
        self.push(length);
        Ok(())
    }

    /// Counts a copy of a value.
    fn copy(&mut self, value: Value<'a>) -> Step {
        self.copied += value.size;
        if self.copied > MAX_COPIED {
            return Err(self.wrong(format!("it copies more than {MAX_COPIED} bytes")));
        }
        Ok(())
    }

    fn copy_top(&mut self) -> Step<Value<'a>> {
        let top = self.top()?;
        self.copy(top)?;
        Ok(top)
    }

    fn memo_index(&mut self, op: u8) -> Step<u32> {
        let index = match op {
            b'h' | b'q' => self.number(1)?,
            b'j' | b'r' => self.number(4)?,
            0x94 => self.memo.len() as u64,
            _ => {
                let line = self.line()?.parse();
                line.map_err(|_| self.wrong("a memo that is not a number"))?
            }
        };
        u32::try_from(index).map_err(|_| self.wrong("a memo out of bounds"))
    }

    fn mark_on_top(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    fn top(&self) -> Step<Value<'a>> {
        if self.mark_on_top() {
            return Err(self.wrong("a mark where a value should be"));
        }
        let top = self.stack.last().copied();
        top.ok_or_else(|| self.wrong("a value is missing"))
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Pops everything above the last mark; returns the number of values and their size.
    fn pop_to_mark(&mut self) -> Step<(usize, usize)> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| self.wrong("a mark is missing"))?;
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
        self.push(size);
        Ok(())
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length);
        let taken = taken.ok_or_else(|| self.wrong("it is cut short"))?;
        self.at += length;
        Ok(taken)
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Step<u64> {
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A length of `width` bytes.
    fn length(&mut self, width: usize, max: usize) -> Step<usize> {
        let length = self.number(width)?;
        let allowed = usize::try_from(length).ok().filter(|&length| length <= max);
        allowed
            .ok_or_else(|| self.wrong(format!("a value of {length} bytes, expected at most {max}")))
    }

    /// A string preceded by a length of `width` bytes.
    fn text(&mut self, width: usize) -> Step<&'a str> {
        let length = self.length(width, MAX_STRING)?;
        let bytes = self.take(length)?;
        self.utf8(bytes)
    }

    /// The text before the next line feed.
    fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut window = rest.iter().take(MAX_STRING + 1);
        let length = window.position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| self.wrong("a line without end"))?;
        let line = self.take(length)?;
        self.at += 1;
        self.utf8(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn utf8(&self, bytes: &'a [u8]) -> Step<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a string is not UTF-8"))
    }

    fn wrong(&self, message: impl Display) -> LoadError {
        let at = self.instruction;
        malformed(self.path, format!("its pickle, at byte {at}: {message}"))
    }
}
