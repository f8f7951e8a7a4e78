//! What is to be said against a quote that has the words of a claim: it says the opposite, it is about another entity
//! than the question, or the row of a table does not have what was asked for.
//!
//! A row is judged by columns. The *asked* columns are those whose head the question names; the value of the claim must
//! be from one of them. Where the question names none, its words must be found in the row or around the table, because
//! else any value of the row passes as an answer ("it costs NBR, 44 x 3 mm").

use std::collections::HashSet;

use super::{
    context::Quote,
    entity::{Entity, Mentions},
    support::{Claim, Doubt, QuoteIndex},
    table::{Cell, Row},
    window::Window,
};
use crate::text::polarity::is_forbidding;
use crate::text::terms::{Term, TermKind, match_strength};

impl QuoteIndex {
    /// What is to be said against the windows as the support of a claim, the gravest first.
    pub(super) fn objection(&self, claim: &Claim, windows: &[usize]) -> Option<Doubt> {
        let of = |i: &usize| &self.windows[*i];
        let opposite = windows.iter().map(of).find(|w| self.is_opposite(claim, w));
        if let Some(window) = opposite {
            return Some(Doubt::Opposite(window.quote));
        }
        if !self.entities_hold(&claim.mentions, windows) || self.takes_from_others(claim, windows) {
            return Some(Doubt::OtherEntity);
        }
        let other_fact = windows
            .iter()
            .map(of)
            .find(|w| self.is_other_fact(claim, w));
        if let Some(window) = other_fact {
            return Some(Doubt::OtherFact(window.quote));
        }
        let is_patched = claim.restates && !claim.denies && self.is_patchwork(claim, windows);
        is_patched.then_some(Doubt::NotFound)
    }

    /// Whether an affirmation of the question has its words from what does not belong together: other rows or sentences than
    /// one, unless of one form, what is about rivals of what was asked for, clauses with another subject. A word that other
    /// sentences of the context have must be in these: "made of steel" is not shown by a row that says brass.
    fn is_patchwork(&self, claim: &Claim, windows: &[usize]) -> bool {
        let of = |i: &usize| &self.windows[*i];
        let first = of(&windows[0]);
        // Neighbouring sentences are one window.
        let belong = |window: &Window| {
            window.quote == first.quote
                || window.section == first.section
                    && window.form.is_some()
                    && window.form == first.form
        };
        if !windows.iter().map(of).all(belong) {
            return true;
        }
        let is_of_rival = |window: &Window| {
            self.entities.iter().any(|entity| {
                !window.mentions.hold(entity)
                    && window.mentions.hold_rival(entity, &self.question_mentions)
            })
        };
        if windows.iter().map(of).any(is_of_rival) {
            return true;
        }
        let lacks = |term: &Term| {
            let here = windows.iter().map(of).any(|w| {
                match_strength(term, &w.keys) > 0.0
                    || match_strength(term, &self.sections[w.section].headings) > 0.0
            });
            let mut others = self.windows.iter();
            !here && others.any(|w| match_strength(term, &w.keys) > 0.0)
        };
        claim.terms.iter().any(lacks)
            || windows
                .iter()
                .map(of)
                .any(|w| has_other_subject(&self.question, claim, w))
    }

    /// Whether the question names something that no passage does, nor an alternative of it that the question also names.
    pub(crate) fn misses_entity(&self) -> bool {
        if !self.put_together.is_empty() {
            return true;
        }
        let must_be_there =
            |entity: &&Entity| matches!(entity, Entity::Identifier { .. } | Entity::Name(_));
        let is_held = |entity: &Entity| {
            let in_texts = self.sections.iter().any(|s| s.text_mentions.hold(entity));
            in_texts || self.windows.iter().any(|w| w.mentions.hold(entity))
        };
        self.entities.iter().filter(must_be_there).any(|entity| {
            let alternatives = self
                .entities
                .iter()
                .filter(|other| other.same_shape(entity));
            !alternatives.into_iter().any(is_held)
        })
    }

