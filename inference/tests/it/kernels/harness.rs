//! The host machine itself: faults that are put in on purpose are found, and what is right is left alone.

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    random,
    runner::{Case, Failure},
};

const THREADS: usize = 128;
/// Orders of threads in which a fault is looked for. A test of a kernel runs fewer; see [`orders_that_show`].
const ORDERS: u64 = 8;
/// Exit status of a run that the host machine stopped (`host::FAILED`).
const STOPPED: Option<i32> = Some(3);

fn neighbours(fault: u32) -> Case {
    Case::new("neighbours")
        .scalar("fault", fault)
        .buffer("x", &random(1, THREADS))
}

fn sums(fault: u32) -> Case {
    Case::new("sums")
        .scalar("fault", fault)
        .buffer("x", &random(2, THREADS))
}

fn copies(fault: u32) -> Case {
    Case::new("copies")
        .scalar("fault", fault)
        .buffer("x", &random(3, 4 * THREADS))
}

fn want_neighbours() -> Vec<f32> {
    let x = random(1, THREADS);
    let next = |i: usize| x[(i + 1) % THREADS];
    (0..THREADS).map(|i| next(i) + 2.0 * next(i)).collect()
}

/// Returns in how many orders of threads the numbers are wrong.
fn orders_that_show(case: &Case, want: &[f32]) -> usize {
    let wrong = |seed: u64| {
        let got: Vec<f32> = case.run_in_order(seed).expect("it ends").get("y");
        got != want
    };
    (0..ORDERS).filter(|&seed| wrong(seed)).count()
}

#[track_caller]
fn failure(case: &Case) -> Failure {
    case.run_in_order(1).expect_err("the fault is found")
}

#[test]
fn kernels_without_a_fault_pass() {
    assert_eq!(neighbours(0).run().get::<f32>("y"), want_neighbours());
    assert_eq!(
        copies(0).run().get::<f32>("y"),
        random(3, 4 * THREADS),
        "an asynchronous copy"
    );
    let x = random(2, THREADS);
    for (warp, got) in sums(0).run().get::<f32>("y").chunks(32).enumerate() {
        let want: f32 = x[warp * 32..][..32].iter().sum();
        assert!(
            got.iter()
                .all(|sum| (sum - want).abs() < 1e-4 && *sum == got[0])
        );
    }
}

#[test]
fn a_missing_barrier_gives_wrong_numbers_in_every_order() {
    for fault in [1, 2] {
        let shown = orders_that_show(&neighbours(fault), &want_neighbours());
        assert_eq!(shown, ORDERS as usize, "fault {fault}");
    }
}

#[test]
fn an_access_one_beyond_the_end_is_found() {
    for fault in [3, 4] {
        let found = failure(&neighbours(fault));
        assert!(found.stderr.contains("heap-buffer-overflow"), "{found:?}");
    }
}

#[test]
fn a_wrong_lane_gives_wrong_numbers() {
    let right = sums(0).run().get::<f32>("y");
    assert_eq!(orders_that_show(&sums(5), &right), ORDERS as usize);
}

#[test]
fn lanes_outside_a_mask_and_missing_lanes_stop_the_run() {
    for (fault, message) in [
        (6, "which is not in the mask"),
        (7, "a warp operation lacks lanes of its mask"),
    ] {
        let found = failure(&sums(fault));
        assert_eq!(found.status, STOPPED);
        assert!(found.stderr.contains(message), "{found:?}");
        assert!(found.stderr.contains("harness_cases.cpp:"), "{found:?}");
    }
}

#[test]
fn barriers_that_not_all_threads_reach_stop_the_run() {
    for (fault, message) in [
        (8, "threads wait at different barriers"),
        (9, "threads wait at a barrier that others have left behind"),
    ] {
        let found = failure(&neighbours(fault));
        assert_eq!(found.status, STOPPED);
        assert!(found.stderr.contains(message), "{found:?}");
    }
}

