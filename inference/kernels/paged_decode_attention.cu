// paged_decode_attention: attention of one query token a sequence over its paged keys and values (flash-decoding).
//
// Grid: (num_splits, num_kv_heads, num_seqs), 128 threads. A block attends with all query heads of one key head (GQA-packed:
// keys and values are read once for the group) to one of `num_splits` parts of the context; its 4 warps take the
// part's KV blocks in turn, each with its own running maximum, and are merged through shared memory. With several splits a
// second kernel joins them in order: paged_decode_merge in f32, or paged_decode_merge_packed and _halves, which write what
// packed_gemv reads (also with one split). The number of splits is the launch's, so that a captured graph stays
// valid as contexts grow; a split without tokens returns at once. Nothing is added atomically: the same context and
// number of splits give the same bits in any batch.
//
// Caches of f16 and of 8 bits are read on tensor cores: paged_decode_tiles.cuh. The other formats, here, multiply in f32: a KV tile of one head
// is contiguous, keys [head_dim][16 tokens], values [16 tokens][head_dim]; a lane reads 8 numbers at once, a warp whole
// 512-byte stretches. Needs head_dim % 16 == 0 and at most 128, a group of at most 8 (padded to a power of two with zero queries).
// Truth: ops/paged_attention/reference.rs. Ladder: lab/cuda.md.

#include "paged_decode_bytes.cuh"
#include "paged_decode_halves.cuh"

// The tokens of a split: whole KV blocks, of which the first and last may be seen in part.
struct Stretch {
    int first_token, end_token; // seen by the query
    int first_block, end_block; // of this split
};

DEVICE Stretch stretch_of(const PagedDecodeAttention &p, int split, int context_len) {
    Stretch stretch;
    stretch.end_token = context_len;
    stretch.first_token = p.window > 0 && p.window < context_len ? context_len - p.window : 0;
    int first = stretch.first_token / TILE_TOKENS, end = (context_len + TILE_TOKENS - 1) / TILE_TOKENS;
    int each = (end - first + p.num_splits - 1) / p.num_splits;
    stretch.first_block = min(first + split * each, end);
    stretch.end_block = min(stretch.first_block + each, end);
    return stretch;
}

// Adds over the 16 lanes that share a lane's last bit. `x` holds N numbers in each lane; afterwards its first
// max(N / 16, 1) are sums, and `first` is the index of the first of them. Halves what a lane has with every exchange, so it
// takes N exchanges and not 4 N.
template <int N> DEVICE void scatter_sum(float (&x)[N], int &first) {
    first = 0;
    int have = N;
#pragma unroll
    for (int distance = 16; distance >= 2; distance /= 2) {
        if (have > 1) {
            have /= 2;
            bool upper = (lane_id() & distance) != 0;
            first += upper ? have : 0;
#pragma unroll
            for (int i = 0; i < N / 2; ++i) {
                if (i < have) {
                    float give = upper ? x[i] : x[i + have], keep = upper ? x[i + have] : x[i];
                    x[i] = keep + __shfl_xor_sync(ALL_LANES, give, distance);
                }
            }
        } else {
            x[0] += __shfl_xor_sync(ALL_LANES, x[0], distance);
        }
    }
}

// Writes the scores of the tile's 16 tokens for each head of the group to `scores[head * 16 + token]`, in powers of two.
template <typename Cache, int HEAD_DIM, int GROUP>
DEVICE void tile_scores(const PagedDecodeAttention &p, const Cache *keys, const float *q, float *scores) {
    // Lane 2i + o has tokens 8o..8o+7 of dimensions i, i + 16, ...
    int octet = lane_id() % 2, row = lane_id() / 2;
    float sums[GROUP * 8] = {};
#pragma unroll
    for (int d = row; d < HEAD_DIM; d += 16) {
        float key[8];
        load8(keys + d * TILE_TOKENS + octet * 8, key);
#pragma unroll
        for (int head = 0; head < GROUP; ++head)
#pragma unroll
            for (int i = 0; i < 8; ++i)
                sums[head * 8 + i] += q[head * HEAD_DIM + d] * key[i];
    }
    int first;
    scatter_sum(sums, first);
    constexpr int HAVE = GROUP * 8 >= 16 ? GROUP * 8 / 16 : 1;
#pragma unroll
    for (int i = 0; i < HAVE; ++i) {
        float score = sums[i] * p.scale;
        if (p.softcap > 0.0f)
            score = p.softcap * tanhf(score / p.softcap);
        // With GROUP = 1 two lanes have the same sum and write the same number.
        scores[(first + i) / 8 * TILE_TOKENS + octet * 8 + (first + i) % 8] = score * LOG2_E;
    }
}

