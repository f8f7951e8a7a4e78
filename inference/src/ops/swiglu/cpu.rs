//! The gated activation on the CPU. Bound by the exponential, which [`crate::ops::cpu::exp`] keeps in vector registers.

use candle_core::{Device, Result, Tensor};

use crate::ops::cpu::{DisjointMut, exp, multiversion, parallel, with_f32};

/// Elements of one work item: enough to hide the cost of handing it out.
const ITEM: usize = 4_096;

/// See [`super::swiglu`].
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let count = gate.elem_count();
    let mut out = vec![0f32; count];
    with_f32(gate, |gate| {
        with_f32(up, |up| {
            let shared = DisjointMut::new(&mut out);
            parallel(count.div_ceil(ITEM), count > 4 * ITEM, |items| {
                let start = items.start * ITEM;
                let len = (items.end * ITEM).min(count) - start;
                // SAFETY: item ranges do not overlap, so neither do these.
                let y = unsafe { shared.range(start, len) };
                span(&gate[start..][..len], &up[start..][..len], y);
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, gate.dims(), &Device::Cpu)
}

multiversion! {
    fn span(gate: &[f32], up: &[f32], y: &mut [f32]) = span_body
}

#[inline(always)]
fn span_body<const FUSED: bool>(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        *y = gate / (1.0 + exp(-gate)) * up;
    }
}
