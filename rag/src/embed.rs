//! The embedder as retrieval sees it: text in, unit vectors out. Adapters to real models live in the
//! composition root.

/// Turns text into vectors whose dot product is a similarity.
pub trait Embedder: Send + Sync {
    /// Name of the model. Names the vectors in the store: another name means other vectors, and
    /// documents embedded under one name are not searched under another.
    fn name(&self) -> &str;

    /// Length of a vector.
    fn dim(&self) -> usize;

    /// Longest input in tokens, special tokens included. Longer text is truncated by [`Self::embed`].
    fn max_tokens(&self) -> usize;

    /// Tokens of `text` as the model counts them, without special tokens.
    fn count_tokens(&self, text: &str) -> usize;

    /// One L2-normalised vector of [`Self::dim`] values for each text, in order.
    ///
    /// # Errors
    /// When the model fails; nothing is retried here.
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError>;

    /// How many of [`Self::max_tokens`] are the special tokens that frame every text; two in the BERT family.
    fn num_frame_tokens(&self) -> usize {
        2
    }

    /// Number of token ids; 0 where [`Self::embed_tokens`] takes none.
    fn vocab_size(&self) -> usize {
        0
    }

    /// As [`Self::embed`], of texts as the ids that [`Self::count_tokens`] counts.
    ///
    /// # Errors
    /// When the model fails, has no such id, or takes texts only.
    fn embed_tokens(&self, _texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Err(EmbedError {
            model: self.name().to_owned(),
            reason: "it takes texts and no token ids".to_owned(),
        })
    }
}

/// The embedder failed.
#[derive(Debug, thiserror::Error)]
#[error("the embedding model `{model}` failed: {reason}")]
pub struct EmbedError {
    /// Name of the model.
    pub model: String,
    /// What it said.
    pub reason: String,
}
