//! Every file that fuzzing kept (fuzz/corpus) goes through its decoder, so that what was found once stays mended.

use std::fs;
use std::panic;
use std::path::Path;

#[test]
fn every_kept_input_holds_what_its_decoder_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for &(target, property) in martlet_decoders::ALL {
        let mut files: Vec<_> = fs::read_dir(corpus.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{target} has no corpus");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            if panic::catch_unwind(|| property(&bytes)).is_err() {
                panic!("{} does not hold; its reason is above", file.display());
            }
        }
    }
}

#[test]
fn every_decoder_has_a_target_and_every_target_a_decoder() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (target, _) in martlet_decoders::ALL {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "fuzz/Cargo.toml lacks {target}");
        assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
    }
    assert_eq!(fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count(), martlet_decoders::ALL.len());
}
