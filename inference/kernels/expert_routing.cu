// expert_routing: which experts a token goes to, how much each counts, and where its rows lie among those of each expert.
//
//   route_tokens      logits of the router, and up to ROUTED_AT_ONCE tokens (`arrived` is not null) all the rest too: the block that
//                     ends last does it. Grid: (ceil(num_rows / 8), ceil(num_tokens / 8)), ROUTE_THREADS; a warp a row of the router
//   choose_experts    of more tokens: experts and weights. Grid: (ceil(num_tokens / 8)), ROUTE_THREADS, a warp a token
//   group_by_expert   then places and tiles. Grid: (num_experts), ROUTE_THREADS
//
// The experts of a token are those with the largest logits in the total order of floats, of equal ones the first; their weights are the
// softmax over all, divided by the chosen ones' sum with `normalise`, times `scale`. What is no number makes the weights so, not
// the choice. Tokens that only fill a batch (NO_SLOT) choose nothing. Logits are sums in f32 in an order that depends on the width alone,
// so a token's routing does not depend on the others; places follow the tokens' order, whatever order blocks run in. Latency-bound.
// Truth: ops/expert_routing/reference.rs. Layouts: experts.cuh. Ladder: lab/cuda.md.

#include "experts.cuh"

constexpr int ROUTE_WARPS = 8, ROUTE_THREADS = ROUTE_WARPS * WARP_SIZE;
constexpr int MOST_EXPERTS = ROUTE_THREADS, MOST_USED = 8;
constexpr int ROUTED_AT_ONCE = 64, PAIRS_AT_ONCE = ROUTED_AT_ONCE * MOST_USED;
// Smallest sum that weights are divided by: MIN_SUM of ops/expert_routing.
constexpr float MIN_SUM = 6.1035156e-5f;

struct ExpertRouting {
    const float *x;        // [num_tokens, hidden]
    const float *router;   // [num_rows, hidden]: an expert each, then rows whose logits are asked for only
    const unsigned *slots; // [num_tokens], or null: all tokens exist
    float *logits;         // [num_tokens, num_rows]
    unsigned *chosen;      // [num_tokens, num_used], NOWHERE for tokens that only fill
    float *weights;        // [num_tokens, num_used]
    unsigned *places;      // [num_tokens, num_used]
    unsigned *pairs;       // [places]
    ExpertTile *tiles;     // [num_tiles]: as many as there can be
    unsigned *arrived;     // one counter, zero before the first launch; every launch leaves zero
    int num_tokens, hidden; // hidden: a multiple of 4
    int num_experts, num_used, num_rows;
    int tile_rows; // a multiple of 8
    int num_tiles;
    int normalise;
    float scale;
};

// Computes the logits of TOKENS tokens for a row of the router, as far as there are tokens.
template <int TOKENS> DEVICE void route_logits(const ExpertRouting &p, int row, int first) {
    const float *weights = p.router + static_cast<long long>(row) * p.hidden;
    const float *x = p.x + static_cast<long long>(first) * p.hidden;
    int count = min(p.num_tokens - first, TOKENS);
    float sum[TOKENS] = {};
#pragma unroll(TOKENS == 1 ? 8 : 1)
    for (int column = lane_id() * 4; column < p.hidden; column += 4 * WARP_SIZE) {
        float weight[4];
        load_floats(weights + column, weight);
#pragma unroll
        for (int token = 0; token < TOKENS; ++token) {
            if (token < count) {
                float value[4];
                load_floats(x + static_cast<long long>(token) * p.hidden + column, value);
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    sum[token] += weight[i] * value[i];
            }
        }
    }
#pragma unroll
    for (int token = 0; token < TOKENS; ++token) {
        float logit = warp_sum(sum[token]);
        if (token < count && lane_id() == 0)
            p.logits[static_cast<long long>(first + token) * p.num_rows + row] = logit;
    }
}

// An expert of a token, better when its logit is larger, of equal ones the first.
struct Candidate {
    unsigned key;
    int expert;
};
DEVICE bool is_better(const Candidate &a, const Candidate &b) { return a.key > b.key || (a.key == b.key && a.expert < b.expert); }

DEVICE Candidate best_of_warp(Candidate best) {
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2) {
        Candidate other;
        other.key = __shfl_xor_sync(ALL_LANES, best.key, distance);
        other.expert = __shfl_xor_sync(ALL_LANES, best.expert, distance);
        if (is_better(other, best))
            best = other;
    }
    return best;
}

// What a lane has of a token: of slot `lane`, if there is one.
struct Choice {
    unsigned expert;
    float weight;
};

