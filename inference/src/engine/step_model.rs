//! What the step loop needs of a model: steps, and the truth about the device when one has failed.

use candle_core::{Device, Result, Tensor};

use crate::{
    model::{KvCache, Model, StepLogits},
    runner::StepInput,
};

/// Runs steps, one after another, on one thread.
pub(super) trait StepModel: Send {
    /// As [`Model::forward`]; logits are in the host's memory.
    fn forward(&mut self, step: &StepInput) -> Result<Option<StepLogits>>;

    /// As [`Model::rows_of_last_step`].
    fn rows_of_last_step(&mut self, rows: &[usize]) -> Result<Tensor>;

    /// As [`Model::device_fault`].
    fn device_fault(&mut self) -> Option<String>;
}

/// A loaded model with its cache.
#[derive(Debug)]
pub(super) struct CachedModel {
    pub model: Model,
    pub cache: KvCache,
}

impl StepModel for CachedModel {
    fn forward(&mut self, step: &StepInput) -> Result<Option<StepLogits>> {
        let mut output = self.model.forward(step, &self.cache)?;
        if let Some(output) = &mut output {
            output.logits = output.logits.to_device(&Device::Cpu)?;
        }
        Ok(output)
    }

    fn rows_of_last_step(&mut self, rows: &[usize]) -> Result<Tensor> {
        self.model.rows_of_last_step(rows)?.to_device(&Device::Cpu)
    }

    fn device_fault(&mut self) -> Option<String> {
        self.model.device_fault()
    }
}
