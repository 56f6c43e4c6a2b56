//! Bytes from the wire: an error or a message, and a message reads back as it was written.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft_core::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    assert_eq!(Message::decode(bytes.into()), Ok(message));
});
