//! 100,000 damaged GGUF headers, from one seed: every one is read or refused, without a panic, in bounded time, and in
//! memory bounded by the file's size.
//!
//! A test binary of its own because it counts what is allocated. `fuzz/` holds the same check for cargo-fuzz, which
//! searches instead of drawing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    panic::catch_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use candle_core::quantized::GgmlDType;
use inference::gguf::{
    GgufHeader, parse_header,
    synthetic::{SyntheticModel, everything},
};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

const CASES: usize = 100_000;
/// Bytes that parsing may hold at once: an array of arrays costs 32 bytes in memory for 12 in the file at each of four
/// levels, a tensor about 300 for 33.
const MEMORY_FACTOR: usize = 16;
const MEMORY_CONSTANT: usize = 16_384;
/// A thousand times what an undamaged header of this size takes.
const SLOWEST: Duration = Duration::from_secs(1);

/// Counts the bytes that are allocated and their peak.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory but two atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the ones needed.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, Default)]
struct Outcomes {
    accepted: usize,
    refused: usize,
    slowest: Duration,
    /// Largest peak beyond the constant, in bytes for each byte of the file.
    largest_factor: f64,
}

impl Outcomes {
    /// Parses `bytes` and checks everything that must hold whatever they are.
    fn check(&mut self, bytes: &[u8], what: &str) {
        let before = ALLOCATED.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let started = Instant::now();
        let parsed =
            catch_unwind(|| parse_header(bytes)).unwrap_or_else(|_| panic!("{what}: a panic"));
        let took = started.elapsed();
        let peak = PEAK.load(Ordering::Relaxed) - before;
        assert!(took < SLOWEST, "{what}: took {took:?}");
        let allowed = MEMORY_FACTOR * bytes.len() + MEMORY_CONSTANT;
        assert!(
            peak <= allowed,
            "{what}: {peak} bytes of memory for a file of {}",
            bytes.len()
        );
        self.slowest = self.slowest.max(took);
        let beyond = peak.saturating_sub(MEMORY_CONSTANT) as f64;
        self.largest_factor = self.largest_factor.max(beyond / bytes.len().max(1) as f64);
        match parsed {
            Ok(GgufHeader { tensors, .. }) => {
                self.accepted += 1;
                let total: usize = tensors.values().map(|tensor| tensor.bytes()).sum();
                assert!(
                    total <= bytes.len(),
                    "{what}: tensors of {total} bytes in a file of {}",
                    bytes.len()
                );
                assert!(
                    tensors.values().all(|tensor| tensor.elements() > 0),
                    "{what}"
                );
            }
            Err(error) => {
                self.refused += 1;
                let message = error.to_string();
                assert!(
                    message.len() <= 1_024 + 4 * bytes.len(),
                    "{what}: {message}"
                );
            }
        }
    }
}

/// Where the header of a file ends, about: the damage belongs there.
fn header_len(bytes: &[u8]) -> usize {
    let GgufHeader { tensors, .. } = parse_header(bytes).unwrap();
    let longest = tensors.keys().filter_map(|name| {
        bytes
            .windows(name.len())
            .rposition(|window| window == name.as_bytes())
    });
    longest.max().unwrap_or(0) + 64
}

/// Positions of small 64-bit numbers: lengths, counts and dimensions, mostly.
fn lengths(bytes: &[u8], header: usize) -> Vec<usize> {
    let number = |at: &usize| u64::from_le_bytes(bytes[*at..*at + 8].try_into().unwrap());
    (8..header.min(bytes.len() - 8))
        .filter(|at| (1..4_096).contains(&number(at)))
        .collect()
}

const ODD_NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    5,
    255,
    65_536,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    (1 << 61) + 1,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A file to damage, with what the damage aims at.
struct Original {
    bytes: Vec<u8>,
    header: usize,
    lengths: Vec<usize>,
    names: Vec<Vec<u8>>,
}

impl Original {
    fn new(bytes: Vec<u8>) -> Self {
        let header = header_len(&bytes).min(bytes.len());
        let GgufHeader { tensors, .. } = parse_header(&bytes).unwrap();
        let names = tensors
            .keys()
            .map(|name| name.clone().into_bytes())
            .collect();
        Self {
            lengths: lengths(&bytes, header),
            header,
            names,
            bytes,
        }
    }

    fn damaged(&self, rng: &mut ChaCha8Rng) -> (Vec<u8>, String) {
        let mut bytes = self.bytes.clone();
        let mut what = String::new();
        for _ in 0..rng.random_range(1..=3) {
            what += self.damage(&mut bytes, rng);
            what.push(' ');
        }
        (bytes, what)
    }

    fn damage(&self, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> &'static str {
        if bytes.len() < 32 {
            return "nothing";
        }
        let header = self.header.min(bytes.len());
        let at = rng.random_range(0..header);
        match rng.random_range(0..9) {
            0 => {
                bytes[at] ^= 1 << rng.random_range(0..8);
                "a flipped bit"
            }
            1 => {
                bytes[at] = rng.random();
                "a changed byte"
            }
            2 => {
                let end = if rng.random_bool(0.8) {
                    at
                } else {
                    rng.random_range(0..bytes.len())
                };
                bytes.truncate(end);
                "a truncation"
            }
            3 => {
                let at = *self.lengths.choose(rng).unwrap_or(&8);
                overwrite(
                    bytes,
                    at,
                    &ODD_NUMBERS.choose(rng).unwrap_or(&0).to_le_bytes(),
                );
                "an odd length"
            }
            4 => {
                overwrite(
                    bytes,
                    at,
                    &ODD_NUMBERS.choose(rng).unwrap_or(&0).to_le_bytes(),
                );
                "an odd number"
            }
            5 => {
                let end = rng.random_range(at..header.min(at + 200));
                let part = bytes[at..end].to_vec();
                let to = rng.random_range(0..header);
                bytes.splice(to..to, part);
                "a doubled part"
            }
            6 => {
                let end = rng.random_range(at..header.min(at + 100));
                bytes.drain(at..end);
                "a missing part"
            }
            7 => self.duplicate_name(bytes, rng),
            _ => {
                nest(bytes, rng);
                "nested arrays"
            }
        }
    }

