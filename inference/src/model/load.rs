//! Builds the layers of a model from its file, on all threads: repacking takes longer than reading.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    ModelConfig, ModelError,
    config::{ExpertsConfig, FeedForwardConfig},
    layered::DecoderLayer,
    weights::Weights,
};
use crate::{
    device::cpu_threads,
    layers::{Attention, Experts, FeedForward, Linear, Mlp, RmsNorm, SharedExpert},
};

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Parts that are in memory.
    pub done: usize,
    /// The layers and the output matrix.
    pub total: usize,
}

/// Loads the output matrix and all layers. `on_progress` is called after each, by the thread that loaded it.
pub fn load_in_parallel(
    output: impl Fn() -> Result<Linear, ModelError> + Send,
    weights: &Weights<'_>,
    config: &ModelConfig,
    on_progress: &(dyn Fn(LoadProgress) + Sync),
) -> Result<(Linear, Vec<DecoderLayer>), ModelError> {
    let next = AtomicUsize::new(0);
    let (done, total) = (AtomicUsize::new(0), config.layers.len() + 1);
    let part_done = || {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        on_progress(LoadProgress { done, total });
    };
    let work = || {
        let mut loaded = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= config.layers.len() {
                return loaded;
            }
            let layer = Loader {
                weights,
                config,
                index,
            };
            loaded.push((index, layer.load()));
            part_done();
        }
    };
    let panicked = || ModelError::Unsupported {
        what: "a file on which the loader panics".to_owned(),
    };
    let (output, mut layers) = std::thread::scope(|scope| {
        let part_done = &part_done;
        let output = scope.spawn(move || {
            let output = output();
            part_done();
            output
        });
        let workers: Vec<_> = (0..cpu_threads()).map(|_| scope.spawn(work)).collect();
        let mut layers = Vec::new();
        for worker in workers {
            layers.extend(worker.join().map_err(|_| panicked())?);
        }
        Ok::<_, ModelError>((output.join().map_err(|_| panicked())??, layers))
    })?;
    layers.sort_by_key(|(index, _)| *index);
    let layers = layers
        .into_iter()
        .map(|(_, layer)| layer)
        .collect::<Result<_, _>>()?;
    Ok((output, layers))
}

/// One layer of a file.
struct Loader<'a> {
    weights: &'a Weights<'a>,
    config: &'a ModelConfig,
    index: usize,
}