// Turns the tile's scores into weights relative to the new maximum of each head, and returns in `rescale[head]` by what all
// before it shrinks. `maximum` and `sum` (a lane's own share) are kept for the head `lane / 16 + 2 i`.
template <int GROUP>
DEVICE void tile_weights(float *scores, float *rescale, float (&maximum)[(GROUP + 1) / 2], float (&sum)[(GROUP + 1) / 2],
                         int first_seen, int end_seen) {
    int token = lane_id() % TILE_TOKENS;
#pragma unroll
    for (int i = 0; i < (GROUP + 1) / 2; ++i) {
        int head = lane_id() / TILE_TOKENS + 2 * i;
        bool seen = head < GROUP && token >= first_seen && token < end_seen;
        float score = seen ? scores[head * TILE_TOKENS + token] : -INFINITY;
        float top = fmaxf(score, maximum[i]);
#pragma unroll
        for (int distance = TILE_TOKENS / 2; distance > 0; distance /= 2)
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, distance));
        // A tile has a token that is seen, so `top` is finite except in the lanes of no head.
        float shrink = head < GROUP ? exp2f(maximum[i] - top) : 0.0f;
        float weight = seen ? exp2f(score - top) : 0.0f;
        sum[i] = sum[i] * shrink + weight;
        maximum[i] = top;
        if (head < GROUP) {
            scores[head * TILE_TOKENS + token] = weight;
            if (token == 0)
                rescale[head] = shrink;
        }
    }
}

// How the lanes of a warp share a tile of values: `LANES` lanes read a token's row, `ROWS` tokens at once.
template <int HEAD_DIM> struct ValueLanes {
    static constexpr int LANES = HEAD_DIM / 8, ROWS = WARP_SIZE / LANES;
};

// acc[head] = acc[head] * rescale[head] + weights x values, for the 8 dimensions of the lane and its share of the tokens.
template <typename Cache, int HEAD_DIM, int GROUP>
DEVICE void add_values(const Cache *values, const float *weights, const float *rescale, float (&acc)[GROUP][8],
                       int first_seen, int end_seen) {
    using Lanes = ValueLanes<HEAD_DIM>;
    int row = lane_id() / Lanes::LANES, column = lane_id() % Lanes::LANES * 8;
#pragma unroll
    for (int head = 0; head < GROUP; ++head)
#pragma unroll
        for (int i = 0; i < 8; ++i)
            acc[head][i] *= rescale[head];
    if (row >= Lanes::ROWS)
        return;
#pragma unroll
    for (int start = 0; start < TILE_TOKENS; start += Lanes::ROWS) {
        int token = start + row;
        // Three rows at once, as for a head size of 80, go beyond the tile in the end.
        if (TILE_TOKENS % Lanes::ROWS != 0 && token >= TILE_TOKENS)
            break;
        // What is not seen may never have been written: NaN times a weight of 0 would be NaN.
        if (token < first_seen || token >= end_seen)
            continue;
        float value[8];
        load8(values + token * HEAD_DIM + column, value);
#pragma unroll
        for (int head = 0; head < GROUP; ++head)
#pragma unroll
            for (int i = 0; i < 8; ++i)
                acc[head][i] += weights[head * TILE_TOKENS + token] * value[i];
    }
}

// What the warps of a block leave for each other.
template <int HEAD_DIM, int GROUP> struct DecodeShared {
    float q[GROUP * HEAD_DIM];
    float scores[DECODE_WARPS][GROUP * TILE_TOKENS];
    float rescale[DECODE_WARPS][GROUP];
    float maximum[DECODE_WARPS][GROUP], sum[DECODE_WARPS][GROUP];
    float acc[DECODE_WARPS][GROUP * HEAD_DIM];
};

