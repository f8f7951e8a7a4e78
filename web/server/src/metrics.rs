//! Counters of this process in Prometheus' text format. No text of users, no ids: routes are patterns.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use web_api::{AnswerMode, AnswerStatus};

/// Upper bounds of the request duration histogram, in seconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0];

/// Counters of requests and answers.
#[derive(Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    requests: BTreeMap<(String, String, u16), u64>,
    durations: BTreeMap<String, Histogram>,
    answers: BTreeMap<(&'static str, &'static str, bool), u64>,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    pub(crate) fn request_finished(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        elapsed: Duration,
    ) {
        // A client chooses the method's name; unknown ones share a series, so that nobody grows the table.
        let method = match *method {
            Method::GET
            | Method::POST
            | Method::PATCH
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::PUT => method.as_str(),
            _ => "other",
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner
            .requests
            .entry((method.to_owned(), route.to_owned(), status.as_u16()))
            .or_default() += 1;
        let histogram = inner.durations.entry(route.to_owned()).or_default();
        let seconds = elapsed.as_secs_f64();
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    pub(crate) fn answer_finished(&self, mode: AnswerMode, status: AnswerStatus, refused: bool) {
        let mode = match mode {
            AnswerMode::Generated => "generated",
            AnswerMode::QuoteOnly => "quote_only",
        };
        let status = match status {
            AnswerStatus::Running => "running",
            AnswerStatus::Done => "done",
            AnswerStatus::Stopped => "stopped",
            AnswerStatus::Failed => "failed",
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner.answers.entry((mode, status, refused)).or_default() += 1;
    }

    /// Appends the counters in Prometheus' text format.
    pub(super) fn render(&self, text: &mut String) -> std::fmt::Result {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str("# HELP cloister_http_requests_total Requests answered.\n# TYPE cloister_http_requests_total counter\n");
        for ((method, route, status), count) in &inner.requests {
            writeln!(
                text,
                "cloister_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
            )?;
        }
        text.push_str(
            "# HELP cloister_http_request_duration_seconds Time to the response's head.\n# TYPE cloister_http_request_duration_seconds histogram\n",
        );
        for (route, histogram) in &inner.durations {
            let name = "cloister_http_request_duration_seconds";
            for (count, bound) in histogram.buckets.iter().zip(BUCKETS) {
                writeln!(
                    text,
                    "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}"
                )?;
            }
            writeln!(
                text,
                "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}",
                histogram.count
            )?;
            writeln!(text, "{name}_sum{{route=\"{route}\"}} {}", histogram.sum)?;
            writeln!(
                text,
                "{name}_count{{route=\"{route}\"}} {}",
                histogram.count
            )?;
        }
        text.push_str("# HELP cloister_answers_total Answers of the page that ended.\n# TYPE cloister_answers_total counter\n");
        for ((mode, status, refused), count) in &inner.answers {
            writeln!(
                text,
                "cloister_answers_total{{mode=\"{mode}\",status=\"{status}\",refused=\"{refused}\"}} {count}"
            )?;
        }
        Ok(())
    }
}
