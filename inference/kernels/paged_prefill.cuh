// What the kernels of paged_prefill_attention.cu share, whose header says how they work: a block's tile of queries, keys and
// values of 64 tokens in f16 in shared memory, and the products with them.
#pragma once

#include "ptx.cuh"

constexpr int KV_BLOCK = 16, KV_TILE = 64, BLOCKS_OF_TILE = KV_TILE / KV_BLOCK;
constexpr int PREFILL_WARPS = 4, PREFILL_THREADS = PREFILL_WARPS * WARP_SIZE;
// Matrices of 16 query rows a warp: two, so that every fragment of keys and values serves two products.
constexpr int PREFILL_MATRICES = 2, PREFILL_ROWS = PREFILL_WARPS * PREFILL_MATRICES * 16;
// Weights go up to 2^this: far from the end of f16, 2^16.
constexpr float MOST_WEIGHT_LOG2 = 8.0f;

struct PagedPrefillAttention {
    const float *q;               // [num_tokens, num_heads, head_dim], turned
    const void *k_cache;          // [num_blocks, num_kv_heads, head_dim, 16] f16, or tiles of q8_tile.cuh
    const void *v_cache;          // [num_blocks, num_kv_heads, 16, head_dim] f16, or tiles of q8_tile.cuh
    const unsigned *block_tables; // [num_seqs, max_blocks]
    const unsigned *tiles;        // [num_tiles, 4]: sequence, first row in q, rows (1..PREFILL_ROWS), its position; aligned to 16
    float *out;                   // [num_tokens, num_heads, head_dim]
    int num_heads, num_kv_heads, max_blocks;
    int window;    // tokens that are seen; 0: all
    float scale;   // of the scores; more than 0
    float softcap; // bounds the scores; 0: no bound
};

// Whether query fragments stay in registers: larger heads leave no room beside their sums.
constexpr bool queries_stay(int head_dim, int matrices) { return head_dim * matrices <= 128; }

// Keys and values of 64 tokens. The 8 numbers at the end of each row of values are not used.
template <int HEAD_DIM> struct KvTile {
    static constexpr int VALUE_ROW = HEAD_DIM + 8;
    half_t keys[KV_TILE * HEAD_DIM], values[KV_TILE * VALUE_ROW];
};

template <int HEAD_DIM, int WARPS, int MATRICES, bool STAY> struct PrefillShared {
    static constexpr int QUERIES = STAY ? 0 : WARPS * MATRICES * HEAD_DIM / 16 * WARP_SIZE;
    KvTile<HEAD_DIM> tiles[2];
    static constexpr int BYTES = 2 * sizeof(KvTile<HEAD_DIM>) + QUERIES * sizeof(Bits128);
    DEVICE_MEMBER Bits128 *queries(PrefillShared *shared) { return reinterpret_cast<Bits128 *>(shared + 1); }
};

// Dynamic shared memory of the entry points. From a head size of 80 on it is more than the 48 KB that need no attribute.
constexpr int prefill_shared_bytes(int head_dim) {
    return 2 * KV_TILE * (2 * head_dim + 8) * 2 + (queries_stay(head_dim, PREFILL_MATRICES) ? 0 : PREFILL_ROWS * head_dim * 2);
}
static_assert(prefill_shared_bytes(64) == 34816 && prefill_shared_bytes(80) == 63488);
static_assert(prefill_shared_bytes(96) == 75776 && prefill_shared_bytes(128) == 100352);

// What a block works on.
struct PrefillTile {
    const unsigned *table; // block table of the sequence
    int head, kv_head;
    int first_row, rows;        // in q
    int position;               // of the first row
    int first_token, end_token; // seen by any of its rows
};

DEVICE int first_visible(const PagedPrefillAttention &p, int position) {
    return p.window > 0 ? max(position + 1 - p.window, 0) : 0;
}

DEVICE PrefillTile prefill_tile(const PagedPrefillAttention &p) {
    Bits128 tile = load16(p.tiles + 4 * static_cast<long long>(blockIdx.y));
    PrefillTile work;
    work.table = p.block_tables + static_cast<long long>(tile.word[0]) * p.max_blocks;
    work.head = static_cast<int>(blockIdx.x);
    work.kv_head = work.head / (p.num_heads / p.num_kv_heads);
    work.first_row = static_cast<int>(tile.word[1]);
    work.rows = static_cast<int>(tile.word[2]);
    work.position = static_cast<int>(tile.word[3]);
    work.first_token = first_visible(p, work.position);
    work.end_token = work.position + work.rows;
    return work;
}