// Chooses a token's experts. All lanes of the warp take part; a lane has experts lane, lane + 32...
DEVICE Choice choose(const ExpertRouting &p, int token) {
    constexpr int EACH = MOST_EXPERTS / WARP_SIZE;
    if (p.slots != nullptr && p.slots[token] == NO_SLOT)
        return {NOWHERE, 0.0f};
    const float *logits = p.logits + static_cast<long long>(token) * p.num_rows;
    float logit[EACH], largest = -INFINITY;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        int expert = i * WARP_SIZE + lane_id();
        logit[i] = expert < p.num_experts ? load_of_others(logits + expert) : -INFINITY;
        largest = fmaxf(largest, logit[i]);
    }
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, distance));
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < EACH; ++i)
        if (i * WARP_SIZE + lane_id() < p.num_experts)
            total += expf(logit[i] - largest);
    total = warp_sum(total);
    unsigned taken = 0;
    float sum = 0.0f;
    Choice own{NOWHERE, 0.0f};
    for (int slot = 0; slot < p.num_used; ++slot) {
        Candidate best{0, MOST_EXPERTS};
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            Candidate candidate{ordered(logit[i]), i * WARP_SIZE + lane_id()};
            if (candidate.expert < p.num_experts && !(taken >> i & 1) && is_better(candidate, best))
                best = candidate;
        }
        best = best_of_warp(best);
        float probability = expf(unordered(best.key) - largest) / total;
        sum += probability;
        if (lane_id() == slot)
            own = {static_cast<unsigned>(best.expert), probability};
        if (best.expert % WARP_SIZE == lane_id())
            taken |= 1u << (best.expert / WARP_SIZE);
    }
    // Not fmaxf, which would make a number of what is none.
    own.weight = own.weight / (p.normalise ? sum < MIN_SUM ? MIN_SUM : sum : 1.0f) * p.scale;
    return own;
}

// Writes a token's choice, and returns the lane's expert.
DEVICE unsigned write_choice(const ExpertRouting &p, int token) {
    Choice own = choose(p, token);
    if (lane_id() < p.num_used) {
        long long pair = static_cast<long long>(token) * p.num_used + lane_id();
        p.chosen[pair] = own.expert;
        p.weights[pair] = own.weight;
    }
    return own.expert;
}

// Returns the sum of what earlier threads bring; all of ROUTE_THREADS take part.
DEVICE unsigned sum_of_earlier(unsigned own) {
    SHARED(unsigned, sums, ROUTE_WARPS);
    unsigned upto = own;
#pragma unroll
    for (int distance = 1; distance < WARP_SIZE; distance *= 2) {
        unsigned before = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(distance));
        if (lane_id() >= distance)
            upto += before;
    }
    if (lane_id() == WARP_SIZE - 1)
        sums[warp_id()] = upto;
    __syncthreads();
    for (int warp = 0; warp < warp_id(); ++warp)
        upto += sums[warp];
    // The next sum may overwrite `sums` only when all have read it.
    __syncthreads();
    return upto - own;
}

// Where an expert's places and tiles begin.
struct ExpertStart {
    unsigned place, tile, count;
};

// Returns the start of the thread's expert from its number of pairs, 0 where there is no such expert.
DEVICE ExpertStart expert_start(const ExpertRouting &p, unsigned count) {
    unsigned tile_rows = static_cast<unsigned>(p.tile_rows);
    unsigned place = sum_of_earlier((count + PLACES_OF_TILE - 1) / PLACES_OF_TILE * PLACES_OF_TILE);
    return {place, sum_of_earlier((count + tile_rows - 1) / tile_rows), count};
}

DEVICE void write_tile(const ExpertRouting &p, int expert, const ExpertStart &start, unsigned index) {
    unsigned tile_rows = static_cast<unsigned>(p.tile_rows), before = index * tile_rows;
    unsigned rows = start.count - before < tile_rows ? start.count - before : tile_rows;
    p.tiles[start.tile + index] = {static_cast<unsigned>(expert), start.place + before, rows, 0};
}

// Writes tiles without rows behind the last expert's; `of_last`: the thread's number among those that do so.
DEVICE void clear_tiles(const ExpertRouting &p, const ExpertStart &last, int of_last, int step) {
    unsigned tile_rows = static_cast<unsigned>(p.tile_rows);
    int used = static_cast<int>(last.tile + (last.count + tile_rows - 1) / tile_rows);
    for (int tile = used + of_last; tile < p.num_tiles; tile += step)
        p.tiles[tile] = {0, 0, 0, 0};
}

