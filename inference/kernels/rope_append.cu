// rope_append: turns queries and keys of new tokens by their positions and writes keys and values into the paged cache.
//
// Grid: (num_heads + 2 * num_kv_heads, num_tokens), 64 threads: a block has one head of q, k or v of one token. Replaces four
// launches. Latency-bound for decoding. A key goes to 2-byte places 32 bytes apart, because the 16 tokens of a block are
// the cache's fastest dimension (kv_cache/layout.rs); a prompt fills those sectors again token by token in L2.
// Truth: ops/rope/reference.rs and ops/kv_append/reference.rs. Ladder: lab/cuda.md.

#include "device.cuh"

constexpr int ROPE_THREADS = 64;
constexpr int KV_BLOCK = 16;
// A row that only fills a batch up to the size of a captured graph: its keys and values go nowhere.
constexpr unsigned NO_SLOT = 0xffffffffu;

struct RopeAppend {
    const float *q, *k, *v;     // [num_tokens] rows of heads, `q_stride`, `kv_stride` apart
    float *q_out;               // [num_tokens, num_heads, head_dim]; may be q
    void *k_cache;              // [num_blocks, num_kv_heads, head_dim, 16]
    void *v_cache;              // [num_blocks, num_kv_heads, 16, head_dim]
    const float *cos, *sin;     // [max_len, half]
    const unsigned *positions;  // [num_tokens]
    const unsigned *slots;      // [num_tokens], block * 16 + offset or NO_SLOT
    long long q_stride, kv_stride;
    int num_heads, num_kv_heads, head_dim;
    int half;   // pairs that turn; what is beyond 2 * half passes unchanged
    int halves; // pairs are (i, i + half) instead of (2i, 2i + 1)
};

// Hands every element of a head, turned to the token's position, to `write(d, value)`. A thread reads and writes whole
// pairs, so `write` may go to where the head comes from.
template <typename Write> DEVICE void turn(const RopeAppend &p, const float *head, long long token, Write write) {
    const float *cos = p.cos + static_cast<long long>(p.positions[token]) * p.half;
    const float *sin = p.sin + static_cast<long long>(p.positions[token]) * p.half;
    for (int pair = static_cast<int>(threadIdx.x); pair < p.half; pair += ROPE_THREADS) {
        int first = p.halves ? pair : 2 * pair, second = p.halves ? pair + p.half : 2 * pair + 1;
        float x = head[first], y = head[second];
        write(first, x * cos[pair] - y * sin[pair]);
        write(second, x * sin[pair] + y * cos[pair]);
    }
    for (int d = 2 * p.half + static_cast<int>(threadIdx.x); d < p.head_dim; d += ROPE_THREADS)
        write(d, head[d]);
}

// Returns the number of the cache tile that holds this head's part of the slot's block.
DEVICE long long cache_tile(const RopeAppend &p, unsigned slot, int head) {
    return static_cast<long long>(slot / KV_BLOCK) * p.num_kv_heads + head;
}

template <typename Cache> DEVICE void append_key(const RopeAppend &p, int head, long long token, unsigned slot) {
    Cache *tile = static_cast<Cache *>(p.k_cache) + cache_tile(p, slot, head) * p.head_dim * KV_BLOCK;
    turn(p, p.k + token * p.kv_stride + head * p.head_dim, token,
         [=](int d, float x) { from_float(x, tile[d * KV_BLOCK + slot % KV_BLOCK]); });
}

template <typename Cache> DEVICE void append_value(const RopeAppend &p, int head, long long token, unsigned slot) {
    const float *value = p.v + token * p.kv_stride + head * p.head_dim;
    Cache *to = static_cast<Cache *>(p.v_cache) + (cache_tile(p, slot, head) * KV_BLOCK + slot % KV_BLOCK) * p.head_dim;
    for (int d = static_cast<int>(threadIdx.x); d < p.head_dim; d += ROPE_THREADS)
        from_float(value[d], to[d]);
}

template <typename Cache> DEVICE void rope_append(const RopeAppend &p) {
    int head = static_cast<int>(blockIdx.x);
    long long token = blockIdx.y;
    if (head < p.num_heads) {
        float *to = p.q_out + (token * p.num_heads + head) * p.head_dim;
        turn(p, p.q + token * p.q_stride + head * p.head_dim, token, [=](int d, float x) { to[d] = x; });
        return;
    }
    unsigned slot = p.slots[token];
    if (slot == NO_SLOT)
        return;
    head -= p.num_heads;
    if (head < p.num_kv_heads)
        append_key<Cache>(p, head, token, slot);
    else
        append_value<Cache>(p, head - p.num_kv_heads, token, slot);
}

KERNEL(ROPE_THREADS) rope_append_f32(RopeAppend p) { rope_append<float>(p); }
KERNEL(ROPE_THREADS) rope_append_f16(RopeAppend p) { rope_append<half_t>(p); }
KERNEL(ROPE_THREADS) rope_append_bf16(RopeAppend p) { rope_append<bf16_t>(p); }
