//! Schedules as data: requests in, a trace of steps out.

use std::{fmt::Write, time::Duration};

use expect_test::{Expect, expect};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::sequence::Priority;

/// A request of a scenario: it arrives before step `arrives`, is cancelled before step `cancelled`, and generates
/// `generates` tokens.
#[derive(Clone)]
struct Scripted {
    name: &'static str,
    prompt_len: usize,
    generates: usize,
    priority: Priority,
    arrives: usize,
    cancelled: Option<usize>,
}

fn request(name: &'static str, prompt_len: usize, generates: usize) -> Scripted {
    Scripted {
        name,
        prompt_len,
        generates,
        priority: Priority::Interactive,
        arrives: 1,
        cancelled: None,
    }
}

impl Scripted {
    fn at(self, step: usize) -> Self {
        Self {
            arrives: step,
            ..self
        }
    }

    fn class(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    fn cancelled_at(self, step: usize) -> Self {
        Self {
            cancelled: Some(step),
            ..self
        }
    }
}

struct Limits {
    seqs: usize,
    tokens: usize,
    blocks: usize,
    window: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            seqs: 4,
            tokens: 64,
            blocks: 8,
            window: None,
        }
    }
}

fn scheduler(limits: &Limits) -> Scheduler {
    Scheduler::new(SchedulerLimits {
        max_num_seqs: limits.seqs,
        num_blocks: limits.blocks,
        budget: TokenBudget::new(limits.tokens, Duration::from_millis(250)),
        window: limits.window,
    })
}

