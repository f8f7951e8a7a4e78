// paged_decode_attention on tensor cores (`mma.m16n8k16`), for the caches whose tiles paged_decode_halves.cuh (f16) and
// paged_decode_bytes.cuh (8 bits) read.
//
// Grid and results as paged_decode_attention.cu says. Each warp walks alone: the KV blocks of a sequence go to the warps of all
// splits in turn, so the block table can be read before the context's length is known. A warp copies the keys and the values
// of a block ahead into its own two places of shared memory (`cp.async`): the next keys as soon as the scores are there, the next
// values as soon as these are added. No barrier is in the loop.
//
//   scores   [16 rows][16 tokens] = queries x keys. Rows 0..7 are the group's heads rounded to f16, rows 8..15 what
//            rounding took from them: their sum, in the same lane, has 22 bits of the queries
//   values   [head_dim][8 heads] += values^T x weights^T. The scores lie in the lanes as B fragments want weights; they are
//            rounded to f16, and what that took is a second product
//
// Both operands are read by `ldmatrix.trans`. The maximum of a head is raised only when weights would exceed 2^8, so most blocks
// rescale nothing. All groups up to 8 cost the same.
//
// A tile's type has `BYTES` of the cache's tiles, copies keys and values, makes scores and adds values, and says which token a
// score belongs to (`token_of`) and which dimension a sum (`dimension_of`).
#pragma once

#include "paged_decode.cuh"

// Weights go up to 2^this: far from the end of f16, 2^16.
constexpr float DECODE_WEIGHT_LOG2 = 8.0f;
constexpr int MOST_GROUP = 8;

// A warp's part is the keys and values of a KV block, and at the end its sums.
template <typename Tile> struct DecodeTiles {
    // A row of a warp's sums. Four rows further is 8 or 24 banks further.
    static constexpr int SUM_ROW = Tile::SIZE + 4;
    Tile tiles[DECODE_WARPS];
    Bits128 queries[Tile::SIZE / 16][WARP_SIZE]; // A fragments
    float maximum[DECODE_WARPS][MOST_GROUP], sum[DECODE_WARPS][MOST_GROUP];
    static_assert(MOST_GROUP * SUM_ROW * 4 <= sizeof(Tile), "the sums have no room");
};

// Rounds a pair to f16; `rest` receives, rounded too, what that took.
DEVICE unsigned pack_with_rest(float low, float high, unsigned &rest) {
    half_t first = to_half(low), second = to_half(high);
    rest = pack_halves(low - to_float(first), high - to_float(second));
    return first.bits | static_cast<unsigned>(second.bits) << 16;
}

// Leaves the A fragments of the group's queries in shared memory, each warp its share.
template <typename Tile> DEVICE void leave_queries(const PagedDecodeAttention &p, DecodeTiles<Tile> &shared, int group) {
    constexpr int HEAD_DIM = Tile::SIZE;
    int g = lane_id() / 4, t = lane_id() % 4;
    long long head = static_cast<long long>(blockIdx.z) * p.num_heads + blockIdx.y * group + g;
    const float *q = p.q + head * HEAD_DIM + 2 * t;
#pragma unroll
    for (int first = 0; first < HEAD_DIM / 16; first += DECODE_WARPS) {
        int step = first + warp_id();
        if (step >= HEAD_DIM / 16)
            break;
        Bits128 fragment = {};
        if (g < group) {
            const float *at = q + step * 16;
            fragment.word[0] = pack_with_rest(at[0], at[1], fragment.word[1]);
            fragment.word[2] = pack_with_rest(at[8], at[9], fragment.word[3]);
        }
        shared.queries[step][lane_id()] = fragment;
    }
}

// What a warp has so far. A lane has two dimensions of 16 of heads 2t and 2t + 1, and the state of head g.
template <int HEAD_DIM> struct WarpSums {
    float acc[HEAD_DIM / 16][4];
    float maximum, sum; // in powers of two; the lane's share
};