// Writes the block's result.
template <int HEAD_DIM, int GROUP>
DEVICE void join_warps(const PagedDecodeAttention &p, const DecodeShared<HEAD_DIM, GROUP> &shared, int group) {
    long long first_head = static_cast<long long>(blockIdx.z) * p.num_heads + blockIdx.y * group;
    for (int index = static_cast<int>(threadIdx.x); index < group * HEAD_DIM; index += DECODE_THREADS) {
        int head = index / HEAD_DIM, d = index % HEAD_DIM;
        float maximum = -INFINITY, sum = 0.0f, total = 0.0f;
#pragma unroll
        for (int warp = 0; warp < DECODE_WARPS; ++warp)
            maximum = fmaxf(maximum, shared.maximum[warp][head]);
#pragma unroll
        for (int warp = 0; warp < DECODE_WARPS; ++warp) {
            float factor = exp2f(shared.maximum[warp][head] - maximum);
            sum += factor * shared.sum[warp][head];
            total += factor * shared.acc[warp][index];
        }
        if (p.num_splits == 1) {
            p.out[(first_head + head) * HEAD_DIM + d] = total / sum;
            continue;
        }
        long long place = (first_head + head) * p.num_splits + blockIdx.x;
        p.partial[place * HEAD_DIM + d] = total;
        if (d == 0) {
            p.partial_state[2 * place] = maximum;
            p.partial_state[2 * place + 1] = sum;
        }
    }
}

// Adds what the lanes of other rows have to the lanes of the first row, and leaves the warp's state in shared memory.
template <int HEAD_DIM, int GROUP>
DEVICE void leave_warp(DecodeShared<HEAD_DIM, GROUP> &shared, float (&acc)[GROUP][8],
                       const float (&maximum)[(GROUP + 1) / 2], const float (&sum)[(GROUP + 1) / 2]) {
    using Lanes = ValueLanes<HEAD_DIM>;
    int column = lane_id() % Lanes::LANES;
#pragma unroll
    for (int head = 0; head < GROUP; ++head)
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            float total = 0.0f;
#pragma unroll
            for (int row = 0; row < Lanes::ROWS; ++row)
                total += __shfl_sync(ALL_LANES, acc[head][i], row * Lanes::LANES + column);
            if (lane_id() < Lanes::LANES)
                shared.acc[warp_id()][head * HEAD_DIM + column * 8 + i] = total;
        }
#pragma unroll
    for (int i = 0; i < (GROUP + 1) / 2; ++i) {
        float total = sum[i];
#pragma unroll
        for (int distance = TILE_TOKENS / 2; distance > 0; distance /= 2)
            total += __shfl_xor_sync(ALL_LANES, total, distance);
        int head = lane_id() / TILE_TOKENS + 2 * i;
        if (head < GROUP && lane_id() % TILE_TOKENS == 0) {
            shared.maximum[warp_id()][head] = maximum[i];
            shared.sum[warp_id()][head] = total;
        }
    }
}

template <typename Cache, int HEAD_DIM, int GROUP> DEVICE void paged_decode(const PagedDecodeAttention &p) {
    using Shared = DecodeShared<HEAD_DIM, GROUP>;
    SHARED(Shared, shared, 1);
    int kv_head = static_cast<int>(blockIdx.y), group = p.num_heads / p.num_kv_heads;
    long long sequence = blockIdx.z;
    start_kernel_after();
    wait_for_kernel_before();
    Stretch stretch = stretch_of(p, static_cast<int>(blockIdx.x), static_cast<int>(p.context_lens[sequence]));
    if (stretch.first_block >= stretch.end_block)
        return leave_empty(p, group, HEAD_DIM);

    const float *q = p.q + (sequence * p.num_heads + kv_head * group) * HEAD_DIM;
    for (int index = static_cast<int>(threadIdx.x); index < GROUP * HEAD_DIM; index += DECODE_THREADS)
        shared->q[index] = index < group * HEAD_DIM ? q[index] : 0.0f;
    __syncthreads();

    float acc[GROUP][8] = {}, sum[(GROUP + 1) / 2] = {}, maximum[(GROUP + 1) / 2];
#pragma unroll
    for (int i = 0; i < (GROUP + 1) / 2; ++i)
        maximum[i] = -INFINITY;
    float *scores = shared->scores[warp_id()], *rescale = shared->rescale[warp_id()];
    for (int block = stretch.first_block + warp_id(); block < stretch.end_block; block += DECODE_WARPS) {
        long long tile = p.block_tables[sequence * p.max_blocks + block];
        long long at = (tile * p.num_kv_heads + kv_head) * HEAD_DIM * TILE_TOKENS;
        int first_seen = stretch.first_token - block * TILE_TOKENS, end_seen = stretch.end_token - block * TILE_TOKENS;
        tile_scores<Cache, HEAD_DIM, GROUP>(p, static_cast<const Cache *>(p.k_cache) + at, shared->q, scores);
        __syncwarp();
        tile_weights<GROUP>(scores, rescale, maximum, sum, first_seen, end_seen);
        __syncwarp();
        add_values<Cache, HEAD_DIM, GROUP>(static_cast<const Cache *>(p.v_cache) + at, scores, rescale, acc, first_seen,
                                           end_seen);
        // The next tile's scores may only overwrite weights that all lanes have used.
        __syncwarp();
    }
    leave_warp<HEAD_DIM, GROUP>(*shared, acc, maximum, sum);
    __syncthreads();
    join_warps<HEAD_DIM, GROUP>(p, *shared, group);
}