    /// The names of several words that are nowhere while each of their words is somewhere: "Karl Bergmann" where there are Karl
    /// Ott and Anna Bergmann.
    pub(super) fn names_put_together(&self) -> Vec<Entity> {
        let texts = || {
            let windows = self.windows.iter().map(|w| &w.keys);
            windows.chain(self.sections.iter().map(|s| &s.headings))
        };
        let is_in = |part: &Term, keys: &HashSet<String>| match_strength(part, keys) > 0.0;
        let is_put_together = |parts: &[Term]| {
            parts.len() > 1
                && self.question_mentions.hold_in_a_row(parts)
                && parts
                    .iter()
                    .all(|part| texts().any(|keys| is_in(part, keys)))
                && !texts().any(|keys| parts.iter().all(|part| is_in(part, keys)))
        };
        let entities = self.entities.iter();
        let chosen =
            entities.filter(|e| matches!(e, Entity::Name(parts) if is_put_together(parts)));
        chosen.cloned().collect()
    }

    /// Whether a quote is about the entities of the question, one of each shape.
    pub(crate) fn is_about_question(&self, quote: Quote) -> bool {
        let windows = self.windows.iter().position(|w| w.quote == quote);
        self.entities_hold(&Mentions::default(), windows.as_slice())
    }

    /// Whether the windows are about the entities of the question: those that `said`, the claim, names, else one of each
    /// shape.
    fn entities_hold(&self, said: &Mentions, windows: &[usize]) -> bool {
        let held = |entity: &Entity| {
            let mut windows = windows.iter().map(|&i| &self.windows[i]);
            windows.any(|window| self.is_about(said, window, entity))
        };
        self.entities.iter().all(|entity| {
            let alternatives = || {
                let others = self.entities.iter();
                others.filter(|other| other.same_shape(entity))
            };
            let mut named = alternatives().filter(|other| said.hold(other)).peekable();
            if named.peek().is_some() {
                named.all(held)
            } else {
                alternatives().any(held)
            }
        })
    }

    fn is_about(&self, said: &Mentions, window: &Window, entity: &Entity) -> bool {
        if self.put_together.contains(entity) {
            return false;
        }
        let section = &self.sections[window.section];
        let mut allowed = self.question_mentions.clone();
        // What a claim says of something else than what was asked for may be of the other sentence.
        if said.hold(entity) || window.sentences == 1 {
            allowed.extend(said);
        }
        // Of two sentences either may have the value, so neither may be about another one.
        let is_clear = window.sentences == 1 || !window.mentions.hold_rival(entity, &allowed);
        if is_clear && (window.mentions.hold(entity) || section.heading_mentions.hold(entity)) {
            return true;
        }
        let near = section.text_mentions.hold(entity);
        let has_rival = || window.mentions.hold_rival(entity, &self.question_mentions);
        match entity {
            Entity::Name(_) => near,
            Entity::Identifier { .. } => near && !has_rival(),
            // The claim says it, so the source has to.
            Entity::Labelled { .. } if said.hold(entity) => near && !has_rival(),
            Entity::Year(_) | Entity::Labelled { .. } => {
                let in_headings = !near && section.heading_mentions.hold_rival(entity, &allowed);
                !in_headings && !window.mentions.hold_rival(entity, &allowed)
            }
        }
    }

    /// Whether the window denies what the claim affirms, or the other way round.
    pub(super) fn is_opposite(&self, claim: &Claim, window: &Window) -> bool {
        if let Some(row) = &window.row
            && let Some(opposite) = self.row_is_opposite(claim, row)
        {
            return opposite;
        }
        if self.answer_is_opposite(claim, window) || self.affirms_what_is_forbidden(claim, window) {
            return true;
        }
        if window.clauses.len() > 1 && clause_is_opposite(claim, window) {
            return true;
        }
        claim
            .terms
            .iter()
            .filter(|t| window.keys.contains(&t.key))
            .any(|term| {
                if term.negated {
                    window.plain.contains(&term.key) && !window.negated.contains(&term.key)
                } else {
                    denies(window, term) && !claim.denies && !claim.is_bare
                }
            })
    }

    /// A yes against a window that denies a term of the question, a bare no against one that denies nothing.
    fn answer_is_opposite(&self, claim: &Claim, window: &Window) -> bool {
        let Some(says) = claim.answer else {
            return false;
        };
        if self.question_denies() {
            // "Is it not allowed?" Yes and no mean both.
            return claim.is_bare;
        }
        let denied = self.question.iter().any(|term| denies(window, term));
        if says {
            denied && !claim.denies
        } else {
            claim.is_bare && !denied && !window.plain.is_empty()
        }
    }

