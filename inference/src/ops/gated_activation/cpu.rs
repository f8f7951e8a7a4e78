//! The gated activation on the CPU. Bound by the exponential, which [`crate::ops::cpu::exp`] keeps in vector registers.

use std::mem::MaybeUninit;

use candle_core::{Device, Result, Tensor};

use super::Activation;
use crate::ops::cpu::{DisjointMut, exp, multiversion, parallel, with_f32};

/// Elements of one work item: enough to hide the cost of handing it out.
const ITEM: usize = 4_096;

/// See [`super::gated`].
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let count = gate.elem_count();
    // Not zeroed first: every element is written.
    let mut out = Vec::with_capacity(count);
    with_f32(gate, |gate| {
        with_f32(up, |up| {
            let shared = DisjointMut::new(&mut out.spare_capacity_mut()[..count]);
            parallel(count.div_ceil(ITEM), count > 4 * ITEM, |items| {
                let start = items.start * ITEM;
                let len = (items.end * ITEM).min(count) - start;
                // SAFETY: item ranges do not overlap, so neither do these.
                let y = unsafe { shared.range(start, len) };
                let (gate, up) = (&gate[start..][..len], &up[start..][..len]);
                match activation {
                    Activation::Silu => silu(gate, up, y),
                    Activation::GeluTanh => gelu(gate, up, y),
                }
            });
            Ok(())
        })
    })?;
    // SAFETY: `parallel` has covered all items (it panics otherwise), and each wrote all its elements.
    unsafe { out.set_len(count) };
    Tensor::from_vec(out, gate.dims(), &Device::Cpu)
}

multiversion! {
    fn silu(gate: &[f32], up: &[f32], y: &mut [MaybeUninit<f32>]) = silu_body
}

#[inline(always)]
fn silu_body<const FUSED: bool>(gate: &[f32], up: &[f32], y: &mut [MaybeUninit<f32>]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        y.write(gate / (1.0 + exp(-gate)) * up);
    }
}

multiversion! {
    fn gelu(gate: &[f32], up: &[f32], y: &mut [MaybeUninit<f32>]) = gelu_body
}

/// `0.5 * (1 + tanh(u)) = 1 / (1 + e^-2u)`.
#[inline(always)]
fn gelu_body<const FUSED: bool>(gate: &[f32], up: &[f32], y: &mut [MaybeUninit<f32>]) {
    // 2 * sqrt(2 / pi)
    const SLOPE: f32 = 1.595_769;
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        let twice = SLOPE * (gate + 0.044_715 * gate * gate * gate);
        y.write(gate / (1.0 + exp(-twice)) * up);
    }
}
