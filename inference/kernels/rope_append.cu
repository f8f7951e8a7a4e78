// rope_append: turns queries and keys of new tokens by their positions and writes keys and values into the paged cache. rope_append_norm
// normalises each head of queries and keys before that (Qwen3), y = x / sqrt(mean(x^2) + eps) * weight.
//
// Grid: (num_heads + 2 * num_kv_heads, ceil(num_tokens / 16)), 256 threads: a block has one head of q, k or v of 16 tokens. Replaces
// four launches. A thread has 8 numbers of a head where everything is aligned, otherwise 2. Latency-bound for decoding,
// bandwidth-bound for prompts. The 16 tokens of a block are the cache's fastest dimension for keys (kv_cache/layout.rs):
// neighbouring threads have neighbouring tokens there, so that a prompt writes whole sectors. Any slots are right.
// A cache in 8 bits (`_q8`; heads of at most 128, a multiple of 8): the 16 heads are left in shared memory in f32, turned, and read
// back by warps of 8 tokens and 32 numbers, which find each token's largest together. Written are 8 bytes of a row of keys or values
// at a time. Rounding is ggml's, so the bytes are the CPU's where both have the same floats.
// Truth: ops/rope/reference.rs and ops/kv_append/reference.rs. Ladder: lab/cuda.md.

#include "q8_tile.cuh"

constexpr int ROPE_THREADS = 256, ROPE_TOKENS = 16;
constexpr int KV_BLOCK = 16;

struct RopeAppend {
    const float *q, *k, *v;     // [num_tokens] rows of heads, `q_stride`, `kv_stride` apart
    float *q_out;               // [num_tokens, num_heads, head_dim]; may be q
    void *k_cache;              // [num_blocks, num_kv_heads, head_dim, 16], or tiles of q8_tile.cuh
    void *v_cache;              // [num_blocks, num_kv_heads, 16, head_dim], or tiles of q8_tile.cuh
    const float *cos, *sin;     // [max_len, half]
    const unsigned *positions;  // [num_tokens]
    const unsigned *slots;      // [num_tokens], block * 16 + offset or NO_SLOT
    long long q_stride, kv_stride;
    int num_heads, num_kv_heads;
    int head_dim; // even
    int half;     // pairs that turn; what is beyond 2 * half passes unchanged
    int halves;   // pairs are (i, i + half) instead of (2i, 2i + 1)
    int num_tokens;
};

// Of rope_append_norm. Apart, because with these the others would take more registers.
struct RopeAppendNorm : RopeAppend {
    const float *q_norm, *k_norm; // [head_dim]
    float norm_eps;
};

// Consecutive numbers, read or written at once.
template <typename T, int N> struct alignas(sizeof(T) * N) Together {
    T x[N];
};

template <typename T, int N> DEVICE void write_together(T *to, const float *x) {
    Together<T, N> together;
#pragma unroll
    for (int i = 0; i < N; ++i)
        from_float(x[i], together.x[i]);
    *reinterpret_cast<Together<T, N> *>(to) = together;
}

template <int N> DEVICE void read_together(const float *from, float *x) {
    auto together = *reinterpret_cast<const Together<float, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; ++i)
        x[i] = together.x[i];
}

// Two stretches of PAIRS numbers of a head: the pairs that turn together, or neighbours that pass.
template <int PAIRS> struct Part {
    int first, second;
    float x[2 * PAIRS];
};

template <int PAIRS> DEVICE Part<PAIRS> read_part(const float *head, int first, int second) {
    Part<PAIRS> part;
    part.first = first;
    part.second = second;
    read_together<PAIRS>(head + first, part.x);
    read_together<PAIRS>(head + second, part.x + PAIRS);
    return part;
}

// The factor of the norm of each of the block's heads, once find_head_scales has come.
DEVICE float *head_scales() {
    SHARED(float, scales, ROPE_TOKENS);
    return scales;
}

