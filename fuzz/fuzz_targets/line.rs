//! The arguments of `pd`, one a line, not even UTF-8. They are only parsed.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let words = bytes.split(|byte| *byte == b'\n').filter(|word| !word.contains(&0));
    port_daddy::fuzzing::parses(
        std::iter::once(b"pd".as_slice()).chain(words).map(|word| OsString::from_vec(word.to_vec())).collect(),
    );
});
