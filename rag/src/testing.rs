//! What unit tests share: an embedder without a model, and random numbers with a seed.

use crate::embed::{EmbedError, Embedder};

/// Dimensions of [`HashEmbedder`].
pub(crate) const DIM: usize = 64;

/// Hashes each word to a signed dimension: texts that share words are similar.
pub(crate) struct HashEmbedder {
    pub(crate) name: String,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self {
            name: "hash-64".to_owned(),
        }
    }
}

impl HashEmbedder {
    pub(crate) fn vector(text: &str) -> Vec<f32> {
        let mut vector = vec![0f32; DIM];
        for word in text
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            let hash = blake3::hash(word.as_bytes());
            let bytes = hash.as_bytes();
            let sign = if bytes[1].is_multiple_of(2) {
                1.0
            } else {
                -1.0
            };
            vector[usize::from(bytes[0]) % DIM] += sign * (1.0 + f32::from(bytes[2]) / 256.0);
        }
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|x| *x /= norm);
        } else {
            vector[0] = 1.0;
        }
        vector
    }
}

impl Embedder for HashEmbedder {
    fn name(&self) -> &str {
        &self.name
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn max_tokens(&self) -> usize {
        256
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| Self::vector(text)).collect())
    }
}

/// SplitMix64: a small generator with a seed, so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Some words of a small vocabulary.
    pub(crate) fn words(&mut self, count: usize) -> String {
        const WORDS: &[&str] = &[
            "invoice",
            "travel",
            "policy",
            "server",
            "backup",
            "holiday",
            "pension",
            "laptop",
            "badge",
            "canteen",
            "parking",
            "contract",
            "salary",
            "training",
            "budget",
            "meeting",
            "printer",
            "network",
            "password",
            "visitor",
            "elevator",
            "heating",
            "warehouse",
            "forklift",
            "shipment",
            "customs",
            "warranty",
            "refund",
            "supplier",
            "audit",
            "payroll",
            "insurance",
        ];
        (0..count)
            .map(|_| *self.pick(WORDS))
            .collect::<Vec<_>>()
            .join(" ")
    }
}