// Finds them, before anything is turned: 16 threads a token. All threads of the block take part; of values nothing is wanted.
DEVICE void find_head_scales(const RopeAppend &) {}
DEVICE void find_head_scales(const RopeAppendNorm &p) {
    constexpr int EACH = ROPE_THREADS / ROPE_TOKENS;
    int head = static_cast<int>(blockIdx.x), row = static_cast<int>(threadIdx.x) / EACH;
    int token = static_cast<int>(blockIdx.y) * ROPE_TOKENS + row;
    if (head >= p.num_heads + p.num_kv_heads)
        return;
    const float *from = head < p.num_heads ? p.q + token * p.q_stride + head * p.head_dim
                                           : p.k + token * p.kv_stride + (head - p.num_heads) * p.head_dim;
    float squares = 0.0f;
    if (token < p.num_tokens)
        for (int i = static_cast<int>(threadIdx.x) % EACH; i < p.head_dim; i += EACH)
            squares += from[i] * from[i];
#pragma unroll
    for (int distance = EACH / 2; distance > 0; distance /= 2)
        squares += __shfl_xor_sync(ALL_LANES, squares, distance);
    if (threadIdx.x % EACH == 0)
        head_scales()[row] = 1.0f / sqrtf(squares / static_cast<float>(p.head_dim) + p.norm_eps);
    __syncthreads();
}

// Normalises a part of a head of queries or keys.
template <int PAIRS> DEVICE void normalise(const RopeAppend &, Part<PAIRS> &, int) {}
template <int PAIRS> DEVICE void normalise(const RopeAppendNorm &p, Part<PAIRS> &part, int token) {
    const float *weight = static_cast<int>(blockIdx.x) < p.num_heads ? p.q_norm : p.k_norm;
    float scale = head_scales()[token % ROPE_TOKENS];
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        part.x[i] *= scale * weight[part.first + i];
        part.x[i + PAIRS] *= scale * weight[part.second + i];
    }
}

// Returns the part of a head that begins with pair `pair`, normalised where heads are, and turned to the token's position.
template <int PAIRS, typename P> DEVICE Part<PAIRS> turned(const P &p, const float *head, int token, int pair) {
    if (pair >= p.half) {
        Part<PAIRS> part = read_part<PAIRS>(head, 2 * pair, 2 * pair + PAIRS);
        normalise(p, part, token);
        return part;
    }
    long long angle = static_cast<long long>(p.positions[token]) * p.half + pair;
    int first = p.halves ? pair : 2 * pair, second = p.halves ? pair + p.half : 2 * pair + PAIRS;
    Part<PAIRS> part = read_part<PAIRS>(head, first, second);
    normalise(p, part, token);
    float cos[PAIRS], sin[PAIRS];
    read_together<PAIRS>(p.cos + angle, cos);
    read_together<PAIRS>(p.sin + angle, sin);
    auto turn = [&](float &x, float &y, int i) {
        float from = x;
        x = from * cos[i] - y * sin[i];
        y = from * sin[i] + y * cos[i];
    };
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        if (p.halves)
            turn(part.x[i], part.x[i + PAIRS], i);
        else
            turn(part.x[2 * i], part.x[2 * i + 1], i);
    }
    return part;
}

// Returns the number of the cache tile that holds this head's part of the slot's block.
DEVICE long long cache_tile(const RopeAppend &p, unsigned slot, int head) {
    return static_cast<long long>(slot / KV_BLOCK) * p.num_kv_heads + head;
}

// A part is read whole before it is written, so q may be turned where it is.
template <int PAIRS, typename P> DEVICE void turn_query(const P &p, int head, int token, int pair) {
    auto part = turned<PAIRS>(p, p.q + token * p.q_stride + head * p.head_dim, token, pair);
    float *to = p.q_out + (static_cast<long long>(token) * p.num_heads + head) * p.head_dim;
    write_together<float, PAIRS>(to + part.first, part.x);
    write_together<float, PAIRS>(to + part.second, part.x + PAIRS);
}

template <typename Cache, int PAIRS, typename P>
DEVICE void append_key(const P &p, int head, int token, int pair, unsigned slot) {
    auto part = turned<PAIRS>(p, p.k + token * p.kv_stride + head * p.head_dim, token, pair);
    Cache *to = static_cast<Cache *>(p.k_cache) + cache_tile(p, slot, head) * p.head_dim * KV_BLOCK + slot % KV_BLOCK;
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        from_float(part.x[i], to[(part.first + i) * KV_BLOCK]);
        from_float(part.x[i + PAIRS], to[(part.second + i) * KV_BLOCK]);
    }
}

