// Launches of candidates_of_row, with the grids that its header names.

#include "../candidates_of_row.cu"
#include "case.h"

#include <vector>

namespace {

void run_candidates_of_row(host::Case &run) {
    CandidatesOfRow p{};
    p.width = run.integer("width");
    p.stride = run.integer("stride");
    unsigned rows = static_cast<unsigned>(run.integer("rows"));
    p.num_slices = (p.width + SLICE - 1) / SLICE;
    size_t slices = rows * static_cast<size_t>(p.num_slices);
    p.logits = run.input<float>("logits");
    p.slice_logits = run.scratch<float>("slice_logits", slices * CANDIDATES);
    p.slice_ids = run.scratch<unsigned>("slice_ids", slices * CANDIDATES);
    p.slice_rest = run.scratch<float>("slice_rest", slices * 2);
    p.records = run.output<unsigned>("records", rows * static_cast<size_t>(RECORD_WORDS));
    host::launch({static_cast<unsigned>(p.num_slices), rows}, {SELECT_THREADS}, 0, run.seed, [=] { candidates_of_slices(p); });
    host::launch({rows}, {SELECT_THREADS}, 0, run.seed, [=] { candidates_of_row(p); });
}

} // namespace

const std::vector<host::NamedCase> host::CANDIDATE_CASES = {
    {"candidates_of_row", run_candidates_of_row},
};
