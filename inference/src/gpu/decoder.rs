//! Runs the steps of a dense decoder on a CUDA device.
//!
//! Up to 64 tokens go through packed weights, more through weights in f16; attention is that of single queries where every
//! sequence has one token, and of tiles otherwise. Steps of single tokens are captured: the first of a bucket runs by itself and
//! makes cuBLAS ready, the second is captured, later ones are replayed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use candle_core::{
    CudaDevice, Device, Result, Tensor,
    cuda_backend::{
        WrapErr,
        cudarc::{
            cublas::sys as blas,
            driver::{CudaGraph, sys},
        },
    },
};
use rayon::prelude::*;

use super::{
    arguments::Address,
    attention::{self, CacheAddresses},
    kernels::Kernels,
    loader::{Layer, Loader, prepare},
    memory::{Buffer, Pinned, address_of, download, upload},
    plan::{self, BUCKETS, GraphKey, InputLayout, query_tiles, table_width},
    products::{GemmRoom, Matrices},
    step::{Batch, Buffers, NORM_MOST_WARPS, Run, addresses},
    weights::EmbeddingTable,
};
use crate::{
    gguf::GgmlType,
    kv_cache::KvCacheDtype,
    layers::{LayerCache, RmsNorm},
    model::{
        KvCache, LoadProgress, ModelConfig, ModelError, ModelUse, StepLogits,
        config::FeedForwardConfig, weights::Weights,
    },
    ops::{
        packed_matmul::{PackedFormat, units_of},
        rope::RopeTable,
    },
    runner::StepInput,
};

/// What cuBLAS may use, set once so that a captured step needs no memory of its own.
const CUBLAS_WORKSPACE: usize = 32 << 20;
/// Memory that stays free when weights are kept in f16 too.
const SPARE: usize = 3 << 30;

/// A decoder whose weights are packed on a CUDA device.
pub struct GpuDecoder {
    pub(super) config: ModelConfig,
    pub(super) kernels: Kernels,
    pub(super) embedding: EmbeddingTable,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: RmsNorm,
    pub(super) output: Matrices,
    pub(super) ropes: Vec<RopeTable>,
    pub(super) vocab_size: usize,
    pub(super) max_blocks: usize,
    pub(super) multiprocessors: usize,
    use_graphs: bool,
    pub(super) gemm_room: GemmRoom,
    _workspace: Buffer,
    state: Mutex<State>,
}

/// What steps leave for later ones.
#[derive(Default)]
struct State {
    decode: Option<Buffers>,
    prefill: Option<Buffers>,
    graphs: HashMap<GraphKey, Captured>,
    cache: Vec<CacheAddresses>,
    scratch: Scratch,
}

enum Captured {
    /// Ran once by itself.
    Seen,
    Graph(CudaGraph),
    /// Capturing failed; runs by itself from now on.
    Never,
}

/// How weights in f16 are had.
#[derive(Default)]
enum Scratch {
    #[default]
    Undecided,
    /// All stay in memory.
    Resident,
    /// Written anew for each product.
    Shared(Buffer),
}

// SAFETY: a graph is only touched under the state's lock.
unsafe impl Send for Captured {}

impl GpuDecoder {
    /// Returns why a model is left to candle's operations, or `None` when it is not.
    pub fn refuses(
        weights: &Weights<'_>,
        config: &ModelConfig,
        dtype: KvCacheDtype,
    ) -> Option<String> {
        let architecture = config.architecture;
        let reasons = [
            (architecture.post_norms, "norms after its parts"),
            (architecture.qk_norm, "norms of queries and keys"),
            (config.residual_scale != 1.0, "scales of what layers add"),
            (config.logits_scale != 1.0, "scales of logits"),
            (config.logits_softcap.is_some(), "bounds of logits"),
            (config.temperature.is_some(), "temperatures of queries"),
            (!attention::takes_cache(dtype), "keys and values in 32 bits"),
            (
                !config.hidden.is_multiple_of(8),
                "a width that is no multiple of 8",
            ),
            (
                units_of(config.hidden) > 2 * NORM_MOST_WARPS,
                "a width above 16,384",
            ),
        ];
        if let Some((_, reason)) = reasons.into_iter().find(|(found, _)| *found) {
            return Some(reason.to_owned());
        }
        for layer in &config.layers {
            if !matches!(layer.feed_forward, FeedForwardConfig::Dense { .. }) {
                return Some("experts".to_owned());
            }
            if layer.rope.is_none() {
                return Some("layers without positions".to_owned());
            }
            if !attention::takes(&layer.attention) {
                return Some(format!(
                    "heads of {} in groups of {}",
                    layer.attention.head_dim,
                    layer.attention.group()
                ));
            }
        }
        Self::refused_type(weights)
    }