// Routes all tokens of a small step: one block, a thread an expert.
DEVICE void route_at_once(const ExpertRouting &p) {
    SHARED(unsigned, experts, PAIRS_AT_ONCE);
    for (int token = warp_id(); token < p.num_tokens; token += ROUTE_WARPS) {
        unsigned expert = write_choice(p, token);
        if (lane_id() < p.num_used) {
            experts[token * p.num_used + lane_id()] = expert;
            if (expert == NOWHERE)
                p.places[token * p.num_used + lane_id()] = NOWHERE;
        }
    }
    __syncthreads();
    int expert = static_cast<int>(threadIdx.x), num_pairs = p.num_tokens * p.num_used;
    unsigned count = 0;
    for (int pair = 0; pair < num_pairs; ++pair)
        count += experts[pair] == static_cast<unsigned>(expert);
    ExpertStart start = expert_start(p, count);
    unsigned place = start.place;
    for (int pair = 0; pair < num_pairs && place < start.place + count; ++pair)
        if (experts[pair] == static_cast<unsigned>(expert)) {
            p.places[pair] = place;
            p.pairs[place++] = static_cast<unsigned>(pair);
        }
    for (unsigned index = 0; index * static_cast<unsigned>(p.tile_rows) < count; ++index)
        write_tile(p, expert, start, index);
    if (expert == p.num_experts - 1)
        clear_tiles(p, start, 0, 1);
}

KERNEL(ROUTE_THREADS) route_tokens(ExpertRouting p) {
    start_kernel_after();
    wait_for_kernel_before();
    int row = static_cast<int>(blockIdx.x) * ROUTE_WARPS + warp_id(), first = static_cast<int>(blockIdx.y) * 8;
    if (row < p.num_rows) {
        if (p.num_tokens == 1)
            route_logits<1>(p, row, first);
        else
            route_logits<8>(p, row, first);
    }
    if (p.arrived == nullptr)
        return;
    SHARED(unsigned, arrived, 1);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        arrived[0] = atomicAdd(p.arrived, 1u);
    __syncthreads();
    if (arrived[0] + 1 != gridDim.x * gridDim.y)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        *p.arrived = 0;
    route_at_once(p);
}

KERNEL(ROUTE_THREADS) choose_experts(ExpertRouting p) {
    start_kernel_after();
    wait_for_kernel_before();
    int token = static_cast<int>(blockIdx.x) * ROUTE_WARPS + warp_id();
    if (token < p.num_tokens)
        write_choice(p, token);
}

// Counts all experts' pairs, and gives those of its own expert their places.
KERNEL(ROUTE_THREADS) group_by_expert(ExpertRouting p) {
    start_kernel_after();
    wait_for_kernel_before();
    SHARED(unsigned, counts, MOST_EXPERTS);
    SHARED(unsigned, of_warp, ROUTE_WARPS);
    SHARED(ExpertStart, own, 1);
    int thread = static_cast<int>(threadIdx.x), num_pairs = p.num_tokens * p.num_used, expert = static_cast<int>(blockIdx.x);
    counts[thread] = 0;
    __syncthreads();
    for (int pair = thread; pair < num_pairs; pair += ROUTE_THREADS) {
        unsigned chosen = p.chosen[pair];
        if (chosen != NOWHERE)
            atomicAdd(counts + chosen, 1u);
        else if (expert == 0)
            p.places[pair] = NOWHERE;
    }
    __syncthreads();
    ExpertStart start = expert_start(p, counts[thread]);
    if (thread == expert)
        own[0] = start;
    __syncthreads();
    start = own[0];
    for (unsigned index = threadIdx.x; index * static_cast<unsigned>(p.tile_rows) < start.count; index += ROUTE_THREADS)
        write_tile(p, expert, start, index);
    if (expert == p.num_experts - 1)
        clear_tiles(p, start, thread, ROUTE_THREADS);
    unsigned next = start.place;
    for (int first = 0; first < num_pairs; first += ROUTE_THREADS) {
        int pair = first + thread;
        bool is_own = pair < num_pairs && p.chosen[pair] == static_cast<unsigned>(expert);
        unsigned votes = __ballot_sync(ALL_LANES, is_own);
        if (lane_id() == 0)
            of_warp[warp_id()] = static_cast<unsigned>(__popc(votes));
        __syncthreads();
        unsigned place = next + static_cast<unsigned>(__popc(votes & ((1u << lane_id()) - 1)));
        for (int warp = 0; warp < ROUTE_WARPS; ++warp) {
            if (warp < warp_id())
                place += of_warp[warp];
            next += of_warp[warp];
        }
        if (is_own) {
            p.places[pair] = place;
            p.pairs[place] = static_cast<unsigned>(pair);
        }
        __syncthreads();
    }
}
