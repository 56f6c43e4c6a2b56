//! The core's scripted tests, as the build script has taken them over.

/// What the tests find without being told where: the prelude of the standard library and its
/// paths, as far as `core` and `alloc` have them.
pub(crate) mod prelude {
    pub(crate) use alloc::borrow::ToOwned;
    pub(crate) use alloc::boxed::Box;
    pub(crate) use alloc::string::{String, ToString};
    pub(crate) use alloc::vec::Vec;
    pub(crate) use alloc::{format, vec};

    pub(crate) use super::std;
}

/// A stand-in for the standard library.
pub(crate) mod std {
    pub(crate) use alloc::{collections, rc, sync};
    pub(crate) use core::{mem, ops, time};

    pub(crate) mod hash {
        pub(crate) use core::hash::{Hash, Hasher};

        pub(crate) use siphasher::sip::SipHasher13 as DefaultHasher;
    }
}

include!(concat!(env!("OUT_DIR"), "/scripted.rs"));