    fn refused_type(weights: &Weights<'_>) -> Option<String> {
        let of = |ggml_type: GgmlType| {
            ggml_type
                .candle()
                .unwrap_or(candle_core::quantized::GgmlDType::Q8_0)
        };
        let tensors = weights.file.tensors();
        let matrices = tensors.iter().filter(|(_, info)| info.shape.len() == 2);
        let mut refused = matrices.filter(|(name, info)| {
            let dtype = of(info.ggml_type);
            if name.as_str() == "token_embd.weight" {
                let is_output = !weights.has("output.weight");
                return !EmbeddingTable::takes(dtype)
                    || is_output && PackedFormat::of(dtype).is_none();
            }
            PackedFormat::of(dtype).is_none()
        });
        refused
            .next()
            .map(|(name, info)| format!("{name} of {}", info.ggml_type))
    }

    /// Loads the weights; the caller has asked [`Self::refuses`].
    pub fn load(
        weights: &Weights<'_>,
        config: ModelConfig,
        ropes: Vec<RopeTable>,
        wanted: ModelUse,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        let ModelUse {
            vocab_size,
            max_len,
            kv_cache_dtype,
            cuda,
        } = wanted;
        let Device::Cuda(device) = weights.device else {
            return Err(ModelError::Unsupported {
                what: "a decoder for CUDA elsewhere".to_owned(),
            });
        };
        let mut kernels = Kernels::load(device)?;
        prepare(&mut kernels, &config, kv_cache_dtype)?;
        kernels.early_start &= cuda.early_start;
        let total = config.layers.len() + 1;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let part_done = || {
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            on_progress(LoadProgress { done, total });
        };
        let loader = Loader {
            device,
            weights,
            config: &config,
        };
        let layers = (0..config.layers.len())
            .into_par_iter()
            .map(|index| {
                let layer = loader.layer(index);
                part_done();
                layer
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = weights.height("token_embd.weight")?;
        let is_tied = !weights.has("output.weight");
        let output = loader.matrices(
            &[(
                if is_tied { "token_embd" } else { "output" }.to_owned(),
                0..rows,
                rows,
            )],
            config.hidden,
        )?;
        let (embedding, _) = weights.encoded("token_embd", 0..rows, rows, config.hidden)?;
        let embedding = EmbeddingTable::new(&kernels, &embedding)?;
        part_done();
        let output_norm = weights.norm("output_norm", config.hidden, config.rms_norm_eps)?;
        weights.check_all_used(config.architecture.name())?;
        let workspace = set_workspace(device)?;
        let multiprocessors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = device
            .cuda_stream()
            .context()
            .attribute(multiprocessors)
            .w()? as usize;
        let gemm_room = GemmRoom::new(device, all_matrices(&layers, &output), multiprocessors)?;
        Ok(Self {
            kernels,
            embedding,
            layers,
            output_norm,
            output,
            ropes,
            vocab_size,
            max_blocks: table_width(max_len),
            multiprocessors,
            use_graphs: cuda.graphs,
            gemm_room,
            _workspace: workspace,
            state: Mutex::default(),
            config,
        })
    }

    /// As [`crate::model::Model::forward`]. Logits come back for the rows that want them; of the others the largest is known.
    pub fn forward(&self, step: &StepInput, cache: &KvCache) -> Result<Option<StepLogits>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        self.follow_cache(state, cache)?;
        self.decide_scratch(state)?;
        let key = plan::graph_key(
            step,
            self.config.layers[0].attention.num_kv_heads,
            self.multiprocessors,
        );
        match key.filter(|_| step.logits_rows.len() == step.sequences.len()) {
            Some(key) => self.decode(state, step, key),
            None => self.prefill(state, step),
        }
    }

    /// Makes room for steps of so many tokens and sequences, and decides how weights in f16 are had, so that no request waits for it
    /// and none finds the memory gone.
    ///
    /// # Errors
    /// A candle error when the device is out of memory.
    pub fn reserve(&self, max_tokens: usize, max_sequences: usize) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = BUCKETS[BUCKETS.len() - 1];
        state.decode = Some(Buffers::new(self, most, most, 0, most)?);
        state.prefill = Some(self.prefill_buffers(max_tokens, max_sequences, max_sequences)?);
        self.decide_scratch(&mut state)
    }

    fn prefill_buffers(
        &self,
        tokens: usize,
        sequences: usize,
        logits_rows: usize,
    ) -> Result<Buffers> {
        let tokens = tokens.next_multiple_of(256);
        let (sequences, logits_rows) = (sequences.max(16), logits_rows.max(16));
        Buffers::new(
            self,
            tokens,
            sequences,
            tokens / 16 + sequences,
            logits_rows,
        )
    }