template <typename Cache, int PAIRS> DEVICE void append_value(const RopeAppend &p, int head, int token, int pair, unsigned slot) {
    auto part = read_part<PAIRS>(p.v + token * p.kv_stride + head * p.head_dim, 2 * pair, 2 * pair + PAIRS);
    Cache *to = static_cast<Cache *>(p.v_cache) + (cache_tile(p, slot, head) * KV_BLOCK + slot % KV_BLOCK) * p.head_dim;
    write_together<Cache, PAIRS>(to + part.first, part.x);
    write_together<Cache, PAIRS>(to + part.second, part.x + PAIRS);
}

template <typename Cache, int PAIRS, typename P> DEVICE void rope_append_parts(const P &p) {
    int head = static_cast<int>(blockIdx.x), first_token = static_cast<int>(blockIdx.y) * ROPE_TOKENS;
    int parts = p.head_dim / (2 * PAIRS), kv_head = head - p.num_heads;
    bool is_key = kv_head >= 0 && kv_head < p.num_kv_heads;
    for (int item = static_cast<int>(threadIdx.x); item < ROPE_TOKENS * parts; item += ROPE_THREADS) {
        int token = first_token + (is_key ? item % ROPE_TOKENS : item / parts);
        int pair = (is_key ? item / ROPE_TOKENS : item % parts) * PAIRS;
        if (token >= p.num_tokens)
            continue;
        if (kv_head < 0) {
            turn_query<PAIRS>(p, head, token, pair);
            continue;
        }
        unsigned slot = p.slots[token];
        if (slot == NO_SLOT)
            continue;
        if (is_key)
            append_key<Cache, PAIRS>(p, kv_head, token, pair, slot);
        else
            append_value<Cache, PAIRS>(p, kv_head - p.num_kv_heads, token, pair, slot);
    }
}

// Whether each stretch of 4 numbers begins at a multiple of 16 bytes.
DEVICE bool takes_four(const RopeAppend &p) {
    auto address = [](const void *pointer) { return reinterpret_cast<unsigned long long>(pointer); };
    bool are_rows = p.half % 4 == 0 && p.head_dim % 8 == 0 && p.q_stride % 4 == 0 && p.kv_stride % 4 == 0;
    return are_rows && (address(p.q) | address(p.k) | address(p.v) | address(p.q_out)) % 16 == 0;
}

template <typename Cache, typename P> DEVICE void rope_append(const P &p) {
    start_kernel_after();
    wait_for_kernel_before();
    find_head_scales(p);
    if (takes_four(p))
        rope_append_parts<Cache, 4>(p);
    else
        rope_append_parts<Cache, 1>(p);
}

// Heads of 16 tokens before they are rounded. A row is one number longer than a head, so that 8 tokens lie in different banks.
constexpr int Q8_MOST_HEAD = 128;
struct RowsToRound {
    float x[ROPE_TOKENS][Q8_MOST_HEAD + 1];
};

// Leaves a head of keys, turned, or of values of each token that there is.
template <int PAIRS, typename P> DEVICE void leave_rows(const P &p, RowsToRound &rows, int kv_head, int first_token) {
    bool is_key = kv_head < p.num_kv_heads;
    int parts = p.head_dim / (2 * PAIRS), head = is_key ? kv_head : kv_head - p.num_kv_heads;
    for (int item = static_cast<int>(threadIdx.x); item < ROPE_TOKENS * parts; item += ROPE_THREADS) {
        int row = item / parts, token = first_token + row, pair = item % parts * PAIRS;
        if (token >= p.num_tokens)
            continue;
        const float *from = (is_key ? p.k : p.v) + token * p.kv_stride + head * p.head_dim;
        auto part = is_key ? turned<PAIRS>(p, from, token, pair) : read_part<PAIRS>(from, 2 * pair, 2 * pair + PAIRS);
#pragma unroll
        for (int i = 0; i < PAIRS; ++i) {
            rows.x[row][part.first + i] = part.x[i];
            rows.x[row][part.second + i] = part.x[i + PAIRS];
        }
    }
}

// Writes 8 numbers of a token, from dimension `d` on, as bytes: 8 rows of keys, or a stretch of values.
DEVICE void write_bytes(unsigned char *tile, bool is_key, int head_dim, int token, int d, const unsigned (&bytes)[8]) {
    if (is_key) {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            tile[(d + i) * KV_BLOCK + token] = static_cast<unsigned char>(bytes[i]);
        return;
    }
    unsigned words[2] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i)
        words[i / 4] |= bytes[i] << (8 * (i % 4));
    store_words(tile + token * head_dim + d, words);
}