impl Loader<'_> {
    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.index)
    }

    fn load(&self) -> Result<DecoderLayer, ModelError> {
        let post_norms = self.config.architecture.post_norms;
        let post_norm = |part: &str| -> Result<Option<RmsNorm>, ModelError> {
            if post_norms {
                self.norm(part, self.config.hidden).map(Some)
            } else {
                Ok(None)
            }
        };
        Ok(DecoderLayer {
            attention_norm: self.norm("attn_norm", self.config.hidden)?,
            attention: self.attention()?,
            attention_post_norm: post_norm("post_attention_norm")?,
            ffn_norm: self.norm("ffn_norm", self.config.hidden)?,
            feed_forward: match self.config.layers[self.index].feed_forward {
                FeedForwardConfig::Dense { ffn } => FeedForward::Dense(self.mlp(ffn)?),
                FeedForwardConfig::Experts(experts) => {
                    FeedForward::Experts(self.experts(&experts)?)
                }
            },
            ffn_post_norm: post_norm("post_ffw_norm")?,
            rope: self.config.layers[self.index].rope,
        })
    }

    fn norm(&self, part: &str, width: usize) -> Result<RmsNorm, ModelError> {
        let eps = self.config.rms_norm_eps;
        self.weights.norm(&self.name(part), width, eps)
    }

    fn linear(&self, part: &str, out: usize, inp: usize) -> Result<Linear, ModelError> {
        self.weights.linear(&self.name(part), out, inp)
    }

    fn attention(&self) -> Result<Attention, ModelError> {
        let (hidden, head_dim) = (self.config.hidden, self.config.head_dim);
        let shape = self.config.layers[self.index].attention;
        let (q_rows, kv_rows) = (shape.num_heads * head_dim, shape.num_kv_heads * head_dim);
        let [q, k, v] = if self.weights.has(&self.name("attn_qkv.weight")) {
            let (name, out) = (self.name("attn_qkv"), q_rows + 2 * kv_rows);
            let part = |start, len| {
                self.weights
                    .linear_rows(&name, start..start + len, out, hidden)
            };
            [
                part(0, q_rows)?,
                part(q_rows, kv_rows)?,
                part(q_rows + kv_rows, kv_rows)?,
            ]
        } else {
            [
                self.linear("attn_q", q_rows, hidden)?,
                self.linear("attn_k", kv_rows, hidden)?,
                self.linear("attn_v", kv_rows, hidden)?,
            ]
        };
        let head_norm = |part: &str| -> Result<Option<RmsNorm>, ModelError> {
            if self.config.architecture.qk_norm {
                self.norm(part, head_dim).map(Some)
            } else {
                Ok(None)
            }
        };
        Ok(Attention {
            q,
            k,
            v,
            output: self.linear("attn_output", hidden, q_rows)?,
            q_norm: head_norm("attn_q_norm")?,
            k_norm: head_norm("attn_k_norm")?,
            shape,
        })
    }

    fn mlp(&self, ffn: usize) -> Result<Mlp, ModelError> {
        let hidden = self.config.hidden;
        let [gate, up] = if self.config.architecture.fused_gate_up {
            let name = self.name("ffn_up");
            let part = |start| {
                self.weights
                    .linear_rows(&name, start..start + ffn, 2 * ffn, hidden)
            };
            [part(0)?, part(ffn)?]
        } else {
            [
                self.linear("ffn_gate", ffn, hidden)?,
                self.linear("ffn_up", ffn, hidden)?,
            ]
        };
        Ok(Mlp {
            gate,
            up,
            down: self.linear("ffn_down", hidden, ffn)?,
            activation: self.config.architecture.activation,
        })
    }

    fn experts(&self, config: &ExpertsConfig) -> Result<Experts, ModelError> {
        let hidden = self.config.hidden;
        let activation = self.config.architecture.activation;
        let (count, ffn) = (config.num_experts, config.ffn);
        let matrix = |part: &str, expert: usize, out: usize, inp: usize| {
            // Files of before April 2024 hold a matrix an expert, later ones a stack of all.
            let own = self.name(&format!("{part}.{expert}"));
            if self.weights.has(&format!("{own}.weight")) {
                return self.weights.linear(&own, out, inp);
            }
            let stack = self.name(&format!("{part}_exps"));
            self.weights.linear_of(&stack, expert, [count, out, inp])
        };
        let expert = |expert: usize| -> Result<Mlp, ModelError> {
            Ok(Mlp {
                gate: matrix("ffn_gate", expert, ffn, hidden)?,
                up: matrix("ffn_up", expert, ffn, hidden)?,
                down: matrix("ffn_down", expert, hidden, ffn)?,
                activation,
            })
        };
        let shared = |width: usize| -> Result<SharedExpert, ModelError> {
            let gate = self.name("ffn_gate_inp_shexp.weight");
            Ok(SharedExpert {
                mlp: Mlp {
                    gate: self.linear("ffn_gate_shexp", width, hidden)?,
                    up: self.linear("ffn_up_shexp", width, hidden)?,
                    down: self.linear("ffn_down_shexp", hidden, width)?,
                    activation,
                },
                gate: if config.shared_gate {
                    Some(self.weights.vector(&gate, hidden)?)
                } else {
                    None
                },
            })
        };
        Ok(Experts {
            router: self.linear("ffn_gate_inp", count, hidden)?,
            experts: (0..count).map(expert).collect::<Result<_, _>>()?,
            routing: config.routing,
            shared: config.shared_ffn.map(shared).transpose()?,
        })
    }
}