    /// A yes, or the question's own words as a statement, against a window that forbids or excludes without a negator.
    fn affirms_what_is_forbidden(&self, claim: &Claim, window: &Window) -> bool {
        let affirms = claim.answer == Some(true) || (claim.answer.is_none() && claim.restates);
        let is_said = |key: &String| {
            let mut said = claim.terms.iter().chain(&self.question);
            said.any(|term| term.key == *key)
        };
        let forbids = |key: &&String| is_forbidding(key) && !is_said(key);
        affirms && !claim.denies && window.keys.iter().any(|key| forbids(&key))
    }

    fn question_denies(&self) -> bool {
        self.question.iter().any(|term| term.negated)
    }

    /// Compares the claim with the cells that say yes or no; `None` where it is about none of them.
    fn row_is_opposite(&self, claim: &Claim, row: &Row) -> Option<bool> {
        let mut named = row.columns_named(&claim.terms);
        if claim.answer.is_some() {
            named.extend(row.columns_named(&self.question));
        }
        if named.is_empty() && claim.restates && !claim.denies && claim.answer != Some(false) {
            // It affirms something of a row that says no to something, and names no column.
            return row.denies().then_some(true);
        }
        named
            .into_iter()
            .filter_map(|i| Some((i, row.cells[i].says?)))
            .map(|(i, says)| self.cell_is_opposite(claim, row, i, says))
            .reduce(|a, b| a || b)
    }

    fn cell_is_opposite(&self, claim: &Claim, row: &Row, column: usize, says: bool) -> bool {
        let heads = &row.cells[column].head_keys;
        let names = |t: &Term| match_strength(t, heads) > 0.0;
        let subject = |t: &Term| names(t) || match_strength(t, &row.cells[0].keys) > 0.0;
        let affirms = !claim.terms.iter().any(|t| t.negated && subject(t));
        match claim.answer {
            // "Is it not allowed?" Yes and no mean both.
            Some(_) if claim.is_bare && self.question_denies() => true,
            Some(answer) if claim.is_bare => answer != says,
            // "Yes, it is not" contradicts itself.
            Some(answer) if !self.question_denies() && claim.terms.iter().any(names) => {
                answer != affirms || affirms != says
            }
            Some(answer) if !self.question_denies() => answer != says,
            // A denial elsewhere in the sentence may be meant for this column.
            _ => affirms != says && (says || !claim.denies),
        }
    }

    /// Whether the windows are all about something else than the question, or a number or name of the claim is only in those.
    fn takes_from_others(&self, claim: &Claim, windows: &[usize]) -> bool {
        let windows = windows.iter().map(|&i| &self.windows[i]);
        let (others, own): (Vec<&Window>, Vec<&Window>) =
            windows.partition(|window| self.is_other(claim, window));
        let holds = |windows: &[&Window], term: &Term| {
            let mut windows = windows.iter();
            windows.any(|w| match_strength(term, &w.keys) > 0.0)
        };
        let is_fact = |term: &Term| matches!(term.kind, TermKind::Number | TermKind::Name);
        let mut facts = claim
            .novel_terms()
            .filter(|term| is_fact(term) && holds(&others, term));
        own.is_empty() || facts.any(|term| !holds(&own, term))
    }

    fn is_other(&self, claim: &Claim, window: &Window) -> bool {
        if window.row.is_some() {
            return self.is_other_row(claim, window);
        }
        // Of two sentences those count that have something of the claim.
        let holds = |part: &&Window| {
            let mut novel = claim.novel_terms();
            novel.any(|term| match_strength(term, &part.keys) > 0.0)
        };
        self.sentences_of(window)
            .filter(holds)
            .any(|part| self.is_other_sentence(claim, part))
    }

    fn sentences_of<'a>(&'a self, window: &'a Window) -> impl Iterator<Item = &'a Window> {
        let (at, span) = (window.quote.passage_idx, window.quote.span);
        self.windows.iter().filter(move |part| {
            part.sentences == 1 && part.quote.passage_idx == at && span.holds(part.quote.span)
        })
    }

