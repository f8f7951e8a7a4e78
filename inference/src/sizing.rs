//! How many answers, tokens of a step and tokens of cache an engine has where nobody says: small on a CPU, on a GPU what its free
//! memory holds.

use std::path::Path;

use candle_core::Device;

use crate::{
    config::DeviceChoice,
    device,
    engine::LoadError,
    gguf::GgufFile,
    kv_cache::{BLOCK_SIZE, KvCacheDtype},
    roofline::ModelNeeds,
};

/// Sizes of an engine; see [`crate::EngineConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub max_num_seqs: usize,
    pub max_num_batched_tokens: usize,
    pub kv_cache_tokens: usize,
}

/// Sizes on a CPU, where memory is shared and reading a prompt is slow.
const CPU: Sizes = Sizes {
    max_num_seqs: 8,
    max_num_batched_tokens: 256,
    kv_cache_tokens: 16_384,
};
/// On a GPU more answers cost little until here.
const GPU_SEQUENCES: usize = 64;
/// Tokens of a step that use the GPU's arithmetic fully.
const GPU_BATCHED_TOKENS: usize = 2_048;
/// Share of the free memory that is planned with, and what activations, logits and libraries take of it.
const USABLE_PERCENT: u64 = 92;
const SCRATCH_BYTES: u64 = 3 << 30;

/// What a model takes of a GPU's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Free before the model is loaded.
    pub free_bytes: u64,
    pub weights_bytes: u64,
    pub kv_bytes_per_token: u64,
    /// What has to be free for the model with the least cache.
    pub needed_bytes: u64,
    /// Tokens of cache that there is room for; `None`: the model does not fit.
    pub kv_tokens: Option<usize>,
}

/// Returns how a model, with keys and values kept in `dtype`, fits into so much free memory.
///
/// # Errors
/// [`LoadError`] when the file cannot be read or is no model.
pub fn fit(model: &Path, free_bytes: u64, dtype: KvCacheDtype) -> Result<Fit, LoadError> {
    let file = GgufFile::open(model)?;
    let needs = ModelNeeds::from_gguf(&file, dtype).map_err(|source| LoadError::Model {
        path: model.to_owned(),
        source,
    })?;
    Ok(Fit {
        free_bytes,
        weights_bytes: needs.weights_bytes,
        kv_bytes_per_token: needs.kv_bytes_per_token,
        needed_bytes: needed_bytes(&needs),
        kv_tokens: kv_tokens(free_bytes, &needs, parameters_in_16_bits(&file)),
    })
}

/// Returns the sizes for a device, a model and what its keys and values are kept in.
///
/// # Errors
/// [`LoadError`] when the device cannot be used, the file cannot be read, or the model does not fit into the device's memory.
pub fn default_sizes(
    choice: &DeviceChoice,
    model: &Path,
    dtype: KvCacheDtype,
) -> Result<Sizes, LoadError> {
    let device = device::open(choice)?;
    let Some(free) = free_memory(&device) else {
        return Ok(CPU);
    };
    let fit = fit(model, free, dtype)?;
    let tokens = fit.kv_tokens.ok_or(LoadError::Memory {
        path: model.to_owned(),
        needed: fit.needed_bytes,
        free,
    })?;
    Ok(Sizes {
        max_num_seqs: GPU_SEQUENCES,
        max_num_batched_tokens: GPU_BATCHED_TOKENS,
        kv_cache_tokens: tokens,
    })
}

/// Returns the weights that may be kept in 16 bits too: not those of experts.
fn parameters_in_16_bits(file: &GgufFile) -> u64 {
    // `blk.0.ffn_up_exps.weight`, or `blk.0.ffn_up.7.weight`.
    let is_expert = |name: &str| name.contains("_exps.") || name.split('.').count() == 5;
    let tensors = file.tensors().iter();
    let kept = tensors.filter(|(name, _)| !is_expert(name));
    kept.map(|(_, tensor)| tensor.elements() as u64).sum()
}

/// Packed weights are up to a twentieth larger than the file's, and the embedding is kept in 16 bits.
fn room_of_weights(needs: &ModelNeeds) -> u64 {
    needs.weights_bytes + needs.weights_bytes / 5
}

