// The best tokens of each row of logits, in order, and the weight of all others: what a draw nearly always depends on, so that rows
// stay on the device.
//
//   candidates_of_slices  the CANDIDATES best of each slice of a row. Grid: (num_slices, num_rows), SELECT_THREADS threads
//   candidates_of_row     the CANDIDATES best of what the slices left. Grid: (num_rows), SELECT_THREADS threads
//
// Larger logits are better, of equal ones the lower id; both zeros are equal. A logit's key is a whole number of the same order. The
// least key of the chosen is found bit by bit: a bit is set if enough keys are as large; where keys are equal there, ids decide, bit
// by bit too. Everything is counted, nothing raced for, so results do not depend on the order of threads.
//
// Latency-bound: a slice is read once and then stays in registers; some 20 counts of a block a slice. Truth:
// tests/it/kernels/candidates.rs. Ladder: lab/cuda.md.

#include "ptx.cuh"

// inference/src/sampling/row_candidates.rs: ROW_CANDIDATES.
constexpr int CANDIDATES = 256;
// inference/src/model/step_logits.rs: logits, ids, the rest, and what fills 16 bytes.
constexpr int RECORD_WORDS = 2 * CANDIDATES + 4;
// inference/src/gpu/plan.rs: SLICE, MOST_SLICES. The candidates of all slices are as many items as a slice.
constexpr int SELECT_THREADS = 512;
constexpr int SELECT_WARPS = SELECT_THREADS / WARP_SIZE;
constexpr int ITEMS = 16;
constexpr int SLICE = SELECT_THREADS * ITEMS;
constexpr unsigned NO_ID = 0xffffffffu;

struct CandidatesOfRow {
    const float *logits;    // [num_rows] rows, `stride` apart
    float *slice_logits;    // [num_rows, num_slices, CANDIDATES]
    unsigned *slice_ids;    // [num_rows, num_slices, CANDIDATES], NO_ID where a slice has fewer
    float *slice_rest;      // [num_rows, num_slices, 2]: the slice's largest logit; exp of the others less it, summed
    unsigned *records;      // [num_rows, RECORD_WORDS]
    long long stride;
    int width;
    int num_slices;
};

// Both zeros are one logit. No number has key 0, which fills what a block lacks.
DEVICE unsigned key_of(float logit) { return ordered(logit + 0.0f); }

// What a block chooses from: item i of a thread.
struct SelectItems {
    unsigned key[ITEMS];
    unsigned id[ITEMS];
};

// Which items are chosen: those with a larger key, and those with this key whose id is not larger.
struct SelectBound {
    unsigned key, id;
};

// Sums over the block, in every thread. Each sum writes where the one before the last wrote, which all have read: a barrier lies
// between.
struct SelectCounter {
    int *sums; // [2, SELECT_WARPS]
    int turn;

    DEVICE_MEMBER int count(SelectCounter &counter, int own) {
        int *sums = counter.sums + counter.turn * SELECT_WARPS;
        counter.turn ^= 1;
        own = __reduce_add_sync(ALL_LANES, own);
        if (lane_id() == 0)
            sums[warp_id()] = own;
        __syncthreads();
        int total = 0;
#pragma unroll
        for (int warp = 0; warp < SELECT_WARPS; ++warp)
            total += sums[warp];
        return total;
    }
};

DEVICE bool is_chosen(const SelectItems &items, int i, SelectBound bound) {
    return items.key[i] > bound.key || (items.key[i] == bound.key && items.id[i] <= bound.id);
}

// Returns the bound of the `wanted` best items, of which there are as many. `id_bits`: of the largest id.
DEVICE SelectBound select_bound(const SelectItems &items, int wanted, int id_bits, SelectCounter &counter) {
    SelectBound bound{0, NO_ID};
    for (int bit = 31; bit >= 0; --bit) {
        unsigned key = bound.key | 1u << bit;
        int own = 0;
#pragma unroll
        for (int i = 0; i < ITEMS; ++i)
            own += items.key[i] >= key ? 1 : 0;
        int count = SelectCounter::count(counter, own);
        if (count >= wanted)
            bound.key = key;
        if (count == wanted)
            return bound;
    }
    // More items than wanted have the bound's key or a larger one.
    int above = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        above += items.key[i] > bound.key ? 1 : 0;
    int wanted_of_equal = wanted - SelectCounter::count(counter, above);
    bound.id = 0;
    for (int bit = id_bits - 1; bit >= 0; --bit) {
        unsigned id = bound.id | 1u << bit;
        int own = 0;
#pragma unroll
        for (int i = 0; i < ITEMS; ++i)
            own += items.key[i] == bound.key && items.id[i] < id ? 1 : 0;
        if (SelectCounter::count(counter, own) < wanted_of_equal)
            bound.id = id;
    }
    return bound;
}

// Returns the largest key of the block, in every thread.
DEVICE unsigned largest_key(const SelectItems &items) {
    SHARED(unsigned, largest, SELECT_WARPS);
    unsigned own = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        own = own > items.key[i] ? own : items.key[i];
    own = __reduce_max_sync(ALL_LANES, own);
    if (lane_id() == 0)
        largest[warp_id()] = own;
    __syncthreads();
    own = 0;
#pragma unroll
    for (int warp = 0; warp < SELECT_WARPS; ++warp)
        own = own > largest[warp] ? own : largest[warp];
    return own;
}

