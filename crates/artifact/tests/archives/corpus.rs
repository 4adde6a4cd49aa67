//! What `make fuzz` starts from, in every ordinary run of the tests: each input, and edits
//! of it, through each parser's target.

use std::path::Path;

use artifact::fuzz::TARGETS;
use proptest::prelude::*;

use crate::support::gunzip;

/// The inputs below a directory.
fn inputs(directory: &Path, found: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut paths: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            inputs(&path, found);
        } else {
            found.push(std::fs::read(&path).expect("an input"));
        }
    }
}

/// The committed inputs, golden archives, and the tars in these.
fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    inputs(&root.join("../../fuzz/corpus"), &mut found);
    assert!(found.len() >= 8, "the corpus is there");
    let mut golden = Vec::new();
    inputs(&root.join("tests/golden"), &mut golden);
    golden.retain(|bytes| bytes.starts_with(&[0x1f, 0x8b]));
    assert!(golden.len() >= 11, "golden archives are there");
    for archive in golden {
        // Other readers stop at the padding of one of them.
        let end = archive
            .iter()
            .rposition(|&byte| byte != 0)
            .expect("not empty");
        if let Ok(tar) = std::panic::catch_unwind(|| gunzip(&archive[..=end])) {
            found.push(tar);
        }
        found.push(archive);
    }
    found
}

#[test]
fn every_target_has_a_program_and_takes_the_whole_corpus() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/targets");
    for (name, target) in TARGETS {
        assert!(programs.join(format!("{name}.rs")).is_file(), "{name}");
        for input in corpus() {
            target(&input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_inputs_never_panic(
        which in any::<prop::sample::Index>(),
        target in 0..TARGETS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..8),
    ) {
        thread_local!(static CORPUS: Vec<Vec<u8>> = corpus());
        let mut input = CORPUS.with(|corpus| which.get(corpus).clone());
        for (at, byte, how) in edits {
            let at = at.index(input.len().max(1)).min(input.len());
            match how {
                0 => input.insert(at, byte),
                1 if at < input.len() => drop(input.remove(at)),
                2 => input.truncate(at.max(input.len() / 2)),
                _ if at < input.len() => input[at] = byte,
                _ => {}
            }
        }
        (TARGETS[target].1)(&input);
    }
}