// Rounds what leave_rows left and writes it to the tokens' slots. Lane: token % 8, and which quarter of a group.
DEVICE void append_rows(const RopeAppend &p, const RowsToRound &rows, int kv_head, int first_token) {
    bool is_key = kv_head < p.num_kv_heads;
    int groups = (p.head_dim + Q8_GROUP - 1) / Q8_GROUP, head = is_key ? kv_head : kv_head - p.num_kv_heads;
    long long tile_bytes = (p.head_dim + 2 * groups) * KV_BLOCK;
    for (int item = warp_id(); item < 2 * groups; item += ROPE_THREADS / WARP_SIZE) {
        int row = item % 2 * 8 + lane_id() % 8, group = item / 2, d = group * Q8_GROUP + lane_id() / 8 * 8;
        bool is_there = first_token + row < p.num_tokens && d < p.head_dim;
        float x[8];
        // The bits of magnitudes order like their values, and those of NaN are the largest.
        unsigned largest = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            x[i] = is_there ? rows.x[row][d + i] : 0.0f;
            unsigned magnitude = __float_as_uint(x[i]) & 0x7fffffffu;
            largest = magnitude > largest ? magnitude : largest;
        }
#pragma unroll
        for (int distance = 8; distance <= 16; distance *= 2) {
            unsigned other = __shfl_xor_sync(ALL_LANES, largest, distance);
            largest = other > largest ? other : largest;
        }
        unsigned slot = is_there ? p.slots[first_token + row] : NO_SLOT;
        if (slot != NO_SLOT) {
            float scale = __uint_as_float(largest) / 127.0f;
            // Below the smallest normal number the inverse would be infinite; the f16 is 0 long before.
            float inverse = scale < 1.17549435e-38f ? 0.0f : 1.0f / scale;
            unsigned bytes[8];
#pragma unroll
            for (int i = 0; i < 8; ++i)
                bytes[i] = static_cast<unsigned>(static_cast<int>(roundf(x[i] * inverse)) + Q8_EXCESS) & 255u;
            void *cache = is_key ? p.k_cache : p.v_cache;
            unsigned char *tile = static_cast<unsigned char *>(cache) + cache_tile(p, slot, head) * tile_bytes;
            int token = static_cast<int>(slot % KV_BLOCK);
            write_bytes(tile, is_key, p.head_dim, token, d, bytes);
            if (lane_id() < 8)
                from_float(scale, reinterpret_cast<half_t *>(tile + p.head_dim * KV_BLOCK)[group * KV_BLOCK + token]);
        }
    }
}

template <int PAIRS, typename P> DEVICE void rope_append_parts_bytes(const P &p, RowsToRound &rows) {
    int head = static_cast<int>(blockIdx.x), first_token = static_cast<int>(blockIdx.y) * ROPE_TOKENS;
    if (head >= p.num_heads) {
        leave_rows<PAIRS>(p, rows, head - p.num_heads, first_token);
        __syncthreads();
        append_rows(p, rows, head - p.num_heads, first_token);
        return;
    }
    int parts = p.head_dim / (2 * PAIRS);
    for (int item = static_cast<int>(threadIdx.x); item < ROPE_TOKENS * parts; item += ROPE_THREADS) {
        int token = first_token + item / parts;
        if (token < p.num_tokens)
            turn_query<PAIRS>(p, head, token, item % parts * PAIRS);
    }
}

template <typename P> DEVICE void rope_append_bytes(const P &p) {
    SHARED(RowsToRound, rows, 1);
    start_kernel_after();
    wait_for_kernel_before();
    find_head_scales(p);
    if (takes_four(p))
        rope_append_parts_bytes<4>(p, *rows);
    else
        rope_append_parts_bytes<1>(p, *rows);
}

KERNEL(ROPE_THREADS) rope_append_q8(RopeAppend p) { rope_append_bytes(p); }
KERNEL(ROPE_THREADS) rope_append_norm_q8(RopeAppendNorm p) { rope_append_bytes(p); }
KERNEL(ROPE_THREADS) rope_append_f32(RopeAppend p) { rope_append<float>(p); }
KERNEL(ROPE_THREADS) rope_append_f16(RopeAppend p) { rope_append<half_t>(p); }
KERNEL(ROPE_THREADS) rope_append_norm_f16(RopeAppendNorm p) { rope_append<half_t>(p); }
KERNEL(ROPE_THREADS) rope_append_bf16(RopeAppend p) { rope_append<bf16_t>(p); }