    /// Gives a tensor the name of another.
    fn duplicate_name(&self, bytes: &mut [u8], rng: &mut ChaCha8Rng) -> &'static str {
        let (Some(from), Some(to)) = (self.names.choose(rng), self.names.choose(rng)) else {
            return "nothing";
        };
        if from.len() == to.len()
            && let Some(at) = bytes.windows(to.len()).position(|window| window == to)
        {
            bytes[at..at + from.len()].copy_from_slice(from);
        }
        "a name twice"
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    // What lies past the end of a file that was cut before is left out.
    for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *with;
    }
}

/// Inserts a metadata pair of nested arrays before all others.
fn nest(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let mut pair = 1u64.to_le_bytes().to_vec();
    pair.push(b'!');
    pair.extend(9u32.to_le_bytes());
    for _ in 0..rng.random_range(0..8) {
        pair.extend(9u32.to_le_bytes());
        let count = *ODD_NUMBERS.choose(rng).unwrap_or(&1);
        pair.extend(if rng.random_bool(0.7) { 1 } else { count }.to_le_bytes());
    }
    pair.extend(rng.random_range(0..14u32).to_le_bytes());
    pair.extend(rng.random_range(0..4u64).to_le_bytes());
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap()).wrapping_add(1);
    overwrite(bytes, 16, &count.to_le_bytes());
    bytes.splice(24..24, pair);
}

/// Files made to cost as much memory as their size allows.
fn gluttons() -> Vec<(&'static str, Vec<u8>)> {
    let head = |tensors: u64, pairs: u64| {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(tensors.to_le_bytes());
        out.extend(pairs.to_le_bytes());
        out
    };
    let pair = |kind: u32, key: u32, body: &[u8]| {
        let mut out = 4u64.to_le_bytes().to_vec();
        out.extend(key.to_be_bytes().map(|byte| byte & 0x7f));
        out.extend(kind.to_le_bytes());
        out.extend(body);
        out
    };
    let filler = 60_000u64;
    let mut deep = head(0, 1);
    let mut body = Vec::new();
    for _ in 0..3 {
        body.extend(9u32.to_le_bytes());
        body.extend((filler / 12 - 10).to_le_bytes());
    }
    body.extend(8u32.to_le_bytes());
    body.extend((filler / 8 - 10).to_le_bytes());
    deep.extend(pair(9, 1, &body));
    deep.resize(deep.len() + filler as usize, 0);

    let mut strings = head(0, 1);
    strings.extend(pair(
        9,
        1,
        &[&8u32.to_le_bytes()[..], &(filler / 8).to_le_bytes()].concat(),
    ));
    strings.resize(strings.len() + filler as usize, 0);

    let mut bad_text = head(0, 1);
    bad_text.extend(pair(8, 1, &filler.to_le_bytes()));
    bad_text.resize(bad_text.len() + filler as usize, 0xff);

    let mut pairs = head(0, 100 * 128);
    for key in 0..100 * 128u32 {
        pairs.extend(pair(7, ((key / 128) << 8) | (key % 128), &[1]));
    }

    let mut tensors = head(3_000, 0);
    for name in 0..3_000u32 {
        tensors.extend(4u64.to_le_bytes());
        tensors.extend((((name / 128) << 8) | (name % 128)).to_be_bytes());
        tensors.extend(1u32.to_le_bytes());
        tensors.extend(1u64.to_le_bytes());
        tensors.extend(99u32.to_le_bytes());
        tensors.extend(0u64.to_le_bytes());
    }
    vec![
        ("deep arrays", deep),
        ("many strings", strings),
        ("text that is none", bad_text),
        ("many pairs", pairs),
        ("many tensors", tensors),
    ]
}

#[test]
fn pitfall_23_a_hundred_thousand_damaged_headers_are_read_or_refused_within_bounds() {
    let small = SyntheticModel {
        num_layers: 1,
        hidden: 32,
        num_heads: 2,
        num_kv_heads: 1,
        ffn: 32,
        ..Default::default()
    };
    let models = [
        small.clone(),
        SyntheticModel {
            architecture: "qwen2",
            tied: false,
            weights: GgmlDType::F16,
            ..small.clone()
        },
        SyntheticModel {
            rope_freqs: true,
            weights: GgmlDType::Q4_1,
            ..small
        },
    ];
    let mut originals: Vec<Original> = models
        .iter()
        .map(|model| Original::new(model.to_writer().unwrap().to_bytes()))
        .collect();
    originals.push(Original::new(everything().to_bytes()));
    let mut outcomes = Outcomes::default();
    for (what, bytes) in gluttons() {
        outcomes.check(&bytes, what);
    }
    for original in &originals {
        outcomes.check(&original.bytes, "an undamaged file");
    }
    assert!(outcomes.accepted >= originals.len());
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let started = Instant::now();
    for case in 0..CASES {
        let (bytes, what) = originals[case % originals.len()].damaged(&mut rng);
        outcomes.check(&bytes, &format!("case {case}: {what}"));
    }
    println!("{outcomes:?} in {:?}", started.elapsed());
    // Damage that is never refused, or always, would test little.
    assert!(
        outcomes.accepted > CASES / 100 && outcomes.refused > CASES / 2,
        "{outcomes:?}"
    );
}