// Joins the splits of a head in order. Grid: (num_heads, num_seqs), head_dim threads.
KERNEL(DECODE_THREADS) paged_decode_merge(PagedDecodeAttention p) {
    start_kernel_after();
    wait_for_kernel_before();
    long long head = static_cast<long long>(blockIdx.y) * p.num_heads + blockIdx.x;
    const float *state = p.partial_state + head * p.num_splits * 2;
    int head_dim = static_cast<int>(blockDim.x), d = static_cast<int>(threadIdx.x);
    float maximum = -INFINITY, sum = 0.0f, total = 0.0f;
    for (int split = 0; split < p.num_splits; ++split)
        maximum = fmaxf(maximum, state[2 * split]);
    for (int split = 0; split < p.num_splits; ++split) {
        if (state[2 * split + 1] == 0.0f)
            continue;
        float factor = exp2f(state[2 * split] - maximum);
        sum += factor * state[2 * split + 1];
        total += factor * p.partial[(head * p.num_splits + split) * head_dim + d];
    }
    p.out[head * head_dim + d] = sum > 0.0f ? total / sum : 0.0f;
}

// Splits whose states and parts a lane of the packing merges has under way at once.
constexpr int MERGE_AT_ONCE = 8;

// A split's state, read at once.
struct alignas(8) SplitState {
    float maximum, sum;
};

// Joins the splits of a head in order, for 8 dimensions from `d`. What a split without tokens has left is not used.
DEVICE void join_splits(const PagedDecodeAttention &p, long long head, int d, float (&x)[8]) {
    const SplitState *states = reinterpret_cast<const SplitState *>(p.partial_state) + head * p.num_splits;
    const float *parts = p.partial + head * p.num_splits * p.head_dim + d;
    float maximum = -INFINITY, sum = 0.0f;
    for (int first = 0; first < p.num_splits; first += MERGE_AT_ONCE) {
        SplitState state[MERGE_AT_ONCE];
        float part[MERGE_AT_ONCE][8], top = maximum;
#pragma unroll
        for (int i = 0; i < MERGE_AT_ONCE; ++i) {
            // The last split again, without weight.
            int split = min(first + i, p.num_splits - 1);
            state[i] = states[split];
            state[i].sum = first + i < p.num_splits ? state[i].sum : 0.0f;
            load8(parts + static_cast<long long>(split) * p.head_dim, part[i]);
        }
#pragma unroll
        for (int i = 0; i < MERGE_AT_ONCE; ++i)
            top = fmaxf(top, state[i].maximum);
        float shrink = sum == 0.0f ? 0.0f : exp2_approx(maximum - top);
        maximum = top;
        sum *= shrink;
#pragma unroll
        for (int j = 0; j < 8; ++j)
            x[j] *= shrink;
#pragma unroll
        for (int i = 0; i < MERGE_AT_ONCE; ++i) {
            // A branch, not a choice: compilers would move the loads to where they are used, one after the other.
            if (state[i].sum == 0.0f)
                continue;
            float factor = exp2_approx(state[i].maximum - maximum);
            sum += factor * state[i].sum;
#pragma unroll
            for (int j = 0; j < 8; ++j)
                x[j] += factor * part[i][j];
        }
    }
#pragma unroll
    for (int j = 0; j < 8; ++j)
        x[j] = sum == 0.0f ? 0.0f : x[j] / sum;
}