    /// Captured steps name the cache's places.
    fn follow_cache(&self, state: &mut State, cache: &KvCache) -> Result<()> {
        let address = |layer: &LayerCache| -> Result<CacheAddresses> {
            Ok(CacheAddresses {
                k: address_of(&layer.k)?,
                v: address_of(&layer.v)?,
                dtype: cache.layout.dtype,
            })
        };
        let addresses: Vec<_> = cache.layers().iter().map(address).collect::<Result<_>>()?;
        if addresses != state.cache {
            state.graphs.clear();
            state.cache = addresses;
        }
        Ok(())
    }

    fn decode(
        &self,
        state: &mut State,
        step: &StepInput,
        key: GraphKey,
    ) -> Result<Option<StepLogits>> {
        let most = BUCKETS[BUCKETS.len() - 1];
        if state.decode.is_none() {
            state.decode = Some(Buffers::new(self, most, most, 0, most)?);
        }
        let State {
            decode: Some(buffers),
            graphs,
            cache,
            scratch,
            ..
        } = state
        else {
            candle_core::bail!("the step has no buffers");
        };
        let layout = InputLayout {
            tokens: key.bucket,
            sequences: key.bucket,
            max_blocks: self.max_blocks,
            tiles: 0,
        };
        self.send(buffers, &layout, step, &[])?;
        let batch = Batch {
            tokens: key.bucket,
            sequences: key.bucket,
            num_splits: key.num_splits,
            tiles: 0,
            logits_rows: key.bucket,
            all_rows: true,
        };
        let launch = || self.launch(buffers, &layout, batch, cache, scratch);
        match graphs.get(&key) {
            Some(Captured::Graph(graph)) => graph.launch().w()?,
            Some(Captured::Seen) if self.use_graphs => {
                let captured = self.capture(&launch);
                match captured {
                    Ok(graph) => {
                        graph.launch().w()?;
                        graphs.insert(key, Captured::Graph(graph));
                    }
                    Err(error) => {
                        tracing::warn!(
                            "steps of {} sequences are not captured: {error}",
                            key.bucket
                        );
                        graphs.insert(key, Captured::Never);
                        launch()?;
                    }
                }
            }
            found => {
                if found.is_none() {
                    graphs.insert(key, Captured::Seen);
                }
                launch()?;
            }
        }
        self.receive(buffers, step)
    }

