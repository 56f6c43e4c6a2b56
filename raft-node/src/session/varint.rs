//! Numbers of variable length: seven bits in a byte, the lowest first, as in protocol buffers.

use crate::io::{self, Read};
use alloc::vec::Vec;

/// The most bytes that a number takes.
pub(super) const MAX_BYTES: usize = 10;

/// Appends `number` to `out`.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads one number.
pub(super) fn read(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for place in 0..MAX_BYTES as u32 {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        let shifted = bits << (7 * place);
        if shifted >> (7 * place) != bits {
            break;
        }
        number |= shifted;
        if byte[0] < 0x80 {
            return Ok(number);
        }
    }
    Err(invalid("a number has more than 64 bits"))
}

/// Reads one number of at most 32 bits.
pub(super) fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    u32::try_from(read(from)?).map_err(|_| invalid("a number has more than 32 bits"))
}

/// What is read makes no sense, for this reason.
pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
