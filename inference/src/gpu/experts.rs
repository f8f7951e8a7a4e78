//! Mixtures of experts: routing, products and sums of a layer, all of sizes and places that do not depend on the routing.

use candle_core::{CudaDevice, Result};

use super::{
    arguments::{
        Address, CombineExperts, EXPERT_PARTS, ExpertMatrices, ExpertProduct, ExpertRouting,
        GatedActivation, GatherExpertRows,
    },
    kernels::{Kernels, Launch},
    loader::Dense,
    memory::{Buffer, upload},
    plan::{ExpertPlan, ROUTED_AT_ONCE, Width, gemm_rows},
    products::{GEMM_SHARED, GEMM_THREADS, GEMV_SHARED, GEMV_WARPS},
};
use crate::{
    gguf::EncodedMatrix,
    ops::{
        expert_routing::RoutingRule,
        packed_matmul::{PackedFormat, TILE_ROWS, TILE_TOKENS, pack, packed_bytes, units_of},
    },
};

/// Warps, and tokens, of a block of `expert_routing.cu`.
const ROUTE_WARPS: usize = 8;
/// Most rows of a launch's grid beside the first of its dimensions.
const MOST_GRID_ROWS: usize = 65_535;

/// Makes the kernels ready.
pub fn prepare(kernels: &mut Kernels) -> Result<()> {
    for (module, name, shared) in [
        ("expert_routing", "route_tokens", 0),
        ("expert_routing", "choose_experts", 0),
        ("expert_routing", "group_by_expert", 0),
        ("expert_gemv", "expert_gemv", GEMV_SHARED),
        ("expert_gemv", "expert_gemv_one", GEMV_SHARED),
        ("expert_gemv", "expert_gemv_spans", GEMV_SHARED),
        ("expert_gemv", "expert_gemv_spans_one", GEMV_SHARED),
        ("expert_gemm", "expert_gemm_16", GEMM_SHARED),
        ("expert_gemm", "expert_gemm_32", GEMM_SHARED),
        ("expert_gemm", "expert_gemm_64", GEMM_SHARED),
        ("expert_rows", "gather_expert_rows", 0),
        ("expert_rows", "combine_experts", 0),
        ("gated_activation", "gated_places_packed", 0),
        ("gated_activation", "gated_places_halves", 0),
    ] {
        kernels.find(module, name, shared)?;
    }
    Ok(())
}

/// A layer's experts.
#[derive(Debug)]
pub struct Experts {
    /// `[num_rows, hidden]` f32: an expert each, and the gate of the shared expert where it has one.
    pub router: Buffer,
    pub num_rows: usize,
    pub num_experts: usize,
    pub rule: RoutingRule,
    /// gate, up
    pub gate_up: ExpertStack,
    pub down: ExpertStack,
    /// The expert that all tokens use.
    pub shared: Option<Dense>,
}

/// Matrices of all experts with one input.
#[derive(Debug)]
pub struct ExpertStack {
    parts: Vec<PackedStack>,
    width: usize,
}

/// One matrix of all experts, packed.
#[derive(Debug)]
pub struct PackedStack {
    units: Buffer,
    expert_bytes: usize,
    format: PackedFormat,
    rows: usize,
}

