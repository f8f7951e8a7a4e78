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

use candle_core::{Result, Tensor};

use super::{
    Command,
    event::EngineError,
    info::Counters,
    request::{Advance, Request, Seen, Submission},
    step_model::StepModel,
};
use crate::{
    config::EngineConfig,
    model::{RowLogits, StepLogits},
    ops::cpu::with_f32,
    runner::StepInput,
    sampling::Wanted,
    scheduler::{PlannedRow, Scheduler, SchedulerLimits, StepPlan, TokenBudget},
    sequence::{Sequence, SequenceId},
    text::Tokenizer,
};

/// How long running answers may wait for a step that also prefills: about the pace at which people read.
pub(super) const TARGET_MIXED_STEP: Duration = Duration::from_millis(250);

/// The same on a GPU, which reads a long prompt in many such steps while answers stay smooth.
pub(super) const TARGET_MIXED_STEP_GPU: Duration = Duration::from_millis(30);

/// What the loop works with.
pub(super) struct Parts {
    pub model: Box<dyn StepModel>,
    /// Positions that every layer sees at most; `None`: all.
    pub window: Option<usize>,
    pub target_mixed_step: Duration,
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
            window: parts.window,
            budget: TokenBudget::new(config.max_num_batched_tokens, parts.target_mixed_step),
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
        self.refuse_rest();
        self.publish();
    }

    /// Fails what is running and what has been sent meanwhile, with the reason.
    fn refuse_rest(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        let reason = match self.parts.counters.fault() {
            Some(fault) => EngineError::Device(fault.to_owned()),
            None => EngineError::Stopped,
        };
        for id in self.scheduler.ids() {
            self.fail(id, reason.clone());
        }
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
                let fault = self.parts.model.device_fault();
                let error = match &fault {
                    Some(fault) => EngineError::Device(fault.clone()),
                    None => EngineError::Step(message),
                };
                for row in &plan.rows {
                    self.fail(row.id, error.clone());
                }
                if let Some(fault) = fault {
                    self.give_up(fault);
                }
            }
        }
        self.parts.counters.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops for good, instead of letting everybody wait for a device that is lost.
    fn give_up(&mut self, fault: String) {
        tracing::error!(%fault, "the device no longer computes; the engine stops");
        self.parts.counters.give_up(fault);
        self.stopping = true;
    }

    fn compute_and_sample(&mut self, plan: &StepPlan) -> Result<()> {
        let mut input = StepInput::from_plan(plan, &self.scheduler);
        let sampling = plan.rows.iter().filter(|row| row.samples);
        input.wanted = sampling.map(|row| self.wanted(row.id)).collect();
        let output = self.parts.model.forward(&input)?;
        for row in &plan.rows {
            self.count_prompt_tokens(row);
            if output.is_none() || !row.samples {
                self.scheduler.commit(row, None);
            }
        }
        output.map_or(Ok(()), |output| self.sample_all(plan, &output))
    }

    fn count_prompt_tokens(&self, row: &PlannedRow) {
        if let Some(sequence) = self.scheduler.get(row.id) {
            let prompt_left = sequence.prompt_len.saturating_sub(row.start);
            let prompt_tokens = &self.parts.counters.prompt_tokens;
            prompt_tokens.fetch_add(prompt_left.min(row.len) as u64, Ordering::Relaxed);
        }
    }

    fn wanted(&self, id: SequenceId) -> Wanted {
        self.requests.get(&id).map_or(Wanted::Row, Request::wanted)
    }

    /// Chooses the token of each row that has logits: from what the step left of them, and where that does not suffice, from the
    /// whole rows, which then come together.
    fn sample_all(&mut self, plan: &StepPlan, output: &StepLogits) -> Result<()> {
        let (mut places, mut undecided) = (Vec::new(), Vec::new());
        for (index, row) in plan.rows.iter().filter(|row| row.samples).enumerate() {
            if !output.is_valid[index] {
                self.fail(row.id, EngineError::InvalidLogits);
            } else if !self.sample(row, output, index)? {
                places.push(index);
                undecided.push(row);
            }
        }
        if undecided.is_empty() {
            return Ok(());
        }
        let logits = self.parts.model.rows_of_last_step(&places)?;
        for (place, row) in undecided.into_iter().enumerate() {
            self.sample_row(row, &logits, place)?;
        }
        Ok(())
    }

    /// Chooses the token of one row; returns whether what is known of its logits sufficed.
    fn sample(&mut self, row: &PlannedRow, output: &StepLogits, index: usize) -> Result<bool> {
        let seen = match output.rows[index] {
            RowLogits::Whole(place) => {
                self.sample_row(row, &output.logits, place)?;
                return Ok(true);
            }
            RowLogits::Candidates => {
                Seen::Candidates(output.candidates(index, self.parts.tokenizer.vocab_size()))
            }
            RowLogits::Largest(token) => Seen::Largest(token),
        };
        Ok(self.advance(row, seen))
    }

    fn sample_row(&mut self, row: &PlannedRow, logits: &Tensor, place: usize) -> Result<()> {
        // Rows of the matrix beyond the vocabulary are padding: their logits mean nothing.
        let logits = logits.narrow(0, place, 1)?;
        let logits = logits.narrow(1, 0, self.parts.tokenizer.vocab_size())?;
        with_f32(&logits, |logits| {
            self.advance(row, Seen::Row(logits));
            Ok(())
        })
    }

    /// Hands the token of one row to its request, and ends the request if that was its last; returns whether there is one.
    fn advance(&mut self, row: &PlannedRow, seen: Seen<'_>) -> bool {
        let Some(request) = self.requests.get_mut(&row.id) else {
            return true;
        };
        let is_full = row.start + row.len + 1 >= self.parts.max_model_len;
        let advance = request.advance(seen, &self.parts.tokenizer, is_full);
        if advance != Advance::NeedsRow {
            let generated_tokens = &self.parts.counters.generated_tokens;
            generated_tokens.fetch_add(1, Ordering::Relaxed);
        }
        match advance {
            Advance::NeedsRow => return false,
            Advance::Token(token) => self.scheduler.commit(row, Some(token)),
            Advance::Ended => self.end(row.id),
        }
        true
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
