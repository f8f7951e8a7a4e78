//! Cutting special tokens out of a text before it is merged; the same for every kind of vocabulary.

use std::ops::Range;

use super::vocabulary::{Token, TokenKind};

/// Whether the spelling of a control token stands for the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlTokens {
    AreText,
    AreParsed,
}

/// A stretch of a text after special tokens were cut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    Text(Range<usize>),
    Token(u32),
}

/// Control, unknown and user-defined tokens, longest text first.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    ids: Vec<u32>,
}

impl SpecialTokens {
    /// Lists the special tokens of a vocabulary.
    ///
    /// A control token of a single character is left out: it could not be told from text that contains the
    /// character (see `chat_template`), and no known vocabulary has one.
    pub(super) fn new(tokens: &[Token]) -> Self {
        let is_special = |token: &Token| match token.kind {
            TokenKind::UserDefined => !token.text.is_empty(),
            kind => kind.is_hidden() && token.text.chars().nth(1).is_some(),
        };
        let mut ids: Vec<u32> = (0..tokens.len() as u32)
            .filter(|&id| is_special(&tokens[id as usize]))
            .collect();
        ids.sort_by_key(|&id| std::cmp::Reverse(tokens[id as usize].text.len()));
        Self { ids }
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Cuts the special tokens out of `text`: the longest token first everywhere, each from left to right.
    pub(super) fn fragments(
        &self,
        tokens: &[Token],
        text: &str,
        control_tokens: ControlTokens,
    ) -> Vec<Fragment> {
        let mut fragments = vec![Fragment::Text(0..text.len())];
        for &id in &self.ids {
            let token = &tokens[id as usize];
            if control_tokens == ControlTokens::AreText && token.kind.is_hidden() {
                continue;
            }
            // Most special tokens occur nowhere; look before copying the list.
            let occurs = |fragment: &Fragment| matches!(fragment, Fragment::Text(range) if text[range.clone()].contains(&*token.text));
            if !fragments.iter().any(occurs) {
                continue;
            }
            let mut cut = Vec::with_capacity(fragments.len() + 2);
            for fragment in fragments {
                match fragment {
                    Fragment::Text(range) => cut_token(text, range, id, token, &mut cut),
                    token => cut.push(token),
                }
            }
            fragments = cut;
        }
        fragments.retain(|fragment| !matches!(fragment, Fragment::Text(range) if range.is_empty()));
        fragments
    }
}

fn cut_token(text: &str, range: Range<usize>, id: u32, token: &Token, cut: &mut Vec<Fragment>) {
    let mut start = range.start;
    while let Some(offset) = text[start..range.end].find(&*token.text) {
        let at = start + offset;
        if start < at {
            cut.push(Fragment::Text(start..at));
        }
        cut.push(Fragment::Token(id));
        start = at + token.text.len();
        if token.swallows_blanks {
            let rest = &text[start..range.end];
            let is_blank = |c| matches!(c, ' ' | '\t'..='\r');
            start += rest.len() - rest.trim_start_matches(is_blank).len();
        }
    }
    if start < range.end {
        cut.push(Fragment::Text(start..range.end));
    }
}
