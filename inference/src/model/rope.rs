//! How far each pair of a head turns a position: base, and the ways to stretch a model's context beyond what it was
//! first trained for.
//!
//! - a *factor* divides all frequencies (linear scaling, arXiv 2306.15595);
//! - *YaRN* (arXiv 2309.00071) divides the slow frequencies only, those that turn less than `beta_slow` times within
//!   the original context, leaves those alone that turn more than `beta_fast` times, blends between, and lets turned
//!   pairs grow a little;
//! - *frequency factors*, one a pair, come as a tensor: Llama 3.1's `rope_freqs`, or one of two of LongRoPE
//!   (arXiv 2402.13753), chosen by the length of context that the model is loaded for, as llama.cpp does.

use std::f64::consts::PI;

use super::{Architecture, ModelError, keys::Keys, weights::Weights};
use crate::ops::rope::RopeLayout;

/// How a model, or some of its layers, are turned by position.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    pub layout: RopeLayout,
    /// Elements of a head that are turned; even, at most `head_dim`.
    pub dims: usize,
    pub base: f64,
    /// Frequencies are divided by this; 1 normally.
    pub factor: f64,
    pub yarn: Option<Yarn>,
    /// Turned pairs are multiplied by this, and by what YaRN adds.
    pub attention_factor: f64,
    /// Tokens the model was first trained for.
    pub original_context_len: usize,
}

/// Parameters of YaRN.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    pub beta_fast: f64,
    pub beta_slow: f64,
    /// Share of the unscaled frequency where it counts; 1 normally.
    pub extrapolation: f64,
    /// Exponent that lessens the growth of turned pairs; 0 where the file gives none.
    pub log_multiplier: f64,
}

impl RopeConfig {
    /// Reads the keys. `context_len` is what the model was trained for.
    pub fn from_keys(
        keys: &Keys<'_>,
        architecture: &Architecture,
        head_dim: usize,
        context_len: usize,
    ) -> Result<Self, ModelError> {
        let dims = keys.get("rope.dimension_count").unwrap_or(head_dim);
        if dims == 0 || dims > head_dim || !dims.is_multiple_of(2) {
            return Err(keys.invalid("rope.dimension_count", dims));
        }
        let kind = keys.file.get_str(&keys.key("rope.scaling.type"));
        let factor = match keys.positive("rope.scaling.factor")? {
            None => keys.positive("rope.scale_linear")?,
            factor => factor,
        };
        let (factor, yarn) = match kind {
            Some("none") => (1.0, None),
            None | Some("linear" | "longrope") => (factor.unwrap_or(1.0), None),
            Some("yarn") => (factor.unwrap_or(1.0), Some(Yarn::from_keys(keys)?)),
            Some(other) => {
                return Err(ModelError::Unsupported {
                    what: format!("rope scaling `{other}`"),
                });
            }
        };
        Ok(Self {
            layout: architecture.rope_layout,
            dims,
            base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
            factor,
            yarn,
            attention_factor: keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0),
            original_context_len: keys
                .get("rope.scaling.original_context_length")
                .unwrap_or(context_len),
        })
    }

    /// Returns the one of windowed layers, which are never scaled.
    pub fn local(&self, keys: &Keys<'_>) -> Result<Self, ModelError> {
        Ok(Self {
            base: keys.positive("rope.freq_base_swa")?.unwrap_or(10_000.0),
            factor: 1.0,
            yarn: None,
            attention_factor: 1.0,
            ..self.clone()
        })
    }

    /// Returns the frequency factors of a model that is loaded for `max_len` tokens, `None` where the file has none.
    pub fn factors(
        &self,
        weights: &Weights<'_>,
        max_len: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let vector = |name: &str| -> Result<Option<Vec<f32>>, ModelError> {
            match weights.file.tensor(name) {
                Some(_) => Ok(Some(weights.vector(name, self.dims / 2)?.to_vec1()?)),
                None => Ok(None),
            }
        };
        let [plain, short, long] = [
            vector("rope_freqs.weight")?,
            vector("rope_factors_short.weight")?,
            vector("rope_factors_long.weight")?,
        ];
        let by_length = if max_len > self.original_context_len {
            long
        } else {
            short
        };
        Ok(plain.or(by_length))
    }

    /// Returns the angle by which each pair turns a position.
    pub fn frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        let (slow_from, fast_to) = self.yarn_bounds();
        (0..self.dims / 2)
            .map(|pair| {
                let frequency = self.base.powf(-2.0 * pair as f64 / self.dims as f64);
                let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
                let whole = frequency / factor;
                let divided = whole / self.factor;
                let Some(yarn) = &self.yarn else {
                    return divided;
                };
                let slow = (pair as f64 - fast_to) / (slow_from - fast_to).max(0.001);
                let share = (1.0 - slow.clamp(0.0, 1.0)) * yarn.extrapolation;
                divided * (1.0 - share) + whole * share
            })
            .collect()
    }

    /// Returns the pair from which on frequencies are slow, and the one up to which they are fast.
    fn yarn_bounds(&self) -> (f64, f64) {
        let Some(yarn) = &self.yarn else {
            return (0.0, 0.0);
        };
        // The pair that turns `turns` times within the original context.
        let pair = |turns: f64| {
            let len = self.original_context_len as f64;
            self.dims as f64 * (len / (turns * 2.0 * PI)).ln() / (2.0 * self.base.ln())
        };
        let fast_to = pair(yarn.beta_fast).floor().max(0.0);
        let slow_from = pair(yarn.beta_slow).ceil().min(self.dims as f64 - 1.0);
        (slow_from, fast_to)
    }

    /// Returns the factor by which turned pairs grow.
    pub fn magnitude(&self) -> f64 {
        let growth = |exponent: f64| {
            if self.factor <= 1.0 {
                1.0
            } else {
                0.1 * exponent * self.factor.ln() + 1.0
            }
        };
        match &self.yarn {
            Some(yarn) if yarn.extrapolation != 0.0 => {
                self.attention_factor * growth(1.0) / growth(yarn.log_multiplier)
            }
            _ => self.attention_factor,
        }
    }
}