// Each KV block of a tile is copied by the same warps; returns the first token of the warp's block.
template <int WARPS> DEVICE int token_to_copy(int tile) {
    return tile * KV_TILE + warp_id() / (WARPS / BLOCKS_OF_TILE) * KV_BLOCK;
}

DEVICE bool block_is_seen(const PrefillTile &work, int first_token) {
    return first_token + KV_BLOCK > work.first_token && first_token < work.end_token;
}

// Returns where the block is that starts at this token; table entries of blocks that are not seen may be anything.
DEVICE unsigned block_to_copy(const PrefillTile &work, int first_token) {
    return block_is_seen(work, first_token) ? work.table[static_cast<unsigned>(first_token) / KV_BLOCK] : 0;
}

// Returns which 8 tokens of which row of keys lie at a place: rows 4 apart would be in the same banks, so every other
// four have their halves exchanged.
DEVICE int key_place(int d, int half) { return 2 * d + (half ^ (d / 4 & 1)); }

// Starts to copy the warp's share of a tile. What is not seen becomes zeros.
template <int HEAD_DIM, int WARPS>
DEVICE void copy_tile(const PagedPrefillAttention &p, const PrefillTile &work, KvTile<HEAD_DIM> &to, unsigned block,
                      int first_token) {
    constexpr int SHARERS = WARPS / BLOCKS_OF_TILE, PIECES = 2 * HEAD_DIM, STEP = SHARERS * WARP_SIZE;
    constexpr int ROW = KvTile<HEAD_DIM>::VALUE_ROW, ROW_PIECES = HEAD_DIM / 8;
    int first = warp_id() % SHARERS * WARP_SIZE + lane_id(), block_of_tile = warp_id() / SHARERS;
    // Tiles of the cache and heads of rows are counted in 32 bits, which saves registers; numbers are not.
    unsigned tile = block * static_cast<unsigned>(p.num_kv_heads) + static_cast<unsigned>(work.kv_head);
    long long at = static_cast<long long>(tile) * (HEAD_DIM * KV_BLOCK) + first * 8;
    const half_t *keys = static_cast<const half_t *>(p.k_cache) + at, *values = static_cast<const half_t *>(p.v_cache) + at;
    bool seen = block_is_seen(work, first_token);
    // A step is a multiple of 8 rows: the lane's place in a row stays the same.
    half_t *to_keys = to.keys + (block_of_tile * PIECES + key_place(first / 2, first % 2)) * 8;
#pragma unroll
    for (int piece = 0; piece < PIECES; piece += STEP)
        if (PIECES % STEP == 0 || first + piece < PIECES)
            cp_async_16(to_keys + piece * 8, keys + piece * 8, seen);
    // Where a step is a number of whole rows, the lane's column stays too, and tokens are constants beside its first.
    constexpr bool WHOLE = STEP % ROW_PIECES == 0;
    int row = WHOLE ? first / ROW_PIECES : 0, rest = WHOLE ? first % ROW_PIECES : first;
    half_t *to_values = to.values + (block_of_tile * KV_BLOCK + row) * ROW;
    int first_seen = work.first_token - first_token - row, end_seen = work.end_token - first_token - row;
#pragma unroll
    for (int piece = 0; piece < PIECES; piece += STEP) {
        if (PIECES % STEP != 0 && first + piece >= PIECES)
            break;
        int token = WHOLE ? piece / ROW_PIECES : (rest + piece) / ROW_PIECES;
        int column = WHOLE ? rest : (rest + piece) % ROW_PIECES;
        cp_async_16(to_values + token * ROW + column * 8, values + piece * 8, token >= first_seen && token < end_seen);
    }
}