impl PackedStack {
    /// Packs and copies the matrices that `matrix` hands out, one after another, and calls `done` with each expert.
    ///
    /// # Errors
    /// Those of `matrix` and `done`; a candle error for a type without a format, for experts of different types, and when the device is
    /// out of memory.
    pub fn load<'a, E: From<candle_core::Error>>(
        device: &CudaDevice,
        num_experts: usize,
        (rows, width): (usize, usize),
        matrix: impl Fn(usize) -> std::result::Result<EncodedMatrix<'a>, E>,
        done: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let stream = device.cuda_stream();
        let mut all: Option<Self> = None;
        for expert in 0..num_experts {
            let encoded = matrix(expert)?;
            let format = PackedFormat::of(encoded.dtype);
            let units = pack(encoded.dtype, encoded.shape, &encoded.data);
            let (Some(format), Some(units)) = (format, units) else {
                return Err(unsupported(&format!("experts of {:?}", encoded.dtype)).into());
            };
            drop(encoded);
            done(expert)?;
            let stack = match &mut all {
                Some(stack) => stack,
                None => {
                    let expert_bytes = packed_bytes(format, (rows, width));
                    all.insert(Self {
                        units: Buffer::uninitialised(device, num_experts * expert_bytes)?,
                        expert_bytes,
                        format,
                        rows,
                    })
                }
            };
            if stack.format != format {
                return Err(unsupported("experts of different types").into());
            }
            let at = stack.units.address() + (expert * stack.expert_bytes) as Address;
            upload(&stream, &units, at)?;
            // The copy has ended before the memory goes.
            stream.synchronize().map_err(candle_core::Error::wrap)?;
        }
        all.ok_or_else(|| unsupported("a layer without experts").into())
    }
}

fn unsupported(what: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("{what} have no kernels; `--device cpu` runs them"))
}

impl ExpertStack {
    /// # Errors
    /// A candle error for more parts than a launch takes.
    pub fn new(parts: Vec<PackedStack>, width: usize) -> Result<Self> {
        if parts.is_empty() || parts.len() > EXPERT_PARTS {
            candle_core::bail!("{} matrices an expert", parts.len());
        }
        Ok(Self { parts, width })
    }

    /// Returns the width of the input.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    fn blocks(&self, rows: usize) -> usize {
        let parts = self.parts.iter();
        parts.map(|part| part.rows.div_ceil(rows)).sum()
    }

    /// Multiplies the places of the plan. `num_tokens`: activations are those of so many tokens, else (0) those at the places.
    fn multiply(&self, step: &ExpertStep<'_>, x: Address, num_tokens: usize) -> Result<()> {
        let formats = || self.parts.iter().map(|part| part.format);
        let ring_bytes = formats().map(PackedFormat::ring_bytes).max().unwrap_or(0);
        let mut part = [ExpertMatrices::default(); EXPERT_PARTS];
        for (from, to) in self.parts.iter().zip(&mut part) {
            *to = ExpertMatrices {
                units: from.units.address(),
                expert_bytes: from.expert_bytes as i64,
                rows: from.rows as i32,
                format: from.format as i32,
            };
        }
        let arguments = ExpertProduct {
            part,
            x,
            y: step.room.y.address(),
            tiles: step.room.tiles.address(),
            pairs: step.room.pairs.address(),
            num_parts: self.parts.len() as i32,
            num_units: units_of(self.width) as i32,
            num_tokens: num_tokens as i32,
            num_used: step.experts.rule.num_used as i32,
            ring_bytes: ring_bytes as i32,
        };
        let ExpertPlan {
            tile_rows,
            num_tiles,
            ..
        } = step.plan;
        if tile_rows > TILE_TOKENS {
            let launch = Launch {
                grid: [num_tiles, self.blocks(gemm_rows(tile_rows)), 1],
                threads: GEMM_THREADS,
                shared: GEMM_SHARED,
            };
            let kernel = format!("expert_gemm_{tile_rows}");
            return step.kernels.launch(&kernel, launch, &arguments);
        }
        let is_spans = formats().all(|format| format == PackedFormat::NibblesSpans);
        let kernel = match (is_spans, step.tokens) {
            (true, 1) => "expert_gemv_spans_one",
            (true, _) => "expert_gemv_spans",
            (false, 1) => "expert_gemv_one",
            (false, _) => "expert_gemv",
        };
        let launch = Launch {
            grid: [self.blocks(TILE_ROWS), num_tiles, 1],
            threads: 32 * GEMV_WARPS,
            shared: GEMV_WARPS * ring_bytes,
        };
        step.kernels.launch(kernel, launch, &arguments)
    }
}

