//! Where in a parsed file each mutant belongs.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Expr, ExprBinary, ExprStruct, ExprUnary};

use crate::list::Genre;
use crate::weave::Lines;

/// How the mutants of a site are woven in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrap {
    /// Alternatives to the whole expression.
    Expression,
    /// Early returns at the start of a function's body.
    Body,
    /// A guard after an arm's pattern, before its own guard if it has one.
    Arm { guarded: bool },
}

/// A place in the source with mutants.
#[derive(Clone, Debug)]
pub struct Site {
    pub range: Range<usize>,
    pub wrap: Wrap,
    /// Indices into the list of wanted spans.
    pub mutants: Vec<usize>,
}

/// The sites of `wanted`, and those that have none with the reason.
pub fn find(
    file: &syn::File,
    lines: &Lines<'_>,
    wanted: &[(Genre, Range<usize>)],
) -> (Vec<Site>, Vec<(usize, &'static str)>) {
    let mut finder = Finder {
        lines,
        wanted,
        chain: None,
        sites: BTreeMap::new(),
        dropped: Vec::new(),
    };
    for (index, (genre, span)) in wanted.iter().enumerate() {
        if *genre == Genre::FnValue {
            finder.put(span.start..span.start, Wrap::Body, index);
        }
    }
    finder.visit_file(file);
    let mut dropped = finder.dropped;
    let sites: Vec<Site> = finder
        .sites
        .into_iter()
        .map(|((start, end, wrap), mutants)| Site {
            range: start..end,
            wrap,
            mutants,
        })
        .collect();
    for index in 0..wanted.len() {
        let placed = sites.iter().any(|site| site.mutants.contains(&index));
        if !placed && !dropped.iter().any(|(other, _)| *other == index) {
            dropped.push((index, "no place found for it"));
        }
    }
    (sites, dropped)
}

struct Finder<'a> {
    lines: &'a Lines<'a>,
    wanted: &'a [(Genre, Range<usize>)],
    /// The outermost of the operator expressions that directly enclose what is visited: replacing an operator may change
    /// which operands belong together, so the whole is replaced.
    chain: Option<Range<usize>>,
    sites: BTreeMap<(usize, usize, Wrap), Vec<usize>>,
    dropped: Vec<(usize, &'static str)>,
}

impl Finder<'_> {
    fn put(&mut self, range: Range<usize>, wrap: Wrap, index: usize) {
        let key = (range.start, range.end, wrap);
        self.sites.entry(key).or_default().push(index);
    }

    /// Mutants of this genre whose span starts at `start`.
    fn at(&self, genre: Genre, start: usize) -> Vec<usize> {
        let all = self.wanted.iter().enumerate();
        all.filter(|(_, (other, span))| *other == genre && span.start == start)
            .map(|(index, _)| index)
            .collect()
    }

    fn operand(&mut self, operand: &Expr, chain: &Option<Range<usize>>) {
        self.chain = if matches!(operand, Expr::Binary(_)) {
            chain.clone()
        } else {
            None
        };
        self.visit_expr(operand);
        self.chain = None;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        let range = self.lines.bytes(node.span());
        let operators = self.at(Genre::BinaryOperator, self.lines.bytes(node.op.span()).start);
        if binds(node) {
            let why = "no operator but && joins a `let`";
            self.dropped
                .extend(operators.into_iter().map(|index| (index, why)));
            self.operand(&node.left, &None);
            self.operand(&node.right, &None);
            return;
        }
        let chain = self.chain.take().unwrap_or(range);
        for index in operators {
            self.put(chain.clone(), Wrap::Expression, index);
        }
        let chain = Some(chain);
        self.operand(&node.left, &chain);
        self.operand(&node.right, &chain);
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        let range = self.lines.bytes(node.span());
        for index in self.at(Genre::UnaryOperator, range.start) {
            self.put(range.clone(), Wrap::Expression, index);
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast ExprStruct) {
        let range = self.lines.bytes(node.span());
        for field in &node.fields {
            let start = self.lines.bytes(field.span()).start;
            for index in self.at(Genre::StructField, start) {
                self.put(range.clone(), Wrap::Expression, index);
            }
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_arm(&mut self, node: &'ast Arm) {
        let start = self.lines.bytes(node.span()).start;
        let guard = node
            .guard
            .as_ref()
            .map(|(_, guard)| self.lines.bytes(guard.span()));
        let insert = guard
            .as_ref()
            .map_or_else(|| self.lines.bytes(node.pat.span()).end, |guard| guard.start);
        for index in self.at(Genre::MatchArm, start) {
            let guarded = guard.is_some();
            self.put(insert..insert, Wrap::Arm { guarded }, index);
        }
        if let Some(guard) = guard {
            for index in self.at(Genre::MatchArmGuard, guard.start) {
                self.put(guard.clone(), Wrap::Expression, index);
            }
        }
        visit::visit_arm(self, node);
    }
}

/// True for an `&&` that joins a `let`.
fn binds(node: &ExprBinary) -> bool {
    [&node.left, &node.right]
        .into_iter()
        .any(|operand| match &**operand {
            Expr::Let(_) => true,
            Expr::Binary(inner) => binds(inner),
            _ => false,
        })
}