// Returns where the thread's chosen items go: how many of the threads before it are chosen.
DEVICE int first_place(const SelectItems &items, SelectBound bound) {
    SHARED(int, chosen, SELECT_WARPS);
    int own = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        own += is_chosen(items, i, bound) ? 1 : 0;
    int until = own;
#pragma unroll
    for (int distance = 1; distance < WARP_SIZE; distance *= 2) {
        int before = __shfl_up_sync(ALL_LANES, until, static_cast<unsigned>(distance));
        if (lane_id() >= distance)
            until += before;
    }
    if (lane_id() == WARP_SIZE - 1)
        chosen[warp_id()] = until;
    __syncthreads();
    int place = until - own;
    for (int warp = 0; warp < warp_id(); ++warp)
        place += chosen[warp];
    return place;
}

// Returns the thread's part of the sum of exponentials of what is not chosen; NaN when one of its items is no number below infinity.
DEVICE float rest_of_thread(const SelectItems &items, SelectBound bound, float largest) {
    float rest = 0.0f;
    bool valid = true;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        if (items.id[i] == NO_ID)
            continue;
        float x = unordered(items.key[i]);
        valid = valid && x < INFINITY;
        if (largest > -INFINITY && !is_chosen(items, i, bound))
            rest += expf(x - largest);
    }
    return valid ? rest : NAN;
}

KERNEL(SELECT_THREADS) candidates_of_slices(CandidatesOfRow p) {
    start_kernel_after();
    wait_for_kernel_before();
    SHARED(int, sums, 2 * SELECT_WARPS);
    SelectCounter counter{sums, 0};
    const float *row = p.logits + static_cast<long long>(blockIdx.y) * p.stride;
    int first = static_cast<int>(blockIdx.x) * SLICE, there = min(p.width - first, SLICE);
    SelectItems items;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        int at = i * SELECT_THREADS + static_cast<int>(threadIdx.x);
        items.key[i] = at < there ? key_of(row[first + at]) : 0;
        items.id[i] = at < there ? static_cast<unsigned>(first + at) : NO_ID;
    }
    int wanted = min(CANDIDATES, there);
    SelectBound bound = select_bound(items, wanted, 32 - __clz(p.width), counter);
    float largest = unordered(largest_key(items));
    int place = first_place(items, bound);
    float rest = block_sum<SELECT_WARPS>(rest_of_thread(items, bound, largest));

    long long slice = static_cast<long long>(blockIdx.y) * p.num_slices + blockIdx.x;
    float *logits = p.slice_logits + slice * CANDIDATES;
    unsigned *ids = p.slice_ids + slice * CANDIDATES;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        if (is_chosen(items, i, bound) && place < wanted) {
            logits[place] = unordered(items.key[i]);
            ids[place++] = items.id[i];
        }
    int thread = static_cast<int>(threadIdx.x);
    if (thread >= wanted && thread < CANDIDATES) {
        logits[thread] = -INFINITY;
        ids[thread] = NO_ID;
    }
    if (thread == 0) {
        p.slice_rest[2 * slice] = largest;
        p.slice_rest[2 * slice + 1] = rest;
    }
}

KERNEL(SELECT_THREADS) candidates_of_row(CandidatesOfRow p) {
    start_kernel_after();
    wait_for_kernel_before();
    SHARED(int, sums, 2 * SELECT_WARPS);
    SHARED(unsigned, keys, CANDIDATES);
    SHARED(unsigned, ids, CANDIDATES);
    SelectCounter counter{sums, 0};
    long long first_slice = static_cast<long long>(blockIdx.x) * p.num_slices;
    int thread = static_cast<int>(threadIdx.x), there = p.num_slices * CANDIDATES;
    SelectItems items;
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
        int at = i * SELECT_THREADS + thread;
        items.id[i] = at < there ? p.slice_ids[first_slice * CANDIDATES + at] : NO_ID;
        items.key[i] = items.id[i] != NO_ID ? key_of(p.slice_logits[first_slice * CANDIDATES + at]) : 0;
    }
    int wanted = min(CANDIDATES, p.width);
    SelectBound bound = select_bound(items, wanted, 32 - __clz(p.width), counter);
    float largest = unordered(largest_key(items));
    int place = first_place(items, bound);
    float own = rest_of_thread(items, bound, largest);
    if (thread < p.num_slices) {
        float of_slice = p.slice_rest[2 * (first_slice + thread) + 1];
        // Where all of a slice is minus infinity, nothing is to be added, and the difference would be NaN.
        if (of_slice != 0.0f)
            own += of_slice * expf(p.slice_rest[2 * (first_slice + thread)] - largest);
    }
    float rest = block_sum<SELECT_WARPS>(own);
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
        if (is_chosen(items, i, bound) && place < wanted) {
            keys[place] = items.key[i];
            ids[place++] = items.id[i];
        }
    __syncthreads();

    unsigned *record = p.records + static_cast<long long>(blockIdx.x) * RECORD_WORDS;
    if (thread < wanted) {
        unsigned key = keys[thread], id = ids[thread];
        int rank = 0;
        for (int other = 0; other < wanted; ++other)
            rank += keys[other] > key || (keys[other] == key && ids[other] < id) ? 1 : 0;
        record[rank] = __float_as_uint(unordered(key));
        record[CANDIDATES + rank] = id;
    } else if (thread < CANDIDATES) {
        record[thread] = __float_as_uint(-INFINITY);
        record[CANDIDATES + thread] = NO_ID;
    }
    if (thread < RECORD_WORDS - 2 * CANDIDATES)
        record[2 * CANDIDATES + thread] = thread == 0 ? __float_as_uint(rest) : 0;
}
