//! Which steps are captured and replayed: what is known of each key, and what becomes of captures that fail. Knows no device.
//!
//! The first step of a key runs by itself and makes libraries ready, the second is captured, later ones are replayed. A step whose
//! capture fails runs by itself, as does every later one of its key: nothing but time depends on graphs. Where memory has run out,
//! steps of as many answers and more are not tried either, because they come with more memory taken; smaller ones are.

use std::collections::HashMap;

use super::plan::GraphKey;

/// Captured steps; `G` is a graph.
#[derive(Debug)]
pub struct Captures<G> {
    known: HashMap<GraphKey, Known<G>>,
    /// Steps of so many sequences or more are no longer captured.
    too_large: Option<usize>,
}

#[derive(Debug)]
enum Known<G> {
    /// Ran once by itself.
    Ran,
    Graph(G),
    /// Its capture failed.
    Failed,
}

/// How a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Plain,
    Capture,
    /// [`Captures::graph`].
    Replay,
}

impl<G> Default for Captures<G> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            too_large: None,
        }
    }
}

impl<G> Captures<G> {
    /// Returns how the next step of a key is run, and notes that it is.
    pub fn next(&mut self, key: GraphKey, use_graphs: bool) -> Way {
        let fits = self.too_large.is_none_or(|most| key.bucket < most);
        match self.known.get(&key) {
            Some(Known::Graph(_)) => Way::Replay,
            Some(Known::Ran) if use_graphs && fits => Way::Capture,
            Some(Known::Ran | Known::Failed) => Way::Plain,
            None => {
                self.known.insert(key, Known::Ran);
                Way::Plain
            }
        }
    }

    /// Returns the graph of a key that is replayed.
    pub fn graph(&self, key: GraphKey) -> Option<&G> {
        match self.known.get(&key) {
            Some(Known::Graph(graph)) => Some(graph),
            _ => None,
        }
    }

    /// Keeps the graph of a key.
    pub fn captured(&mut self, key: GraphKey, graph: G) {
        self.known.insert(key, Known::Graph(graph));
    }

    /// Notes that a key's capture, or its first replay, has failed. Returns what the log is to say.
    pub fn failed(&mut self, key: GraphKey, error: &str, free_bytes: Option<usize>) -> String {
        self.known.insert(key, Known::Failed);
        let bucket = key.bucket;
        if !is_out_of_memory(error) {
            return format!(
                "steps of {bucket} answers are launched kernel by kernel, a few percent slower: {error}"
            );
        }
        self.too_large = Some(self.too_large.map_or(bucket, |most| most.min(bucket)));
        let free = free_bytes.map_or_else(
            || "an unknown amount".to_owned(),
            |bytes| format!("{} MiB", bytes >> 20),
        );
        format!(
            "steps of {bucket} answers and more are launched kernel by kernel, a few percent slower, because the GPU's memory does \
             not hold their graphs ({free} is free): a smaller cache (kv_cache_tokens) leaves room"
        )
    }

    /// Forgets all graphs, which name places that are no longer valid. What ran has run.
    pub fn forget_graphs(&mut self) {
        for known in self.known.values_mut() {
            if matches!(known, Known::Graph(_)) {
                *known = Known::Ran;
            }
        }
    }
}

/// Whether an error of CUDA or cuBLAS says that memory has run out.
pub fn is_out_of_memory(error: &str) -> bool {
    ["OUT_OF_MEMORY", "ALLOC_FAILED", "out of memory"]
        .iter()
        .any(|sign| error.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bucket: usize, num_splits: usize) -> GraphKey {
        GraphKey { bucket, num_splits }
    }

    const MEMORY: &str = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";

    #[test]
    fn a_step_runs_by_itself_then_is_captured_then_replayed() {
        let mut captures = Captures::default();
        let (four, split) = (key(4, 1), key(4, 2));
        assert_eq!(captures.next(four, true), Way::Plain);
        assert_eq!(captures.next(four, true), Way::Capture);
        captures.captured(four, "graph of 4");
        assert_eq!(captures.next(four, true), Way::Replay);
        assert_eq!(captures.graph(four), Some(&"graph of 4"));
        // Each key is by itself.
        assert_eq!(captures.next(split, true), Way::Plain);
        assert_eq!(captures.graph(split), None);
    }

    #[test]
    fn without_graphs_every_step_runs_by_itself() {
        let mut captures: Captures<()> = Captures::default();
        for _ in 0..3 {
            assert_eq!(captures.next(key(8, 1), false), Way::Plain);
        }
    }

    #[test]
    fn a_cache_in_another_place_is_captured_again_at_once() {
        let mut captures = Captures::default();
        captures.next(key(1, 1), true);
        captures.captured(key(1, 1), ());
        captures.forget_graphs();
        assert_eq!(captures.graph(key(1, 1)), None);
        assert_eq!(captures.next(key(1, 1), true), Way::Capture);
    }

    #[test]
    fn a_failed_capture_is_not_tried_again_and_concerns_its_key_alone() {
        let mut captures: Captures<()> = Captures::default();
        for key in [key(8, 1), key(8, 2)] {
            captures.next(key, true);
        }
        let told = captures.failed(
            key(8, 1),
            "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
            Some(1 << 30),
        );
        assert!(
            told.contains("steps of 8 answers") && told.contains("UNSUPPORTED"),
            "{told}"
        );
        assert_eq!(captures.next(key(8, 1), true), Way::Plain);
        assert_eq!(captures.next(key(8, 2), true), Way::Capture);
    }

    #[test]
    fn where_memory_has_run_out_only_smaller_steps_are_captured() {
        let mut captures = Captures::default();
        let keys = [key(4, 1), key(16, 1), key(16, 8), key(64, 1)];
        for key in keys {
            assert_eq!(captures.next(key, true), Way::Plain);
        }
        captures.captured(keys[3], "made before");
        let told = captures.failed(keys[1], MEMORY, Some(37 << 20));
        for part in ["16 answers and more", "37 MiB", "kv_cache_tokens"] {
            assert!(told.contains(part), "{told}");
        }
        let ways = keys.map(|key| captures.next(key, true));
        // What is there stays.
        assert_eq!(ways, [Way::Capture, Way::Plain, Way::Plain, Way::Replay]);
        let told = captures.failed(keys[0], MEMORY, None);
        assert!(told.contains("an unknown amount"), "{told}");
        captures.next(key(2, 1), true);
        assert_eq!(captures.next(key(2, 1), true), Way::Capture);
        assert_eq!(captures.next(keys[2], true), Way::Plain);
    }

    #[test]
    fn libraries_say_in_their_ways_that_memory_has_run_out() {
        for error in [
            MEMORY,
            "CUBLAS_STATUS_ALLOC_FAILED",
            "cudaErrorMemoryAllocation: out of memory",
        ] {
            assert!(is_out_of_memory(error), "{error}");
        }
        assert!(!is_out_of_memory("CUDA_ERROR_ILLEGAL_ADDRESS"));
    }
}
