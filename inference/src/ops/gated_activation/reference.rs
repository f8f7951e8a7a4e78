//! Scalar truth of the gated activation.

use super::Activation;

/// Returns `act(gate) * up`, element by element.
pub fn gated(activation: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let act = |x: f32| match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let slope = (2.0 / std::f32::consts::PI).sqrt();
            0.5 * x * (1.0 + (slope * (x + 0.044_715 * x * x * x)).tanh())
        }
    };
    gate.iter()
        .zip(up)
        .map(|(gate, up)| act(*gate) * up)
        .collect()
}