// The query fragments of a warp, in registers or in the lane's places of shared memory.
template <int HEAD_DIM, int MATRICES, bool STAY> struct Queries {
    unsigned fragments[MATRICES][HEAD_DIM / 16][4];
    DEVICE_MEMBER void keep(Queries &queries, int matrix, int step, const unsigned (&fragment)[4]) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            queries.fragments[matrix][step][i] = fragment[i];
    }
    DEVICE_MEMBER void get(const Queries &queries, int matrix, int step, unsigned (&fragment)[4]) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            fragment[i] = queries.fragments[matrix][step][i];
    }
};
template <int HEAD_DIM, int MATRICES> struct Queries<HEAD_DIM, MATRICES, false> {
    Bits128 *fragments; // of the first matrix and step
    DEVICE_MEMBER int place(int matrix, int step) { return (matrix * (HEAD_DIM / 16) + step) * WARP_SIZE; }
    DEVICE_MEMBER void keep(Queries &queries, int matrix, int step, const unsigned (&fragment)[4]) {
        queries.fragments[place(matrix, step)] = {{fragment[0], fragment[1], fragment[2], fragment[3]}};
    }
    DEVICE_MEMBER void get(const Queries &queries, int matrix, int step, unsigned (&fragment)[4]) {
        Bits128 bits = queries.fragments[place(matrix, step)];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            fragment[i] = bits.word[i];
    }
};

template <int HEAD_DIM, int MATRICES> DEVICE void place_queries(Queries<HEAD_DIM, MATRICES, true> &, Bits128 *) {}
template <int HEAD_DIM, int MATRICES> DEVICE void place_queries(Queries<HEAD_DIM, MATRICES, false> &queries, Bits128 *shared) {
    queries.fragments = shared + warp_id() * MATRICES * (HEAD_DIM / 16) * WARP_SIZE + lane_id();
}

// Reads the warp's queries, rounded to f16. Rows beyond the tile's are its last row again: nobody writes what comes of them.
template <int HEAD_DIM, int MATRICES, bool STAY>
DEVICE void load_queries(const PagedPrefillAttention &p, const PrefillTile &work, int first_row,
                         Queries<HEAD_DIM, MATRICES, STAY> &queries) {
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix) {
        const float *q[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int row = work.first_row + min(first_row + matrix * 16 + half * 8 + g, work.rows - 1);
            q[half] = p.q + static_cast<long long>(row * p.num_heads + work.head) * HEAD_DIM + 2 * t;
        }
#pragma unroll
        for (int step = 0; step < HEAD_DIM / 16; ++step) {
            unsigned fragment[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float pair[2];
                load_floats(q[i % 2] + step * 16 + i / 2 * 8, pair);
                fragment[i] = pack_halves(pair[0], pair[1]);
            }
            Queries<HEAD_DIM, MATRICES, STAY>::keep(queries, matrix, step, fragment);
        }
    }
}

// The sums of a warp: of matrix m, lane (g, t) has rows g and g + 8 and columns 2t, 2t + 1 of every 8.
template <int HEAD_DIM, int MATRICES> struct PrefillSums {
    float acc[MATRICES][HEAD_DIM / 8][4];
    float maximum[MATRICES][2]; // what weights are relative to, in powers of two
    float sum[MATRICES][2];     // of weights, the lane's own share
};

// scores = queries x keys.
template <int HEAD_DIM, int MATRICES, bool STAY>
DEVICE void tile_scores(const Queries<HEAD_DIM, MATRICES, STAY> &queries, const half_t *keys,
                        float (&scores)[MATRICES][KV_TILE / 8][4]) {
    // Matrices of ldmatrix: k 0..7 and 8..15 of tokens 0..7, then of tokens 8..15.
    const half_t *own = keys + key_place(lane_id() % 16, lane_id() / 16) * 8;
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int column = 0; column < KV_TILE / 8; ++column)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                scores[matrix][column][i] = 0.0f;
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; ++step) {
        unsigned query[MATRICES][4];
#pragma unroll
        for (int matrix = 0; matrix < MATRICES; ++matrix)
            Queries<HEAD_DIM, MATRICES, STAY>::get(queries, matrix, step, query[matrix]);
#pragma unroll
        for (int block = 0; block < BLOCKS_OF_TILE; ++block) {
            unsigned key[4];
            ldmatrix_x4_trans(key, own + block * HEAD_DIM * KV_BLOCK + step * 16 * KV_BLOCK);
            unsigned lower[2] = {key[0], key[1]}, upper[2] = {key[2], key[3]};
#pragma unroll
            for (int matrix = 0; matrix < MATRICES; ++matrix) {
                mma_m16n8k16(scores[matrix][2 * block], query[matrix], lower, half_t{});
                mma_m16n8k16(scores[matrix][2 * block + 1], query[matrix], upper, half_t{});
            }
        }
    }
}