fn names(script: &[Scripted], ids: &[SequenceId]) -> String {
    ids.iter()
        .map(|id| script[id.0 as usize].name)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Describes a plan: `prefill a[0..32]*` (a star where a token is chosen), `decode b@33`.
fn describe(script: &[Scripted], plan: &StepPlan) -> String {
    let mut line = String::new();
    if !plan.preempted.is_empty() {
        let _ = write!(line, "preempt {}  ", names(script, &plan.preempted));
    }
    if !plan.admitted.is_empty() {
        let _ = write!(line, "admit {}  ", names(script, &plan.admitted));
    }
    for row in &plan.rows {
        let name = script[row.id.0 as usize].name;
        let star = if row.samples { "*" } else { "" };
        let _ = match row.len {
            1 => write!(line, "{name}@{}{star} ", row.start),
            len => write!(line, "{name}[{}..{}]{star} ", row.start, row.start + len),
        };
    }
    line
}

/// Plays a scenario until every request has ended and compares the trace.
fn check_schedule(limits: Limits, script: &[Scripted], want: Expect) {
    let mut scheduler = scheduler(&limits);
    let mut trace = String::new();
    for step in 1.. {
        for (index, scripted) in script.iter().enumerate() {
            let id = SequenceId(index as u64);
            if scripted.arrives == step {
                scheduler.add(Sequence::new(
                    id,
                    scripted.priority,
                    vec![0; scripted.prompt_len],
                ));
            }
            if scripted.cancelled == Some(step) {
                scheduler.remove(id);
            }
        }
        let plan = scheduler.plan();
        scheduler.assert_consistent();
        for row in &plan.rows {
            scheduler.commit(row, row.samples.then_some(1));
            let sequence = scheduler.get(row.id).expect("still there");
            if sequence.num_generated() == script[row.id.0 as usize].generates {
                scheduler.remove(row.id);
            }
        }
        scheduler.assert_consistent();
        let _ = writeln!(
            trace,
            "{step}: {}free {}",
            describe(script, &plan),
            scheduler.num_free_blocks()
        );
        if scheduler.is_empty() && script.iter().all(|scripted| scripted.arrives <= step) {
            break;
        }
        assert!(step < 1_000, "no end in sight:\n{trace}");
    }
    assert_eq!(
        scheduler.num_free_blocks(),
        limits.blocks,
        "blocks leaked:\n{trace}"
    );
    want.assert_eq(&trace);
}

#[test]
fn a_long_prompt_is_prefilled_in_chunks_beside_a_running_answer() {
    check_schedule(
        Limits {
            seqs: 4,
            tokens: 16,
            blocks: 8,
            ..Limits::default()
        },
        &[request("a", 10, 5), request("b", 40, 1).at(2)],
        expect![[r#"
            1: admit a  a[0..10]* free 7
            2: admit b  a@10* b[0..15] free 4
            3: a@11* b[15..30] free 4
            4: a@12* b[30..40]* free 7
            5: a@13* free 8
        "#]],
    );
}

#[test]
fn a_full_batch_makes_newcomers_wait_for_a_place() {
    check_schedule(
        Limits {
            seqs: 2,
            tokens: 64,
            blocks: 8,
            ..Limits::default()
        },
        &[request("a", 8, 2), request("b", 8, 3), request("c", 8, 1)],
        expect![[r#"
            1: admit a b  a[0..8]* b[0..8]* free 6
            2: a@8* b@8* free 7
            3: admit c  b@9* c[0..8]* free 8
        "#]],
    );
}

#[test]
fn the_youngest_is_preempted_when_blocks_run_out_and_finishes_later() {
    check_schedule(
        Limits {
            seqs: 4,
            tokens: 64,
            blocks: 4,
            ..Limits::default()
        },
        &[request("a", 31, 4), request("b", 15, 20)],
        expect![[r#"
            1: admit a b  a[0..31]* b[0..15]* free 1
            2: a@31* b@15* free 1
            3: preempt b  a@32* free 1
            4: a@33* free 4
            5: admit b  b[0..17]* free 2
            6: b@17* free 2
            7: b@18* free 2
            8: b@19* free 2
            9: b@20* free 2
            10: b@21* free 2
            11: b@22* free 2
            12: b@23* free 2
            13: b@24* free 2
            14: b@25* free 2
            15: b@26* free 2
            16: b@27* free 2
            17: b@28* free 2
            18: b@29* free 2
            19: b@30* free 2
            20: b@31* free 2
            21: b@32* free 1
            22: b@33* free 4
        "#]],
    );
}

#[test]
fn a_lower_class_waits_and_gives_way() {
    check_schedule(
        Limits {
            seqs: 1,
            tokens: 64,
            blocks: 8,
            ..Limits::default()
        },
        &[
            request("batch", 8, 1).class(Priority::Batch),
            request("api", 8, 1).class(Priority::Api),
            request("person", 8, 1),
        ],
        expect![[r#"
            1: admit person  person[0..8]* free 8
            2: admit api  api[0..8]* free 8
            3: admit batch  batch[0..8]* free 8
        "#]],
    );
}

#[test]
fn a_person_takes_blocks_from_a_batch_job_that_came_first() {
    check_schedule(
        Limits {
            seqs: 2,
            tokens: 64,
            blocks: 3,
            ..Limits::default()
        },
        &[
            request("batch", 16, 18).class(Priority::Batch),
            request("person", 15, 4).at(2),
        ],
        expect![[r#"
            1: admit batch  batch[0..16]* free 2
            2: admit person  batch@16* person[0..15]* free 0
            3: person@15* batch@17* free 0
            4: preempt batch  person@16* free 1
            5: person@17* free 3
            6: admit batch  batch[0..19]* free 1
            7: batch@19* free 1
            8: batch@20* free 1
            9: batch@21* free 1
            10: batch@22* free 1
            11: batch@23* free 1
            12: batch@24* free 1
            13: batch@25* free 1
            14: batch@26* free 1
            15: batch@27* free 1
            16: batch@28* free 1
            17: batch@29* free 1
            18: batch@30* free 1
            19: batch@31* free 1
            20: batch@32* free 3
        "#]],
    );
}

#[test]
fn a_person_overtakes_the_long_prompt_of_a_batch_job() {
    check_schedule(
        Limits {
            seqs: 1,
            tokens: 16,
            blocks: 8,
            ..Limits::default()
        },
        &[
            request("batch", 64, 1).class(Priority::Batch),
            request("person", 20, 1).at(3),
        ],
        expect![[r#"
            1: admit batch  batch[0..16] free 4
            2: batch[16..32] free 4
            3: preempt batch  admit person  person[0..16] free 6
            4: person[16..20]* free 8
            5: admit batch  batch[0..16] free 4
            6: batch[16..32] free 4
            7: batch[32..48] free 4
            8: batch[48..64]* free 8
        "#]],
    );
}

#[test]
fn cancelling_frees_the_blocks_before_the_next_step() {
    check_schedule(
        Limits {
            seqs: 1,
            tokens: 64,
            blocks: 4,
            ..Limits::default()
        },
        &[request("a", 40, 9).cancelled_at(3), request("b", 40, 1)],
        expect![[r#"
            1: admit a  a[0..40]* free 1
            2: a@40* free 1
            3: admit b  b[0..40]* free 4
        "#]],
    );
}

#[test]
fn a_prompt_that_does_not_fit_yet_is_not_overtaken() {
    check_schedule(
        Limits {
            seqs: 4,
            tokens: 64,
            blocks: 4,
            ..Limits::default()
        },
        &[
            request("a", 30, 3),
            request("long", 50, 1),
            request("short", 4, 1),
        ],
        expect![[r#"
            1: admit a  a[0..30]* free 2
            2: a@30* free 2
            3: a@31* free 4
            4: admit long  long[0..50]* free 4
            5: admit short  short[0..4]* free 4
        "#]],
    );
}

#[test]
fn blocks_behind_the_window_return_to_the_pool() {
    check_schedule(
        Limits {
            blocks: 6,
            tokens: 16,
            window: Some(17),
            ..Limits::default()
        },
        // Without a window, two of four blocks each would not fit beside each other.
        &[request("a", 47, 17), request("b", 47, 17).at(3)],
        expect![[r#"
            1: admit a  a[0..16] free 3
            2: a[16..32] free 4
            3: admit b  a[32..47]* b@0 free 1
            4: a@47* b[1..16] free 2
            5: a@48* b[16..31] free 1
            6: a@49* b[31..46] free 2
            7: a@50* b@46* free 2
            8: a@51* b@47* free 3
            9: a@52* b@48* free 2
            10: a@53* b@49* free 2
            11: a@54* b@50* free 2
            12: a@55* b@51* free 2
            13: a@56* b@52* free 2
            14: a@57* b@53* free 2
            15: a@58* b@54* free 2
            16: a@59* b@55* free 2
            17: a@60* b@56* free 2
            18: a@61* b@57* free 2
            19: a@62* b@58* free 4
            20: b@59* free 4
            21: b@60* free 4
            22: b@61* free 4
            23: b@62* free 6
        "#]],
    );
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    check_schedule(
        Limits {
            tokens: 64,
            blocks: 32,
            ..Limits::default()
        },
        &[
            request("long", 300, 1),
            request("hi", 30, 3).at(3),
            request("page", 100, 1).at(3),
        ],
        expect![[r#"
            1: admit long  long[0..64] free 13
            2: long[64..128] free 13
            3: admit hi page  long[128..144] hi[0..30]* page[0..18] free 4
            4: hi@30* long[144..160] page[18..65] free 4
            5: hi@31* long[160..188] page[65..100]* free 13
            6: long[188..252] free 13
            7: long[252..300]* free 32
        "#]],
    );
}

/// Steps from each request's arrival to its first token, its first step being 1.
fn steps_to_first_token(limits: &Limits, script: &[Scripted]) -> Vec<usize> {
    let mut scheduler = scheduler(limits);
    let mut waited = vec![0; script.len()];
    for step in 1..20_000 {
        for (index, scripted) in script.iter().enumerate() {
            if scripted.arrives == step {
                let id = SequenceId(index as u64);
                let prompt = vec![0; scripted.prompt_len];
                scheduler.add(Sequence::new(id, scripted.priority, prompt));
            }
        }
        let plan = scheduler.plan();
        let running = scheduler.running.values();
        let pending: usize = running.map(Sequence::num_pending_tokens).sum();
        // Whatever is shared, nothing of a step is left unused while somebody could use it.
        assert_eq!(plan.num_tokens(), pending.min(limits.tokens), "step {step}");
        for row in &plan.rows {
            let index = row.id.0 as usize;
            scheduler.commit(row, row.samples.then_some(1));
            if row.samples && waited[index] == 0 {
                waited[index] = step - script[index].arrives + 1;
            }
            let sequence = scheduler.get(row.id).expect("still there");
            if sequence.num_generated() == script[index].generates {
                scheduler.remove(row.id);
            }
        }
        scheduler.assert_consistent();
        if !waited.contains(&0) {
            return waited;
        }
    }
    panic!("no end in sight: {waited:?}");
}

const LARGE: Limits = Limits {
    seqs: 8,
    tokens: 256,
    blocks: 1_024,
    window: None,
};

#[test]
fn beside_a_prompt_of_7000_tokens_short_ones_get_their_first_token_within_two_steps() {
    for short_len in [1, 30, 100, 190] {
        for arrives in [1, 2, 15, 27, 28] {
            let script = [
                request("long", 7_000, 4),
                request("short", short_len, 20).at(arrives),
                request("second", 31, 20).at(arrives + 1),
            ];
            let waited = steps_to_first_token(&LARGE, &script);
            assert!(
                waited[1] <= 2 && waited[2] <= 2,
                "{short_len}, {arrives}: {waited:?}"
            );
            assert!(waited[0] <= 7_000_usize.div_ceil(256) + 2, "{waited:?}");
        }
    }
}

#[test]
fn a_long_prompt_advances_however_many_short_ones_arrive() {
    let mut script = vec![request("long", 7_000, 1)];
    // As many tokens as a step takes arrive with every step.
    script.extend((1..200).flat_map(|step| (0..4).map(move |_| request("short", 64, 1).at(step))));
    let waited = steps_to_first_token(&LARGE, &script);
    assert!(
        waited[0] <= 4 * 7_000_usize.div_ceil(256) + 4,
        "{}",
        waited[0]
    );
}

#[test]
fn short_prompts_pass_a_long_one_that_waits_for_blocks_and_do_not_starve_it() {
    // Two fit, the third does not.
    let mut script = vec![
        request("first", 7_000, 100),
        request("second", 7_000, 100),
        request("third", 7_000, 1),
    ];
    script.extend((2..600).map(|step| request("hi", 40, 3).at(step)));
    let waited = steps_to_first_token(&LARGE, &script);
    assert!(waited[3] <= 2, "{}", waited[3]);
    // The prompts before it, the rest of their answers, and its own at a quarter of each step.
    let bound = 2 * 4 * 7_000_usize.div_ceil(256) + 100 + 4 * 7_000_usize.div_ceil(256);
    assert!(waited[2] <= bound, "{}", waited[2]);
    let slowest = waited[3..].iter().max().unwrap();
    assert!(*slowest <= 6, "{slowest}");
}

#[test]
fn in_a_cache_that_is_too_small_for_all_everybody_gets_a_first_token() {
    let tight = Limits {
        seqs: 6,
        blocks: 512,
        ..LARGE
    };
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut script: Vec<_> = (0..60)
            .map(|_| {
                let len = match rng.random_bool(0.3) {
                    true => rng.random_range(1_000..7_000),
                    false => rng.random_range(1..200),
                };
                let arrives = rng.random_range(1..300);
                request("p", len, rng.random_range(1..300)).at(arrives)
            })
            .collect();
        script.sort_by_key(|scripted| scripted.arrives);
        steps_to_first_token(&tight, &script);
    }
}

#[test]
fn sharing_a_step_costs_no_steps() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script: Vec<_> = (0..8)
            .map(|_| request("p", rng.random_range(1..1_500), 1))
            .collect();
        let total: usize = script.iter().map(|scripted| scripted.prompt_len).sum();
        let waited = steps_to_first_token(&LARGE, &script);
        assert_eq!(waited.into_iter().max(), Some(total.div_ceil(256)));
    }
}

#[test]
fn at_random_the_shortest_comes_first_and_the_eldest_is_never_passed_by_more_than_three_quarters() {
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let script: Vec<_> = (0..40)
            .map(|_| {
                let len = match rng.random_bool(0.2) {
                    true => rng.random_range(500..3_000),
                    false => rng.random_range(1..60),
                };
                request("p", len, rng.random_range(1..6)).at(rng.random_range(1..120))
            })
            .collect();
        let mut script = script;
        script.sort_by_key(|scripted| scripted.arrives);
        let roomy = Limits {
            seqs: 64,
            blocks: 16_384,
            ..LARGE
        };
        let waited = steps_to_first_token(&roomy, &script);
        // Whoever is eldest takes four times its own steps at most, and everybody becomes eldest in turn.
        let mut bound = 0;
        for (scripted, waited) in script.iter().zip(&waited) {
            bound += 5 * scripted.prompt_len.div_ceil(256);
            assert!(
                *waited <= bound + script.len(),
                "seed {seed}: {waited} > {bound}"
            );
        }
        let shorts = script
            .iter()
            .zip(&waited)
            .filter(|(s, _)| s.prompt_len < 60);
        for (scripted, waited) in shorts {
            let together = script.iter().filter(|other| {
                other.prompt_len < 60 && other.arrives.abs_diff(scripted.arrives) <= 4
            });
            let ahead: usize = together.map(|other| other.prompt_len).sum();
            assert!(
                *waited <= 1 + ahead.div_ceil(128),
                "seed {seed}: {waited}, {ahead}"
            );
        }
    }
}

/// A tiny universe (5 blocks, prompts of up to 3 blocks) in which arrivals, ends and cancels happen at random.
#[test]
fn a_random_walk_keeps_every_invariant_and_starves_nobody() {
    for seed in 0..3 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut scheduler = scheduler(&Limits {
            seqs: 3,
            tokens: 20,
            blocks: 5,
            ..Limits::default()
        });
        let mut next_id = 0;
        let mut wants = BTreeMap::new();
        let mut oldest_age = 0;
        for _ in 0..10_000 {
            if scheduler.num_waiting() < 3 && rng.random_bool(0.3) {
                let (prompt_len, generates) = (rng.random_range(1..48), rng.random_range(1..=30));
                let priority =
                    [Priority::Interactive, Priority::Api, Priority::Batch][rng.random_range(0..3)];
                // Everything must fit alone, as the engine's limit on the length guarantees.
                let generates = generates.min(80 - prompt_len);
                wants.insert(SequenceId(next_id), generates);
                scheduler.add(Sequence::new(
                    SequenceId(next_id),
                    priority,
                    vec![0; prompt_len],
                ));
                next_id += 1;
            }
            if rng.random_bool(0.02)
                && let Some(&id) = scheduler.ids().first()
            {
                scheduler.remove(id);
            }
            let plan = scheduler.plan();
            scheduler.assert_consistent();
            assert!(plan.num_tokens() <= 20);
            assert!(
                !plan.rows.is_empty() || !plan.preempted.is_empty() || scheduler.is_empty(),
                "stuck"
            );
            for row in &plan.rows {
                assert!(!plan.preempted.contains(&row.id));
                scheduler.commit(row, row.samples.then_some(1));
                if scheduler.get(row.id).expect("still there").num_generated() == wants[&row.id] {
                    scheduler.remove(row.id);
                }
            }
            scheduler.assert_consistent();
            let oldest = scheduler.ids().into_iter().min().map_or(next_id, |id| id.0);
            oldest_age = oldest_age.max(next_id - oldest);
        }
        // The oldest may be of the last class and wait for many of the first; it still gets its turn.
        assert!(
            oldest_age < 2_000,
            "a request waited while {oldest_age} came and went"
        );
    }
}
