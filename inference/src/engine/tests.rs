//! The engine over a model that fails when told to, and over one that leaves its logits on a device.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::{Device, Result, Tensor};

use super::*;
use crate::{
    gguf::synthetic::SyntheticModel,
    model::{RECORD_WORDS, RowLogits, StepLogits},
    runner::StepInput,
    sampling::{ROW_CANDIDATES, Wanted},
};

/// What the device does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Health {
    #[default]
    Well,
    /// The next step fails, and the device computes on.
    FailsOnce,
    PanicsOnce,
    /// No step succeeds any more.
    Sick,
}

/// Fails as its health says, before anything is computed.
struct FailingModel {
    model: CachedModel,
    health: Arc<Mutex<Health>>,
}

impl StepModel for FailingModel {
    fn forward(&mut self, step: &StepInput) -> Result<Option<StepLogits>> {
        let health = {
            let mut health = self.health.lock().unwrap();
            let now = *health;
            if now != Health::Sick {
                *health = Health::Well;
            }
            now
        };
        match health {
            Health::Well => self.model.forward(step),
            Health::FailsOnce => candle_core::bail!("a launch was refused"),
            Health::PanicsOnce => panic!("an index out of range"),
            Health::Sick => candle_core::bail!("illegal memory access"),
        }
    }

    fn rows_of_last_step(&mut self, rows: &[usize]) -> Result<Tensor> {
        self.model.rows_of_last_step(rows)
    }

    fn device_fault(&mut self) -> Option<String> {
        let is_sick = *self.health.lock().unwrap() == Health::Sick;
        is_sick.then(|| "Xid 31, illegal memory access".to_owned())
    }
}

/// Sends of each row what it is wanted for, and whole rows when asked again, as a GPU does.
struct RemoteModel {
    model: CachedModel,
    vocab_size: usize,
    last: Vec<Vec<f32>>,
    /// Rows sent by their candidates, and those that were asked for again.
    sent: Arc<[AtomicU64; 2]>,
}

impl StepModel for RemoteModel {
    fn forward(&mut self, step: &StepInput) -> Result<Option<StepLogits>> {
        let Some(whole) = self.model.forward(step)? else {
            return Ok(None);
        };
        let logits = whole.logits.narrow(1, 0, self.vocab_size)?;
        self.last = logits.to_vec2()?;
        let mut records = Vec::new();
        let mut rows = Vec::new();
        for (index, row) in self.last.iter().enumerate() {
            let mut record = record_of(row);
            let largest = record[ROW_CANDIDATES];
            rows.push(match step.wanted(index) {
                Wanted::Row => RowLogits::Whole(index),
                Wanted::Largest => {
                    // Nobody may look at more than was asked for.
                    record.fill(u32::MAX);
                    RowLogits::Largest(largest)
                }
                Wanted::Candidates => {
                    self.sent[0].fetch_add(1, Ordering::Relaxed);
                    RowLogits::Candidates
                }
            });
            records.extend(record);
        }
        Ok(Some(StepLogits {
            rows,
            records,
            ..whole
        }))
    }

    fn rows_of_last_step(&mut self, rows: &[usize]) -> Result<Tensor> {
        self.sent[1].fetch_add(rows.len() as u64, Ordering::Relaxed);
        let wanted: Vec<f32> = rows
            .iter()
            .flat_map(|&row| self.last[row].clone())
            .collect();
        Tensor::from_vec(wanted, (rows.len(), self.vocab_size), &Device::Cpu)
    }

    fn device_fault(&mut self) -> Option<String> {
        None
    }
}

/// Returns the candidates of a row as a device sends them.
fn record_of(row: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..row.len() as u32).collect();
    ids.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
    let (best, others) = ids.split_at(ROW_CANDIDATES.min(ids.len()));
    let largest = row[best[0] as usize];
    let rest: f32 = others
        .iter()
        .map(|&id| (row[id as usize] - largest).exp())
        .sum();
    let mut record = vec![f32::NEG_INFINITY.to_bits(); RECORD_WORDS];
    for (index, &id) in best.iter().enumerate() {
        record[index] = row[id as usize].to_bits();
        record[ROW_CANDIDATES + index] = id;
    }
    record[2 * ROW_CANDIDATES] = rest.to_bits();
    record
}

/// A model of 600 tokens.
fn model_file(folder: &Path) -> EngineConfig {
    let path = folder.join("tiny.gguf");
    let model = SyntheticModel {
        unused_tokens: 340,
        padding_rows: 7,
        ..SyntheticModel::default()
    };
    model.write(&path).unwrap();
    let mut config = EngineConfig::new(path);
    config.kv_cache_tokens = 1_024;
    // A third request waits.
    config.max_num_seqs = 2;
    config
}

fn request(prompt: &[u32], sampling: SamplingParams) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling: SamplingParams {
            max_tokens: 12,
            ignore_eos: true,
            ..sampling
        },
        ..GenerateRequest::default()
    }
}

/// Returns the tokens with their log-probabilities, and the last event.
fn answer(mut stream: TokenStream) -> (Vec<u32>, Vec<TokenLogprobs>, Event) {
    let (mut all, mut scored) = (Vec::new(), Vec::new());
    loop {
        match stream.blocking_next().expect("a last event") {
            Event::Delta {
                tokens, logprobs, ..
            } => {
                all.extend(tokens);
                scored.extend(logprobs);
            }
            last => return (all, scored, last),
        }
    }
}

