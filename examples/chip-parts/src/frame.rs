//! A piece of flash that is there as a whole or not at all, whenever the power fails.
//!
//! A frame is written in three strokes, each after the one before it: its length and the complement
//! of that; the CRC-32 of its body and the body; and a unit of zeros. A cut leaves the units of one
//! stroke undefined and all that is behind them erased, so an unfinished frame is told from a damaged
//! one: there is nothing behind it.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use raft_node::StoreError;

/// What is found where a frame may begin.
pub(crate) enum Found {
    /// Erased flash.
    Nothing,
    /// A frame that was not finished; its body, if that is whole. Then it may count or not, if a cut
    /// was the reason; it has to count, if the seal has changed since.
    Torn(Option<Vec<u8>>),
    /// A whole frame.
    Frame(Vec<u8>),
    /// What no cut explains.
    Damaged(&'static str),
}

/// The length and its complement.
const HEADER: usize = 8;
const CHECKSUM: usize = 4;

/// The bytes that are written at a time: no unit is written twice.
pub(crate) const fn unit<F: NorFlash>() -> usize {
    if F::WRITE_SIZE > HEADER { F::WRITE_SIZE } else { HEADER }
}

/// Where the body of the frame at `at` begins.
pub(crate) const fn body_at<F: NorFlash>(at: u32) -> u32 {
    at + (unit::<F>() + CHECKSUM) as u32
}

/// The flash that a frame with such a body takes.
pub(crate) const fn size<F: NorFlash>(body: usize) -> usize {
    2 * unit::<F>() + (CHECKSUM + body).next_multiple_of(unit::<F>())
}

pub(crate) fn failed(error: impl core::fmt::Debug) -> StoreError {
    StoreError::Other(format!("the flash fails: {error:?}"))
}

pub(crate) fn damaged(what: &str, at: u32) -> StoreError {
    StoreError::Other(format!("the flash is damaged at offset {at}: {what}"))
}

fn padded<F: NorFlash>(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(unit::<F>()), 0xff);
    bytes
}

/// Writes a frame. The caller has made sure that there is erased room for it.
pub(crate) fn write<F: NorFlash>(flash: &mut F, at: u32, body: &[u8]) -> Result<(), StoreError> {
    let length = body.len() as u32;
    let header = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    let checksum = crc32fast::hash(body).to_le_bytes();
    let mut offset = at;
    for stroke in [header, [&checksum, body].concat(), vec![0; unit::<F>()]] {
        let stroke = padded::<F>(stroke);
        flash.write(offset, &stroke).map_err(failed)?;
        offset += stroke.len() as u32;
    }
    Ok(())
}

/// Reads the frame at `at`, of a part of the flash that ends at `end`.
pub(crate) fn read<F: NorFlash>(flash: &mut F, at: u32, end: u32) -> Result<Found, StoreError> {
    let unit = unit::<F>();
    if (at as usize) + size::<F>(0) > end as usize {
        return Ok(Found::Nothing);
    }
    let mut header = vec![0; unit];
    flash.read(at, &mut header).map_err(failed)?;
    let word = |from: usize| {
        header.get(from..from + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let behind_header = at + unit as u32;
    let length = word(0);
    if header.iter().all(|byte| *byte == 0xff) {
        return match is_erased(flash, behind_header, end)? {
            true => Ok(Found::Nothing),
            false => Ok(Found::Damaged("something lies behind the end")),
        };
    }
    let room = (end - at) as usize;
    if length != !word(4) || length as usize > room - size::<F>(0) {
        return match is_erased(flash, behind_header, end)? {
            true => Ok(Found::Torn(None)),
            false => Ok(Found::Damaged("the length of a frame")),
        };
    }
    let length = length as usize;
    let behind = at + size::<F>(length) as u32;
    let mut content = vec![0; size::<F>(length) - unit];
    flash.read(behind_header, &mut content).map_err(failed)?;
    let seal = content.split_off(content.len() - unit);
    let checksum: Vec<u8> = content.drain(..CHECKSUM).collect();
    content.truncate(length);
    let whole = checksum == crc32fast::hash(&content).to_le_bytes();
    Ok(match seal.iter().all(|byte| *byte == 0) {
        true if whole => Found::Frame(content),
        true => Found::Damaged("the content of a frame"),
        false if is_erased(flash, behind, end)? => Found::Torn(whole.then_some(content)),
        false => Found::Damaged("a frame that is not sealed"),
    })
}

/// Whether nothing is written between two places.
pub(crate) fn is_erased<F: NorFlash>(
    flash: &mut F,
    from: u32,
    to: u32,
) -> Result<bool, StoreError> {
    let mut buffer = [0; 256];
    let mut at = from;
    while at < to {
        let part = ((to - at) as usize).min(buffer.len());
        let Some(bytes) = buffer.get_mut(..part) else { break };
        flash.read(at, bytes).map_err(failed)?;
        if bytes.iter().any(|byte| *byte != 0xff) {
            return Ok(false);
        }
        at += part as u32;
    }
    Ok(true)
}
