// Launches of paged_decode_attention with its merges and of paged_prefill_attention, with the grids that their headers name.

#include "../paged_decode_attention.cu"
#include "../paged_prefill_attention.cu"
#include "case.h"

#include <string>
#include <vector>

namespace {

using DecodeKernel = void (*)(PagedDecodeAttention);
using PrefillKernel = void (*)(PagedPrefillAttention);

int size_of(int head_dim) { return head_dim == 64 ? 0 : head_dim == 80 ? 1 : head_dim == 96 ? 2 : 3; }

#define GROUPS_OF(name, head_dim)                                                                                       \
    {paged_decode_##name##_##head_dim##_1, paged_decode_##name##_##head_dim##_2, paged_decode_##name##_##head_dim##_4,  \
     paged_decode_##name##_##head_dim##_8}
#define SIZES_OF(name) {GROUPS_OF(name, 64), GROUPS_OF(name, 80), GROUPS_OF(name, 96), GROUPS_OF(name, 128)}

// By cache format, head size and padded group.
const DecodeKernel DECODE[4][4][4] = {SIZES_OF(f16), SIZES_OF(bf16), SIZES_OF(f32), SIZES_OF(q8)};

// Both merges that pack, into `packed` and `halves`. What they write nothing to stays zero.
void pack_results(host::Case &run, PagedDecodeAttention p, unsigned sequences) {
    unsigned units = static_cast<unsigned>(p.num_heads * p.head_dim + UNIT - 1) / UNIT;
    size_t tiles = (sequences + TILE_TOKENS_PACKED - 1) / TILE_TOKENS_PACKED;
    auto launch = [&](const char *name, size_t unit_bytes, DecodeKernel kernel) {
        p.packed = memset(run.output<unsigned char>(name, tiles * units * unit_bytes), 0, tiles * units * unit_bytes);
        host::launch({(units + 3) / 4, sequences}, {DECODE_THREADS}, 0, run.seed + 2, [=] { kernel(p); });
    };
    launch("packed", X_UNIT_BYTES, paged_decode_merge_packed);
    launch("halves", HALVES_UNIT_BYTES, paged_decode_merge_halves);
}

template <int FORMAT> void run_paged_decode(host::Case &run) {
    PagedDecodeAttention p{};
    int head_dim = p.head_dim = run.integer("head_dim");
    p.num_heads = run.integer("num_heads");
    p.num_kv_heads = run.integer("num_kv_heads");
    p.num_splits = run.integer("num_splits");
    p.window = run.integer("window");
    p.scale = static_cast<float>(run.number("scale"));
    p.softcap = static_cast<float>(run.number("softcap"));
    unsigned sequences = static_cast<unsigned>(run.count("context_lens", sizeof(unsigned)));
    p.max_blocks = static_cast<int>(run.count("block_tables", sizeof(unsigned)) / sequences);
    p.q = run.input<float>("q");
    p.k_cache = run.input<void>("k_cache");
    p.v_cache = run.input<void>("v_cache");
    p.block_tables = run.input<unsigned>("block_tables");
    p.context_lens = run.input<unsigned>("context_lens");
    size_t heads = sequences * static_cast<size_t>(p.num_heads);
    p.out = run.output<float>("out", heads * head_dim);
    p.partial = run.output<float>("partial", heads * p.num_splits * head_dim);
    p.partial_state = run.output<float>("partial_state", heads * p.num_splits * 2);

    int group = p.num_heads / p.num_kv_heads;
    DecodeKernel kernel = DECODE[FORMAT][size_of(head_dim)][group > 4 ? 3 : group > 2 ? 2 : group - 1];
    unsigned splits = static_cast<unsigned>(p.num_splits), kv_heads = static_cast<unsigned>(p.num_kv_heads);
    host::launch({splits, kv_heads, sequences}, {DECODE_THREADS}, 0, run.seed, [=] { kernel(p); });
    if (p.num_splits > 1)
        host::launch({static_cast<unsigned>(p.num_heads), sequences}, {static_cast<unsigned>(head_dim)}, 0, run.seed + 1,
                     [=] { paged_decode_merge(p); });
    pack_results(run, p, sequences);
}

// By cache format and head size.
const PrefillKernel PREFILL[2][4] = {
    {paged_prefill_f16_64, paged_prefill_f16_80, paged_prefill_f16_96, paged_prefill_f16_128},
    {paged_prefill_q8_64, paged_prefill_q8_80, paged_prefill_q8_96, paged_prefill_q8_128}};

// `tiles`: 4 numbers each, as the kernel reads them.
template <bool BYTES> void run_paged_prefill(host::Case &run) {
    PagedPrefillAttention p{};
    int head_dim = run.integer("head_dim");
    p.num_heads = run.integer("num_heads");
    p.num_kv_heads = run.integer("num_kv_heads");
    p.max_blocks = run.integer("max_blocks");
    p.window = run.integer("window");
    p.scale = static_cast<float>(run.number("scale"));
    p.softcap = static_cast<float>(run.number("softcap"));
    p.q = run.input<float>("q");
    p.k_cache = run.input<void>("k_cache");
    p.v_cache = run.input<void>("v_cache");
    p.block_tables = run.input<unsigned>("block_tables");
    p.tiles = run.input<unsigned>("tiles");
    p.out = run.output<float>("out", run.count("q", sizeof(float)));

    PrefillKernel kernel = PREFILL[BYTES][size_of(head_dim)];
    int shared_bytes = BYTES ? prefill_bytes_shared_bytes(head_dim) : prefill_shared_bytes(head_dim);
    unsigned tiles = static_cast<unsigned>(run.count("tiles", 4 * sizeof(unsigned)));
    host::launch({static_cast<unsigned>(p.num_heads), tiles}, {PREFILL_THREADS},
                 static_cast<size_t>(shared_bytes), run.seed, [=] { kernel(p); });
}

} // namespace

const std::vector<host::NamedCase> host::ATTENTION_CASES = {
    {"paged_decode_f16", run_paged_decode<0>},
    {"paged_decode_bf16", run_paged_decode<1>},
    {"paged_decode_f32", run_paged_decode<2>},
    {"paged_decode_q8", run_paged_decode<3>},
    {"paged_prefill_f16", run_paged_prefill<false>},
    {"paged_prefill_q8", run_paged_prefill<true>},
};
