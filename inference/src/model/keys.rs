//! Access to the metadata keys of one architecture.

use super::ModelError;
use crate::gguf::{Array, GgufFile, Value};

/// The keys that start with an architecture's name.
pub struct Keys<'a> {
    pub file: &'a GgufFile,
    pub prefix: &'static str,
}

impl Keys<'_> {
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Returns an integer, `None` where there is none.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.file
            .get_u32(&self.key(name))
            .map(|value| value as usize)
    }

    pub fn require(&self, name: &str) -> Result<usize, ModelError> {
        Ok(self.file.require_u32(&self.key(name))? as usize)
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        self.file.get_bool(&self.key(name))
    }

    /// Returns a number that may be one for all layers or one for each, for each; `None` where there is none.
    pub fn per_layer(
        &self,
        name: &str,
        num_layers: usize,
    ) -> Result<Option<Vec<usize>>, ModelError> {
        let key = self.key(name);
        if let Some(Value::Array(_)) = self.file.get(&key) {
            let values = self.file.get_arr_u32(&key).unwrap_or_default();
            if values.len() < num_layers {
                let value = format!("{} numbers for {num_layers} layers", values.len());
                return Err(ModelError::InvalidKey { key, value });
            }
            let values = values.into_iter().take(num_layers);
            return Ok(Some(values.map(|value| value as usize).collect()));
        }
        Ok(self.get(name).map(|value| vec![value; num_layers]))
    }

    /// Returns one truth value for each layer, `None` where there is no such array.
    pub fn bools(&self, name: &str, num_layers: usize) -> Option<Vec<bool>> {
        match self.file.get(&self.key(name))? {
            Value::Array(Array::Bool(values)) if values.len() >= num_layers => {
                Some(values[..num_layers].to_vec())
            }
            _ => None,
        }
    }

    /// Returns a number, `None` where there is none.
    pub fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        match self.file.get_f32(&self.key(name)) {
            Some(value) if !value.is_finite() => Err(self.invalid(name, value)),
            value => Ok(value.map(f64::from)),
        }
    }

    /// Like [`Self::number`], for what must be above 0.
    pub fn positive(&self, name: &str) -> Result<Option<f64>, ModelError> {
        match self.number(name)? {
            Some(value) if value <= 0.0 => Err(self.invalid(name, value)),
            value => Ok(value),
        }
    }

    pub fn invalid(&self, name: &str, value: impl ToString) -> ModelError {
        ModelError::InvalidKey {
            key: self.key(name),
            value: value.to_string(),
        }
    }
}
