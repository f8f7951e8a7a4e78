//! Which tensor of a model gets which type when the model is quantized: llama.cpp's mixtures `Q8_0`, `Q4_0`, `Q4_K_M`
//! and `Q5_K_M`.
//!
//! A mixture has a type for most matrices and spends more bits where rounding costs more: on the output, and in the
//! first, the last and every third layer between on the values of the attention and the last matrix of the feed-forward
//! network. Norms, biases and the routers of experts stay as they are. Rows that are not whole super-blocks take a type
//! with smaller blocks.
//! Absent on purpose: types by importance matrix, and llama.cpp's exceptions for Falcon.
//! Source: llama.cpp's `llama-quant.cpp`; a test compares the types of files that llama.cpp made.

use super::{GgmlType, GgufFile};

/// A mixture of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// 8.5 bits a weight.
    Q8_0,
    /// 4.5 bits a weight, in blocks of 32.
    Q4_0,
    /// About 4.8 bits a weight.
    Q4KM,
    /// About 5.7 bits a weight.
    Q5KM,
}

impl Recipe {
    pub const ALL: [Self; 4] = [Self::Q8_0, Self::Q4_0, Self::Q4KM, Self::Q5KM];

    /// The name that llama.cpp and file names use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4KM => "Q4_K_M",
            Self::Q5KM => "Q5_K_M",
        }
    }

    /// The value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        match self {
            Self::Q8_0 => 7,
            Self::Q4_0 => 2,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
        }
    }

    /// Returns the name and the type of every tensor of a model that this recipe rounds.
    pub fn types(self, file: &GgufFile) -> Vec<(String, GgmlType)> {
        let facts = ModelFacts::of(file);
        let rounded = file
            .tensors()
            .iter()
            .filter(|(name, info)| is_rounded(name, &info.shape));
        rounded
            .map(|(name, info)| {
                let width = info.shape.last().copied().unwrap_or(0);
                (name.clone(), target_type(self, &facts, name, width))
            })
            .collect()
    }

    /// The type of most matrices.
    pub(super) fn most(self) -> GgmlType {
        match self {
            Self::Q8_0 => GgmlType::Q8_0,
            Self::Q4_0 => GgmlType::Q4_0,
            Self::Q4KM => GgmlType::Q4_K,
            Self::Q5KM => GgmlType::Q5_K,
        }
    }

    fn output(self) -> GgmlType {
        match self {
            Self::Q8_0 => GgmlType::Q8_0,
            Self::Q4_0 | Self::Q4KM | Self::Q5KM => GgmlType::Q6_K,
        }
    }
}

/// What a mixture needs to know of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelFacts {
    pub num_layers: usize,
    pub num_experts: usize,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Whether several query heads share keys and values.
    pub grouped_heads: bool,
}

impl ModelFacts {
    pub fn of(file: &GgufFile) -> Self {
        let arch = file.get_str("general.architecture").unwrap_or_default();
        let count = |name: &str| file.get_u32(&format!("{arch}.{name}")).map(|n| n as usize);
        let heads = count("attention.head_count");
        Self {
            num_layers: count("block_count").unwrap_or(0),
            num_experts: count("expert_count").unwrap_or(0),
            tied: file.tensor("output.weight").is_none(),
            grouped_heads: heads != count("attention.head_count_kv").or(heads),
        }
    }
}

/// Whether a mixture rounds this tensor at all; the others are copied.
pub(super) fn is_rounded(name: &str, shape: &[usize]) -> bool {
    const KEPT: [&str; 4] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ssm_conv1d",
        "shortconv.conv.weight",
    ];
    const KEPT_WHOLE: [&str; 2] = ["position_embd.weight", "token_types.weight"];
    // Leading dimensions of 1 do not count: a single row is a vector.
    let is_matrix = shape.iter().rev().skip(1).any(|&dim| dim > 1);
    is_matrix
        && name.ends_with("weight")
        && !KEPT.iter().any(|part| name.contains(part))
        && !KEPT_WHOLE.contains(&name)
}

/// Returns the type of a tensor for which [`is_rounded`]. `width` is the length of its rows.
pub(super) fn target_type(
    recipe: Recipe,
    facts: &ModelFacts,
    name: &str,
    width: usize,
) -> GgmlType {
    let wanted = wanted_type(recipe, facts, name, width);
    let whole = |ggml_type: GgmlType| ggml_type.bytes_of(width).is_some();
    if whole(wanted) {
        return wanted;
    }
    let smaller = match wanted {
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        other => other,
    };
    if whole(smaller) {
        smaller
    } else {
        GgmlType::F16
    }
}

fn wanted_type(recipe: Recipe, facts: &ModelFacts, name: &str, width: usize) -> GgmlType {
    let most = recipe.most();
    let is_output = name == "output.weight" || (facts.tied && name == "token_embd.weight");
    if is_output {
        let whole = most.bytes_of(width).is_some();
        return if whole {
            recipe.output()
        } else {
            GgmlType::Q8_0
        };
    }
    if recipe == Recipe::Q8_0 {
        return most;
    }
    let eight_experts = facts.num_experts == 8;
    // Query, keys and values in one matrix count as values.
    if name.contains("attn_v.weight") || name.contains("attn_qkv.weight") {
        return match more_bits(facts, name) {
            _ if eight_experts => GgmlType::Q8_0,
            _ if recipe == Recipe::Q4_0 => most,
            true => GgmlType::Q6_K,
            // llama.cpp's rule for its 70B class: the matrix is an eighth of the query's.
            false if facts.num_layers == 80 && facts.grouped_heads => GgmlType::Q5_K,
            false => most,
        };
    }
    if name.contains("attn_k.weight") && eight_experts {
        return GgmlType::Q8_0;
    }
    if recipe == Recipe::Q4_0 {
        return most;
    }
    if name.contains("attn_output.weight") && eight_experts && recipe == Recipe::Q4KM {
        return GgmlType::Q5_K;
    }
    if name.contains("ffn_down") && more_bits(facts, name) {
        return GgmlType::Q6_K;
    }
    most
}

