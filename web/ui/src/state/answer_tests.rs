//! Folding of events: examples, and a seeded random walk over breaks and repetitions.

use web_api::{AnswerMode, Timings, Usage};

use super::*;

fn running() -> Message {
    Message {
        id: "a".into(),
        conversation_id: "c".into(),
        question: "How long is the notice period?".into(),
        answer: String::new(),
        status: AnswerStatus::Running,
        refused: false,
        mode: AnswerMode::Generated,
        notice: None,
        error: None,
        citations: Vec::new(),
        unsupported: Vec::new(),
        sources: Vec::new(),
        collections: vec![1],
        model: Some("m".into()),
        prompt_version: None,
        usage: Usage::default(),
        timings: Timings::default(),
        created_at: 0,
    }
}

fn citation(n: usize, start: usize) -> Citation {
    Citation {
        n,
        document: 7,
        path: "handbook.pdf".into(),
        title: "Handbook".into(),
        page: Some(3),
        quote: "Three months.".into(),
        start,
        end: start + 13,
        table_head: None,
    }
}

fn source(n: usize) -> Source {
    Source {
        n,
        collection: 1,
        document: 7,
        path: "handbook.pdf".into(),
        title: "Handbook".into(),
        page: Some(3),
        heading: Vec::new(),
        start: n * 100,
        end: n * 100 + 90,
        score: 0.9,
        snippet: "Three months".into(),
    }
}

fn delta(text: &str) -> AnswerEvent {
    AnswerEvent::Delta { text: text.into() }
}

fn stream() -> Vec<AnswerEvent> {
    let mut done = running();
    done.status = AnswerStatus::Done;
    done.answer = "Three months [1]. Maybe more.".into();
    done.citations = vec![citation(1, 100)];
    done.unsupported = vec![Span { start: 18, end: 29 }];
    done.sources = vec![source(1), source(2)];
    vec![
        AnswerEvent::Status {
            text: "Searching 1 collection".into(),
        },
        AnswerEvent::Sources {
            passages: vec![source(1), source(2)],
        },
        delta("Three months "),
        delta("[1]."),
        AnswerEvent::Citation {
            citation: citation(1, 100),
        },
        delta(" Maybe more."),
        AnswerEvent::Unsupported { start: 18, end: 29 },
        AnswerEvent::Done {
            message: Box::new(done),
        },
    ]
}

#[test]
fn events_build_the_stored_answer() {
    let mut view = AnswerView::from_message(running());
    let events = stream();
    let last = events.len();
    for (at, event) in events.into_iter().enumerate() {
        if at + 1 == last {
            // Before `done` the view already equals what is stored, but for the status.
            assert_eq!(view.message.answer, "Three months [1]. Maybe more.");
            assert_eq!(view.message.citations, [citation(1, 100)]);
            assert_eq!(view.message.unsupported, [Span { start: 18, end: 29 }]);
            assert!(view.is_running());
        }
        view.apply(at as u64 + 1, event);
    }
    assert_eq!(view.message.status, AnswerStatus::Done);
    assert_eq!(view.activity, "");
}

#[test]
fn a_running_message_starts_empty_because_its_events_are_repeated() {
    let mut half = running();
    half.answer = "Three mon".into();
    half.citations = vec![citation(1, 100)];
    let mut view = AnswerView::from_message(half);
    for (at, event) in stream().into_iter().enumerate() {
        view.apply(at as u64 + 1, event);
    }
    assert_eq!(view.message.answer, "Three months [1]. Maybe more.");
    assert_eq!(view.message.citations.len(), 1);
}

#[test]
fn an_error_keeps_the_text_so_far() {
    let mut view = AnswerView::from_message(running());
    view.apply(1, delta("Three"));
    view.apply(
        2,
        AnswerEvent::Error {
            message: "The model stopped.".into(),
        },
    );
    view.apply(3, delta(" more"));
    assert_eq!(view.message.answer, "Three");
    assert_eq!(view.message.status, AnswerStatus::Failed);
    assert_eq!(view.message.error.as_deref(), Some("The model stopped."));
}

#[test]
fn a_stopped_answer_stays_stopped() {
    let mut stopped = running();
    stopped.status = AnswerStatus::Stopped;
    stopped.answer = "Three".into();
    let mut view = AnswerView::from_message(running());
    view.apply(
        1,
        AnswerEvent::Done {
            message: Box::new(stopped),
        },
    );
    assert_eq!(view.message.status, AnswerStatus::Stopped);
    assert_eq!(view.message.answer, "Three");
}

/// Every prefix is what a straight run gives, however often the connection breaks and repeats.
#[test]
fn breaks_and_repetitions_change_nothing() {
    let events = stream();
    let mut straight = vec![AnswerView::from_message(running())];
    for (at, event) in events.iter().enumerate() {
        let mut next = straight[at].clone();
        next.apply(at as u64 + 1, event.clone());
        straight.push(next);
    }
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next_random = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    for _ in 0..2_000 {
        let mut view = AnswerView::from_message(running());
        let mut seen = 0;
        while seen < events.len() {
            // After a break the server may repeat from any event up to the next unseen one.
            let from = next_random(seen + 1);
            let to = from + next_random(events.len() - from + 1);
            for (at, event) in events.iter().enumerate().take(to).skip(from) {
                view.apply(at as u64 + 1, event.clone());
            }
            seen = seen.max(to);
            assert_eq!(view, straight[seen]);
        }
    }
}

#[test]
fn the_kth_marker_of_a_number_opens_its_kth_quote() {
    let mut message = running();
    message.answer = "A [1]. B [2]. C [1]. D [9]. E [1].".into();
    message.status = AnswerStatus::Done;
    message.citations = vec![citation(1, 100), citation(1, 300)];
    message.sources = vec![source(1), source(2)];
    let view = AnswerView::from_message(message);
    let starts: Vec<Option<(usize, bool)>> = (0..5)
        .map(|mark| {
            view.target_of_mark(mark)
                .map(|target| (target.span.start, target.verified))
        })
        .collect();
    // [9] is unknown and no button; the third [1] has no quote of its own and opens the last one.
    assert_eq!(
        starts,
        [
            Some((100, true)),
            Some((200, false)),
            Some((300, true)),
            Some((300, true)),
            None
        ]
    );
}

#[test]
fn a_refusal_offers_the_closest_passages() {
    let mut message = running();
    message.answer = "The documents do not answer this.".into();
    message.status = AnswerStatus::Done;
    message.refused = true;
    message.sources = vec![source(1), source(2)];
    let view = AnswerView::from_message(message);
    assert_eq!(view.targets().len(), 2);
    assert!(view.targets().iter().all(|target| !target.verified));
}
