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
