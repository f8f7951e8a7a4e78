//! 2,000 texts that tokenizers get wrong, from a seed; `scripts/goldens/text_lines.py` makes the same ones.

use crate::golden::golden;

const NUM_LINES: usize = 2_000;
const SEED: u64 = 20_240_726;
const BLANKS: [&str; 12] = [
    " ", " ", " ", "\n", "\t", "\r\n", "\u{a0}", "\u{3000}", "\u{2028}", "\r", "\u{85}", "\u{200b}",
];
/// First and last character of each block from which single characters are drawn.
#[rustfmt::skip]
const SCRIPTS: [(u32, u32); 39] = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F), (0x590, 0x5F4),
    (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xE01, 0xE5B), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1D00, 0x1D7F), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2100, 0x218F), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2DFF),
    (0x3000, 0x30FF), (0x3100, 0x318F), (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFF),
    (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x2003F), (0xE0020, 0xE007F), (0x0, 0x1F),
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

pub fn lines() -> Vec<String> {
    let table: Vec<String> = golden("text/fragments.json");
    let mut random = Random(SEED);
    let mut line = || {
        let pieces = 1 + random.below(9);
        (0..pieces).map(|_| piece(&mut random, &table)).collect()
    };
    (0..NUM_LINES).map(|_| line()).collect()
}

fn piece(random: &mut Random, table: &[String]) -> String {
    match random.below(12) {
        0..6 => table[random.below(table.len())].clone(),
        6..8 => {
            let (first, last) = SCRIPTS[random.below(SCRIPTS.len())];
            let count = 1 + random.below(4);
            let mut character = || first + random.below((last - first + 1) as usize) as u32;
            (0..count)
                .map(|_| char::from_u32(character()).expect("no block holds surrogates"))
                .collect()
        }
        8..10 => {
            let blank = BLANKS[random.below(BLANKS.len())];
            blank.repeat(1 + random.below(5))
        }
        10 => {
            let count = 1 + random.below(8);
            (0..count).map(|_| random.below(10).to_string()).collect()
        }
        _ => {
            let count = 1 + random.below(10);
            let bytes: Vec<u8> = (0..count).map(|_| random.below(256) as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}