/// Returns the free memory from which on [`kv_tokens`] finds room for a block.
fn needed_bytes(needs: &ModelNeeds) -> u64 {
    let block = needs.kv_bytes_per_token * BLOCK_SIZE as u64;
    let used = room_of_weights(needs) + SCRATCH_BYTES + block;
    // In whole percents, as there.
    used.div_ceil(USABLE_PERCENT) * 100
}

/// Returns the tokens of cache that fit beside the weights, in whole blocks; `None` when not even one block does. Weights in 16 bits,
/// which make prompts faster, have their room where a quarter of what is left is enough for them or the cache needs no more.
fn kv_tokens(free: u64, needs: &ModelNeeds, parameters: u64) -> Option<usize> {
    let usable = (free / 100 * USABLE_PERCENT).checked_sub(SCRATCH_BYTES)?;
    let rest = usable.checked_sub(room_of_weights(needs))?;
    let block = needs.kv_bytes_per_token * BLOCK_SIZE as u64;
    let most = (GPU_SEQUENCES * needs.context_len.min(32_768)) as u64 * needs.kv_bytes_per_token;
    let in_16_bits = 2 * parameters;
    let cache = if rest / 2 >= in_16_bits {
        rest - in_16_bits
    } else {
        rest
    };
    let blocks = cache.min(most) / block;
    (blocks > 0).then_some(blocks as usize * BLOCK_SIZE)
}

#[cfg(feature = "cuda")]
fn free_memory(device: &Device) -> Option<u64> {
    let Device::Cuda(cuda) = device else {
        return None;
    };
    let (free, _) = cuda.cuda_stream().context().mem_get_info().ok()?;
    Some(free as u64)
}

#[cfg(not(feature = "cuda"))]
fn free_memory(_: &Device) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Llama 3.1 8B, `Q4_K_M`.
    fn llama_8b() -> (ModelNeeds, u64) {
        let needs = ModelNeeds {
            weights_bytes: 4_913 << 20,
            dense_bytes: 4_600 << 20,
            expert_bytes: 0,
            experts_used: 1.0,
            kv_bytes_per_token: 131_072,
            context_len: 131_072,
        };
        (needs, 8_030_000_000)
    }

    #[test]
    fn the_cache_takes_what_weights_leave() {
        let (needs, parameters) = llama_8b();
        let tokens = |free: u64| kv_tokens(free * GIB, &needs, parameters);
        // Too small, a 12, a 24 and an 80 GB card.
        assert_eq!(tokens(6), None);
        let (small, middle, large) = (
            tokens(12).unwrap(),
            tokens(24).unwrap(),
            tokens(80).unwrap(),
        );
        assert!((10_000..30_000).contains(&small), "{small}");
        assert!((90_000..130_000).contains(&middle), "{middle}");
        // 15 GiB of weights in 16 bits have their room.
        assert!((380_000..430_000).contains(&large), "{large}");
        assert!(small.is_multiple_of(BLOCK_SIZE) && large.is_multiple_of(BLOCK_SIZE));
    }

    #[test]
    fn what_is_said_to_be_needed_is_enough_and_little_less_is_not() {
        let (mut needs, parameters) = llama_8b();
        for weights in [1, 5_000_000_000, 40 * GIB] {
            needs.weights_bytes = weights;
            let needed = needed_bytes(&needs);
            assert!(kv_tokens(needed, &needs, parameters).is_some(), "{weights}");
            assert_eq!(kv_tokens(needed - 200, &needs, parameters), None);
        }
    }

    #[test]
    fn the_cache_is_not_larger_than_all_answers_can_be() {
        let (mut needs, parameters) = llama_8b();
        needs.context_len = 2_048;
        assert_eq!(
            kv_tokens(140 * GIB, &needs, parameters),
            Some(GPU_SEQUENCES * 2_048)
        );
    }

    #[test]
    fn a_cpu_has_the_sizes_that_the_documentation_names() {
        assert_eq!(
            default_sizes(
                &DeviceChoice::Cpu,
                Path::new("nowhere.gguf"),
                KvCacheDtype::F16
            )
            .unwrap(),
            CPU
        );
    }
}