    /// Whether the question names what another sentence of the passage is about that says the same of something else: "The
    /// office in Cork opens at 9:30" beside "The office in Kiel opens at 8:00". The claim must not name what this one is about.
    fn is_other_sentence(&self, claim: &Claim, window: &Window) -> bool {
        let group: Vec<&Window> = self
            .windows
            .iter()
            .filter(|w| w.quote.passage_idx == window.quote.passage_idx)
            .filter(|w| w.quote == window.quote || w.is_parallel(window))
            .collect();
        let holds = |window: &Window, term: &Term| match_strength(term, &window.keys) > 0.0;
        let names_this = !claim.restates
            && claim.novel_terms().any(|term| {
                let is_its_own = group.iter().filter(|w| holds(w, term)).count() < group.len();
                term.kind != TermKind::Number && is_its_own && holds(window, term)
            });
        let counts: Vec<(usize, &Term)> = self
            .question
            .iter()
            .map(|term| (group.iter().filter(|w| holds(w, term)).count(), term))
            .collect();
        let telling = most_telling(&counts, group.len());
        let is_other = !telling.is_empty() && !telling.iter().any(|term| holds(window, term));
        is_other && !names_this
    }

    /// Whether the question names another row of the same table than this one, or one that is not there, and the claim not
    /// this one.
    fn is_other_row(&self, claim: &Claim, window: &Window) -> bool {
        let Some(row) = window.row.as_ref().filter(|row| !row.is_form()) else {
            return false;
        };
        let rows: Vec<&Row> = self
            .windows
            .iter()
            .filter(|w| w.quote.passage_idx == window.quote.passage_idx)
            .filter_map(|w| w.row.as_ref())
            .filter(|row| !row.is_form())
            .collect();
        // A cell of an unspaced script is named by its characters.
        let is_named = |row: &Row| row.cells[0].is_in(&self.question_text);
        if rows.iter().any(|row| is_named(row)) {
            return !names_row(claim, row, |_| true) && !is_named(row);
        }
        let selection = Selection { rows: &rows };
        let is_asked = |head: &HashSet<String>| {
            let mut terms = self.question.iter().chain(&claim.terms);
            terms.any(|t| match_strength(t, head) > 0.0)
        };
        let holds = |row: &Row, term: &Term| selection.holds(row, term, &is_asked);
        let is_head = |term: &Term| in_any_cell(row, |cell| match_strength(term, &cell.head_keys));
        let counts: Vec<(usize, &Term)> = self
            .question
            .iter()
            .filter(|term| !is_head(term))
            .map(|term| (rows.iter().filter(|row| holds(row, term)).count(), term))
            .collect();
        let names_this = names_row(claim, row, is_asked);
        let telling = most_telling(&counts, rows.len());
        if telling.is_empty() {
            // What the question names may be in none of the rows: another thing than any of them.
            let around = &self.sections[window.section].text_keys;
            let is_nowhere = |(count, term): &(usize, &Term)| {
                let is_number_word = term.kind == TermKind::SmallNumber;
                *count == 0 && !is_number_word && match_strength(term, around) == 0.0
            };
            return rows.len() > 1 && !names_this && counts.iter().any(is_nowhere);
        }
        !names_this && !telling.iter().any(|term| holds(row, term))
    }

    /// Whether the value of the claim is in another column than the asked one.
    fn is_other_fact(&self, claim: &Claim, window: &Window) -> bool {
        let Some(row) = &window.row else {
            return false;
        };
        if claim.restates {
            // A line of a form says nothing of what its key does not name.
            let mut terms = claim.terms.iter().chain(&self.question);
            let names_key =
                terms.any(|t| match_strength(t, &row.cells[row.cells.len() - 1].head_keys) > 0.0);
            // Another line of it says what the form is about.
            let names_subject = self
                .entities
                .iter()
                .any(|entity| window.mentions.hold(entity));
            return row.is_form() && !names_key && !names_subject;
        }
        let mut novel: Vec<&Term> = claim.novel_terms().collect();
        // Where the claim has a number of the row, that is its value, and not the unit that many cells have.
        let is_number = |t: &&Term| t.kind == TermKind::Number;
        let in_row = |t: &&Term| in_any_cell(row, |cell| match_strength(t, &cell.keys));
        if novel.iter().any(|t| is_number(t) && in_row(t)) {
            novel.retain(is_number);
        }
        let holds_value = |i: &usize| {
            novel
                .iter()
                .any(|t| match_strength(t, &row.cells[*i].keys) > 0.0)
        };
        let values: Vec<usize> = (0..row.cells.len()).filter(holds_value).collect();
        // It says itself which column it speaks of.
        let said = row.columns_best_named(&claim.terms);
        if values.iter().any(|i| *i > 0 && said.contains(i)) {
            return false;
        }
        let asked = self.asked_columns(row);
        if values.is_empty()
            || asked
                .iter()
                .any(|i| values.contains(i) || row.cells[*i].says.is_some())
        {
            return false;
        }
        !asked.is_empty() || self.asks_for_what_is_not_there(window, row, &values)
    }

