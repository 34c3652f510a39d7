//! What is wrong with a configuration, where, and what to do about it: every error found, not only the first.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::redact::redacted;

/// Most errors reported at once; beyond, the file is wrong as a whole.
pub const DIAGNOSTICS_MAX: usize = 50;

/// Lines shown above and below the place of an error.
const CONTEXT_LINES: usize = 1;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named to the parser.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty if there is nothing to say beyond the message.
    pub hint: String,
    #[serde(skip)]
    span: Range<usize>,
    #[serde(skip)]
    related: Option<(Range<usize>, String)>,
}

/// An error as the parser finds it, before its place in the file is worked out.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    span: Range<usize>,
    message: String,
    hint: String,
    related: Option<(Range<usize>, String)>,
}

impl Problem {
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Problem {
            span,
            message: message.into(),
            hint: String::new(),
            related: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Another place that belongs to the error, such as the first of two equal names.
    pub fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// Every error found in a configuration, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    entries: Vec<Diagnostic>,
    left_out: usize,
    source: String,
}

impl Diagnostics {
    pub(super) fn new(file: &str, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        let left_out = problems.len().saturating_sub(DIAGNOSTICS_MAX);
        problems.truncate(DIAGNOSTICS_MAX);
        let entries = problems
            .into_iter()
            .map(|problem| {
                let span = clamped(source, &problem.span);
                let (line, column) = position(source, span.start);
                Diagnostic {
                    file: file.to_string(),
                    line,
                    column,
                    message: problem.message,
                    hint: problem.hint,
                    span,
                    related: problem
                        .related
                        .map(|(span, label)| (clamped(source, &span), label)),
                }
            })
            .collect();
        Diagnostics {
            entries,
            left_out,
            source: redacted(source),
        }
    }

    /// The errors, in file order.
    #[must_use]
    pub fn entries(&self) -> &[Diagnostic] {
        &self.entries
    }

    /// Number of errors found beyond those in [`Diagnostics::entries`].
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The first error on one line, and how many there are.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(first) = self.entries.first() else {
            return "no error".into();
        };
        let more = self.entries.len() - 1 + self.left_out;
        let place = format!(
            "{}:{}:{}: {}",
            first.file, first.line, first.column, first.message
        );
        if more == 0 {
            place
        } else {
            format!("{place} (and {more} more)")
        }
    }

    /// All errors as text, each with the lines it is about. Plaintext secrets in those lines are masked.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&renderer.render(&[self.group(entry)]));
            text.push_str("\n\n");
        }
        text.push_str(&self.closing_line());
        text
    }

    fn closing_line(&self) -> String {
        let found = self.entries.len() + self.left_out;
        let errors = if found == 1 {
            "1 error".to_string()
        } else {
            format!("{found} errors")
        };
        if self.left_out == 0 {
            format!("{errors}; nothing was changed")
        } else {
            format!(
                "{errors}, the first {} are shown; nothing was changed",
                self.entries.len()
            )
        }
    }

    fn group<'a>(&'a self, entry: &'a Diagnostic) -> Group<'a> {
        let mut group = Level::ERROR.primary_title(&entry.message).element(self.snippet(
            entry,
            &entry.span,
            AnnotationKind::Primary,
            None,
        ));
        if let Some((span, label)) = &entry.related {
            group = group.element(self.snippet(entry, span, AnnotationKind::Context, Some(label)));
        }
        if !entry.hint.is_empty() {
            group = group.element(Level::HELP.message(&entry.hint));
        }
        group
    }

    /// The lines around `span`. Only those are handed to the renderer, which scans all that it is given.
    fn snippet<'a>(
        &'a self,
        entry: &'a Diagnostic,
        span: &Range<usize>,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let mut start = line_start(&self.source, span.start);
        for _ in 0..CONTEXT_LINES {
            start = line_start(&self.source, start.saturating_sub(1));
        }
        let mut end = line_end(&self.source, span.end);
        for _ in 0..CONTEXT_LINES {
            end = line_end(&self.source, (end + 1).min(self.source.len()));
        }
        let (first_line, _) = position(&self.source, start);
        Snippet::source(&self.source[start..end])
            .line_start(first_line)
            .path(entry.file.as_str())
            .annotation(kind.span(span.start - start..span.end - start).label(label))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// `span` within the source, on character boundaries and on one line, so that it can be pointed at.
fn clamped(source: &str, span: &Range<usize>) -> Range<usize> {
    let mut start = span.start.min(source.len());
    while !source.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, line_end(source, start).max(start));
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    start..end.max(start)
}

/// Where the line of `offset` begins.
fn line_start(source: &str, offset: usize) -> usize {
    source.as_bytes()[..offset]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1)
}

/// Where the line of `offset` ends, before its newline.
fn line_end(source: &str, offset: usize) -> usize {
    source.as_bytes()[offset..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(source.len(), |at| offset + at)
}

/// Line and column of `offset`, both from 1.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let line = source.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    let column = source[line_start(source, offset)..offset].chars().count() + 1;
    (line, column)
}
