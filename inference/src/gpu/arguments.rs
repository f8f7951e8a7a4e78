//! What kernels are passed: each the twin of the structure of the same name in its `.cu`.

/// An address on the device; 0 is none.
pub type Address = u64;

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PackedMatrix {
    pub units: Address,
    pub bias: Address,
    pub y: Address,
    pub y_stride: i64,
    pub rows: i32,
    pub format: i32,
}

pub const PACKED_PARTS: usize = 3;

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PackedGemv {
    pub part: [PackedMatrix; PACKED_PARTS],
    pub x: Address,
    pub num_units: i32,
    pub batch: i32,
    pub num_parts: i32,
    pub ring_bytes: i32,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PackedGemm {
    pub part: [PackedMatrix; PACKED_PARTS],
    pub x: Address,
    pub partial: Address,
    pub arrived: Address,
    pub num_units: i32,
    pub batch: i32,
    pub num_parts: i32,
    pub num_splits: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct UnpackWeights {
    pub units: Address,
    pub out: Address,
    pub rows: i32,
    pub width: i32,
    pub num_units: i32,
    pub format: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct AddRmsNorm {
    pub delta: Address,
    pub residual: Address,
    pub weight: Address,
    pub out: Address,
    pub is_valid: Address,
    pub plain: Address,
    pub rows: Address,
    pub hidden: i32,
    pub eps: f32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GatedActivation {
    pub gate: Address,
    pub up: Address,
    pub out: Address,
    pub rows: Address,
    pub stride: i64,
    pub width: i32,
    pub gelu_tanh: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ExpertRouting {
    pub x: Address,
    pub router: Address,
    pub slots: Address,
    pub logits: Address,
    pub chosen: Address,
    pub weights: Address,
    pub places: Address,
    pub pairs: Address,
    pub tiles: Address,
    pub arrived: Address,
    pub num_tokens: i32,
    pub hidden: i32,
    pub num_experts: i32,
    pub num_used: i32,
    pub num_rows: i32,
    pub tile_rows: i32,
    pub num_tiles: i32,
    pub normalise: i32,
    pub scale: f32,
}

pub const EXPERT_PARTS: usize = 2;

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct ExpertMatrices {
    pub units: Address,
    pub expert_bytes: i64,
    pub rows: i32,
    pub format: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ExpertProduct {
    pub part: [ExpertMatrices; EXPERT_PARTS],
    pub x: Address,
    pub y: Address,
    pub tiles: Address,
    pub pairs: Address,
    pub num_parts: i32,
    pub num_units: i32,
    pub num_tokens: i32,
    pub num_used: i32,
    pub ring_bytes: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GatherExpertRows {
    pub x: Address,
    pub out: Address,
    pub places: Address,
    pub width: i32,
    pub num_used: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CombineExperts {
    pub y: Address,
    pub weights: Address,
    pub places: Address,
    pub shared: Address,
    pub gate: Address,
    pub out: Address,
    pub gate_stride: i64,
    pub width: i32,
    pub num_used: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct EmbedRows {
    pub table_bf16: Address,
    pub table_f16: Address,
    pub ids: Address,
    pub out: Address,
    pub scale: f32,
    pub hidden: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Rows {
    pub x: Address,
    pub out: Address,
    pub width: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct AddBias {
    pub bias: Address,
    pub y: Address,
    pub stride: i64,
    pub width: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct LargestOfRow {
    pub logits: Address,
    pub ids: Address,
    pub stride: i64,
    pub width: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CandidatesOfRow {
    pub logits: Address,
    pub slice_logits: Address,
    pub slice_ids: Address,
    pub slice_rest: Address,
    pub records: Address,
    pub stride: i64,
    pub width: i32,
    pub num_slices: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RopeAppend {
    pub q: Address,
    pub k: Address,
    pub v: Address,
    pub q_out: Address,
    pub k_cache: Address,
    pub v_cache: Address,
    pub cos: Address,
    pub sin: Address,
    pub positions: Address,
    pub slots: Address,
    pub q_stride: i64,
    pub kv_stride: i64,
    pub num_heads: i32,
    pub num_kv_heads: i32,
    pub head_dim: i32,
    pub half: i32,
    pub halves: i32,
    pub num_tokens: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RopeAppendNorm {
    pub rope: RopeAppend,
    pub q_norm: Address,
    pub k_norm: Address,
    pub norm_eps: f32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PagedDecodeAttention {
    pub q: Address,
    pub k_cache: Address,
    pub v_cache: Address,
    pub block_tables: Address,
    pub context_lens: Address,
    pub out: Address,
    pub partial: Address,
    pub partial_state: Address,
    pub num_heads: i32,
    pub num_kv_heads: i32,
    pub max_blocks: i32,
    pub num_splits: i32,
    pub window: i32,
    pub scale: f32,
    pub softcap: f32,
    pub head_dim: i32,
    pub packed: Address,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PagedPrefillAttention {
    pub q: Address,
    pub k_cache: Address,
    pub v_cache: Address,
    pub block_tables: Address,
    pub tiles: Address,
    pub out: Address,
    pub num_heads: i32,
    pub num_kv_heads: i32,
    pub max_blocks: i32,
    pub window: i32,
    pub scale: f32,
    pub softcap: f32,
}