    /// The columns that the question names. One whose cell is in the question, too, is a condition ("what is in cabinet K5?"),
    /// and the words of its head ask for no other column.
    fn asked_columns(&self, row: &Row) -> Vec<usize> {
        let is_condition = |i: &usize| {
            let cell = &row.cells[*i].keys;
            self.question.iter().any(|t| match_strength(t, cell) > 0.0)
        };
        let mut conditions = row.columns_named(&self.question);
        conditions.retain(is_condition);
        let names_condition = |term: &Term| {
            let mut heads = conditions.iter().map(|&i| &row.cells[i].head_keys);
            heads.any(|head| match_strength(term, head) > 0.0)
        };
        let mut asking = self.question.clone();
        asking.retain(|term| !names_condition(term));
        let mut asked = row.columns_best_named(&asking);
        asked.retain(|i| !conditions.contains(i));
        asked
    }

    /// Whether a word of the question is nowhere to be found while none leads to the cells `values` of the claim: by the
    /// head of a column, in the cells themselves, or by the text around the table. The row's key and the head of its column
    /// lead to no cell. In a table without heads any cell may be the head of another.
    fn asks_for_what_is_not_there(&self, window: &Window, row: &Row, values: &[usize]) -> bool {
        let around = &self.sections[window.section].text_keys;
        let headings = &self.sections[window.section].headings;
        let in_head = |t: &Term, i: usize| match_strength(t, &row.cells[i].head_keys) > 0.0;
        let in_cell = |t: &Term, i: usize| match_strength(t, &row.cells[i].keys) > 0.0;
        let is_around = |t: &Term| match_strength(t, around) > 0.0;
        let has_heads = row.cells.iter().any(|cell| !cell.head.is_empty());
        let columns = || 0..row.cells.len();
        let is_there = |t: &Term| is_around(t) || columns().any(|i| in_head(t, i) || in_cell(t, i));
        let leads = |t: &Term| {
            let in_row = columns()
                .skip(usize::from(has_heads))
                .any(|i| in_head(t, i) || (in_cell(t, i) && (!has_heads || values.contains(&i))));
            // Title and headings name what a form is about, and none of its lines.
            let is_subject = row.is_form() && match_strength(t, headings) > 0.0;
            in_row || (is_around(t) && !is_subject && !in_head(t, 0) && !in_cell(t, 0))
        };
        let mut words = self.question.iter().filter(|t| t.kind == TermKind::Word);
        !words.clone().any(leads) && !words.all(is_there)
    }
}

/// Of terms that some of `num` alternatives hold, and not all, those that the fewest do; `counts` says how many do.
fn most_telling<'a>(counts: &[(usize, &'a Term)], num: usize) -> Vec<&'a Term> {
    let tells = |count: usize| count > 0 && count < num;
    let some = counts.iter().map(|(count, _)| *count);
    let fewest = some.filter(|count| tells(*count)).min();
    let telling = counts.iter().filter(|(count, _)| Some(*count) == fewest);
    telling.map(|(_, term)| *term).collect()
}

/// The rows among which the terms of a question choose.
struct Selection<'a> {
    rows: &'a [&'a Row],
}

impl Selection<'_> {
    /// Whether a row is about a term: by its key, or by another cell. The key of one row in another cell of this one ("reports
    /// to") counts only where the head of that cell is asked.
    fn holds(&self, row: &Row, term: &Term, is_asked: &dyn Fn(&HashSet<String>) -> bool) -> bool {
        let in_key = |row: &Row| match_strength(term, &row.cells[0].keys) > 0.0;
        let is_key = || self.rows.iter().any(|row| in_key(row));
        let others = row.cells.iter().skip(1);
        let mut others = others.filter(|cell| match_strength(term, &cell.keys) > 0.0);
        in_key(row) || others.any(|cell| is_asked(&cell.head_keys) || !is_key())
    }
}

