//! Mixture of experts: each token goes through a few of many feed-forward layers. arXiv 2401.04088.

use candle_core::{Device, Result, Tensor};

use super::{Linear, Mlp};
use crate::ops::{
    cpu::with_f32,
    expert_routing::{self, RoutingRule},
};

/// A feed-forward layer made of experts.
#[derive(Debug, Clone)]
pub struct Experts {
    /// `[num_experts, hidden]` blk.{i}.ffn_gate_inp.weight
    pub router: Linear,
    pub experts: Vec<Mlp>,
    pub routing: RoutingRule,
    pub shared: Option<SharedExpert>,
}

/// An expert that every token uses.
#[derive(Debug, Clone)]
pub struct SharedExpert {
    pub mlp: Mlp,
    /// `[hidden]` blk.{i}.ffn_gate_inp_shexp.weight: the output is multiplied by the sigmoid of its product with `x`.
    pub gate: Option<Tensor>,
}

impl Experts {
    /// Returns `[num_tokens, hidden]`. A token's result does not depend on the other tokens.
    ///
    /// # Errors
    /// A candle error unless `x` is `[num_tokens, hidden]` f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let logits = self.router.forward(x)?;
        let routed = if x.device().is_cpu() {
            self.grouped(x, &logits)?
        } else {
            self.everywhere(x, &logits)?
        };
        match &self.shared {
            Some(shared) => routed + shared.forward(x)?,
            None => Ok(routed),
        }
    }

    /// Runs each expert on its own tokens only. Adds in the order of the experts, whatever else is in the batch.
    fn grouped(&self, x: &Tensor, logits: &Tensor) -> Result<Tensor> {
        let (num_tokens, hidden) = x.dims2()?;
        let mut out = vec![0f32; num_tokens * hidden];
        let groups = expert_routing::cpu::by_expert(logits, self.routing)?;
        for (expert, group) in self.experts.iter().zip(groups) {
            let count = group.tokens.len();
            if count == 0 {
                continue;
            }
            let rows = if count == num_tokens {
                x.clone()
            } else {
                x.index_select(&Tensor::from_slice(&group.tokens, count, &Device::Cpu)?, 0)?
            };
            with_f32(&expert.forward(&rows)?, |rows| {
                let weighted = group.tokens.iter().zip(&group.weights);
                for (row, (&token, weight)) in rows.chunks_exact(hidden).zip(weighted) {
                    let out = &mut out[token as usize * hidden..][..hidden];
                    for (out, value) in out.iter_mut().zip(row) {
                        *out += weight * value;
                    }
                }
                Ok(())
            })?;
        }
        Tensor::from_vec(out, (num_tokens, hidden), &Device::Cpu)
    }

    /// Runs every expert on every token and multiplies by its weight, mostly 0: nothing waits for the device to hand
    /// back the routing. From a few tokens on all experts are read anyway.
    fn everywhere(&self, x: &Tensor, logits: &Tensor) -> Result<Tensor> {
        let weights = expert_routing::candle::weights(logits, self.routing)?;
        let mut out = x.zeros_like()?;
        for (index, expert) in self.experts.iter().enumerate() {
            let weight = weights.narrow(1, index, 1)?;
            out = (out + expert.forward(x)?.broadcast_mul(&weight)?)?;
        }
        Ok(out)
    }

    /// Returns the matrices, for warming up.
    pub fn linears(&self) -> Vec<&Linear> {
        let shared = self.shared.iter().map(|shared| &shared.mlp);
        let mlps = self.experts.iter().chain(shared);
        mlps.flat_map(Mlp::linears).chain([&self.router]).collect()
    }
}

impl SharedExpert {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.mlp.forward(x)?;
        let Some(gate) = &self.gate else {
            return Ok(y);
        };
        let gate = candle_nn::ops::sigmoid(&x.broadcast_mul(gate)?.sum_keepdim(1)?)?;
        y.broadcast_mul(&gate)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::{GgmlDType, QTensor};

    use super::*;
    use crate::ops::{
        gated_activation::Activation,
        testing::{assert_close, random, tensor, values},
    };

    fn experts(num_experts: usize, hidden: usize, ffn: usize, routing: RoutingRule) -> Experts {
        let linear = |seed: usize, out: usize, inp: usize| {
            let weight = random(seed as u64, out * inp);
            let weight: Vec<f32> = weight.iter().map(|value| value * 0.2).collect();
            let weight = QTensor::quantize(&tensor(&weight, &[out, inp]), GgmlDType::F32).unwrap();
            Linear::new(Arc::new(weight), None).unwrap()
        };
        let mlp = |index: usize| Mlp {
            gate: linear(10 * index + 1, ffn, hidden),
            up: linear(10 * index + 2, ffn, hidden),
            down: linear(10 * index + 3, hidden, ffn),
            activation: Activation::Silu,
        };
        Experts {
            router: linear(0, num_experts, hidden),
            experts: (0..num_experts).map(mlp).collect(),
            routing,
            shared: Some(SharedExpert {
                mlp: mlp(num_experts),
                gate: Some(tensor(&random(9, hidden), &[hidden])),
            }),
        }
    }

    #[test]
    fn grouping_tokens_by_expert_gives_what_every_expert_on_every_token_gives() {
        for (num_experts, num_used, num_tokens) in [(1, 1, 3), (4, 2, 1), (8, 2, 50), (16, 5, 7)] {
            let rule = RoutingRule {
                num_used,
                normalise: num_used % 2 == 0,
                scale: 1.0,
            };
            let layer = experts(num_experts, 24, 40, rule);
            let x = tensor(&random(5, num_tokens * 24), &[num_tokens, 24]);
            let logits = layer.router.forward(&x).unwrap();
            let grouped = values(&layer.grouped(&x, &logits).unwrap());
            let everywhere = values(&layer.everywhere(&x, &logits).unwrap());
            assert_close(&grouped, &everywhere, 1e-5);
        }
    }

    #[test]
    fn the_shared_expert_is_added_behind_its_gate() {
        let rule = RoutingRule {
            num_used: 2,
            normalise: true,
            scale: 1.0,
        };
        let layer = experts(4, 24, 40, rule);
        let x = tensor(&random(5, 3 * 24), &[3, 24]);
        let all = values(&layer.forward(&x).unwrap());
        let routed = values(
            &layer
                .grouped(&x, &layer.router.forward(&x).unwrap())
                .unwrap(),
        );
        let shared = layer.shared.as_ref().unwrap();
        let mlp = values(&shared.mlp.forward(&x).unwrap());
        let gate = random(9, 24);
        for (token, x) in values(&x).chunks_exact(24).enumerate() {
            let product: f32 = x.iter().zip(&gate).map(|(x, gate)| x * gate).sum();
            let open = 1.0 / (1.0 + (-product).exp());
            for at in token * 24..(token + 1) * 24 {
                assert!((all[at] - routed[at] - open * mlp[at]).abs() < 1e-5);
            }
        }
    }
}
