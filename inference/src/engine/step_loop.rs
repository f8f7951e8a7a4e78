//! The engine's thread: owns the model, the cache, the scheduler and all requests.
//!
//! One turn: take new requests, drop abandoned ones, plan, run, choose tokens, send. A failed or panicking step fails
//! the requests that were in it and nothing else; the thread goes on.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use candle_core::Device;

use super::{
    Command,
    event::EngineError,
    info::Counters,
    request::{Request, Submission},
};
use crate::{
    config::EngineConfig,
    model::{KvCache, Model, StepLogits},
    ops::cpu::with_f32,
    runner::StepInput,
    scheduler::{PlannedRow, Scheduler, SchedulerLimits, StepPlan, TokenBudget},
    sequence::{Sequence, SequenceId},
    text::Tokenizer,
};

/// How long running answers may wait for a step that also prefills: about the pace at which people read.
const TARGET_MIXED_STEP: Duration = Duration::from_millis(250);

/// The same on a GPU, which reads a long prompt in many such steps while answers stay smooth.
const TARGET_MIXED_STEP_GPU: Duration = Duration::from_millis(30);

/// What the loop works with.
pub(super) struct Parts {
    pub model: Model,
    pub cache: KvCache,
    pub tokenizer: Arc<Tokenizer>,
    pub max_model_len: usize,
    pub counters: Arc<Counters>,
}

pub(super) struct StepLoop {
    parts: Parts,
    commands: Receiver<Command>,
    scheduler: Scheduler,
    requests: HashMap<SequenceId, Request>,
    stopping: bool,
}

impl StepLoop {
    pub fn new(parts: Parts, config: &EngineConfig, commands: Receiver<Command>) -> Self {
        let scheduler = Scheduler::new(SchedulerLimits {
            max_num_seqs: config.max_num_seqs,
            num_blocks: config.num_blocks(),
            window: parts.model.config.window(),
            budget: TokenBudget::new(
                config.max_num_batched_tokens,
                if parts.model.device().is_cpu() {
                    TARGET_MIXED_STEP
                } else {
                    TARGET_MIXED_STEP_GPU
                },
            ),
        });
        Self {
            parts,
            commands,
            scheduler,
            requests: HashMap::new(),
            stopping: false,
        }
    }

    /// Runs until the last handle is gone.
    pub fn run(mut self) {
        loop {
            self.take_commands();
            if self.stopping {
                break;
            }
            self.drop_cancelled();
            let plan = self.scheduler.plan();
            self.note_plan(&plan);
            if !plan.rows.is_empty() {
                self.run_step(&plan);
            }
            self.publish();
        }
        for id in self.scheduler.ids() {
            self.fail(id, EngineError::Stopped);
        }
        self.publish();
    }