#[test]
fn shared_memory_that_nobody_wrote_is_not_a_number() {
    let y: Vec<f32> = neighbours(10).run_in_order(1).unwrap().get("y");
    let unwritten: Vec<usize> = (0..THREADS).filter(|&i| y[i].is_nan()).collect();
    assert_eq!(unwritten, [4]);
}

#[test]
fn a_copy_that_nobody_waits_for_is_not_there() {
    let y: Vec<f32> = copies(11).run_in_order(1).unwrap().get("y");
    assert!(y.iter().all(|y| y.is_nan()));
}

#[test]
fn a_wide_load_from_an_odd_address_stops_the_run() {
    let found = failure(&copies(12));
    assert_eq!(found.status, STOPPED);
    assert!(
        found.stderr.contains("is not a multiple of 16"),
        "{found:?}"
    );
}

#[test]
fn every_block_and_thread_runs_once() {
    let y: Vec<u32> = Case::new("grid").run().get("y");
    assert_eq!(y, (0..y.len() as u32).collect::<Vec<_>>());
}

#[test]
fn warp_operations_and_atomics_mean_what_cuda_says() {
    let case = Case::new("operations").buffer("counter", &[0u32; 4]);
    let out = case.run_in_order(1).unwrap();
    let y: Vec<u32> = out.get("y");
    let rows: Vec<&[u32]> = y.chunks(64).collect();
    for i in 0..64u32 {
        let (lane, warp) = (i % 32, i / 32 * 32);
        let at = i as usize;
        let thirds = (0..32).filter(|lane| lane % 3 == 0);
        let want = [
            warp + 5,
            warp + lane / 8 * 8 + 1,
            if lane < 3 { i } else { i - 3 },
            if lane + 3 < 32 { i + 3 } else { i },
            if lane % 8 + 3 < 8 { i + 3 } else { i },
            thirds.map(|lane| 1u32 << lane).sum(),
            if lane < 16 { 0xfff8 } else { 0x000f_0000 },
            u32::from(warp == 32),
            u32::from(warp == 0),
            63 - i,
        ];
        let got: Vec<u32> = rows.iter().map(|row| row[at]).collect();
        assert_eq!(got, want, "thread {i}");
    }
    let counter: Vec<u32> = out.get("counter");
    assert_eq!((counter[0], counter[1], counter[3]), (63 * 32, 63, 1));
    assert!((1..=64).contains(&counter[2]));
}

#[test]
fn conversions_round_to_nearest_even() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut x: Vec<f32> = (0..20_000).map(|_| f32::from_bits(rng.random())).collect();
    // Every f16 and its neighbours half a step away: ties, the ends of ranges, subnormal numbers.
    for bits in 0..=u16::MAX {
        let exact = f16::from_bits(bits).to_f32();
        let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
        let middle = exact / 2.0 + next / 2.0;
        x.extend([exact, middle, middle.next_up(), middle.next_down()]);
        x.push(f32::from_bits(u32::from(bits) << 16 | 0x8000));
    }
    let out = Case::new("conversions")
        .buffer("x", &x)
        .run_in_order(1)
        .unwrap();
    let (halves, bf16s): (Vec<u16>, Vec<u16>) = (out.get("half"), out.get("bf16"));
    for ((x, half), bf16_bits) in x.iter().zip(halves).zip(bf16s) {
        if x.is_nan() {
            assert_eq!((half, bf16_bits), (0x7fff, 0x7fff));
        } else {
            assert_eq!(half, f16::from_f32(*x).to_bits(), "{x:e}");
            assert_eq!(bf16_bits, bf16::from_f32(*x).to_bits(), "{x:e}");
        }
    }
    let (from_half, from_bf16): (Vec<f32>, Vec<f32>) = (out.get("from_half"), out.get("from_bf16"));
    for bits in 0..=u16::MAX {
        let at = usize::from(bits);
        for (got, want) in [
            (from_half[at], f16::from_bits(bits).to_f32()),
            (from_bf16[at], bf16::from_bits(bits).to_f32()),
        ] {
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan());
        }
    }
}
