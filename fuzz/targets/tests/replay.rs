//! Replays the fuzz corpus without a fuzzer.
//!
//! Every corpus file, and a fixed number of random changes to them, through every target: what a fuzzer found stays found, and a reader that
//! breaks easily breaks here.

use slipway_fuzz_targets::{TARGETS, Target};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Generous: on a loaded machine a target gets no further than this.
const LIMIT: Duration = Duration::from_millis(600);

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// Marsaglia's xorshift: the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// Another input, made of one or two of the corpus.
    fn change(&mut self, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].1.clone();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let piece: Vec<u8> = bytes[at..].iter().take(self.below(40)).copied().collect();
                    bytes.splice(at..at, piece);
                }
                4 => {
                    let other = &corpus[self.below(corpus.len())].1;
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
                5 if at < bytes.len() => bytes[at] = self.byte(),
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => bytes.extend((0..self.below(64)).map(|_| self.byte()).collect::<Vec<u8>>()),
            }
        }
        bytes
    }
}

fn feed(target: &Target, input: &[u8], what: &str) {
    let fed = std::panic::catch_unwind(|| (target.run)(input));
    assert!(fed.is_ok(), "{}: {what}: {}", target.name, input.escape_ascii());
}

#[test]
fn every_target_takes_its_corpus_and_changes_of_it() {
    let started = Instant::now();
    for target in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{}: no corpus", target.name);
        for (path, input) in &corpus {
            feed(target, input, &path.display().to_string());
        }
        feed(target, b"", "nothing");
        let begun = Instant::now();
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut fed = 0;
        while fed < target.inputs && begun.elapsed() < LIMIT {
            feed(target, &random.change(&corpus), "a change");
            fed += 1;
        }
        println!("{:16} {:3} corpus files, {fed:5} changes in {:.2?}", target.name, corpus.len(), begun.elapsed());
    }
    println!("{:.2?}", started.elapsed());
}

/// The fuzzer's own targets are a line each; none may be missing.
#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let source = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(source.contains(&format!("\"{name}\"")), "fuzz_targets/{name}.rs does not feed {name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "fuzz/Cargo.toml has no [[bin]] for {name}");
    }
}
