//! SentencePiece merging, for vocabularies of `tokenizer.ggml.model` = `llama`: of all adjacent pieces
//! whose concatenation is a token, the pair with the best score is merged first, the leftmost among equals,
//! until no pair is left. A character that no token spells becomes one `<0xXX>` token for each byte.
//!
//! There are no words: the text is one sequence, with `▁` for each space. A text of n characters costs
//! O(n log n). This is the BPE model of SentencePiece (Kudo and Richardson, arXiv 1808.06226), not its unigram
//! model: the best sum of scores is not looked for.

use std::collections::{BinaryHeap, HashMap};

use super::tokenizer::TokenizerError;
use super::vocabulary::{SPM_SPACE, Token, parse_byte_token};

/// End of the linked list of pieces.
const NIL: u32 = u32::MAX;

/// The pieces of a vocabulary.
pub(super) struct Spm {
    /// Token and score by text.
    pieces: HashMap<Box<str>, (u32, Score)>,
    byte_ids: Box<[Option<u32>; 256]>,
    unknown_id: Option<u32>,
}

impl Spm {
    /// Builds the table. `scores`: one for each token, all 0 where a file has none.
    ///
    /// # Errors
    /// Fewer scores than tokens, or one that is not a number.
    pub(super) fn new(
        tokens: &[Token],
        scores: Option<&[f32]>,
        unknown_id: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let malformed = |reason| TokenizerError::Malformed {
            key: "tokenizer.ggml.scores",
            reason,
        };
        let scores = scores.unwrap_or_default();
        if !scores.is_empty() && scores.len() < tokens.len() {
            let reason = format!("{} scores for {} tokens", scores.len(), tokens.len());
            return Err(malformed(reason));
        }
        let mut pieces = HashMap::with_capacity(tokens.len());
        let mut byte_ids = Box::new([None; 256]);
        for (id, token) in tokens.iter().enumerate() {
            let score = scores.get(id).copied().unwrap_or_default();
            if score.is_nan() {
                return Err(malformed(format!(
                    "the score of token {id} is not a number"
                )));
            }
            if let Some(byte) = parse_byte_token(&token.text).filter(|_| !token.kind.is_hidden()) {
                byte_ids[usize::from(byte)] = Some(id as u32);
            } else if token.kind.is_merged() {
                // Adding zero makes one zero of the two that floats have.
                pieces.insert(token.text.clone(), (id as u32, Score(score + 0.0)));
            }
        }
        Ok(Self {
            pieces,
            byte_ids,
            unknown_id,
        })
    }

    pub(super) fn num_pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Appends the tokens of `text` to `ids`, of a space and `text` if `leading_space`. A byte without a
    /// token becomes the unknown token, if there is one.
    pub(super) fn encode(&self, text: &str, leading_space: bool, ids: &mut Vec<u32>) {
        let mut spelled = String::with_capacity(text.len() + 3);
        if leading_space {
            spelled.push(SPM_SPACE);
        }
        spelled.extend(text.chars().map(|c| if c == ' ' { SPM_SPACE } else { c }));
        for piece in self.merge(&spelled) {
            match self.pieces.get(piece) {
                Some(&(id, _)) => ids.push(id),
                None => ids.extend(
                    piece
                        .bytes()
                        .filter_map(|byte| self.byte_ids[usize::from(byte)].or(self.unknown_id)),
                ),
            }
        }
    }

    /// Returns the pieces in which merging ends: tokens, or single characters.
    fn merge<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces: Vec<Piece> = text
            .char_indices()
            .zip(0..)
            .map(|((start, c), index): (_, u32)| Piece {
                start,
                len: c.len_utf8(),
                previous: index.wrapping_sub(1),
                next: index + 1,
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last.next = NIL;
        }
        let mut queue = BinaryHeap::new();
        for right in 1..pieces.len() as u32 {
            self.queue_pair(text, &pieces, right - 1, right, &mut queue);
        }
        while let Some(merge) = queue.pop() {
            let (left, right) = (merge.left as usize, merge.right as usize);
            let (left_len, right_len) = (pieces[left].len, pieces[right].len);
            // A piece that was merged since then has another length, so the entry is out of date.
            if left_len == 0 || right_len == 0 || left_len + right_len != merge.len {
                continue;
            }
            pieces[left].len += right_len;
            pieces[right].len = 0;
            let next = pieces[right].next;
            pieces[left].next = next;
            if next != NIL {
                pieces[next as usize].previous = merge.left;
                self.queue_pair(text, &pieces, merge.left, next, &mut queue);
            }
            let previous = pieces[left].previous;
            if previous != NIL {
                self.queue_pair(text, &pieces, previous, merge.left, &mut queue);
            }
        }
        let whole = pieces.iter().filter(|piece| piece.len > 0);
        whole
            .map(|piece| &text[piece.start..piece.start + piece.len])
            .collect()
    }

    fn queue_pair(
        &self,
        text: &str,
        pieces: &[Piece],
        left: u32,
        right: u32,
        queue: &mut BinaryHeap<Merge>,
    ) {
        let start = pieces[left as usize].start;
        let len = pieces[left as usize].len + pieces[right as usize].len;
        if let Some(&(_, score)) = self.pieces.get(&text[start..start + len]) {
            queue.push(Merge {
                score,
                leftness: std::cmp::Reverse(left),
                left,
                right,
                len,
            });
        }
    }
}

/// A stretch of the text; merged-away pieces have no length.
struct Piece {
    start: usize,
    len: usize,
    previous: u32,
    next: u32,
}

/// A possible merge; the greatest is next. The derived order compares fields in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    score: Score,
    leftness: std::cmp::Reverse<u32>,
    left: u32,
    right: u32,
    len: usize,
}

/// A float that is a number.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
