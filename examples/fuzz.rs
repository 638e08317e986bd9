//! Fuzzes the readers of outside bytes without libFuzzer: `cargo run --release --example fuzz -- gguf --seconds 600`.
//!
//! Inputs are mutated bytes of known ones. A panic, or an input that takes longer than a second, is written to a file and
//! ends the run; `fuzz/` has the same readers as targets of cargo-fuzz, which looks at coverage too.

#[path = "../fuzz/readers.rs"]
mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use readers::{READERS, Reader};

/// Longer inputs are cut.
const MOST_BYTES: usize = 1 << 16;
/// What a reader may take.
const MOST_TIME: Duration = Duration::from_secs(1);
/// Inputs kept as starting points beside the seeds.
const MOST_KEPT: usize = 4096;
/// Values that readers get wrong.
const WORDS: &[&[u8]] = &[
    b"18446744073709551615",
    b"9223372036854775808",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"[[[[[[[[",
    b"\\ud800",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\x80",
    b"\x01\0\0\0\0\0\0\0",
];

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: u64| {
        let value = words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        value.and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let Some(reader) = READERS.iter().find(|reader| words.first().is_some_and(|word| word == reader.name)) else {
        let names: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
        eprintln!("usage: fuzz READER [--seconds N] [--seed N]; READER is one of {}", names.join(", "));
        return ExitCode::from(2);
    };
    run(reader, Duration::from_secs(option("--seconds", 10)), option("--seed", 1))
}

fn run(reader: &Reader, length: Duration, seed: u64) -> ExitCode {
    let mut random = Random(seed.max(1));
    let mut inputs = (reader.seeds)();
    let (seeds, start) = (inputs.len(), Instant::now());
    let (mut tried, mut slowest) = (0_u64, Duration::ZERO);
    while start.elapsed() < length {
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &inputs, &mut random);
        }
        let began = Instant::now();
        let panicked = catch_unwind(AssertUnwindSafe(|| (reader.read)(&input))).is_err();
        let mut took = began.elapsed();
        // a busy machine may stop the process for longer than that: what is slow is slow every time
        for _ in 0..2 {
            if !panicked && took > MOST_TIME {
                let began = Instant::now();
                (reader.read)(&input);
                took = took.min(began.elapsed());
            }
        }
        slowest = slowest.max(took);
        tried += 1;
        if panicked || took > MOST_TIME {
            let name = format!("fuzz-{}-{tried}.bin", reader.name);
            let written = std::fs::write(&name, &input);
            eprintln!("{name} ({written:?}): panicked: {panicked}, {took:?}");
            return ExitCode::FAILURE;
        }
        // now and then one to go on from, so that mutations pile up
        if random.below(64) == 0 {
            if inputs.len() < seeds + MOST_KEPT {
                inputs.push(input);
            } else {
                let place = seeds + random.below(MOST_KEPT);
                inputs[place] = input;
            }
        }
    }
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown").to_owned();
    println!("{}: {tried} inputs in {:?}, the slowest {slowest:?}, {memory}", reader.name, start.elapsed());
    ExitCode::SUCCESS
}

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(32)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        4 => {
            let other = &others[random.below(others.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        5 => drop(input.splice(at..end, WORDS[random.below(WORDS.len())].iter().copied())),
        6 => drop(input.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
        _ => input.truncate(at),
    }
    input.truncate(MOST_BYTES);
}