// Bounds the scores if the model wants that, and returns the factor that makes them powers of two.
template <int MATRICES>
DEVICE float bound_scores(const PagedPrefillAttention &p, float (&scores)[MATRICES][KV_TILE / 8][4]) {
    if (p.softcap <= 0.0f)
        return p.scale * LOG2_E;
    float inner = p.scale * reciprocal_approx(p.softcap);
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int column = 0; column < KV_TILE / 8; ++column)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                scores[matrix][column][i] = tanh_approx(scores[matrix][column][i] * inner);
    return p.softcap * LOG2_E;
}

// A warp's rows and their positions.
struct WarpRows {
    int first, first_position, last_position;
};

DEVICE WarpRows warp_rows(const PrefillTile &work, int matrices) {
    WarpRows rows;
    rows.first = warp_id() * matrices * 16;
    rows.first_position = work.position + rows.first;
    rows.last_position = work.position + min(rows.first + matrices * 16, work.rows) - 1;
    return rows;
}

// Makes the scores of tokens that a row does not see -infinity.
template <int MATRICES>
DEVICE void mask_scores(const PagedPrefillAttention &p, const WarpRows &rows, int first_token,
                        float (&scores)[MATRICES][KV_TILE / 8][4]) {
    // Counted from the lane's first token, so that all but two numbers a row are constants.
    first_token += lane_id() % 4 * 2;
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int position = rows.first_position + matrix * 16 + half * 8 + lane_id() / 4;
            int first = first_visible(p, position) - first_token, last = position - first_token;
#pragma unroll
            for (int column = 0; column < KV_TILE / 8; ++column)
#pragma unroll
                for (int i = 0; i < 2; ++i)
                    if (column * 8 + i < first || column * 8 + i > last)
                        scores[matrix][column][2 * half + i] = -INFINITY;
        }
}

// Raises the maxima of rows whose weights would become too large, and shrinks what they have summed.
template <int HEAD_DIM, int MATRICES>
DEVICE void raise_maxima(const float (&scores)[MATRICES][KV_TILE / 8][4], float factor, PrefillSums<HEAD_DIM, MATRICES> &sums) {
    float shrink[MATRICES][2];
    bool raised = false;
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float top = -INFINITY;
#pragma unroll
            for (int column = 0; column < KV_TILE / 8; ++column)
                top = fmaxf(top, fmaxf(scores[matrix][column][2 * half], scores[matrix][column][2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2)) * factor;
            float &maximum = sums.maximum[matrix][half];
            bool raise = top > maximum + MOST_WEIGHT_LOG2;
            shrink[matrix][half] = raise ? exp2_approx(maximum - top) : 1.0f;
            maximum = raise ? top : maximum;
            raised |= raise;
        }
    if (!__any_sync(ALL_LANES, raised))
        return;
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i % 2 == 0)
                sums.sum[matrix][i / 2] *= shrink[matrix][i / 2];
#pragma unroll
            for (int column = 0; column < HEAD_DIM / 8; ++column)
                sums.acc[matrix][column][i] *= shrink[matrix][i / 2];
        }
}

// Turns the scores of 16 tokens into weights, which are A fragments as they lie, and adds them to the rows' sums.
template <int HEAD_DIM, int MATRICES>
DEVICE void block_weights(const float (&scores)[MATRICES][KV_TILE / 8][4], int block, float factor,
                          PrefillSums<HEAD_DIM, MATRICES> &sums, unsigned (&weights)[MATRICES][4]) {
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int half = i % 2;
            const float(&score)[4] = scores[matrix][2 * block + i / 2];
            // A row may not have seen any token yet: then its weights are powers of -infinity, zeros.
            float maximum = sums.maximum[matrix][half] > -INFINITY ? sums.maximum[matrix][half] : 0.0f;
            float first = exp2_approx(score[2 * half] * factor - maximum);
            float second = exp2_approx(score[2 * half + 1] * factor - maximum);
            sums.sum[matrix][half] += first + second;
            weights[matrix][i] = pack_halves(first, second);
        }
}

