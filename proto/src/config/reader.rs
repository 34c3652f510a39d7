//! Reads tables of the parsed TOML: typed, with the place of everything, collecting errors as it goes.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{DIAGNOSTICS_MAX, Problem};
use super::suggest;
use super::values;

/// A place in the file, in bytes.
pub(super) type Span = Range<usize>;

/// Something read from the file, with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> Self {
        At { value, span }
    }
}

/// The errors found so far.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// An error about a word that should have been one of `candidates`.
    pub fn add_unknown<'a>(
        &self,
        span: Span,
        message: String,
        word: &str,
        candidates: impl Iterator<Item = &'a str> + Clone,
    ) {
        // Beyond what is shown, hints are not worked out: they cost one comparison per candidate.
        let full = self.0.borrow().len() > DIAGNOSTICS_MAX;
        let hint = if full {
            String::new()
        } else {
            suggest::hint(word, candidates)
        };
        self.add(Problem::new(span, message).hint(hint));
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// One table and what is allowed in it.
pub(super) struct Table<'a> {
    /// How errors call it: `[cluster]`, `[[node]]`.
    pub what: &'static str,
    pub span: Span,
    pub problems: &'a Problems,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub fn new(what: &'static str, table: &'a DeTable<'a>, span: Span, problems: &'a Problems) -> Self {
        Table {
            what,
            span,
            problems,
            table,
        }
    }

    /// Reports every key that is not among `known`.
    pub fn only(&self, known: &[&str]) {
        for (key, _) in self.entries() {
            if !known.contains(&key.value) {
                let message = format!("unknown key `{}` in {}", key.value.escape_debug(), self.what);
                self.problems
                    .add_unknown(key.span, message, key.value, known.iter().copied());
            }
        }
    }

    /// Keys and values.
    pub fn entries(&self) -> impl Iterator<Item = (At<&'a str>, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.table
            .iter()
            .map(|(key, value)| (At::new(key.get_ref().as_ref(), key.span()), value))
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// Where the value of `key` is, if it is given.
    pub fn span_of(&self, key: &str) -> Option<Span> {
        self.value(key).map(Spanned::span)
    }

    /// Reports that `key` must be given.
    pub fn missing(&self, key: &str, hint: &str) {
        let message = format!("{} needs the key `{key}`", self.what);
        self.problems
            .add(Problem::new(self.span.clone(), message).hint(hint));
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, hint: String) {
        let found = value.get_ref().type_str();
        let message = format!(
            "`{key}` must be {expected}, this is {} {found}",
            values::article(found)
        );
        self.problems.add(Problem::new(value.span(), message).hint(hint));
    }

    /// A string without control characters.
    pub fn text(&self, key: &str) -> Option<At<&'a str>> {
        let text = self.any_text(key)?;
        self.clean(key, text.value, text.span)
    }

    /// A string that may hold any character: who shows it escapes it.
    pub fn any_text(&self, key: &str) -> Option<At<&'a str>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a string", format!("write {key} = \"...\""));
            return None;
        };
        Some(At::new(text, value.span()))
    }

    fn clean(&self, key: &str, text: &'a str, span: Span) -> Option<At<&'a str>> {
        if text.chars().any(char::is_control) {
            let message = format!("`{key}` holds a control character or a line break");
            self.problems.add(Problem::new(span, message));
            return None;
        }
        Some(At::new(text, span))
    }

    /// A string that must be given.
    pub fn needed_text(&self, key: &str, hint: &str) -> Option<At<&'a str>> {
        if self.value(key).is_none() {
            self.missing(key, hint);
        }
        self.text(key)
    }

    /// A list of strings; empty if the key is absent or wrong.
    pub fn texts(&self, key: &str) -> Vec<At<&'a str>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let words: Vec<String> = value
                .get_ref()
                .as_str()
                .unwrap_or("...")
                .split_whitespace()
                .map(|word| format!("\"{}\"", word.escape_debug()))
                .collect();
            let hint = format!("write {key} = [{}]", words.join(", "));
            self.wrong_type(key, value, "a list of strings", hint);
            return Vec::new();
        };
        let text = |item: &'a Spanned<DeValue<'a>>| match item.get_ref().as_str() {
            Some(text) => self.clean(key, text, item.span()),
            None => {
                self.wrong_type(key, item, "a list of strings", String::new());
                None
            }
        };
        items.iter().filter_map(text).collect()
    }

    /// True when `key` is given as a list without items.
    pub fn is_empty_list(&self, key: &str) -> bool {
        self.value(key)
            .is_some_and(|value| value.get_ref().as_array().is_some_and(|items| items.is_empty()))
    }

    /// One string, or a list of them.
    pub fn text_or_texts(&self, key: &str) -> Vec<At<&'a str>> {
        match self.value(key).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => self.text(key).into_iter().collect(),
            _ => self.texts(key),
        }
    }

    /// A whole number within `range`.
    pub fn number(&self, key: &str, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let value = self.value(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number", String::new());
            return None;
        };
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(At::new(number, value.span())),
            _ => {
                let message = format!("`{key}` must be {} to {}", range.start(), range.end());
                self.problems.add(Problem::new(value.span(), message));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Option<At<bool>> {
        let value = self.value(key)?;
        let Some(flag) = value.get_ref().as_bool() else {
            self.wrong_type(
                key,
                value,
                "true or false",
                format!("write {key} = true, without quotes"),
            );
            return None;
        };
        Some(At::new(flag, value.span()))
    }

    /// A string, a whole number, or `true` or `false`, as text.
    pub fn scalar(&self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
            _ => self.text(key).map(|text| text.value.to_string()),
        }
    }

    /// A span of time such as `"300ms"`, in milliseconds, within `range`.
    pub fn duration_ms(&self, key: &str, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let value = self.value(key)?;
        let units = "a number and a unit in quotes, such as \"300ms\", \"5s\", \"10m\" or \"1h\"";
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a duration", format!("a duration is {units}"));
            return None;
        };
        let Some(ms) = values::duration_ms(text) else {
            let message = format!("`{key}` is not a duration: \"{}\"", text.escape_debug());
            self.problems
                .add(Problem::new(value.span(), message).hint(format!("a duration is {units}")));
            return None;
        };
        match u32::try_from(ms) {
            Ok(ms) if range.contains(&ms) => Some(At::new(ms, value.span())),
            _ => {
                let least = values::show_ms(*range.start());
                let message = format!("`{key}` must be {least} to {}", values::show_ms(*range.end()));
                self.problems.add(Problem::new(value.span(), message));
                None
            }
        }
    }

    /// A table that may be absent.
    pub fn table(&self, key: &str, what: &'static str, hint: &str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, "a table", hint.to_string());
            return None;
        };
        Some(Table::new(what, table, value.span(), self.problems))
    }

    /// A list of tables.
    pub fn tables(&self, key: &str, what: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let hint = || format!("write {what} once for each");
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of tables", hint());
            return Vec::new();
        };
        let table = |item: &'a Spanned<DeValue<'a>>| match item.get_ref().as_table() {
            Some(table) => Some(Table::new(what, table, item.span(), self.problems)),
            None => {
                self.wrong_type(key, item, "a list of tables", hint());
                None
            }
        };
        items.iter().filter_map(table).collect()
    }
}