// Turns scores into weights relative to the head's maximum, after raising it where they ask for it.
template <typename Tile>
DEVICE void weigh(const PagedDecodeAttention &p, float (&scores)[2][2], WarpSums<Tile::SIZE> &sums, int first_seen, int end_seen) {
    constexpr int HEAD_DIM = Tile::SIZE;
    int t = lane_id() % 4;
    float top = -INFINITY, factor = p.scale * LOG2_E;
    if (p.softcap > 0.0f) {
        float inside = p.scale * reciprocal_approx(p.softcap);
        factor = p.softcap * LOG2_E;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                scores[half][i] = tanh_approx(scores[half][i] * inside);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            int token = Tile::token_of(half, i);
            scores[half][i] = token >= first_seen && token < end_seen ? scores[half][i] * factor : -INFINITY;
            top = fmaxf(top, scores[half][i]);
        }
    top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
    top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
    bool raise = top > sums.maximum + DECODE_WEIGHT_LOG2;
    if (__any_sync(ALL_LANES, raise)) {
        float maximum = raise ? top : sums.maximum, shrink = exp2_approx(sums.maximum - maximum);
        sums.maximum = maximum;
        sums.sum *= shrink;
        float first = __shfl_sync(ALL_LANES, shrink, 8 * t), second = __shfl_sync(ALL_LANES, shrink, 8 * t + 4);
#pragma unroll
        for (int step = 0; step < HEAD_DIM / 16; ++step)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sums.acc[step][i] *= i % 2 == 0 ? first : second;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            scores[half][i] = exp2_approx(scores[half][i] - sums.maximum);
            sums.sum += scores[half][i];
        }
}

// Leaves the warp's sums where its keys and values were.
template <typename Tile> DEVICE void leave_sums(DecodeTiles<Tile> &shared, WarpSums<Tile::SIZE> &sums, int group) {
    constexpr int HEAD_DIM = Tile::SIZE;
    int g = lane_id() / 4, t = lane_id() % 4;
    float *to = reinterpret_cast<float *>(&shared.tiles[warp_id()]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int head = 2 * t + i % 2;
        if (head >= group)
            continue;
#pragma unroll
        for (int step = 0; step < HEAD_DIM / 16; ++step)
            to[head * DecodeTiles<Tile>::SUM_ROW + step * 16 + Tile::dimension_of(i / 2)] = sums.acc[step][i];
    }
    float sum = sums.sum;
    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
    if (t == 0) {
        shared.maximum[warp_id()][g] = sums.maximum;
        shared.sum[warp_id()][g] = sum;
    }
}

// Where the block writes head `head` of its group: `out` when it is the only split, the split's place otherwise.
DEVICE float *result_of(const PagedDecodeAttention &p, int group, int head, int head_dim) {
    long long at = static_cast<long long>(blockIdx.z) * p.num_heads + blockIdx.y * group + head;
    return p.num_splits == 1 ? p.out + at * head_dim : p.partial + (at * p.num_splits + blockIdx.x) * head_dim;
}

DEVICE void leave_state(const PagedDecodeAttention &p, int group, int head, float maximum, float sum) {
    long long at = static_cast<long long>(blockIdx.z) * p.num_heads + blockIdx.y * group + head;
    const float state[2] = {maximum, sum};
    store_floats(p.partial_state + 2 * (at * p.num_splits + blockIdx.x), state);
}

// Adds up the warps, four dimensions a thread, and writes the block's result.
template <typename Tile> DEVICE void join_sums(const PagedDecodeAttention &p, const DecodeTiles<Tile> &shared, int group) {
    constexpr int HEAD_DIM = Tile::SIZE;
    constexpr int QUARTERS = HEAD_DIM / 4;
    for (int index = static_cast<int>(threadIdx.x); index < group * QUARTERS; index += DECODE_THREADS) {
        int head = index / QUARTERS, d = index % QUARTERS * 4;
        float maximum = -INFINITY, sum = 0.0f, total[4] = {};
#pragma unroll
        for (int warp = 0; warp < DECODE_WARPS; ++warp)
            maximum = fmaxf(maximum, shared.maximum[warp][head]);
#pragma unroll
        for (int warp = 0; warp < DECODE_WARPS; ++warp) {
            float factor = exp2_approx(shared.maximum[warp][head] - maximum);
            sum += factor * shared.sum[warp][head];
            const float *from = reinterpret_cast<const float *>(&shared.tiles[warp]) + head * DecodeTiles<Tile>::SUM_ROW + d;
            Bits128 part = *reinterpret_cast<const Bits128 *>(from);
#pragma unroll
            for (int i = 0; i < 4; ++i)
                total[i] += factor * __uint_as_float(part.word[i]);
        }
        float scale = p.num_splits == 1 ? 1.0f / sum : 1.0f;
        Bits128 result;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            result.word[i] = __float_as_uint(total[i] * scale);
        *reinterpret_cast<Bits128 *>(result_of(p, group, head, HEAD_DIM) + d) = result;
        if (p.num_splits > 1 && d == 0)
            leave_state(p, group, head, maximum, sum);
    }
}

