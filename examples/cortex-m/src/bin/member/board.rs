//! The board: two serial lines, a clock, an alarm, flash, and the reset.
//!
//! Interrupts only end the wait of the loop. They are masked for good (PRIMASK), and a core that
//! waits wakes up for an interrupt that is pending all the same; so no handler ever runs, and
//! nothing is shared.
#![allow(unsafe_code, reason = "registers and flash are memory that the compiler knows nothing of")]

use core::ptr;
use core::time::Duration;

use cortex_m::asm;
use cortex_m::interrupt::{self, InterruptNumber};
use cortex_m::peripheral::{NVIC, SCB};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use raft_core::Instant;

const TIMER: usize = 0x4000_0000;
const ALARM: usize = 0x4000_1000;
const UART0: usize = 0x4000_4000;
const UART1: usize = 0x4000_5000;
const HERTZ: u64 = 25_000_000;
const IRQS: [Irq; 5] = [Irq(0), Irq(1), Irq(2), Irq(3), Irq(9)];

/// The last 4 MiB of the board's large RAM, which no image touches. Where they begin, and so many
/// bytes are the log's; those of the snapshots come behind them.
const FLASH: usize = 0x21c0_0000;
const LOG_BYTES: usize = 192 << 10;
const SNAPSHOT_BYTES: usize = 3 << 20;

/// The number of an interrupt.
#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: the numbers are those of the board, and each stands for one interrupt.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// A register of a device.
struct Register(usize);

impl Register {
    fn read(&self) -> u32 {
        // SAFETY: the addresses of this file are those of the board's devices, which are always there.
        unsafe { ptr::read_volatile(ptr::with_exposed_provenance(self.0)) }
    }

    fn write(&self, value: u32) {
        // SAFETY: as above; a device does nothing to the memory of the program.
        unsafe { ptr::write_volatile(ptr::with_exposed_provenance_mut(self.0), value) }
    }
}

/// A serial line, ARM's CMSDK UART.
pub(crate) struct Uart(usize);

impl Uart {
    fn new(base: usize) -> Self {
        let uart = Self(base);
        uart.register(0x10).write(16);
        // Both directions, with interrupts.
        uart.register(0x8).write(0b1111);
        uart
    }

    const fn register(&self, offset: usize) -> Register {
        Register(self.0 + offset)
    }

    /// The next byte that has arrived, if there is one.
    pub(crate) fn read(&self) -> Option<u8> {
        (self.register(0x4).read() & 0b10 != 0).then(|| self.register(0).read() as u8)
    }

    /// Sends a byte; says whether there was room for it.
    pub(crate) fn write(&self, byte: u8) -> bool {
        let room = self.register(0x4).read() & 0b01 == 0;
        if room {
            self.register(0).write(byte.into());
        }
        room
    }
}

/// The board.
pub(crate) struct Board {
    /// To the peers.
    pub(crate) link: Uart,
    /// To people.
    pub(crate) console: Uart,
    /// What the timer counted down to when it was last read, and the time then.
    counted: u32,
    time: u64,
}

impl Board {
    /// Starts the devices.
    pub(crate) fn start() -> Self {
        interrupt::disable();
        // SAFETY: interrupts are masked, so none is taken.
        IRQS.iter().for_each(|irq| unsafe { NVIC::unmask(*irq) });
        for offset in [0x8, 0x4] {
            Register(TIMER + offset).write(u32::MAX);
        }
        Register(TIMER).write(1);
        let (link, console) = (Uart::new(UART0), Uart::new(UART1));
        Self { link, console, counted: u32::MAX, time: 0 }
    }

    /// The time since the start. Ask at least once in three minutes, for the timer goes round.
    pub(crate) fn now(&mut self) -> Instant {
        let counted = Register(TIMER + 0x4).read();
        self.time += u64::from(self.counted.wrapping_sub(counted));
        self.counted = counted;
        Instant::from_nanos(self.time * (1_000_000_000 / HERTZ))
    }

    /// What happens from now on ends the next [`wait`](Board::wait).
    pub(crate) fn listen(&self) {
        for base in [UART0, UART1] {
            Register(base + 0xc).write(0b1111);
        }
        Register(ALARM).write(0);
        Register(ALARM + 0xc).write(1);
        IRQS.iter().for_each(|irq| NVIC::unpend(*irq));
    }

    /// Waits until something happens, but not longer than this.
    pub(crate) fn wait(&self, longest: Duration) {
        let longest = longest.clamp(Duration::from_micros(10), Duration::from_secs(60));
        let ticks = longest.as_nanos() / u128::from(1_000_000_000 / HERTZ);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Register(ALARM + 0x8).write(ticks);
        Register(ALARM + 0x4).write(ticks);
        Register(ALARM).write(0b1001);
        asm::wfi();
    }

    /// Begins anew, as after a reset from outside.
    pub(crate) fn reset() -> ! {
        SCB::sys_reset()
    }
}

/// A part of the memory that stands in for flash: it is erased by sectors, and a write only clears
/// bits.
pub(crate) struct Flash {
    start: usize,
    bytes: usize,
}

impl Flash {
    /// The flash of the log and that of the snapshots. To be called once.
    pub(crate) const fn parts() -> (Self, Self) {
        let log = Self { start: FLASH, bytes: LOG_BYTES };
        (log, Self { start: FLASH + LOG_BYTES, bytes: SNAPSHOT_BYTES })
    }

    fn byte(&self, offset: usize) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.start + offset)
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        for (at, byte) in (offset as usize..).zip(bytes) {
            // SAFETY: the place is within this part of the flash, which is memory of the board that
            // nothing else in the image uses: the linker does not know of it.
            *byte = unsafe { ptr::read_volatile(self.byte(at)) };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for at in from as usize..to as usize {
            // SAFETY: as in `read`.
            unsafe { ptr::write_volatile(self.byte(at), 0xff) }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (at, byte) in (offset as usize..).zip(bytes) {
            let place = self.byte(at);
            // SAFETY: as in `read`.
            unsafe { ptr::write_volatile(place, ptr::read_volatile(place) & byte) }
        }
        Ok(())
    }
}
