//! One voter of a cluster whose other voters are servers. Its peers are at the other end of the first
//! serial line, people at the other end of the second: `status` tells how it stands, `reset` resets
//! the chip.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod links;
mod member;

use alloc::string::String;
use core::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use cortex_m_rt::entry;
use raft_cortex_m::{heap_peak, heap_used, stack_depth, start_heap};
use semihosting::{println, process};

use crate::board::{Board, Uart};
use crate::member::{Failure, Member};

/// A command has no more letters than that.
const COMMAND: usize = 32;

#[entry]
fn main() -> ! {
    start_heap();
    match run(Board::start()) {
        Ok(never) => match never {},
        Err(failure) => {
            println!("FAILED\n{failure}");
            process::exit(1)
        }
    }
}

/// The loop: everything that happens to the node is seen here, one thing after the other.
fn run(mut board: Board) -> Result<core::convert::Infallible, Failure> {
    let mut member = Member::start(board.now())?;
    let mut console = Console { line: String::new(), out: BytesMut::new(), peak: 0 };
    console.say("started");
    loop {
        board.listen();
        let now = board.now();
        let mut idle = true;
        while let Some(byte) = board.link.read() {
            member.links.hear(byte, now, &mut member.events);
            idle = false;
        }
        member.advance(now)?;
        let due = member.links.advance(now);
        while let Some(news) = member.news.pop_front() {
            console.say(&news);
        }
        console.hear(&board.console, &member);
        send(&board.link, member.links.line());
        send(&board.console, &mut console.out);
        if idle && !member.links.can_go_on() {
            let next = member.deadline().into_iter().chain(due).min();
            let longest = next.map_or(Duration::MAX, |next| next.since(board.now()));
            if !longest.is_zero() {
                board.wait(longest);
            }
        }
    }
}

/// Sends as much as the line takes.
fn send(line: &Uart, bytes: &mut BytesMut) {
    while let Some(byte) = bytes.first()
        && line.write(*byte)
    {
        bytes.advance(1);
    }
}

/// What people see.
struct Console {
    line: String,
    out: BytesMut,
    peak: usize,
}

impl Console {
    fn say(&mut self, line: &str) {
        self.out.put_slice(line.as_bytes());
        self.out.put_u8(b'\n');
    }

    fn hear(&mut self, line: &Uart, member: &Member) {
        while let Some(byte) = line.read() {
            if byte != b'\n' {
                if self.line.len() < COMMAND {
                    self.line.push(byte.into());
                }
                continue;
            }
            match core::mem::take(&mut self.line).trim() {
                "reset" => Board::reset(),
                "status" => {
                    self.peak = self.peak.max(heap_peak());
                    let (now, peak, stack) = (heap_used(), self.peak, stack_depth());
                    let status = member.status();
                    self.say(&alloc::format!("{status} heap={now} peak={peak} stack={stack}"));
                }
                _ => self.say("status, or reset"),
            }
        }
    }
}
