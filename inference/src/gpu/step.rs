//! The launches of a step: embedding, layers, logits; and the room they need.

use candle_core::Result;

use super::{
    arguments::{AddRmsNorm, Address, EmbedRows, GatedActivation, LargestOfRow, Rows},
    attention::{self, CacheAddresses, HeadNorms, Partial, RopeAddresses, StepAddresses},
    candidates::CandidateRoom,
    decoder::GpuDecoder,
    experts::{ExpertRoom, ExpertStep, Experts},
    kernels::Launch,
    loader::{Dense, FeedForward, Layer},
    memory::{Buffer, Pinned, address_of},
    plan::{InputLayout, MAX_SPLITS, MOST_PACKED, MOST_PACKED_ALONE, Width},
    products::Matrices,
    weights::EmbeddingTable,
};
use crate::{
    layers::RmsNorm,
    ops::{gated_activation::Activation, packed_matmul::units_of, rope::RopeLayout},
};

/// Warps of a norm of few tokens, which take two units each at most.
pub const NORM_MOST_WARPS: usize = 32;

/// Room for a step.
pub struct Buffers {
    pub tokens: usize,
    pub sequences: usize,
    pub layout_len: usize,
    pub host: Pinned<u32>,
    pub input: Buffer,
    pub residual: Buffer,
    /// Of any [`Width`].
    pub x: Buffer,
    pub qkv: Buffer,
    pub q: Buffer,
    pub attended: Buffer,
    pub gate_up: Buffer,
    /// Where the model has experts.
    pub experts: Option<ExpertRoom>,
    pub delta: Buffer,
    pub partial: Buffer,
    pub states: Buffer,
    pub logits_rows: usize,
    pub logits: Buffer,
    /// Largest tokens, then whether rows are valid.
    pub results: Buffer,
    pub host_results: Pinned<u32>,
    pub host_logits: Pinned<f32>,
    pub candidates: CandidateRoom,
}

/// What one step is made of.
#[derive(Clone, Copy)]
pub struct Batch {
    pub tokens: usize,
    pub sequences: usize,
    /// Of captured attention; 0: tiles.
    pub num_splits: usize,
    pub tiles: usize,
    pub logits_rows: usize,
    /// Whether every token has logits, in order.
    pub all_rows: bool,
}

impl Buffers {
    /// Makes room for steps of so many tokens, sequences, tiles of queries and rows with logits.
    pub fn new(
        decoder: &GpuDecoder,
        tokens: usize,
        sequences: usize,
        tiles: usize,
        logits_rows: usize,
    ) -> Result<Self> {
        let device = decoder.kernels.device();
        let layers = || decoder.layers.iter();
        let most = |of: &dyn Fn(&Layer) -> usize| layers().map(of).max().unwrap_or(0);
        let q_width = most(&|layer| layer.output.width());
        let widest = most(&|layer| layer.matrices().map(Matrices::width).max().unwrap_or(0));
        let experts = || layers().filter_map(|layer| layer.feed_forward.experts());
        let gate_up = |layer: &Layer| {
            let dense = layer.feed_forward.dense();
            dense.map_or(0, |dense| dense.gate_up.rows())
        };
        let rows = tokens.max(logits_rows);
        let widths = [Width::Few, Width::Some, Width::Many];
        let activations = widths.map(|width| width.activation_bytes(rows, widest));
        // Sequences times splits are at most twice what fills the device, or the sequences alone.
        let kv_heads = most(&|layer| layer.shape.num_kv_heads);
        let parts = (4 * decoder.multiprocessors + MAX_SPLITS * kv_heads).max(sequences * kv_heads);
        let heads = parts * most(&|layer| layer.shape.group());
        let layout = InputLayout {
            tokens,
            sequences,
            max_blocks: decoder.max_blocks,
            tiles,
        };
        let f32s = |count: usize| Buffer::uninitialised(device, 4 * count);
        let stream = decoder.kernels.stream();
        Ok(Self {
            tokens,
            sequences,
            layout_len: layout.len(),
            host: Pinned::new(stream, layout.len())?,
            input: Buffer::zeros(device, 4 * layout.len())?,
            residual: f32s(tokens * decoder.config.hidden)?,
            x: Buffer::zeros(device, activations.into_iter().max().unwrap_or(0))?,
            qkv: f32s(tokens * most(&|layer| layer.qkv.rows()))?,
            q: f32s(tokens * q_width)?,
            attended: f32s(tokens * q_width)?,
            gate_up: f32s(tokens * most(&gate_up))?,
            experts: match experts().next() {
                Some(_) => Some(ExpertRoom::new(device, tokens, experts())?),
                None => None,
            },
            delta: f32s(tokens * decoder.config.hidden)?,
            partial: f32s(heads * decoder.config.head_dim)?,
            states: f32s(heads * 2)?,
            logits_rows,
            logits: f32s(logits_rows * decoder.output.rows())?,
            results: Buffer::zeros(device, 8 * logits_rows)?,
            host_results: Pinned::new(stream, 2 * logits_rows)?,
            host_logits: Pinned::new(stream, 1)?,
            candidates: CandidateRoom::new(
                device,
                &decoder.kernels,
                decoder.vocab_size,
                logits_rows,
            )?,
        })
    }
}