/// Room for the experts of a step.
#[derive(Debug)]
pub struct ExpertRoom {
    /// What the layer's norm yields, in f32.
    pub plain: Buffer,
    logits: Buffer,
    chosen: Buffer,
    weights: Buffer,
    places: Buffer,
    pairs: Buffer,
    tiles: Buffer,
    arrived: Buffer,
    /// Activations at the places, for gate and up and then for down.
    x: Buffer,
    /// Products at the places, of gate and up and then of down.
    y: Buffer,
}

impl ExpertRoom {
    /// Makes room for up to `tokens` tokens of all these layers.
    pub fn new<'a>(
        device: &CudaDevice,
        tokens: usize,
        layers: impl Iterator<Item = &'a Experts>,
    ) -> Result<Self> {
        let (mut sizes, mut num_rows, mut x, mut y) = ([0; 3], 0, 0, 0);
        let mut hidden = 0;
        for experts in layers {
            let plan = ExpertPlan::room(tokens, experts.num_experts, experts.rule.num_used);
            for (most, size) in sizes
                .iter_mut()
                .zip([plan.pairs, plan.places, plan.num_tiles])
            {
                *most = size.max(*most);
            }
            num_rows = num_rows.max(experts.num_rows);
            hidden = hidden.max(experts.gate_up.width());
            let widest = experts.gate_up.width().max(experts.down.width());
            let few = ExpertPlan::room(
                tokens.min(TILE_TOKENS),
                experts.num_experts,
                experts.rule.num_used,
            );
            x = x
                .max(Width::Some.activation_bytes(plan.places, widest))
                .max(Width::Few.activation_bytes(few.places, widest));
            y = y.max(plan.places * experts.gate_up.rows().max(experts.down.rows()));
        }
        let [pairs, places, num_tiles] = sizes;
        let words = |count: usize| Buffer::uninitialised(device, 4 * count);
        Ok(Self {
            plain: words(tokens * hidden)?,
            logits: words(tokens * num_rows)?,
            chosen: words(pairs)?,
            weights: words(pairs)?,
            places: words(pairs)?,
            pairs: words(places)?,
            tiles: words(4 * num_tiles)?,
            arrived: Buffer::zeros(device, 4)?,
            // Places of nobody are multiplied, though nothing comes of it.
            x: Buffer::zeros(device, x)?,
            y: words(y)?,
        })
    }
}

/// A layer's experts in a step of so many tokens.
pub struct ExpertStep<'a> {
    pub kernels: &'a Kernels,
    pub experts: &'a Experts,
    pub room: &'a ExpertRoom,
    pub tokens: usize,
    pub plan: ExpertPlan,
}

impl<'a> ExpertStep<'a> {
    pub fn new(
        kernels: &'a Kernels,
        experts: &'a Experts,
        room: &'a ExpertRoom,
        tokens: usize,
    ) -> Self {
        Self {
            kernels,
            experts,
            room,
            tokens,
            plan: ExpertPlan::new(tokens, experts.num_experts, experts.rule.num_used),
        }
    }

    fn hidden(&self) -> usize {
        self.experts.gate_up.width()
    }

