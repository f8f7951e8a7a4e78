//! Scalar truth of the activation.

/// Returns `x * P(X <= x)` of each element, by integrating the density of the normal distribution in f64.
pub fn gelu(x: &[f32]) -> Vec<f32> {
    let probability = |x: f64| {
        // Simpson's rule over 2,000 steps from 0 is exact to f64 for all x that matter here.
        let steps = 2_000;
        let width = x / f64::from(steps);
        let density = |at: f64| (-at * at / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sum: f64 = (0..=steps)
            .map(|step| {
                let weight = match step {
                    0 => 1.0,
                    step if step == steps => 1.0,
                    step if step % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(f64::from(step) * width)
            })
            .sum();
        0.5 + sum * width / 3.0
    };
    x.iter()
        .map(|x| (f64::from(*x) * probability(f64::from(*x))) as f32)
        .collect()
}
