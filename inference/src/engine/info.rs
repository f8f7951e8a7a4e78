//! What is known about the loaded model, and what the engine counts.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use super::{Loaded, RETRY_AFTER};
use crate::{config::EngineConfig, device, gguf::GgufFile, sequence::Priority};

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub name: String,
    /// As in the file, for example `qwen2`.
    pub architecture: String,
    /// The file's mixture, for example `Q4_K_M`.
    pub quantization: String,
    pub file_bytes: u64,
    /// When the file was written, in seconds since the Unix epoch; 0 where the system does not say.
    pub created: i64,
    /// Number of weights.
    pub parameters: u64,
    /// Longest prompt plus answer in tokens.
    pub max_model_len: usize,
    /// For people, for example `CPU, 2 threads`.
    pub device: String,
}

impl ModelInfo {
    pub(super) fn new(config: &EngineConfig, loaded: &Loaded) -> Self {
        let parameters = loaded
            .file
            .tensors()
            .values()
            .map(|tensor| tensor.elements() as u64)
            .sum();
        Self {
            name: config.model_name.clone(),
            architecture: loaded.model.config.architecture.name().to_owned(),
            quantization: quantization(&loaded.file),
            file_bytes: loaded.file.file_bytes(),
            created: created(&config.model_path),
            parameters,
            max_model_len: loaded.max_model_len,
            device: device::name(loaded.model.device()),
        }
    }
}

fn created(path: &Path) -> i64 {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let since_epoch = modified
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |time| time.as_secs() as i64)
}

/// Returns the name of the file's mixture of types (llama.cpp's `llama_ftype`), or of its most frequent type.
fn quantization(file: &GgufFile) -> String {
    let mixtures = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (32, "BF16"),
    ];
    let id = file.get_u32("general.file_type");
    if let Some((_, name)) = mixtures.iter().find(|(known, _)| Some(*known) == id) {
        return (*name).to_owned();
    }
    let mut weights = BTreeMap::new();
    for tensor in file.tensors().values() {
        *weights.entry(tensor.ggml_type.name()).or_insert(0) += tensor.elements();
    }
    weights
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(name, _)| name)
        .unwrap_or_default()
}

/// Returns how far a request of a class may fill a queue of `capacity`. A quarter is kept for people who watch their answer
/// arrive, a half for everybody but those for whom nobody waits: programs send as much as they are let, people do not.
pub(super) fn places_of_class(priority: Priority, capacity: usize) -> usize {
    let kept = match priority {
        Priority::Interactive => 0,
        Priority::Api => capacity / 4,
        Priority::Batch => capacity / 2,
    };
    capacity - kept
}

/// A snapshot of what the engine does and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    pub running: usize,
    /// Requests that have not started.
    pub waiting: usize,
    pub free_blocks: usize,
    pub num_blocks: usize,
    pub prompt_tokens_total: u64,
    pub generated_tokens_total: u64,
    pub preemptions_total: u64,
    pub cancelled_total: u64,
    pub steps_total: u64,
    /// The device failed and the engine has stopped; only a restart helps.
    pub is_broken: bool,
}

/// Written by the step loop, read by handles. Each number is right by itself; together they may be a step apart.
#[derive(Debug)]
pub(super) struct Counters {
    num_blocks: usize,
    pub free_blocks: AtomicUsize,
    pub running: AtomicUsize,
    /// Requests accepted and not started: those the queue's capacity bounds.
    queued: AtomicUsize,
    pub prompt_tokens: AtomicU64,
    pub generated_tokens: AtomicU64,
    pub preemptions: AtomicU64,
    pub cancelled: AtomicU64,
    pub steps: AtomicU64,
    /// Why the device no longer computes.
    fault: OnceLock<String>,
    /// Running mean of a request's time from first step to end, 0 until one has ended.
    mean_service_us: AtomicU64,
}

impl Counters {
    pub fn new(num_blocks: usize) -> Self {
        Self {
            num_blocks,
            free_blocks: num_blocks.into(),
            running: 0.into(),
            queued: 0.into(),
            prompt_tokens: 0.into(),
            generated_tokens: 0.into(),
            preemptions: 0.into(),
            cancelled: 0.into(),
            steps: 0.into(),
            fault: OnceLock::new(),
            mean_service_us: 0.into(),
        }
    }

    /// Takes a place in the queue if one of the `capacity` is left, see [`places_of_class`].
    pub fn enter_queue(&self, capacity: usize) -> bool {
        let enter = |queued| (queued < capacity).then_some(queued + 1);
        self.queued
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .is_ok()
    }

    pub fn leave_queue(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes that the device no longer computes; the first reason stays.
    pub fn give_up(&self, fault: String) {
        self.fault.get_or_init(|| fault);
    }

    /// Returns why the device no longer computes, once it does not.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Learns how long a request took.
    pub fn observe_service(&self, took: Duration) {
        let took = took.as_micros() as u64;
        let mean = self.mean_service_us.load(Ordering::Relaxed);
        let mean = if mean == 0 {
            took
        } else {
            (7 * mean + took) / 8
        };
        self.mean_service_us.store(mean, Ordering::Relaxed);
    }

    /// Returns about how long until the queue has a place: one request in `max_num_seqs` ends in that share of the
    /// mean time.
    pub fn estimated_wait(&self, max_num_seqs: usize) -> Duration {
        let mean = Duration::from_micros(self.mean_service_us.load(Ordering::Relaxed));
        (mean / max_num_seqs as u32).clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end())
    }

    pub fn snapshot(&self) -> EngineStats {
        EngineStats {
            running: self.running.load(Ordering::Relaxed),
            waiting: self.queued.load(Ordering::Relaxed),
            free_blocks: self.free_blocks.load(Ordering::Relaxed),
            num_blocks: self.num_blocks,
            prompt_tokens_total: self.prompt_tokens.load(Ordering::Relaxed),
            generated_tokens_total: self.generated_tokens.load(Ordering::Relaxed),
            preemptions_total: self.preemptions.load(Ordering::Relaxed),
            cancelled_total: self.cancelled.load(Ordering::Relaxed),
            steps_total: self.steps.load(Ordering::Relaxed),
            is_broken: self.fault().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_leave_places_for_people() {
        let counters = Counters::new(1);
        let enter = |priority| counters.enter_queue(places_of_class(priority, 32));
        let count = |priority| (0..100).filter(|_| enter(priority)).count();
        assert_eq!(count(Priority::Batch), 16);
        assert_eq!(count(Priority::Api), 8);
        assert_eq!(count(Priority::Interactive), 8);
        assert_eq!(count(Priority::Interactive), 0);
        // The smallest queue still takes everybody.
        for priority in [Priority::Interactive, Priority::Api, Priority::Batch] {
            assert_eq!(places_of_class(priority, 1), 1);
        }
    }
}
