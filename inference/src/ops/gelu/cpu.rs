//! The activation on the CPU. Bound by the exponential, which [`crate::ops::cpu::exp`] keeps in vector registers.

use candle_core::{Device, Result, Tensor};

use crate::ops::cpu::{DisjointMut, exp, multiversion, parallel, with_f32};

/// Elements of one work item: enough to hide the cost of handing it out.
const ITEM: usize = 4_096;

/// See [`super::gelu`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let count = x.elem_count();
    let mut out = vec![0f32; count];
    with_f32(x, |x| {
        let shared = DisjointMut::new(&mut out);
        parallel(count.div_ceil(ITEM), count > 4 * ITEM, |items| {
            let start = items.start * ITEM;
            let len = (items.end * ITEM).min(count) - start;
            // SAFETY: item ranges do not overlap, so neither do these.
            let y = unsafe { shared.range(start, len) };
            activate(&x[start..][..len], y);
        });
        Ok(())
    })?;
    Tensor::from_vec(out, x.dims(), &Device::Cpu)
}

multiversion! {
    fn activate(x: &[f32], y: &mut [f32]) = activate_body
}

/// `P(X <= x) = (1 + erf(x / sqrt 2)) / 2`, erf to 1.5e-7 by formula 7.1.26 of Abramowitz and Stegun, Handbook of
/// Mathematical Functions.
#[inline(always)]
fn activate_body<const FUSED: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        let a = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / (1.0 + 0.327_591_1 * a);
        let mut p = 1.061_405_4;
        p = p * t - 1.453_152;
        p = p * t + 1.421_413_8;
        p = p * t - 0.284_496_74;
        p = p * t + 0.254_829_6;
        // Half of 1 - erf(a): the probability on the far side of zero.
        let tail = 0.5 * p * t * exp(-a * a);
        *y = x * if x < 0.0 { tail } else { 1.0 - tail };
    }
}
