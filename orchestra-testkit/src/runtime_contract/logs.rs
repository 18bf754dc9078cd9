//! What containers write.

use std::time::Duration;

use orchestra_core::runtime::{LogOptions, LogSource};

use super::case::{GRACE, next, read_to_end, text};
use super::{Case, Program};

pub(super) async fn both_outputs_are_kept_as_they_were_written(case: &Case<'_>) {
    // The last line of each has no end, and there is an empty one.
    let (out, err) = ("one\n\n  three \u{fc}\nlast", "error 1\nerror 2");
    let program = Program::Write { out: out.to_owned(), err: err.to_owned() };
    let (sandbox, container) = case.run(&program).await;
    case.ended(&sandbox, &container).await;
    let chunks = case.output(&container).await;
    let of = |source| text(chunks.iter().filter(|chunk| chunk.source == source));
    assert_eq!((of(LogSource::Stdout).as_str(), of(LogSource::Stderr).as_str()), (out, err));
    assert!(chunks.is_sorted_by_key(|chunk| chunk.at), "the stamps go back");
    let mut again = case.logs(&container, &LogOptions::default()).await;
    assert_eq!(read_to_end(&mut again).await, chunks, "reading it again gives the same");
}

pub(super) async fn a_tail_is_the_last_lines(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Lines(100)).await;
    case.ended(&sandbox, &container).await;
    for (tail, expected) in [(3, 97..100), (100, 0..100), (1000, 0..100), (0, 100..100)] {
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let mut log = case.logs(&container, &options).await;
        let expected: String = expected.map(|number| format!("line {number}\n")).collect();
        assert_eq!(text(&read_to_end(&mut log).await), expected, "the last {tail} lines");
    }
}

pub(super) async fn a_limit_cuts_off(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Lines(100)).await;
    case.ended(&sandbox, &container).await;
    for follow in [false, true] {
        let options = LogOptions { follow, limit_bytes: Some(10), ..LogOptions::default() };
        let mut log = case.logs(&container, &options).await;
        assert_eq!(text(&read_to_end(&mut log).await), "line 0\nlin");
    }
}

pub(super) async fn since_leaves_out_what_is_older(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Lines(3)).await;
    case.ended(&sandbox, &container).await;
    let chunks = case.output(&container).await;
    let (first, last) = (chunks.first().expect("a first line").at, chunks.last().expect("a last line").at);
    for (since, expected) in [(first, chunks.len()), (last + Duration::from_secs(1), 0)] {
        let options = LogOptions { since: Some(since), ..LogOptions::default() };
        let mut log = case.logs(&container, &options).await;
        assert_eq!(read_to_end(&mut log).await.len(), expected);
    }
}

pub(super) async fn a_followed_log_ends_with_its_container(case: &Case<'_>) {
    let (_, container) = case.run(&Program::WriteAndSleep("ready\n".to_owned())).await;
    let mut log = case.logs(&container, &LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(text(&next(&mut log).await), "ready\n", "before it ends");
    case.runtime().await.stop_container(&container, GRACE).await.expect("stop_container");
    assert!(next(&mut log).await.is_none());
    assert_eq!(text(&case.output(&container).await), "ready\n", "followed after the end");
}

pub(super) async fn a_followed_log_has_every_line_once(case: &Case<'_>) {
    let (_, container) = case.run(&Program::LinesForEver).await;
    let mut log = case.logs(&container, &LogOptions { follow: true, ..LogOptions::default() }).await;
    let mut lines = String::new();
    for _ in 0..500 {
        lines += &text(&next(&mut log).await);
    }
    case.runtime().await.stop_container(&container, GRACE).await.expect("stop_container");
    lines += &text(&read_to_end(&mut log).await);
    for (number, line) in lines.lines().enumerate() {
        assert!(
            line == format!("line {number}") || number + 1 == lines.lines().count(),
            "{line} in place of {number}"
        );
    }
}
