//! The property is in crates/decoders.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| martlet_decoders::enrolment(input));
