// Launches of gated_activation, add_rms_norm and rope_append, with the grids that their headers name.

#include "../add_rms_norm.cu"
#include "../gated_activation.cu"
#include "../rope_append.cu"
#include "case.h"

#include <vector>

namespace {

template <typename Out, void (*KERNEL_OF_TYPE)(GatedActivation)> void run_gated_activation(host::Case &run) {
    GatedActivation p{};
    p.width = run.integer("width");
    p.stride = run.integer("stride");
    p.gelu_tanh = run.integer("gelu_tanh");
    unsigned rows = static_cast<unsigned>(run.integer("rows"));
    p.gate = run.input<float>("gate");
    p.up = run.input<float>("up");
    p.out = run.output<Out>("out", rows * static_cast<size_t>(p.width));
    unsigned columns = static_cast<unsigned>(p.width + 1023) / 1024;
    host::launch({columns, rows}, {GATED_THREADS}, 0, run.seed, [=] { KERNEL_OF_TYPE(p); });
}

template <typename Out, void (*KERNEL_OF_TYPE)(AddRmsNorm)> void run_add_rms_norm(host::Case &run) {
    AddRmsNorm p{};
    p.hidden = run.integer("hidden");
    p.eps = static_cast<float>(run.number("eps"));
    unsigned rows = static_cast<unsigned>(run.integer("rows"));
    p.delta = run.has("delta") ? run.input<float>("delta") : nullptr;
    p.residual = run.in_out<float>("residual");
    p.weight = run.input<float>("weight");
    p.out = run.output<Out>("out", rows * static_cast<size_t>(p.hidden));
    host::launch({rows}, {NORM_THREADS}, 0, run.seed, [=] { KERNEL_OF_TYPE(p); });
}

template <typename Cache> void read_rope_append(host::Case &run, RopeAppend &p) {
    p.num_heads = run.integer("num_heads");
    p.num_kv_heads = run.integer("num_kv_heads");
    p.head_dim = run.integer("head_dim");
    p.half = run.integer("half");
    p.halves = run.integer("halves");
    p.q_stride = run.integer("q_stride");
    p.kv_stride = run.integer("kv_stride");
    unsigned tokens = static_cast<unsigned>(run.count("positions", sizeof(unsigned)));
    p.num_tokens = static_cast<int>(tokens);
    p.q = run.input<float>("q");
    p.k = run.input<float>("k");
    p.v = run.input<float>("v");
    bool in_place = run.integer("in_place") != 0;
    p.q_out = in_place ? run.in_out<float>("q")
                       : run.output<float>("q_out", tokens * static_cast<size_t>(p.num_heads) * p.head_dim);
    p.k_cache = run.in_out<Cache>("k_cache");
    p.v_cache = run.in_out<Cache>("v_cache");
    p.cos = run.input<float>("cos");
    p.sin = run.input<float>("sin");
    p.positions = run.input<unsigned>("positions");
    p.slots = run.input<unsigned>("slots");
}

host::Dim3 rope_grid(const RopeAppend &p) {
    return {static_cast<unsigned>(p.num_heads + 2 * p.num_kv_heads), static_cast<unsigned>(p.num_tokens + ROPE_TOKENS - 1) / ROPE_TOKENS};
}

template <typename Cache, void (*KERNEL_OF_TYPE)(RopeAppend)> void run_rope_append(host::Case &run) {
    RopeAppend p{};
    read_rope_append<Cache>(run, p);
    host::launch(rope_grid(p), {ROPE_THREADS}, 0, run.seed, [=] { KERNEL_OF_TYPE(p); });
}

template <typename Cache, void (*KERNEL_OF_TYPE)(RopeAppendNorm)> void run_rope_append_norm(host::Case &run) {
    RopeAppendNorm p{};
    read_rope_append<Cache>(run, p);
    p.q_norm = run.input<float>("q_norm");
    p.k_norm = run.input<float>("k_norm");
    p.norm_eps = static_cast<float>(run.number("norm_eps"));
    host::launch(rope_grid(p), {ROPE_THREADS}, 0, run.seed, [=] { KERNEL_OF_TYPE(p); });
}

} // namespace

const std::vector<host::NamedCase> host::SMALL_KERNEL_CASES = {
    {"gated_activation_f32", run_gated_activation<float, gated_activation>},
    {"gated_activation_f16", run_gated_activation<half_t, gated_activation_f16>},
    {"gated_activation_bf16", run_gated_activation<bf16_t, gated_activation_bf16>},
    {"add_rms_norm_f32", run_add_rms_norm<float, add_rms_norm_f32>},
    {"add_rms_norm_f16", run_add_rms_norm<half_t, add_rms_norm_f16>},
    {"add_rms_norm_f16_scaled", run_add_rms_norm<half_t, add_rms_norm_f16_scaled>},
    {"add_rms_norm_bf16", run_add_rms_norm<bf16_t, add_rms_norm_bf16>},
    {"rope_append_f32", run_rope_append<float, rope_append_f32>},
    {"rope_append_f16", run_rope_append<half_t, rope_append_f16>},
    {"rope_append_norm_f16", run_rope_append_norm<half_t, rope_append_norm_f16>},
    {"rope_append_norm_q8", run_rope_append_norm<unsigned char, rope_append_norm_q8>},
    {"rope_append_bf16", run_rope_append<bf16_t, rope_append_bf16>},
    {"rope_append_q8", run_rope_append<unsigned char, rope_append_q8>},
};