/// Whether the claim, beyond the question, names the row: by its key, or by a cell that is not what was asked for.
fn names_row(claim: &Claim, row: &Row, is_asked: impl Fn(&HashSet<String>) -> bool) -> bool {
    let in_cell = |term: &Term| {
        let cells = row.cells.iter().enumerate();
        let is_word = term.kind != TermKind::Number;
        let mut naming =
            cells.filter(|(i, cell)| *i == 0 || (is_word && !is_asked(&cell.head_keys)));
        naming.any(|(_, cell)| match_strength(term, &cell.keys) > 0.0)
    };
    !claim.restates && claim.novel_terms().any(in_cell)
}

fn in_any_cell(row: &Row, strength: impl Fn(&Cell) -> f32) -> bool {
    row.cells.iter().any(|cell| strength(cell) > 0.0)
}

/// Whether the clause of a window that has most of the claim has the other polarity: "We do not offer rooms, but we offer lunch."
fn clause_is_opposite(claim: &Claim, window: &Window) -> bool {
    claim.terms.iter().any(|term| {
        // How many other terms of the claim the best clause has that denies or does not, and has the term itself or may lack it.
        let best = |denies: bool, with_term: bool| -> usize {
            let clauses = window.clauses.iter();
            let of_kind = clauses.filter(|(keys, is_denial)| {
                *is_denial == denies && (!with_term || keys.contains(&term.key))
            });
            let others = |keys: &HashSet<String>| {
                let others = claim.terms.iter().filter(|t| t.key != term.key);
                others.filter(|t| match_strength(t, keys) > 0.0).count()
            };
            of_kind.map(|(keys, _)| others(keys)).max().unwrap_or(0)
        };
        if term.negated {
            let plain = best(false, true);
            !tells_denied_clause(claim, window) && plain > 0 && plain > best(true, false)
        } else {
            let denied = best(true, true);
            let is_negated = window.negated.contains(&term.key) && !claim.denies;
            is_negated && denied > 0 && denied > best(false, false)
        }
    })
}

/// Whether a word of the claim stands only in clauses that are about another name than the question's: "Ferrer resigned; Zuber
/// was elected" does not say that Ferrer was elected.
fn has_other_subject(question: &[Term], claim: &Claim, window: &Window) -> bool {
    let is_name = |term: &&Term| term.kind == TermKind::Name;
    let names: Vec<&Term> = question.iter().filter(is_name).collect();
    let holds = |keys: &HashSet<String>, term: &Term| match_strength(term, keys) > 0.0;
    let has_own = |keys: &HashSet<String>| names.iter().any(|name| holds(keys, name));
    let has_other = |keys: &HashSet<String>| {
        let mut facts = window
            .facts
            .iter()
            .filter(|(_, kind)| **kind == TermKind::Name);
        facts.any(|(key, _)| keys.contains(key)) && !has_own(keys)
    };
    let clauses = || window.clauses.iter().map(|(keys, _)| keys);
    let is_elsewhere = |term: &&Term| {
        let mut with_term = clauses().filter(|keys| holds(keys, term)).peekable();
        with_term.peek().is_some() && with_term.all(has_other)
    };
    clauses().any(has_own) && claim.terms.iter().any(|term| is_elsewhere(&term))
}

/// Whether the claim has a number or name that only clauses have that deny.
fn tells_denied_clause(claim: &Claim, window: &Window) -> bool {
    let in_clause = |term: &Term, denies: bool| {
        let mut clauses = window.clauses.iter().filter(|(_, d)| *d == denies);
        clauses.any(|(keys, _)| keys.contains(&term.key))
    };
    let facts = claim.terms.iter();
    let mut facts = facts.filter(|t| matches!(t.kind, TermKind::Number | TermKind::Name));
    facts.any(|term| in_clause(term, true) && !in_clause(term, false))
}

/// Whether a window denies a term and affirms it nowhere.
fn denies(window: &Window, term: &Term) -> bool {
    window.negated.contains(&term.key) && !window.affirmed.contains(&term.key)
}