    fn capture(&self, launch: &dyn Fn() -> Result<()>) -> Result<CudaGraph> {
        let stream = self.kernels.stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .w()?;
        let launched = launch();
        // There is no flag for none; a step allocates nothing that this one would free.
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).w();
        launched?;
        graph?.ok_or_else(|| candle_core::Error::Msg("nothing was captured".to_owned()))
    }

    fn prefill(&self, state: &mut State, step: &StepInput) -> Result<Option<StepLogits>> {
        let tiles = query_tiles(step);
        let (tokens, sequences) = (step.token_ids.len(), step.sequences.len());
        let logits_rows = step.logits_rows.len();
        let fits = |buffers: &Buffers| {
            buffers.tokens >= tokens
                && buffers.sequences >= sequences
                && buffers.logits_rows >= logits_rows
        };
        if !state.prefill.as_ref().is_some_and(fits) {
            state.prefill = None;
            state.prefill = Some(self.prefill_buffers(tokens, sequences, logits_rows)?);
        }
        let State {
            prefill: Some(buffers),
            cache,
            scratch,
            ..
        } = state
        else {
            candle_core::bail!("the step has no buffers");
        };
        let layout = InputLayout {
            tokens,
            sequences,
            max_blocks: self.max_blocks,
            tiles: tiles.len(),
        };
        self.send(buffers, &layout, step, &tiles)?;
        let batch = Batch {
            tokens,
            sequences,
            num_splits: 0,
            tiles: tiles.len(),
            logits_rows,
            all_rows: false,
        };
        self.launch(buffers, &layout, batch, cache, scratch)?;
        self.receive(buffers, step)
    }

    /// Keeps all weights in f16 too where there is memory, and room for one product's otherwise.
    fn decide_scratch(&self, state: &mut State) -> Result<()> {
        if !matches!(state.scratch, Scratch::Undecided) {
            return Ok(());
        }
        let all = || all_matrices(&self.layers, &self.output);
        let wanted: usize = all().map(Matrices::dense_bytes).sum();
        let (free, _) = self.kernels.stream().context().mem_get_info().w()?;
        state.scratch = if wanted + SPARE <= free {
            for matrices in all() {
                matrices.resident(&self.kernels)?;
            }
            Scratch::Resident
        } else {
            let largest = all().map(Matrices::dense_bytes).max().unwrap_or(0);
            Scratch::Shared(Buffer::uninitialised(self.kernels.device(), largest)?)
        };
        self.kernels.stream().synchronize().w()
    }

    fn send(
        &self,
        buffers: &mut Buffers,
        layout: &InputLayout,
        step: &StepInput,
        tiles: &[plan::QueryTile],
    ) -> Result<()> {
        if layout.len() > buffers.layout_len {
            candle_core::bail!(
                "a step of {} numbers, there is room for {}",
                layout.len(),
                buffers.layout_len
            );
        }
        let host = buffers.host.as_mut_slice()?;
        layout.fill(step, tiles, host);
        upload(
            self.kernels.stream(),
            &host[..layout.len()],
            buffers.input.address(),
        )
    }

    /// Launches the whole step.
    fn launch(
        &self,
        buffers: &Buffers,
        layout: &InputLayout,
        batch: Batch,
        cache: &[CacheAddresses],
        scratch: &Scratch,
    ) -> Result<()> {
        let run = Run {
            decoder: self,
            buffers,
            batch,
            scratch: match scratch {
                Scratch::Shared(buffer) => Some(buffer),
                _ => None,
            },
            step: addresses(buffers, layout),
        };
        run.embed(buffers.input.address() + 4 * layout.token_ids() as Address)?;
        let mut delta = 0;
        for (layer, cache) in self.layers.iter().zip(cache) {
            run.layer(layer, *cache, delta)?;
            delta = buffers.delta.address();
        }
        if batch.logits_rows == 0 {
            return Ok(());
        }
        let rows = if batch.all_rows {
            0
        } else {
            buffers.input.address() + 4 * layout.logits_rows() as Address
        };
        run.logits(delta, rows)
    }

    /// Copies what the step asked for, and waits.
    fn receive(&self, buffers: &mut Buffers, step: &StepInput) -> Result<Option<StepLogits>> {
        let stream = self.kernels.stream();
        let count = step.logits_rows.len();
        if count == 0 {
            stream.synchronize().w()?;
            return Ok(None);
        }
        let results = buffers.results.address();
        let host = buffers.host_results.as_mut_slice()?;
        download(stream, results, &mut host[..count])?;
        let valid_at = results + 4 * buffers.logits_rows as Address;
        download(stream, valid_at, &mut host[buffers.logits_rows..][..count])?;
        let wants = |row: usize| step.wants_logits.get(row).copied().unwrap_or(true);
        let wanted: Vec<usize> = (0..count).filter(|&row| wants(row)).collect();
        let width = self.vocab_size;
        if buffers.host_logits.len() < wanted.len() * width {
            buffers.host_logits = Pinned::new(stream, wanted.len() * width)?;
        }
        let logits = buffers.host_logits.as_mut_slice()?;
        for (index, &row) in wanted.iter().enumerate() {
            let from = buffers.logits.address() + 4 * (row * self.output.rows()) as Address;
            download(stream, from, &mut logits[index * width..][..width])?;
        }
        stream.synchronize().w()?;
        let mut rows = vec![None; count];
        for (index, &row) in wanted.iter().enumerate() {
            rows[row] = Some(index);
        }
        let host = buffers.host_results.as_slice()?;
        let logits = &buffers.host_logits.as_slice()?[..wanted.len() * width];
        Ok(Some(StepLogits {
            logits: Tensor::from_slice(logits, (wanted.len(), width), &Device::Cpu)?,
            rows,
            largest: host[..count].to_vec(),
            is_valid: host[buffers.logits_rows..][..count]
                .iter()
                .map(|&valid| valid != 0)
                .collect(),
        }))
    }
}

impl fmt::Debug for GpuDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuDecoder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn all_matrices<'a>(
    layers: &'a [Layer],
    output: &'a Matrices,
) -> impl Iterator<Item = &'a Matrices> {
    let of_layers = layers
        .iter()
        .flat_map(|layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]);
    of_layers.chain([output])
}

fn set_workspace(device: &CudaDevice) -> Result<Buffer> {
    let workspace = Buffer::uninitialised(device, CUBLAS_WORKSPACE)?;
    let handle = device.cublas_handle();
    // SAFETY: the memory lives as long as the decoder.
    unsafe {
        blas::cublasSetWorkspace_v2(
            *handle.handle(),
            workspace.address() as *mut _,
            CUBLAS_WORKSPACE,
        )
    }
    .result()
    .w()?;
    Ok(workspace)
}