fn failing(folder: &Path) -> (Engine, Arc<Mutex<Health>>) {
    let health = Arc::new(Mutex::new(Health::Well));
    let shared = Arc::clone(&health);
    let wrapped = move |model| -> Box<dyn StepModel> {
        Box::new(FailingModel {
            model,
            health: shared,
        })
    };
    let engine = Engine::start(model_file(folder), &|_| (), wrapped).unwrap();
    (engine, health)
}

#[test]
fn a_failed_step_fails_its_own_requests_and_the_engine_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, health) = failing(folder.path());
    let greedy = || request(&[5, 6, 7], SamplingParams::default());
    let (before, _, _) = answer(engine.submit(greedy()).unwrap());
    for (failure, reason) in [
        (Health::FailsOnce, "a launch was refused"),
        (Health::PanicsOnce, "an index out of range"),
    ] {
        *health.lock().unwrap() = failure;
        let (tokens, _, last) = answer(engine.submit(greedy()).unwrap());
        assert!(tokens.is_empty());
        let Event::Failed(EngineError::Step(message)) = last else {
            panic!("{last:?}");
        };
        assert!(message.contains(reason), "{message}");
        let stats = engine.stats();
        assert!(!stats.is_broken);
        assert_eq!((stats.running, stats.free_blocks), (0, stats.num_blocks));
        // Whoever comes after has the answer of an engine that never failed.
        let (after, _, last) = answer(engine.submit(greedy()).unwrap());
        assert!(matches!(last, Event::Finished { .. }), "{last:?}");
        assert_eq!(after, before);
    }
}

#[test]
fn a_sick_device_ends_everything_with_its_reason_and_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, health) = failing(folder.path());
    // No step begins while this is held, so all have been sent when the first fails.
    let mut held = health.lock().unwrap();
    let greedy = || request(&[5, 6, 7], SamplingParams::default());
    let streams = [(); 4].map(|()| engine.submit(greedy()).unwrap());
    *held = Health::Sick;
    drop(held);

    let reason = "Xid 31, illegal memory access".to_owned();
    let lost = Event::Failed(EngineError::Device(reason.clone()));
    for stream in streams {
        assert_eq!(answer(stream).2, lost);
    }
    let stats = engine.stats();
    assert!(stats.is_broken);
    assert_eq!((stats.running, stats.waiting), (0, 0));
    let refused = engine.submit(greedy()).unwrap_err();
    assert_eq!(refused, SubmitError::Device(reason));
    assert!(refused.to_string().contains("only a restart helps"));
}

#[test]
fn logits_that_stay_on_a_device_give_the_answers_of_logits_that_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = model_file(folder.path());
    let whole = Engine::load(config.clone()).unwrap();
    let vocab_size = whole.tokenizer().vocab_size();
    assert!(vocab_size > 2 * ROW_CANDIDATES);
    let sent = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let shared = Arc::clone(&sent);
    let wrapped = move |model| -> Box<dyn StepModel> {
        Box::new(RemoteModel {
            model,
            vocab_size,
            last: Vec::new(),
            sent: shared,
        })
    };
    let remote = Engine::start(config, &|_| (), wrapped).unwrap();
    // Flat logits, as random weights have them: without a cut a draw often falls among the tokens that were not sent.
    let warm = |change: fn(&mut SamplingParams)| {
        let mut sampling = SamplingParams {
            temperature: 1.0,
            seed: Some(11),
            logprobs: Some(3),
            ..SamplingParams::default()
        };
        change(&mut sampling);
        sampling
    };
    let all = [
        SamplingParams::default(),
        warm(|_| ()),
        warm(|sampling| sampling.top_k = 30),
        warm(|sampling| sampling.top_n_sigma = 1.0),
        warm(|sampling| sampling.min_p = 0.5),
        warm(|sampling| (sampling.temperature, sampling.frequency_penalty) = (0.0, 0.5)),
    ];
    let ask = |engine: &Engine| {
        let submit = |sampling: &SamplingParams| {
            engine
                .submit(request(&[5, 6, 7], sampling.clone()))
                .unwrap()
        };
        let streams: Vec<TokenStream> = all.iter().map(submit).collect();
        streams.into_iter().map(answer).collect::<Vec<_>>()
    };
    for (got, want) in ask(&remote).into_iter().zip(ask(&whole)) {
        assert!(matches!(got.2, Event::Finished { .. }), "{:?}", got.2);
        assert_eq!(got.0, want.0);
        assert_eq!(got.1.len(), want.1.len());
        for (got, want) in got.1.iter().zip(&want.1) {
            let close = |got: &ScoredToken, want: &ScoredToken| {
                assert_eq!(got.id, want.id);
                assert!(
                    (got.logprob - want.logprob).abs() < 1e-5,
                    "{got:?} {want:?}"
                );
            };
            close(&got.chosen, &want.chosen);
            assert_eq!(got.top.len(), want.top.len());
            got.top
                .iter()
                .zip(&want.top)
                .for_each(|(got, want)| close(got, want));
        }
    }
    let [candidates, again] = [&sent[0], &sent[1]].map(|count| count.load(Ordering::Relaxed));
    assert!(again > 0 && again < candidates, "{again} of {candidates}");
}