    /// Chooses experts, and places every token of theirs. `slots`: where keys go, which tells tokens that only fill the batch.
    pub fn route(&self, slots: Address) -> Result<()> {
        let (room, rule) = (self.room, self.experts.rule);
        let is_at_once = self.tokens <= ROUTED_AT_ONCE;
        let arguments = ExpertRouting {
            x: room.plain.address(),
            router: self.experts.router.address(),
            slots,
            logits: room.logits.address(),
            chosen: room.chosen.address(),
            weights: room.weights.address(),
            places: room.places.address(),
            pairs: room.pairs.address(),
            tiles: room.tiles.address(),
            arrived: if is_at_once {
                room.arrived.address()
            } else {
                0
            },
            num_tokens: self.tokens as i32,
            hidden: self.hidden() as i32,
            num_experts: self.experts.num_experts as i32,
            num_used: rule.num_used as i32,
            num_rows: self.experts.num_rows as i32,
            tile_rows: self.plan.tile_rows as i32,
            num_tiles: self.plan.num_tiles as i32,
            normalise: i32::from(rule.normalise),
            scale: rule.scale,
        };
        let threads = 32 * ROUTE_WARPS;
        let tokens = self.tokens.div_ceil(ROUTE_WARPS);
        let rows = self.experts.num_rows.div_ceil(ROUTE_WARPS);
        let launch = |kernel, grid| {
            self.kernels
                .launch(kernel, Launch::new(grid, threads), &arguments)
        };
        launch("route_tokens", [rows, tokens, 1])?;
        if is_at_once {
            return Ok(());
        }
        launch("choose_experts", [tokens, 1, 1])?;
        launch("group_by_expert", [self.experts.num_experts, 1, 1])
    }

    /// Leaves what each expert yields at its places. `packed`: the tokens' packed activations, for few tokens.
    pub fn multiply(&self, packed: Address, gelu_tanh: bool) -> Result<()> {
        let is_few = self.plan.tile_rows == TILE_TOKENS;
        let Experts { gate_up, down, .. } = self.experts;
        if is_few {
            gate_up.multiply(self, packed, self.tokens)?;
        } else {
            self.gather()?;
            gate_up.multiply(self, self.room.x.address(), 0)?;
        }
        self.gate(is_few, gelu_tanh)?;
        down.multiply(self, self.room.x.address(), 0)
    }

    fn gather(&self) -> Result<()> {
        let width = self.hidden();
        let arguments = GatherExpertRows {
            x: self.room.plain.address(),
            out: self.room.x.address(),
            places: self.room.places.address(),
            width: width as i32,
            num_used: self.experts.rule.num_used as i32,
        };
        let launch = Launch::new([self.tokens, width.div_ceil(1024), 1], 128);
        self.kernels
            .launch("gather_expert_rows", launch, &arguments)
    }

    fn gate(&self, is_few: bool, gelu_tanh: bool) -> Result<()> {
        let width = self.experts.down.width();
        let gate = self.room.y.address();
        let kernel = if is_few {
            "gated_places_packed"
        } else {
            "gated_places_halves"
        };
        for first in (0..self.plan.pairs).step_by(MOST_GRID_ROWS) {
            let rows = (self.plan.pairs - first).min(MOST_GRID_ROWS);
            let arguments = GatedActivation {
                gate,
                up: gate + 4 * width as Address,
                out: self.room.x.address(),
                rows: self.room.places.address() + 4 * first as Address,
                stride: 2 * width as i64,
                width: width as i32,
                gelu_tanh: i32::from(gelu_tanh),
            };
            let launch = Launch::new([width.div_ceil(1024), rows, 1], 128);
            self.kernels.launch(kernel, launch, &arguments)?;
        }
        Ok(())
    }

    /// Adds up what a token's experts have yielded. `shared`: what the one yields that all use, or 0; it may be `out`.
    pub fn combine(&self, shared: Address, out: Address) -> Result<()> {
        let (experts, width) = (self.experts, self.hidden());
        let has_gate = experts.num_rows > experts.num_experts;
        let arguments = CombineExperts {
            y: self.room.y.address(),
            weights: self.room.weights.address(),
            places: self.room.places.address(),
            shared,
            gate: if has_gate {
                self.room.logits.address() + 4 * experts.num_experts as Address
            } else {
                0
            },
            out,
            gate_stride: experts.num_rows as i64,
            width: width as i32,
            num_used: experts.rule.num_used as i32,
        };
        let launch = Launch::new([self.tokens, width.div_ceil(1024), 1], 256);
        self.kernels.launch("combine_experts", launch, &arguments)
    }
}