// acc += weights x values.
template <int HEAD_DIM, int MATRICES>
DEVICE void add_values(const float (&scores)[MATRICES][KV_TILE / 8][4], float factor, const half_t *values,
                       PrefillSums<HEAD_DIM, MATRICES> &sums) {
    constexpr int ROW = KvTile<HEAD_DIM>::VALUE_ROW;
    // Matrices of ldmatrix: tokens 0..7 and 8..15 of dimensions 0..7, then of dimensions 8..15.
    const half_t *own = values + lane_id() % 16 * ROW + lane_id() / 16 * 8;
#pragma unroll
    for (int block = 0; block < BLOCKS_OF_TILE; ++block) {
        unsigned weights[MATRICES][4];
        block_weights(scores, block, factor, sums, weights);
#pragma unroll
        for (int pair = 0; pair < HEAD_DIM / 16; ++pair) {
            unsigned value[4];
            ldmatrix_x4_trans(value, own + block * KV_BLOCK * ROW + pair * 16);
            unsigned lower[2] = {value[0], value[1]}, upper[2] = {value[2], value[3]};
#pragma unroll
            for (int matrix = 0; matrix < MATRICES; ++matrix) {
                mma_m16n8k16(sums.acc[matrix][2 * pair], weights[matrix], lower, half_t{});
                mma_m16n8k16(sums.acc[matrix][2 * pair + 1], weights[matrix], upper, half_t{});
            }
        }
    }
}

// Attends with the rows of a warp to one tile. All of the warp go the same way.
template <int HEAD_DIM, int MATRICES, bool STAY>
DEVICE void attend(const PagedPrefillAttention &p, const WarpRows &rows, const Queries<HEAD_DIM, MATRICES, STAY> &queries,
                   const KvTile<HEAD_DIM> &kv, int first_token, PrefillSums<HEAD_DIM, MATRICES> &sums) {
    int last_token = first_token + KV_TILE - 1;
    if (first_token > rows.last_position || last_token < first_visible(p, rows.first_position))
        return;
    float scores[MATRICES][KV_TILE / 8][4];
    tile_scores(queries, kv.keys, scores);
    float factor = bound_scores(p, scores);
    if (last_token > rows.first_position || first_token < first_visible(p, rows.last_position))
        mask_scores(p, rows, first_token, scores);
    raise_maxima(scores, factor, sums);
    add_values(scores, factor, kv.values, sums);
}

template <int HEAD_DIM, int MATRICES> DEVICE void clear(PrefillSums<HEAD_DIM, MATRICES> &sums) {
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums.maximum[matrix][i / 2] = -INFINITY;
            sums.sum[matrix][i / 2] = 0.0f;
#pragma unroll
            for (int column = 0; column < HEAD_DIM / 8; ++column)
                sums.acc[matrix][column][i] = 0.0f;
        }
}

// Divides by the sums of weights and writes the rows of the warp that the tile has.
template <int HEAD_DIM, int MATRICES>
DEVICE void write_rows(const PagedPrefillAttention &p, const PrefillTile &work, int first_row,
                       const PrefillSums<HEAD_DIM, MATRICES> &sums) {
    float inverse[MATRICES][2];
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = sums.sum[matrix][half];
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            inverse[matrix][half] = reciprocal_approx(sum);
        }
#pragma unroll
    for (int matrix = 0; matrix < MATRICES; ++matrix)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int row = first_row + matrix * 16 + half * 8 + lane_id() / 4;
            if (row >= work.rows)
                continue;
            long long head = (work.first_row + row) * p.num_heads + work.head;
            float *out = p.out + head * HEAD_DIM + lane_id() % 4 * 2;
#pragma unroll
            for (int column = 0; column < HEAD_DIM / 8; ++column)
                store_floats(out + column * 8, {sums.acc[matrix][column][2 * half] * inverse[matrix][half],
                                                sums.acc[matrix][column][2 * half + 1] * inverse[matrix][half]});
        }
}
