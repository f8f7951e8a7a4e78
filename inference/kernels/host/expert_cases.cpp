// Launches of the kernels of a mixture of experts, with the grids and buffers that their headers name: the routing alone, and a whole
// feed-forward layer as inference/src/gpu/experts.rs launches it.

#include "../expert_gemm.cu"
#include "../expert_gemv.cu"
#include "../expert_routing.cu"
#include "../expert_rows.cu"
#include "../gated_activation.cu"
#include "../rows.cu"
#include "case.h"

#include <cstring>
#include <vector>

namespace {

unsigned parts_of(size_t count, size_t each) { return static_cast<unsigned>((count + each - 1) / each); }

// The routing's launch or launches. `apart`: by three kernels, whatever the number of tokens.
ExpertRouting route(host::Case &run, const float *x, int num_tokens, int hidden, int tile_rows) {
    ExpertRouting p{};
    p.x = x;
    p.router = run.input<float>("router");
    p.slots = run.has("slots") ? run.input<unsigned>("slots") : nullptr;
    p.num_tokens = num_tokens;
    p.hidden = hidden;
    p.num_experts = run.integer("num_experts");
    p.num_used = run.integer("num_used");
    p.num_rows = static_cast<int>(run.count("router", sizeof(float))) / hidden;
    p.tile_rows = tile_rows;
    p.normalise = run.integer("normalise");
    p.scale = static_cast<float>(run.number("scale"));
    size_t tokens = static_cast<size_t>(num_tokens), pairs = tokens * static_cast<size_t>(p.num_used);
    size_t in_use = std::min(pairs, static_cast<size_t>(p.num_experts));
    p.num_tiles = static_cast<int>(pairs / static_cast<size_t>(tile_rows) + in_use);
    p.logits = run.output<float>("logits", tokens * static_cast<size_t>(p.num_rows));
    p.chosen = run.output<unsigned>("chosen", pairs);
    p.weights = run.output<float>("weights", pairs);
    p.places = run.output<unsigned>("places", pairs);
    p.pairs = run.output<unsigned>("pairs", pairs + (PLACES_OF_TILE - 1) * in_use);
    p.tiles = run.output<ExpertTile>("tiles", static_cast<size_t>(p.num_tiles));
    bool at_once = num_tokens <= ROUTED_AT_ONCE && run.integer("apart") == 0;
    if (at_once) {
        p.arrived = run.output<unsigned>("arrived", 1);
        *p.arrived = 0;
    }
    host::Dim3 rows{parts_of(static_cast<size_t>(p.num_rows), ROUTE_WARPS), parts_of(tokens, 8)};
    host::launch(rows, {ROUTE_THREADS}, 0, run.seed, [=] { route_tokens(p); });
    if (!at_once) {
        host::launch({parts_of(tokens, ROUTE_WARPS)}, {ROUTE_THREADS}, 0, run.seed, [=] { choose_experts(p); });
        host::launch({static_cast<unsigned>(p.num_experts)}, {ROUTE_THREADS}, 0, run.seed, [=] { group_by_expert(p); });
    }
    return p;
}

void run_route(host::Case &run) {
    route(run, run.input<float>("x"), run.integer("num_tokens"), run.integer("hidden"), run.integer("tile_rows"));
}

struct Layer {
    ExpertRouting routing;
    int ffn;
    size_t tokens, pairs, places;
    bool few;
};

// The matrices of all experts, of the part's name.
ExpertMatrices matrices(host::Case &run, const std::string &part, int rows, int num_experts) {
    ExpertMatrices all{};
    all.units = run.input<unsigned char>("units_" + part);
    all.expert_bytes = static_cast<long long>(run.count("units_" + part, 1)) / num_experts;
    all.rows = rows;
    all.format = run.integer("format_" + part);
    return all;
}

void multiply(host::Case &run, const Layer &layer, ExpertProduct p) {
    unsigned tiles = static_cast<unsigned>(layer.routing.num_tiles);
    auto blocks = [&](int rows_of_block) {
        unsigned count = 0;
        for (int part = 0; part < p.num_parts; ++part)
            count += parts_of(static_cast<size_t>(p.part[part].rows), static_cast<size_t>(rows_of_block));
        return count;
    };
    if (!layer.few) {
        int tile_rows = layer.routing.tile_rows;
        auto kernel = tile_rows == 16 ? expert_gemm_16 : tile_rows == 32 ? expert_gemm_32 : expert_gemm_64;
        host::launch({tiles, blocks(gemm_rows(tile_rows))}, {GEMM_THREADS}, GEMM_SHARED_BYTES, run.seed, [=] { kernel(p); });
        return;
    }
    bool spans = true, one = layer.tokens == 1;
    for (int part = 0; part < p.num_parts; ++part)
        spans = spans && p.part[part].format == NIBBLES_SPANS;
    auto kernel = spans ? one ? expert_gemv_spans_one : expert_gemv_spans : one ? expert_gemv_one : expert_gemv;
    p.ring_bytes = run.integer("ring_bytes");
    host::launch({blocks(TILE_ROWS), tiles}, {PACKED_THREADS}, PACKED_WARPS * static_cast<unsigned>(p.ring_bytes), run.seed,
                 [=] { kernel(p); });
}

// Activations of rows of `width`, which nobody has written yet.
unsigned char *units(host::Case &run, const Layer &layer, const char *name, size_t rows, int width) {
    size_t bytes = layer.few ? X_UNIT_BYTES : HALVES_UNIT_BYTES;
    return run.scratch<unsigned char>(name, parts_of(rows, PLACES_OF_TILE) * static_cast<size_t>(parts_of(static_cast<size_t>(width), UNIT)) * bytes);
}

// Activations for gate and up: the tokens' packed ones, or halves at the places.
unsigned char *first_activations(host::Case &run, const Layer &layer) {
    const ExpertRouting &routing = layer.routing;
    unsigned tokens = static_cast<unsigned>(layer.tokens), columns = parts_of(static_cast<size_t>(routing.hidden), 4 * UNIT);
    if (layer.few) {
        Rows rows{routing.x, units(run, layer, "packed", layer.tokens, routing.hidden), routing.hidden};
        host::launch({columns, tokens}, {128}, 0, run.seed, [=] { pack_rows(rows); });
        return static_cast<unsigned char *>(rows.out);
    }
    GatherExpertRows gather{routing.x, units(run, layer, "gathered", layer.places, routing.hidden), routing.places, routing.hidden, routing.num_used};
    host::launch({tokens, columns}, {128}, 0, run.seed, [=] { gather_expert_rows(gather); });
    return gather.out;
}

unsigned char *gate(host::Case &run, const Layer &layer, const float *gate_up) {
    GatedActivation p{};
    p.gate = gate_up;
    p.up = gate_up + layer.ffn;
    p.out = units(run, layer, "gated", layer.places, layer.ffn);
    p.rows = layer.routing.places;
    p.stride = 2 * layer.ffn;
    p.width = layer.ffn;
    host::Dim3 grid{parts_of(static_cast<size_t>(layer.ffn), 4 * UNIT), static_cast<unsigned>(layer.pairs)};
    auto kernel = layer.few ? gated_places_packed : gated_places_halves;
    host::launch(grid, {GATED_THREADS}, 0, run.seed, [=] { kernel(p); });
    return static_cast<unsigned char *>(p.out);
}

// What all experts of a layer do with normalised rows `x`: as few tokens do (`tile_rows` 8), or as many do.
void run_expert_layer(host::Case &run) {
    Layer layer{};
    int hidden = run.integer("hidden"), num_tokens = run.integer("num_tokens"), tile_rows = run.integer("tile_rows");
    layer.few = tile_rows == PLACES_OF_TILE;
    layer.ffn = run.integer("ffn");
    layer.routing = route(run, run.input<float>("x"), num_tokens, hidden, tile_rows);
    const ExpertRouting &routing = layer.routing;
    layer.tokens = static_cast<size_t>(num_tokens);
    layer.pairs = layer.tokens * static_cast<size_t>(routing.num_used);
    layer.places = run.count("pairs", sizeof(unsigned));
    ExpertProduct p{};
    p.num_used = routing.num_used;
    p.tiles = routing.tiles;
    p.pairs = routing.pairs;
    p.x = first_activations(run, layer);
    p.num_parts = 2;
    p.num_units = static_cast<int>(parts_of(static_cast<size_t>(hidden), UNIT));
    p.num_tokens = layer.few ? num_tokens : 0;
    p.part[0] = matrices(run, "gate", layer.ffn, routing.num_experts);
    p.part[1] = matrices(run, "up", layer.ffn, routing.num_experts);
    float *gate_up = run.scratch<float>("gate_up", layer.places * 2 * static_cast<size_t>(layer.ffn));
    p.y = gate_up;
    multiply(run, layer, p);
    p.x = gate(run, layer, gate_up);
    p.num_parts = 1;
    p.num_units = static_cast<int>(parts_of(static_cast<size_t>(layer.ffn), UNIT));
    p.num_tokens = 0;
    p.part[0] = matrices(run, "down", hidden, routing.num_experts);
    p.y = run.scratch<float>("down", layer.places * static_cast<size_t>(hidden));
    multiply(run, layer, p);
    CombineExperts combine{};
    combine.y = p.y;
    combine.weights = routing.weights;
    combine.places = routing.places;
    if (run.has("shared")) {
        combine.shared = run.input<float>("shared");
        combine.gate = routing.num_rows > routing.num_experts ? routing.logits + routing.num_experts : nullptr;
        combine.gate_stride = routing.num_rows;
    }
    combine.width = hidden;
    combine.num_used = routing.num_used;
    combine.out = run.output<float>("out", layer.tokens * static_cast<size_t>(hidden));
    host::launch({static_cast<unsigned>(num_tokens), parts_of(static_cast<size_t>(hidden), 1024)}, {256}, 0, run.seed,
                 [=] { combine_experts(combine); });
}

} // namespace

const std::vector<host::NamedCase> host::EXPERT_CASES = {
    {"route", run_route},
    {"expert_layer", run_expert_layer},
};