// A warp's way through the KV blocks of its sequence: `first`, then each `apart` further.
struct Walk {
    const unsigned *table;
    int max_blocks, first, apart;
    unsigned entries; // the lane's: of 32 steps, of which the first is a multiple of 32
};

// Entries beyond the context are read too: they may be anything, but are not used. Volatile, or the compiler would move the
// first reading behind that of the context's length.
DEVICE void read_entries(Walk &walk, int step) {
    int block = walk.first + (step + lane_id()) * walk.apart;
    walk.entries = *static_cast<const volatile unsigned *>(walk.table + min(block, walk.max_blocks - 1));
}

template <typename Tile> DEVICE void decode_tiles(const PagedDecodeAttention &p) {
    constexpr int HEAD_DIM = Tile::SIZE;
    SHARED(DecodeTiles<Tile>, shared, 1);
    Tile &tile = shared->tiles[warp_id()];
    int kv_head = static_cast<int>(blockIdx.y), group = p.num_heads / p.num_kv_heads;
    long long sequence = blockIdx.z;
    start_kernel_after();
    wait_for_kernel_before();
    int split = static_cast<int>(blockIdx.x);
    Walk walk{p.block_tables + sequence * p.max_blocks, p.max_blocks, warp_id() * p.num_splits + split,
              p.num_splits * DECODE_WARPS, 0};
    read_entries(walk, 0);
    int end_token = static_cast<int>(p.context_lens[sequence]), end_block = (end_token + TILE_TOKENS - 1) / TILE_TOKENS;
    int first_token = 0, first_of_split = split;
    if (p.window > 0 && end_token > p.window) {
        first_token = end_token - p.window;
        int skipped = first_token / TILE_TOKENS;
        first_of_split = skipped + (split + p.num_splits - skipped % p.num_splits) % p.num_splits;
        walk.first += max(skipped - walk.first + walk.apart - 1, 0) / walk.apart * walk.apart;
        read_entries(walk, 0);
    }
    if (first_of_split >= end_block)
        return leave_empty(p, group, HEAD_DIM);

    auto place_of = [&](int step) {
        unsigned entry = __shfl_sync(ALL_LANES, walk.entries, step);
        return static_cast<long long>(entry * static_cast<unsigned>(p.num_kv_heads) + static_cast<unsigned>(kv_head)) *
               Tile::BYTES;
    };
    long long at = place_of(0);
    if (walk.first < end_block) {
        Tile::copy_keys(p, tile, at);
        Tile::copy_values(p, tile, at, first_token - walk.first * TILE_TOKENS, end_token - walk.first * TILE_TOKENS);
    }
    leave_queries(p, *shared, group);
    __syncthreads();
    WarpSums<HEAD_DIM> sums = {};
    sums.maximum = -INFINITY;
    int step = 0;
    for (int block = walk.first; block < end_block; block += walk.apart) {
        ++step;
        int next = block + walk.apart;
        bool more = next < end_block;
        if (step % WARP_SIZE == 0)
            read_entries(walk, step);
        at = place_of(step);
        // The values are still under way.
        cp_async_wait<1>();
        __syncwarp();
        float scores[2][2];
        Tile::scores_of(shared->queries, tile, scores);
        __syncwarp();
        if (more)
            Tile::copy_keys(p, tile, at);
        else
            cp_async_commit();
        int first_seen = first_token - block * TILE_TOKENS, end_seen = end_token - block * TILE_TOKENS;
        weigh<Tile>(p, scores, sums, first_seen, end_seen);
        // The next keys are still under way.
        cp_async_wait<1>();
        __syncwarp();
        Tile::add_values(tile, scores, sums, first_seen, end_seen);
        __syncwarp();
        if (more)
            Tile::copy_values(p, tile, at, first_token - next * TILE_TOKENS, end_token - next * TILE_TOKENS);
    }
    leave_sums(*shared, sums, group);
    __syncthreads();
    join_sums(p, *shared, group);
}
