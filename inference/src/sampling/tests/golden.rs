//! The same numbers as llama.cpp: `scripts/goldens/samplers.py` ran its samplers on random logits.

use std::sync::Arc;

use serde::Deserialize;

use super::super::{
    Dry, SamplingParams, Vocabulary,
    candidates::{self, Candidate},
    draw, dry,
    mirostat::Mirostat,
    params,
    penalties::Penalties,
    truncation, xtc,
};

#[derive(Deserialize)]
struct Golden {
    breakers: Vec<String>,
    /// Text of each token, a byte written as the character of that code.
    texts_latin1: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    logits: Vec<f32>,
    history: Vec<u32>,
    parameters: Parameters,
    /// Ids that each step keeps when it is alone.
    kept: Kept,
    /// Logits that the penalties change.
    penalties: Vec<(u32, f32)>,
    dry: Vec<(u32, f32)>,
    /// What all steps leave, one after another, with logits.
    chain: Vec<(u32, f32)>,
}

#[derive(Deserialize)]
struct Parameters {
    top_n_sigma: f32,
    top_k: usize,
    typical: f32,
    top_p: f32,
    min_p: f32,
    xtc: f32,
    temp: f32,
    mirostat: f32,
    last_n: usize,
    repetition: f32,
    frequency: f32,
    presence: f32,
    dry_multiplier: f32,
    dry_base: f32,
    dry_allowed: usize,
    dry_last_n: usize,
}

#[derive(Deserialize)]
struct Kept {
    top_n_sigma: Vec<u32>,
    top_k: Vec<u32>,
    typical: Vec<u32>,
    top_p: Vec<u32>,
    min_p: Vec<u32>,
    xtc: Vec<u32>,
    mirostat: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/samplers.json")).unwrap()
}

fn kept(logits: &[f32], step: impl Fn(&mut Vec<Candidate>)) -> Vec<u32> {
    let mut candidates = Vec::new();
    candidates::collect(&mut candidates, logits);
    step(&mut candidates);
    let mut ids: Vec<u32> = candidates.iter().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    ids
}

/// Our two penalties, with the history as the answer: llama.cpp counts prompt and answer for all of them.
fn penalised(case: &Case, golden: &Golden, logits: &mut Vec<f32>, penalties: bool, dry: bool) {
    let p = &case.parameters;
    let params = SamplingParams {
        repetition_penalty: p.repetition,
        frequency_penalty: p.frequency,
        presence_penalty: p.presence,
        penalty_last_n: Some(p.last_n),
        dry: Dry {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed_length: p.dry_allowed,
            last_n: Some(p.dry_last_n),
            sequence_breakers: golden.breakers.clone(),
        },
        ..Default::default()
    };
    if penalties {
        let mut penalties = Penalties::new(&params, &[]).unwrap();
        case.history.iter().for_each(|&id| penalties.accept(id));
        penalties.apply(logits);
    }
    if dry {
        let bytes = golden.texts_latin1.iter();
        let texts: Vec<Vec<u8>> = bytes
            .map(|text| text.chars().map(|byte| byte as u8).collect())
            .collect();
        let vocabulary = Arc::new(Vocabulary::new(texts.iter().map(Vec::as_slice)));
        let dry = dry::Dry::new(&params.dry, &case.history, &vocabulary);
        dry.unwrap().apply(logits);
    }
}

#[test]
fn each_truncation_keeps_what_llama_cpp_keeps() {
    for case in golden().cases {
        let (p, logits) = (&case.parameters, &case.logits);
        let mirostat = params::Mirostat {
            tau: p.mirostat,
            eta: 0.1,
        };
        let check = |name: &str, want: &[u32], step: &dyn Fn(&mut Vec<Candidate>)| {
            assert_eq!(kept(logits, step), want, "{name} of {logits:?}");
        };
        check("top_n_sigma", &case.kept.top_n_sigma, &|c| {
            truncation::top_n_sigma(c, p.top_n_sigma);
        });
        check("top_k", &case.kept.top_k, &|c| {
            truncation::top_k(c, p.top_k)
        });
        check("typical", &case.kept.typical, &|c| {
            truncation::typical(c, p.typical, &mut Vec::new());
        });
        check("top_p", &case.kept.top_p, &|c| {
            truncation::top_p(c, p.top_p)
        });
        check("min_p", &case.kept.min_p, &|c| {
            truncation::min_p(c, p.min_p)
        });
        check("xtc", &case.kept.xtc, &|c| {
            xtc::exclude_top_choices(c, p.xtc)
        });
        check("mirostat", &case.kept.mirostat, &|c| {
            Mirostat::new(mirostat).truncate(c);
        });
    }
}

#[test]
fn penalties_and_dry_change_the_logits_that_llama_cpp_changes() {
    let golden = golden();
    for case in &golden.cases {
        for (penalties, dry, want) in [(true, false, &case.penalties), (false, true, &case.dry)] {
            let mut logits = case.logits.clone();
            penalised(case, &golden, &mut logits, penalties, dry);
            let mut expected = case.logits.clone();
            for &(id, logit) in want {
                expected[id as usize] = logit;
            }
            for (id, (got, want)) in logits.iter().zip(&expected).enumerate() {
                let near = (got - want).abs() < 1e-4 * want.abs().max(1.0);
                assert!(near, "token {id}: {got}, not {want}; {:?}", case.history);
            }
        }
    }
    assert!(
        golden
            .cases
            .iter()
            .filter(|case| !case.dry.is_empty())
            .count()
            > 5
    );
}

#[test]
fn pitfall_19_all_steps_in_a_row_leave_what_llama_cpps_chain_leaves() {
    let golden = golden();
    let mut several = 0;
    for case in &golden.cases {
        let p = &case.parameters;
        let mut logits = case.logits.clone();
        penalised(case, &golden, &mut logits, true, true);
        let mut candidates = Vec::new();
        candidates::collect(&mut candidates, &logits);
        truncation::top_n_sigma(&mut candidates, p.top_n_sigma);
        truncation::top_k(&mut candidates, p.top_k);
        truncation::typical(&mut candidates, p.typical, &mut Vec::new());
        truncation::top_p(&mut candidates, p.top_p);
        truncation::min_p(&mut candidates, p.min_p);
        xtc::exclude_top_choices(&mut candidates, p.xtc);
        draw::temperature(&mut candidates, p.temp);
        candidates.sort_by_key(|candidate| candidate.id);
        let ids: Vec<u32> = candidates.iter().map(|candidate| candidate.id).collect();
        let want: Vec<u32> = case.chain.iter().map(|kept| kept.0).collect();
        assert_eq!(ids, want);
        several += usize::from(ids.len() > 1);
        // Temperature is applied relative to the largest logit; only differences matter.
        let largest = case
            .chain
            .iter()
            .map(|kept| kept.1)
            .fold(f32::NEG_INFINITY, f32::max);
        let ours = candidates::largest_logit(&candidates);
        for (candidate, (id, logit)) in candidates.iter().zip(&case.chain) {
            let (got, want) = (candidate.logit - ours, logit - largest);
            assert!((got - want).abs() < 1e-3, "token {id}: {got}, not {want}");
        }
    }
    assert!(
        several > golden.cases.len() / 4,
        "{several} chains left a choice"
    );
}