    /// Takes what has arrived; waits for something when there is nothing to do.
    fn take_commands(&mut self) {
        if self.scheduler.is_empty() {
            match self.commands.recv() {
                Ok(command) => self.take(command),
                Err(_) => self.stopping = true,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    break;
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.accept(*submission),
            Command::Stop => self.stopping = true,
        }
    }

    fn accept(&mut self, submission: Submission) {
        let id = submission.id;
        self.scheduler.add(Sequence::new(
            id,
            submission.priority,
            submission.prompt.clone(),
        ));
        let request = Request::new(submission, &self.parts.tokenizer);
        self.requests.insert(id, request);
    }

    fn drop_cancelled(&mut self) {
        let cancelled =
            |(id, request): (&SequenceId, &Request)| request.is_cancelled().then_some(*id);
        let ids: Vec<SequenceId> = self.requests.iter().filter_map(cancelled).collect();
        for id in ids {
            self.parts
                .counters
                .cancelled
                .fetch_add(1, Ordering::Relaxed);
            self.end(id);
        }
    }

    fn note_plan(&mut self, plan: &StepPlan) {
        let now = Instant::now();
        self.parts
            .counters
            .preemptions
            .fetch_add(plan.preempted.len() as u64, Ordering::Relaxed);
        for id in &plan.admitted {
            if let Some(request) = self.requests.get_mut(id) {
                if request.started().is_none() {
                    self.parts.counters.leave_queue();
                }
                request.start(now);
            }
        }
    }

    fn run_step(&mut self, plan: &StepPlan) {
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.compute_and_sample(plan)));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic_message(&*panic)),
        };
        match failure {
            None => self
                .scheduler
                .budget
                .observe(plan.num_tokens(), started.elapsed()),
            Some(message) => {
                tracing::error!(%message, "a step failed");
                for row in &plan.rows {
                    self.fail(row.id, EngineError::Step(message.clone()));
                }
                if let Some(fault) = self.parts.model.device_fault() {
                    self.give_up(&fault);
                }
            }
        }
        self.parts.counters.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops for good: fails everybody at once instead of letting them wait for a device that is lost.
    fn give_up(&mut self, fault: &str) {
        tracing::error!(%fault, "the device no longer computes; the engine stops");
        self.parts.counters.is_broken.store(true, Ordering::Relaxed);
        for id in self.scheduler.ids() {
            self.fail(id, EngineError::Device(fault.to_owned()));
        }
        self.stopping = true;
    }

    fn compute_and_sample(&mut self, plan: &StepPlan) -> candle_core::Result<()> {
        let mut input = StepInput::from_plan(plan, &self.scheduler);
        let sampling = plan.rows.iter().filter(|row| row.samples);
        input.wants_logits = sampling.map(|row| self.wants_logits(row.id)).collect();
        let mut output = self.parts.model.forward(&input, &self.parts.cache)?;
        if let Some(output) = &mut output {
            output.logits = output.logits.to_device(&Device::Cpu)?;
        }
        let mut next_logits = 0;
        for row in &plan.rows {
            let computed = (row.start + row.len) as u64;
            if let Some(sequence) = self.scheduler.get(row.id) {
                let prompt_left = sequence.prompt_len.saturating_sub(row.start) as u64;
                let prompt_tokens = prompt_left.min(computed - row.start as u64);
                self.parts
                    .counters
                    .prompt_tokens
                    .fetch_add(prompt_tokens, Ordering::Relaxed);
            }
            match (&output, row.samples) {
                (Some(output), true) => {
                    self.sample(row, output, next_logits)?;
                    next_logits += 1;
                }
                _ => self.scheduler.commit(row, None),
            }
        }
        Ok(())
    }

    fn wants_logits(&self, id: SequenceId) -> bool {
        self.requests.get(&id).is_none_or(Request::wants_logits)
    }

    /// Chooses the token of one row and hands it to the request; ends the request if that was its last.
    fn sample(
        &mut self,
        row: &PlannedRow,
        output: &StepLogits,
        index: usize,
    ) -> candle_core::Result<()> {
        let id = row.id;
        if !output.is_valid[index] {
            self.fail(id, EngineError::InvalidLogits);
            return Ok(());
        }
        let Some(request) = self.requests.get_mut(&id) else {
            return Ok(());
        };
        let is_full = row.start + row.len + 1 >= self.parts.max_model_len;
        let tokenizer = &self.parts.tokenizer;
        let token = match output.rows[index] {
            Some(place) => {
                // Rows of the matrix beyond the vocabulary are padding: their logits mean nothing.
                let logits = output.logits.narrow(0, place, 1)?;
                let logits = logits.narrow(1, 0, tokenizer.vocab_size())?;
                with_f32(&logits, |logits| {
                    Ok(request.advance(logits, tokenizer, is_full))
                })?
            }
            None => request.advance_with(output.largest[index], tokenizer, is_full),
        };
        self.parts
            .counters
            .generated_tokens
            .fetch_add(1, Ordering::Relaxed);
        match token {
            Some(token) => self.scheduler.commit(row, Some(token)),
            None => self.end(id),
        }
        Ok(())
    }

    fn fail(&mut self, id: SequenceId, error: EngineError) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.fail(error);
        }
        self.end(id);
    }

    /// Forgets a request, frees its blocks, and only then tells its stream.
    fn end(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        match request.started() {
            Some(started) => self.parts.counters.observe_service(started.elapsed()),
            None => self.parts.counters.leave_queue(),
        }
        self.publish();
        request.send_last();
    }

    fn publish(&self) {
        let counters = &self.parts.counters;
        counters
            .free_blocks
            .store(self.scheduler.num_free_blocks(), Ordering::Relaxed);
        counters
            .running
            .store(self.scheduler.num_running(), Ordering::Relaxed);
        #[cfg(debug_assertions)]
        self.scheduler.assert_consistent();
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}
