//! Weaves mutants into a source file: all of them are in the code, and which one is awake is asked at run time
//! (mutant schemata: Untch, Offutt, Harrold, "Mutation analysis using mutant schemata", ISSTA 1993). One build then
//! serves every mutant, where cargo-mutants builds each.
//!
//! The replaced text is what cargo-mutants says, to the byte. An expression E with mutants becomes
//! `(if on(1) { E1 } else if on(2) { E2 } else { E })`; a function body begins with `if on(3) { return V; }`; a match arm
//! gets the guard `!on(4)`.

use std::ops::Range;

use anyhow::{Context, Result};

use crate::list::{Genre, Mutant};
use crate::sites::{Site, Wrap, find};

/// A source file with its mutants woven in.
pub struct Woven {
    pub text: String,
    /// Where in `text` each mutant's own code stands.
    pub places: Vec<(Range<usize>, usize)>,
    /// Mutants that have no place, with the reason.
    pub unplaced: Vec<(usize, &'static str)>,
}

/// Weaves `mutants`, each with its number, into `source`.
pub fn weave(source: &str, mutants: &[(usize, &Mutant)]) -> Result<Woven> {
    let lines = Lines::of(source);
    let parsed = syn::parse_file(source).context("does not parse")?;
    let spans: Vec<(usize, &Mutant, Range<usize>)> = mutants
        .iter()
        .map(|(id, mutant)| (*id, *mutant, lines.range(mutant.span)))
        .collect();
    let wanted: Vec<(Genre, Range<usize>)> = spans
        .iter()
        .map(|(_, mutant, range)| (mutant.genre, range.clone()))
        .collect();
    let (mut sites, unplaced) = find(&parsed, &lines, &wanted);
    // Outer before inner; an insertion before what starts there.
    sites.sort_by_key(|site| {
        let range = &site.range;
        (range.start, !range.is_empty(), std::cmp::Reverse(range.end))
    });
    let mut weaver = Weaver {
        source,
        spans: &spans,
        text: String::with_capacity(source.len() * 4),
        places: Vec::new(),
    };
    weaver.emit(0..source.len(), &sites);
    Ok(Woven {
        text: weaver.text,
        places: weaver.places,
        unplaced: unplaced
            .into_iter()
            .map(|(index, why)| (spans[index].0, why))
            .collect(),
    })
}

struct Weaver<'a> {
    source: &'a str,
    spans: &'a [(usize, &'a Mutant, Range<usize>)],
    text: String,
    places: Vec<(Range<usize>, usize)>,
}

impl Weaver<'_> {
    /// Writes `range` of the source, with all of `sites` in it.
    fn emit(&mut self, range: Range<usize>, sites: &[Site]) {
        let mut at = range.start;
        let mut rest = sites;
        while let [site, others @ ..] = rest {
            let inner = others
                .iter()
                .take_while(|other| other.range.start < site.range.end)
                .count();
            self.text.push_str(&self.source[at..site.range.start]);
            self.site(site, &others[..inner]);
            at = site.range.end;
            rest = &others[inner..];
        }
        self.text.push_str(&self.source[at..range.end]);
    }

    fn site(&mut self, site: &Site, inner: &[Site]) {
        match &site.wrap {
            Wrap::Expression => {
                self.text.push('(');
                for index in &site.mutants {
                    let (id, mutant, span) = &self.spans[*index];
                    let copy = format!(
                        "{}{}{}",
                        &self.source[site.range.start..span.start],
                        mutant.replacement,
                        &self.source[span.end..site.range.end]
                    );
                    self.alternative(*id, &format!("{{ {copy} }} else "));
                }
                self.text.push_str("{ ");
                self.emit(site.range.clone(), inner);
                self.text.push_str(" })");
            }
            Wrap::Body => {
                for index in &site.mutants {
                    let (id, mutant, _) = &self.spans[*index];
                    self.alternative(*id, &format!("{{ return {}; }} ", mutant.replacement));
                }
            }
            Wrap::Arm { guarded } => {
                let ids = site.mutants.iter().map(|index| self.spans[*index].0);
                let off: Vec<String> = ids.map(|id| format!("!crate::mutant::on({id})")).collect();
                let (begin, end) = if *guarded { ("", " && ") } else { (" if ", " ") };
                self.text.push_str(begin);
                self.text.push_str(&off.join(" && "));
                self.text.push_str(end);
            }
        }
    }

    fn alternative(&mut self, id: usize, block: &str) {
        let from = self.text.len();
        self.text.push_str(&format!("if crate::mutant::on({id}) {block}"));
        self.places.push((from..self.text.len(), id));
    }
}

/// Where the lines of a text begin, to turn lines and columns into bytes.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The byte at a line, from 1, and a column, from 0 in characters.
    pub fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.starts[line - 1];
        let mut characters = self.text[start..].char_indices();
        start
            + characters
                .nth(column)
                .map_or(self.text.len() - start, |(at, _)| at)
    }

    /// The bytes of something that was parsed.
    pub fn bytes(&self, span: proc_macro2::Span) -> Range<usize> {
        let (start, end) = (span.start(), span.end());
        self.byte(start.line, start.column)..self.byte(end.line, end.column)
    }

    fn range(&self, span: crate::list::Span) -> Range<usize> {
        self.byte(span.start.line, span.start.column - 1)..self.byte(span.end.line, span.end.column - 1)
    }
}
