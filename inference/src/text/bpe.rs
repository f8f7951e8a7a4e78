//! Byte-pair merging of one word: the lowest-ranked adjacent pair first, the leftmost among equals.
//!
//! Works on *symbols*: a symbol is a byte string that is a vocabulary token, or an operand or result
//! of a merge. Symbols below `num_tokens` are token ids. A word of n bytes costs O(n log n).
//!
//! Source: Sennrich et al., arXiv 1508.07909; order of merges as in llama.cpp.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// A byte string known to the merger; values below `num_tokens` are token ids.
type Symbol = u32;

/// End of the linked list of pieces.
const NIL: u32 = u32::MAX;

/// The merge table of a vocabulary.
pub(super) struct Bpe {
    num_tokens: usize,
    byte_symbols: Box<[Symbol; 256]>,
    /// Pair of symbols to (rank, merged symbol).
    merges: HashMap<(Symbol, Symbol), (u32, Symbol)>,
    /// Tokens by their bytes.
    words: HashMap<Box<[u8]>, Symbol>,
    /// Bytes of the symbols from `num_tokens` on, which no token stands for.
    homeless: Vec<Box<[u8]>>,
}

impl std::fmt::Debug for Bpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpe")
            .field("num_tokens", &self.num_tokens)
            .field("num_merges", &self.merges.len())
            .finish()
    }
}

impl Bpe {
    /// Builds the table of `num_tokens` tokens. `words` lists the tokens that text may become (no
    /// control tokens); `merges` is in order of rank. The first of two equal merges counts.
    pub(super) fn new(
        num_tokens: usize,
        words: HashMap<Box<[u8]>, u32>,
        merges: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Self {
        let mut symbols = SymbolTable {
            num_tokens,
            words,
            homeless: Vec::new(),
            homeless_ids: HashMap::new(),
        };
        let byte_symbols = Box::new(std::array::from_fn(|byte| symbols.symbol(&[byte as u8])));
        let mut table = HashMap::with_capacity(merges.size_hint().0);
        for (rank, (left, right)) in merges.enumerate() {
            let pair = (symbols.symbol(&left), symbols.symbol(&right));
            let merged = symbols.symbol(&[left, right].concat());
            table.entry(pair).or_insert((rank as u32, merged));
        }
        Self {
            num_tokens,
            byte_symbols,
            merges: table,
            words: symbols.words,
            homeless: symbols.homeless,
        }
    }

    /// Returns the token whose bytes are exactly `word`.
    pub(super) fn token(&self, word: &[u8]) -> Option<u32> {
        self.words.get(word).copied()
    }

    /// Appends the tokens of `word` to `ids`. A byte that no token spells is dropped, as in llama.cpp.
    pub(super) fn encode_word(&self, word: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { pieces, queue } = scratch;
        pieces.clear();
        queue.clear();
        pieces.extend(word.iter().enumerate().map(|(index, &byte)| Piece {
            symbol: self.byte_symbols[usize::from(byte)],
            previous: (index as u32).wrapping_sub(1),
            next: if index + 1 == word.len() {
                NIL
            } else {
                index as u32 + 1
            },
        }));
        for right in 1..pieces.len() as u32 {
            self.queue_pair(pieces, queue, right - 1, right);
        }
        while let Some(Reverse(merge)) = queue.pop() {
            let (left, right) = (merge.left, merge.right);
            // A piece that was merged since then has another symbol, so the entry is out of date.
            if pieces[left as usize].symbol != merge.left_symbol
                || pieces[right as usize].symbol != merge.right_symbol
            {
                continue;
            }
            let next = pieces[right as usize].next;
            pieces[right as usize].symbol = NIL;
            pieces[left as usize].symbol = merge.merged;
            pieces[left as usize].next = next;
            if next != NIL {
                pieces[next as usize].previous = left;
                self.queue_pair(pieces, queue, left, next);
            }
            let previous = pieces[left as usize].previous;
            if previous != NIL {
                self.queue_pair(pieces, queue, previous, left);
            }
        }
        for piece in pieces.iter().filter(|piece| piece.symbol != NIL) {
            self.push_symbol(piece.symbol, ids);
        }
    }

    fn queue_pair(
        &self,
        pieces: &[Piece],
        queue: &mut BinaryHeap<Reverse<Merge>>,
        left: u32,
        right: u32,
    ) {
        let (left_symbol, right_symbol) =
            (pieces[left as usize].symbol, pieces[right as usize].symbol);
        if let Some(&(rank, merged)) = self.merges.get(&(left_symbol, right_symbol)) {
            queue.push(Reverse(Merge {
                rank,
                left,
                right,
                left_symbol,
                right_symbol,
                merged,
            }));
        }
    }

    fn push_symbol(&self, symbol: Symbol, ids: &mut Vec<u32>) {
        match (symbol as usize).checked_sub(self.num_tokens) {
            None => ids.push(symbol),
            Some(index) => {
                let bytes = &self.homeless[index];
                ids.extend(bytes.iter().filter_map(|&byte| self.token(&[byte])));
            }
        }
    }
}

/// Buffers reused from word to word.
#[derive(Default)]
pub(super) struct Scratch {
    pieces: Vec<Piece>,
    queue: BinaryHeap<Reverse<Merge>>,
}

/// A stretch of the word; merged-away pieces have the symbol `NIL`.
struct Piece {
    symbol: Symbol,
    previous: u32,
    next: u32,
}

/// A possible merge, ordered by rank, then position; the derived order compares fields in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Merge {
    rank: u32,
    left: u32,
    right: u32,
    left_symbol: Symbol,
    right_symbol: Symbol,
    merged: Symbol,
}