impl Yarn {
    fn from_keys(keys: &Keys<'_>) -> Result<Self, ModelError> {
        let number = |name: &str, default: f64| -> Result<f64, ModelError> {
            let name = format!("rope.scaling.yarn_{name}");
            Ok(keys.number(&name)?.unwrap_or(default))
        };
        Ok(Self {
            beta_fast: number("beta_fast", 32.0)?,
            beta_slow: number("beta_slow", 1.0)?,
            // A negative number is llama.cpp's word for "not set".
            extrapolation: Some(number("ext_factor", 1.0)?)
                .filter(|value| *value >= 0.0)
                .unwrap_or(1.0),
            log_multiplier: number("log_multiplier", 0.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RopeConfig {
        RopeConfig {
            layout: RopeLayout::Halves,
            dims: 64,
            base: 10_000.0,
            factor: 4.0,
            yarn: None,
            attention_factor: 1.0,
            original_context_len: 2_048,
        }
    }

    #[test]
    fn linear_scaling_divides_every_frequency_and_factors_divide_their_own() {
        let factors: Vec<f32> = (0..32).map(|pair| 1.0 + pair as f32).collect();
        let frequencies = config().frequencies(Some(&factors));
        for (pair, frequency) in frequencies.iter().enumerate() {
            let want = 10_000f64.powf(-(pair as f64) / 32.0) / 4.0 / (1.0 + pair as f64);
            assert!((frequency / want - 1.0).abs() < 1e-12);
        }
        assert_eq!(config().magnitude(), 1.0);
    }

    #[test]
    fn yarn_leaves_fast_pairs_alone_and_divides_slow_ones() {
        let yarn = Yarn {
            beta_fast: 32.0,
            beta_slow: 1.0,
            extrapolation: 1.0,
            log_multiplier: 0.0,
        };
        let config = RopeConfig {
            yarn: Some(yarn),
            ..config()
        };
        let plain = RopeConfig {
            factor: 1.0,
            yarn: None,
            ..config.clone()
        };
        let (got, whole) = (config.frequencies(None), plain.frequencies(None));
        // 2048 / (32 * 2 pi) turns: pair 8.06; 2048 / 2 pi: pair 20.1.
        assert_eq!(got[..=8], whole[..=8]);
        assert!(got[14] < whole[14] && got[14] > whole[14] / 4.0);
        for pair in 21..32 {
            assert!((got[pair] * 4.0 / whole[pair] - 1.0).abs() < 1e-12);
        }
        assert!((config.magnitude() - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
    }
}
