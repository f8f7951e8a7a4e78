//! Runs the steps of a decoder on a CUDA device.
//!
//! Up to 64 tokens go through packed weights, more through weights in f16 (those of experts always through packed ones); attention is
//! that of single queries where every sequence has one token, and of tiles otherwise. Steps of single tokens are captured: the first
//! of a bucket and number of splits runs by itself and makes cuBLAS ready, the second is captured, later ones are replayed.

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
    quantized::GgmlDType,
};
use rayon::prelude::*;

use super::{
    arguments::Address,
    attention::{self, CacheAddresses},
    candidates::LogitsRows,
    captures::{Captures, Way},
    kernels::Kernels,
    loader::{Layer, Loader, prepare},
    memory::{Buffer, Pinned, address_of, download, upload},
    plan::{
        self, BUCKETS, GraphKey, InputLayout, MOST_EXPERTS, MOST_EXPERTS_USED, query_tiles,
        table_width,
    },
    products::{GemmRoom, Matrices},
    step::{Batch, Buffers, NORM_MOST_WARPS, Run, addresses},
    weights::EmbeddingTable,
};
use crate::{
    gguf::GgmlType,
    kv_cache::KvCacheDtype,
    layers::{LayerCache, RmsNorm},
    model::{
        KvCache, LoadProgress, ModelConfig, ModelError, ModelUse, RowLogits, StepLogits,
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
    captures: Captures<Graph>,
    /// With its number of rows; `None` when it failed or had none.
    last: Option<(LastStep, usize)>,
    cache: Vec<CacheAddresses>,
    scratch: Scratch,
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

/// A captured step.
struct Graph(CudaGraph);

// SAFETY: a graph is only touched under the state's lock.
unsafe impl Send for Graph {}

/// Whose logits are those of the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastStep {
    Decode,
    Prefill,
}

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
            if let FeedForwardConfig::Experts(experts) = layer.feed_forward
                && (experts.num_experts > MOST_EXPERTS
                    || experts.routing.num_used > MOST_EXPERTS_USED)
            {
                return Some(format!(
                    "{} experts, {} a token",
                    experts.num_experts, experts.routing.num_used
                ));
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
        let of = |ggml_type: GgmlType| ggml_type.candle().unwrap_or(GgmlDType::Q8_0);
        let tensors = weights.file.tensors();
        if has_mixed_experts(
            tensors
                .iter()
                .map(|(name, info)| (name.as_str(), of(info.ggml_type))),
        ) {
            return Some("experts of one layer in different types".to_owned());
        }
        // Routers are read in 32 bits, whatever their type.
        let matrices = tensors
            .iter()
            .filter(|(name, info)| info.shape.len() >= 2 && !name.ends_with("ffn_gate_inp.weight"));
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

    /// As [`crate::model::Model::forward`]. Of each row comes back what it is wanted for.
    pub fn forward(&self, step: &StepInput, cache: &KvCache) -> Result<Option<StepLogits>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.last = None;
        self.follow_cache(state, cache)?;
        self.decide_scratch(state)?;
        let key = plan::graph_key(
            step,
            self.config.layers[0].attention.num_kv_heads,
            self.multiprocessors,
        );
        let (output, of) = match key.filter(|_| step.logits_rows.len() == step.sequences.len()) {
            Some(key) => (self.decode(state, step, key)?, LastStep::Decode),
            None => (self.prefill(state, step)?, LastStep::Prefill),
        };
        state.last = output.as_ref().map(|output| (of, output.rows.len()));
        Ok(output)
    }

    /// As [`crate::model::Model::rows_of_last_step`].
    pub fn rows_of_last_step(&self, rows: &[usize]) -> Result<Tensor> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let (buffers, count) = match state.last {
            Some((LastStep::Decode, count)) => (state.decode.as_mut(), count),
            Some((LastStep::Prefill, count)) => (state.prefill.as_mut(), count),
            None => (None, 0),
        };
        match buffers {
            Some(buffers) if rows.iter().all(|&row| row < count) => {
                self.send_rows(buffers, rows)?;
                self.kernels.stream().synchronize().w()?;
                self.sent_rows(buffers, rows.len())
            }
            _ => candle_core::bail!("rows {rows:?} of a step that has {count}"),
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
        // Captured steps name the places of the buffers before.
        state.captures.forget_graphs();
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
            state.captures.forget_graphs();
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
            captures,
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
        match captures.next(key, self.use_graphs) {
            Way::Plain => launch()?,
            Way::Capture => match self.capture(&launch) {
                Ok(graph) => captures.captured(key, graph),
                Err(error) => {
                    let free = self.kernels.stream().context().mem_get_info();
                    let free = free.ok().map(|(free, _)| free);
                    let told = captures.failed(key, &error.to_string(), free);
                    tracing::warn!("{told}");
                    launch()?;
                }
            },
            Way::Replay => match captures.graph(key) {
                Some(graph) => graph.0.launch().w()?,
                None => launch()?,
            },
        }
        self.receive(buffers, step)
    }

    /// Captures the step and runs it: its memory on the device is taken when it first runs.
    fn capture(&self, launch: &dyn Fn() -> Result<()>) -> Result<Graph> {
        let stream = self.kernels.stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .w()?;
        let launched = launch();
        // There is no flag for none; a step allocates nothing that this one would free.
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).w();
        launched?;
        let Some(graph) = graph? else {
            candle_core::bail!("nothing was captured");
        };
        graph.launch().w()?;
        Ok(Graph(graph))
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
        let mut rows = plan::rows_to_send(step, buffers.candidates.takes(count));
        let results = buffers.results.address();
        let host = buffers.host_results.as_mut_slice()?;
        download(stream, results, &mut host[..count])?;
        let valid_at = results + 4 * buffers.logits_rows as Address;
        download(stream, valid_at, &mut host[buffers.logits_rows..][..count])?;
        let sends_candidates = rows.contains(&RowLogits::Candidates);
        if sends_candidates {
            let of = LogitsRows {
                logits: buffers.logits.address(),
                count,
                stride: self.output.rows(),
                width: self.vocab_size,
            };
            buffers.candidates.choose(&self.kernels, of)?;
        }
        let is_whole = |row: &usize| matches!(rows[*row], RowLogits::Whole(_));
        let whole: Vec<usize> = (0..count).filter(is_whole).collect();
        self.send_rows(buffers, &whole)?;
        stream.synchronize().w()?;
        let host = buffers.host_results.as_slice()?;
        for (row, token) in rows.iter_mut().zip(host) {
            if let RowLogits::Largest(largest) = row {
                *largest = *token;
            }
        }
        let is_valid = host[buffers.logits_rows..][..count].iter();
        Ok(Some(StepLogits {
            logits: self.sent_rows(buffers, whole.len())?,
            records: if sends_candidates {
                buffers.candidates.records(count)?.to_vec()
            } else {
                Vec::new()
            },
            rows,
            is_valid: is_valid.map(|&valid| valid != 0).collect(),
        }))
    }

    /// Launches the copies of whole rows of logits to the host.
    fn send_rows(&self, buffers: &mut Buffers, rows: &[usize]) -> Result<()> {
        let (stream, width) = (self.kernels.stream(), self.vocab_size);
        if buffers.host_logits.len() < rows.len() * width {
            buffers.host_logits = Pinned::new(stream, rows.len() * width)?;
        }
        let logits = buffers.host_logits.as_mut_slice()?;
        for (index, &row) in rows.iter().enumerate() {
            let from = buffers.logits.address() + 4 * (row * self.output.rows()) as Address;
            download(stream, from, &mut logits[index * width..][..width])?;
        }
        Ok(())
    }

    /// Returns the rows that were copied, once the stream was waited for.
    fn sent_rows(&self, buffers: &Buffers, count: usize) -> Result<Tensor> {
        let width = self.vocab_size;
        let logits = &buffers.host_logits.as_slice()?[..count * width];
        Tensor::from_slice(logits, (count, width), &Device::Cpu)
    }
}

impl fmt::Debug for GpuDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuDecoder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Whether a file with a matrix an expert (`blk.0.ffn_up.7.weight`) has some of one layer in another format: they are one stack here.
fn has_mixed_experts<'a>(tensors: impl Iterator<Item = (&'a str, GgmlDType)>) -> bool {
    let mut formats = HashMap::new();
    let mut experts = tensors.filter_map(|(name, dtype)| {
        let (stack, expert) = name.strip_suffix(".weight")?.rsplit_once('.')?;
        expert.parse::<usize>().ok()?;
        Some((stack, PackedFormat::of(dtype)))
    });
    experts.any(|(stack, format)| *formats.entry(stack).or_insert(format) != format)
}

fn all_matrices<'a>(
    layers: &'a [Layer],
    output: &'a Matrices,
) -> impl Iterator<Item = &'a Matrices> {
    layers.iter().flat_map(Layer::matrices).chain([output])
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
