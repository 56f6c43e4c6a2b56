//! Frames on a serial line.

use bytes::{Bytes, BytesMut};
use raft_chip_parts::channels::{Decoder, Frame, MAX_DATA};

fn all() -> Vec<Frame> {
    vec![
        Frame::Begin(0),
        Frame::Ready(u32::MAX),
        Frame::Restarted,
        Frame::Dial(2, Bytes::from_static(b"127.0.0.1:7101")),
        Frame::Opened(2),
        Frame::Accepted(1),
        Frame::Data(1, Bytes::from(vec![0; MAX_DATA])),
        Frame::Data(1, (0..=255).collect::<Vec<u8>>().into()),
        Frame::Close(1),
    ]
}

fn decode(line: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    line.iter().filter_map(|byte| decoder.take(*byte)).collect()
}

#[test]
fn every_frame_reads_back() {
    let mut line = BytesMut::new();
    all().iter().for_each(|frame| frame.encode(&mut line));
    assert_eq!(decode(&line), all());
}

/// One side is reset in the middle of a frame, and begins with a zero.
#[test]
fn what_was_cut_short_costs_nothing_but_itself() {
    let mut whole = BytesMut::new();
    Frame::Data(1, Bytes::from(vec![7; 100])).encode(&mut whole);
    for length in 0..whole.len() - 1 {
        let mut line = BytesMut::from(&whole[..length]);
        line.extend_from_slice(&[0]);
        Frame::Begin(5).encode(&mut line);
        assert_eq!(decode(&line), [Frame::Begin(5)], "after {length} bytes");
    }
}

#[test]
fn noise_is_passed_over() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let mut line: BytesMut = (0..random.usize(..3000)).map(|_| random.u8(..)).collect();
        line.extend_from_slice(&[0]);
        Frame::Restarted.encode(&mut line);
        assert_eq!(decode(&line).last(), Some(&Frame::Restarted));
    }
}
