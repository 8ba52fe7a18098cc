//! `RUSTC_BOOTSTRAP=1 cargo fuzz run wal_recovery -s none`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quorate_runtime::fuzz::recovery(bytes));