// Joins the splits and hands each unit of 256 columns of a sequence to `pack(x, unit, num_units)`; with one split it only reads
// `out`. Columns beyond the heads are zero. Grid: (ceil(num_heads * head_dim / 1024), num_seqs), 128 threads, a warp a unit.
template <typename Pack> DEVICE void merge_units(const PagedDecodeAttention &p, Pack pack) {
    start_kernel_after();
    wait_for_kernel_before();
    int width = p.num_heads * p.head_dim, num_units = (width + UNIT - 1) / UNIT;
    int unit = static_cast<int>(blockIdx.x) * DECODE_WARPS + warp_id(), column = unit * UNIT + lane_id() * 8;
    // The whole warp leaves.
    if (unit >= num_units)
        return;
    float x[8] = {};
    if (column < width) {
        if (p.num_splits == 1)
            load8(p.out + static_cast<long long>(blockIdx.y) * width + column, x);
        else
            join_splits(p, static_cast<long long>(blockIdx.y) * p.num_heads + column / p.head_dim, column % p.head_dim, x);
    }
    pack(x, unit, num_units);
}

KERNEL(DECODE_THREADS) paged_decode_merge_packed(PagedDecodeAttention p) {
    merge_units(p, [&](const float(&x)[8], int unit, int num_units) {
        unsigned char *to = packed_unit(static_cast<unsigned char *>(p.packed), blockIdx.y, num_units, unit);
        pack_unit(x, to, static_cast<int>(blockIdx.y) % TILE_TOKENS_PACKED);
    });
}

KERNEL(DECODE_THREADS) paged_decode_merge_halves(PagedDecodeAttention p) {
    merge_units(p, [&](const float(&x)[8], int unit, int num_units) {
        unsigned char *to = halves_unit(static_cast<unsigned char *>(p.packed), blockIdx.y, num_units, unit);
        pack_unit_halves(x, to, static_cast<int>(blockIdx.y) % TILE_TOKENS_PACKED);
    });
}

// An entry point for each cache format, head size and padded group.
#define DECODE_KERNEL(name, cache, head_dim, group)                                                                      \
    KERNEL(DECODE_THREADS)                                                                                               \
    paged_decode_##name##_##head_dim##_##group(PagedDecodeAttention p) { paged_decode<cache, head_dim, group>(p); }
#define TILES_KERNEL(name, tile, head_dim, group)                                                                         \
    KERNEL(DECODE_THREADS)                                                                                               \
    paged_decode_##name##_##head_dim##_##group(PagedDecodeAttention p) { decode_tiles<tile<head_dim>>(p); }
#define DECODE_KERNELS_OF_SIZE(name, cache, head_dim)                                                                    \
    DECODE_KERNEL(name, cache, head_dim, 1)                                                                              \
    DECODE_KERNEL(name, cache, head_dim, 2)                                                                              \
    DECODE_KERNEL(name, cache, head_dim, 4)                                                                              \
    DECODE_KERNEL(name, cache, head_dim, 8)
#define DECODE_KERNELS(name, cache)                                                                                      \
    DECODE_KERNELS_OF_SIZE(name, cache, 64)                                                                              \
    DECODE_KERNELS_OF_SIZE(name, cache, 80)                                                                              \
    DECODE_KERNELS_OF_SIZE(name, cache, 96)                                                                              \
    DECODE_KERNELS_OF_SIZE(name, cache, 128)

#define TILES_KERNELS_OF_SIZE(name, tile, head_dim)                                                                       \
    TILES_KERNEL(name, tile, head_dim, 1)                                                                                \
    TILES_KERNEL(name, tile, head_dim, 2)                                                                                \
    TILES_KERNEL(name, tile, head_dim, 4)                                                                                \
    TILES_KERNEL(name, tile, head_dim, 8)
#define TILES_KERNELS(name, tile)                                                                                        \
    TILES_KERNELS_OF_SIZE(name, tile, 64)                                                                                \
    TILES_KERNELS_OF_SIZE(name, tile, 80)                                                                                \
    TILES_KERNELS_OF_SIZE(name, tile, 96)                                                                                \
    TILES_KERNELS_OF_SIZE(name, tile, 128)

TILES_KERNELS(f16, HalvesTile)
TILES_KERNELS(q8, BytesTile)
DECODE_KERNELS(bf16, bf16_t)
DECODE_KERNELS(f32, float)