/// The first and the last eighth of the layers, and every third between.
fn more_bits(facts: &ModelFacts, name: &str) -> bool {
    let number = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let Some(layer) = number else {
        return false;
    };
    let eighth = facts.num_layers / 8;
    layer < eighth
        || layer >= 7 * facts.num_layers / 8
        || layer
            .checked_sub(eighth)
            .is_some_and(|after| after % 3 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: ModelFacts = ModelFacts {
        num_layers: 32,
        num_experts: 0,
        tied: false,
        grouped_heads: true,
    };

    #[test]
    fn tensors_get_the_types_of_the_mixture() {
        let mixtral = ModelFacts {
            num_experts: 8,
            ..FACTS
        };
        let tied = ModelFacts {
            tied: true,
            ..FACTS
        };
        let seventy = ModelFacts {
            num_layers: 80,
            ..FACTS
        };
        let (q4, q5, q8) = (Recipe::Q4KM, Recipe::Q5KM, Recipe::Q8_0);
        let plain = Recipe::Q4_0;
        #[rustfmt::skip]
        let table = [
            (q4, FACTS, "output.weight", 4096, GgmlType::Q6_K),
            (q4, FACTS, "output.weight", 896, GgmlType::Q8_0),
            (q8, FACTS, "output.weight", 4096, GgmlType::Q8_0),
            (plain, FACTS, "output.weight", 4096, GgmlType::Q6_K),
            (plain, FACTS, "output.weight", 896, GgmlType::Q8_0),
            (plain, FACTS, "token_embd.weight", 4096, GgmlType::Q4_0),
            (plain, FACTS, "blk.0.attn_v.weight", 4096, GgmlType::Q4_0),
            (plain, FACTS, "blk.0.ffn_down.weight", 4864, GgmlType::Q4_0),
            (plain, mixtral, "blk.4.attn_v.weight", 4096, GgmlType::Q8_0),
            (plain, mixtral, "blk.4.attn_output.weight", 4096, GgmlType::Q4_0),
            (q4, FACTS, "token_embd.weight", 4096, GgmlType::Q4_K),
            (q4, FACTS, "token_embd.weight", 896, GgmlType::Q5_0),
            (q4, tied, "token_embd.weight", 4096, GgmlType::Q6_K),
            (q4, tied, "token_embd.weight", 576, GgmlType::Q8_0),
            (q4, FACTS, "blk.0.attn_q.weight", 4096, GgmlType::Q4_K),
            (q5, FACTS, "blk.0.attn_q.weight", 576, GgmlType::Q5_1),
            (q4, FACTS, "blk.0.attn_q.weight", 100, GgmlType::F16),
            (q8, FACTS, "blk.0.attn_q.weight", 100, GgmlType::F16),
            (q4, FACTS, "blk.3.attn_v.weight", 4096, GgmlType::Q6_K),
            (q4, FACTS, "blk.4.attn_v.weight", 4096, GgmlType::Q4_K),
            (q4, FACTS, "blk.6.attn_v.weight", 4096, GgmlType::Q6_K),
            (q5, FACTS, "blk.28.ffn_down.weight", 11008, GgmlType::Q6_K),
            (q5, FACTS, "blk.26.ffn_down.weight", 11008, GgmlType::Q5_K),
            (q4, FACTS, "blk.0.ffn_down.weight", 4864, GgmlType::Q6_K),
            (q4, FACTS, "blk.0.ffn_down.weight", 160, GgmlType::Q8_0),
            (q4, mixtral, "blk.4.attn_v.weight", 4096, GgmlType::Q8_0),
            (q4, mixtral, "blk.4.attn_k.weight", 4096, GgmlType::Q8_0),
            (q4, mixtral, "blk.4.attn_output.weight", 4096, GgmlType::Q5_K),
            (q5, mixtral, "blk.4.attn_output.weight", 4096, GgmlType::Q5_K),
            (q4, mixtral, "blk.6.ffn_down_exps.weight", 14336, GgmlType::Q6_K),
            (q4, seventy, "blk.10.attn_v.weight", 8192, GgmlType::Q5_K),
            (q4, FACTS, "blk.4.attn_qkv.weight", 4096, GgmlType::Q4_K),
            (q4, FACTS, "blk.3.attn_qkv.weight", 4096, GgmlType::Q6_K),
        ];
        for (recipe, facts, name, width, want) in table {
            let got = target_type(recipe, &facts, name, width);
            assert_eq!(got, want, "{} {name} {width}: {got}", recipe.name());
        }
    }

    #[test]
    fn vectors_norms_and_routers_are_kept() {
        let table = [
            ("blk.0.attn_q.weight", vec![576, 576], true),
            ("blk.0.ffn_down_exps.weight", vec![8, 64, 64], true),
            ("output_norm.weight", vec![576], false),
            ("blk.0.attn_q_norm.weight", vec![4, 64], false),
            ("blk.0.attn_q.bias", vec![576], false),
            ("rope_freqs.weight", vec![32], false),
            ("rope_freqs.weight", vec![1, 32], false),
            ("blk.0.ffn_gate_inp.weight", vec![8, 576], false),
        ];
        for (name, shape, want) in table {
            assert_eq!(is_rounded(name, &shape), want, "{name}");
        }
    }
}