/// Returns where a step's numbers lie.
pub fn addresses(buffers: &Buffers, layout: &InputLayout) -> StepAddresses {
    let at = |index: usize| buffers.input.address() + 4 * index as Address;
    StepAddresses {
        positions: at(layout.positions()),
        slots: at(layout.slots()),
        context_lens: at(layout.context_lens()),
        block_tables: at(layout.block_tables()),
        tiles: at(layout.query_tiles()),
        max_blocks: layout.max_blocks,
    }
}

/// One step's launches.
pub struct Run<'a> {
    pub decoder: &'a GpuDecoder,
    pub buffers: &'a Buffers,
    pub batch: Batch,
    pub scratch: Option<&'a Buffer>,
    pub step: StepAddresses,
}

impl Run<'_> {
    fn width(&self, tokens: usize) -> Width {
        Width::of(
            tokens,
            if self.scratch.is_some() {
                MOST_PACKED_ALONE
            } else {
                MOST_PACKED
            },
        )
    }

    pub fn embed(&self, ids: Address) -> Result<()> {
        let (table_f16, table_bf16) = match &self.decoder.embedding {
            EmbeddingTable::Half(table) => (table.address(), 0),
            EmbeddingTable::Brain(table) => (0, table.address()),
        };
        let arguments = EmbedRows {
            table_bf16,
            table_f16,
            ids,
            out: self.buffers.residual.address(),
            scale: self.decoder.config.embedding_scale as f32,
            hidden: self.decoder.config.hidden as i32,
        };
        let launch = Launch::new([self.batch.tokens, 1, 1], 256);
        self.decoder
            .kernels
            .launch("embed_rows", launch, &arguments)
    }

    /// Adds `delta` (0: nothing) to the residual stream and leaves the norm for a product of `tokens` rows.
    fn norm(
        &self,
        norm: &RmsNorm,
        tokens: usize,
        delta: Address,
        rows: Address,
        is_valid: Address,
    ) -> Result<()> {
        self.norm_and_plain(norm, tokens, (delta, rows, is_valid), 0)
    }

    /// As [`Self::norm`]; leaves the norm in f32 in `plain` too, unless that is 0.
    fn norm_and_plain(
        &self,
        norm: &RmsNorm,
        tokens: usize,
        (delta, rows, is_valid): (Address, Address, Address),
        plain: Address,
    ) -> Result<()> {
        let arguments = AddRmsNorm {
            delta,
            residual: self.buffers.residual.address(),
            weight: address_of(&norm.weight)?,
            out: self.buffers.x.address(),
            is_valid,
            plain,
            rows,
            hidden: self.decoder.config.hidden as i32,
            eps: norm.eps,
        };
        let warps = units_of(self.decoder.config.hidden).min(NORM_MOST_WARPS);
        let (kernel, threads) = match self.width(tokens) {
            Width::Few => ("add_rms_norm_packed", 32 * warps),
            Width::Some => ("add_rms_norm_halves", 32 * warps),
            Width::Many => ("add_rms_norm_f16_scaled", 32 * warps),
        };
        self.decoder
            .kernels
            .launch(kernel, Launch::new([tokens, 1, 1], threads), &arguments)
    }

    /// Multiplies what lies in `x`.
    fn product(&self, matrices: &Matrices, tokens: usize, y: Address) -> Result<()> {
        let GpuDecoder {
            kernels,
            gemm_room,
            multiprocessors,
            ..
        } = self.decoder;
        let x = self.buffers.x.address();
        match self.width(tokens) {
            Width::Few => matrices.few(kernels, x, tokens, y),
            Width::Some => matrices.some(kernels, x, tokens, y, (gemm_room, *multiprocessors)),
            Width::Many => matrices.many(kernels, x, tokens, y, self.scratch),
        }
    }

    pub fn layer(&self, layer: &Layer, cache: CacheAddresses, delta: Address) -> Result<()> {
        let (buffers, tokens) = (self.buffers, self.batch.tokens);
        self.norm(&layer.attention_norm, tokens, delta, 0, 0)?;
        self.product(&layer.qkv, tokens, buffers.qkv.address())?;
        self.attend(layer, cache)?;
        self.product(&layer.output, tokens, buffers.delta.address())?;
        match (&layer.feed_forward, &buffers.experts) {
            (FeedForward::Dense(dense), _) => {
                self.norm(&layer.ffn_norm, tokens, buffers.delta.address(), 0, 0)?;
                self.dense(dense)
            }
            (FeedForward::Experts(experts), Some(room)) => {
                self.experts(&layer.ffn_norm, experts, room)
            }
            (FeedForward::Experts(_), None) => candle_core::bail!("experts without room"),
        }
    }

    /// Leaves in `delta` what a part yields for the norm in `x`.
    fn dense(&self, dense: &Dense) -> Result<()> {
        let (buffers, tokens) = (self.buffers, self.batch.tokens);
        self.product(&dense.gate_up, tokens, buffers.gate_up.address())?;
        self.gate(dense.down.width())?;
        self.product(&dense.down, tokens, buffers.delta.address())
    }

    /// Adds `delta` to the residual stream, and leaves in `delta` what the experts yield for the norm of it.
    fn experts(&self, norm: &RmsNorm, experts: &Experts, room: &ExpertRoom) -> Result<()> {
        let delta = self.buffers.delta.address();
        let step = ExpertStep::new(&self.decoder.kernels, experts, room, self.batch.tokens);
        self.norm_and_plain(norm, step.tokens, (delta, 0, 0), room.plain.address())?;
        step.route(self.step.slots)?;
        step.multiply(self.buffers.x.address(), self.is_gelu())?;
        // Its gate overwrites the norm in `x`, which few tokens' experts have read by now.
        let shared = match &experts.shared {
            Some(shared) => {
                self.dense(shared)?;
                delta
            }
            None => 0,
        };
        step.combine(shared, delta)
    }

    fn is_gelu(&self) -> bool {
        self.decoder.config.architecture.activation == Activation::GeluTanh
    }

    /// Leaves what attention yields for the next product.
    fn attend(&self, layer: &Layer, cache: CacheAddresses) -> Result<()> {
        let (kernels, buffers, shape) = (&self.decoder.kernels, self.buffers, &layer.shape);
        let table = &self.decoder.ropes[layer.rope];
        let rope = RopeAddresses {
            cos: address_of(&table.cos)?,
            sin: address_of(&table.sin)?,
            pairs: table.cos.dim(1)?,
            is_halves: table.layout == RopeLayout::Halves,
        };
        let norms = match &layer.head_norms {
            Some([q, k]) => Some(HeadNorms {
                q: address_of(&q.weight)?,
                k: address_of(&k.weight)?,
                eps: q.eps,
            }),
            None => None,
        };
        let (q, out) = (buffers.q.address(), buffers.attended.address());
        attention::rope_append(
            kernels,
            shape,
            (buffers.qkv.address(), q),
            (&rope, norms),
            cache,
            (&self.step, self.batch.tokens),
        )?;
        let is_packed = if self.batch.num_splits > 0 {
            let partial = Partial {
                values: buffers.partial.address(),
                states: buffers.states.address(),
            };
            let count = self.batch.sequences;
            let sequences = (&self.step, count, self.width(count));
            let places = (q, out, buffers.x.address());
            attention::decode(
                kernels,
                shape,
                places,
                cache,
                sequences,
                (partial, self.batch.num_splits),
            )?
        } else {
            attention::prefill(
                kernels,
                shape,
                (q, out),
                cache,
                (&self.step, self.batch.tiles),
            )?;
            false
        };
        if is_packed {
            return Ok(());
        }
        let width = layer.output.width();
        let rows = Rows {
            x: out,
            out: buffers.x.address(),
            width: width as i32,
        };
        let tokens = self.batch.tokens;
        let units = Launch::new([width.div_ceil(1024), tokens, 1], 128);
        match self.width(tokens) {
            Width::Few => kernels.launch("pack_rows", units, &rows),
            Width::Some => kernels.launch("pack_rows_halves", units, &rows),
            Width::Many => kernels.launch(
                "rows_f16",
                Launch::new([width.div_ceil(256), tokens, 1], 256),
                &rows,
            ),
        }
    }

    fn gate(&self, width: usize) -> Result<()> {
        let tokens = self.batch.tokens;
        let gate = self.buffers.gate_up.address();
        let arguments = GatedActivation {
            gate,
            up: gate + 4 * width as Address,
            out: self.buffers.x.address(),
            rows: 0,
            stride: 2 * width as i64,
            width: width as i32,
            gelu_tanh: i32::from(self.is_gelu()),
        };
        let kernels = &self.decoder.kernels;
        let kernel = match self.width(tokens) {
            Width::Few => "gated_activation_packed",
            Width::Some => "gated_activation_halves",
            Width::Many => "gated_activation_f16",
        };
        kernels.launch(
            kernel,
            Launch::new([width.div_ceil(1024), tokens, 1], 128),
            &arguments,
        )
    }

    pub fn logits(&self, delta: Address, rows: Address) -> Result<()> {
        let (buffers, count) = (self.buffers, self.batch.logits_rows);
        let results = buffers.results.address();
        let is_valid = results + 4 * buffers.logits_rows as Address;
        self.norm(&self.decoder.output_norm, count, delta, rows, is_valid)?;
        let output = &self.decoder.output;
        self.product(output, count, buffers.logits.address())?;
        let arguments = LargestOfRow {
            logits: buffers.logits.address(),
            ids: results,
            stride: output.rows() as i64,
            width: self.decoder.vocab_size as i32,
        };
        self.decoder.kernels.launch(
            "largest_of_row",
            Launch::new([count, 1, 1], 1024),
            &arguments,
        )
    }
}
