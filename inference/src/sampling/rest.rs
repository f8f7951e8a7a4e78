//! What is known of the tokens that are not among the candidates: how many, how large at most, and bounds of their weight.
//!
//! Each step of [`super::truncation`] and the draw either come to the same result for everything within the bounds, or ask for the
//! whole row. The bounds are wider than all roundings on either way, so what is decided is what the whole row decides.

/// Relative error of a sum of `f32` exponentials: an exponent is below 104 (beyond, the result is 0) and has two roundings, one of
/// the difference and one of the quotient by the temperature. Checked for the device by the tests of `candidates_of_row.cu`.
const ERROR: f64 = 2e-5;
/// The least `f32` above 0: smaller exponentials become it or 0.
const SMALLEST: f64 = 1.5e-45;
/// Relative error of sums in `f64` in any order.
pub(super) const SUM_ERROR: f64 = 1e-9;

/// Tokens beside the candidates. Weights are relative to the largest candidate's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rest {
    /// At most so many.
    pub count: usize,
    /// None is larger, and one as large has a higher id than a candidate that is.
    pub most: f32,
    /// The weight of one of `most`.
    most_weight: f64,
    low: f64,
    high: f64,
}

impl Rest {
    /// `sum` is that of the exponentials of their logits less `largest`.
    pub fn new(count: usize, most: f32, largest: f32, sum: f32) -> Self {
        let tiny = count as f64 * SMALLEST;
        let sum = f64::from(sum);
        let mut rest = Self {
            count,
            most,
            most_weight: 0.0,
            low: (sum * (1.0 - ERROR) - tiny).max(0.0),
            high: sum * (1.0 + ERROR) + tiny,
        };
        rest.measure_from(largest, largest);
        rest
    }

    /// Makes weights relative to another largest logit.
    pub fn measure_from(&mut self, largest: f32, new_largest: f32) {
        let factor = (f64::from(largest) - f64::from(new_largest)).exp();
        // The factor may be infinite, where the largest logits are forbidden; no weight stays none.
        if self.low > 0.0 {
            self.low *= factor;
        }
        if self.high > 0.0 {
            self.high *= factor;
        }
        if self.count == 0 {
            (self.most_weight, self.low, self.high) = (0.0, 0.0, 0.0);
            return;
        }
        self.most_weight = (f64::from(self.most) - f64::from(new_largest)).exp() * (1.0 + ERROR);
        self.high = self.high.min(self.count as f64 * self.most_weight);
        self.low = self.low.min(self.high);
    }

    /// Some of the tokens, at most `count`, have become smaller or are forbidden.
    pub fn lower(&mut self, count: usize) {
        self.low = (self.low - count as f64 * self.most_weight).max(0.0);
    }

    /// Adds a token that is no larger than the others.
    pub fn add(&mut self, weight: f64) {
        self.count += 1;
        self.low += weight * (1.0 - ERROR);
        self.high += weight * (1.0 + ERROR) + SMALLEST;
    }

    /// An unknown part of the tokens is left, at most `count`.
    pub fn keep_some(&mut self, count: usize) {
        self.count = self.count.min(count);
        self.low = 0.0;
        self.high = self.high.min(self.count as f64 * self.most_weight);
    }

    /// Returns the bounds of the weight.
    pub fn mass(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// Returns the bounds of the weight once logits are divided by `temperature`, which raises each weight to the power 1 / T.
    ///
    /// The sum of such powers is bounded by convexity (Jensen) on one side, and on the other by `w^a = w w^(a-1)`, where the last
    /// factor is bounded by that of the largest weight.
    pub fn mass_at(&self, temperature: f32) -> [f64; 2] {
        if temperature == 1.0 || self.count == 0 {
            return self.mass();
        }
        let (power, count) = (1.0 / f64::from(temperature), self.count as f64);
        let spread = |mass: f64| count * (mass / count).powf(power);
        let gathered = |mass: f64| mass * self.most_weight.powf(power - 1.0);
        let (low, high) = if power > 1.0 {
            (spread(self.low), gathered(self.high))
        } else {
            (gathered(self.low), spread(self.high))
        };
        let tiny = count * SMALLEST;
        let high = high.min(count * self.most_weight.powf(power));
        let low = (low * (1.0 - ERROR) - tiny).max(0.0);
        [low.min(high), high * (1.0 + ERROR) + tiny]
    }
}