/// Gives byte strings their symbols while the table is built.
struct SymbolTable {
    num_tokens: usize,
    words: HashMap<Box<[u8]>, Symbol>,
    homeless: Vec<Box<[u8]>>,
    homeless_ids: HashMap<Box<[u8]>, Symbol>,
}

impl SymbolTable {
    fn symbol(&mut self, bytes: &[u8]) -> Symbol {
        if let Some(&symbol) = self
            .words
            .get(bytes)
            .or_else(|| self.homeless_ids.get(bytes))
        {
            return symbol;
        }
        let symbol = (self.num_tokens + self.homeless.len()) as Symbol;
        self.homeless.push(bytes.into());
        self.homeless_ids.insert(bytes.into(), symbol);
        symbol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bpe(tokens: &[&str], merges: &[(&str, &str)]) -> Bpe {
        let words = tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.as_bytes().into(), id as u32))
            .collect();
        let merges = merges
            .iter()
            .map(|(left, right)| (left.as_bytes().to_vec(), right.as_bytes().to_vec()));
        Bpe::new(tokens.len(), words, merges)
    }

    fn encode(bpe: &Bpe, word: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        bpe.encode_word(word.as_bytes(), &mut Scratch::default(), &mut ids);
        ids
    }

    #[test]
    fn the_lowest_rank_is_merged_first_and_the_leftmost_among_equals() {
        let bpe = bpe(
            &["a", "b", "ab", "aa", "aab"],
            &[("a", "a"), ("a", "b"), ("aa", "b")],
        );
        assert_eq!(
            encode(&bpe, "aaab"),
            [3, 2],
            "aa|ab: aa has the lower rank and stands left"
        );
        assert_eq!(encode(&bpe, "aab"), [4]);
    }

    #[test]
    fn a_merge_result_without_a_token_is_spelled_in_bytes() {
        let bpe = bpe(&["a", "b"], &[("a", "b")]);
        assert_eq!(encode(&bpe, "ab"), [0, 1]);
    }

    #[test]
    fn a_byte_without_a_token_is_dropped() {
        let bpe = bpe(&["a"], &[]);
        assert_eq!(encode(&bpe, "axa"), [0, 0]);
    }
}
