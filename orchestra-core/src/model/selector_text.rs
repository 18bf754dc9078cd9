//! The text form of a label selector: `app=web,tier!=cache,zone in (a,b),!legacy,owner`.

use std::fmt;
use std::str::FromStr;

use super::names::{check_label_key, check_label_value};
use super::{Extra, LabelOperator, LabelRequirement, LabelSelector};

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in self.match_labels.iter() {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        for requirement in &self.match_expressions {
            write!(f, "{separator}{requirement}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Display for LabelRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match (self.operator, self.values.as_slice()) {
            (LabelOperator::Exists, _) => f.write_str(key),
            (LabelOperator::DoesNotExist, _) => write!(f, "!{key}"),
            (LabelOperator::NotIn, [value]) => write!(f, "{key}!={value}"),
            (LabelOperator::NotIn, values) => write!(f, "{key} notin ({})", values.join(",")),
            (LabelOperator::In, values) => write!(f, "{key} in ({})", values.join(",")),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let mut selector = Self::default();
        if s.trim().is_empty() {
            return Ok(selector);
        }
        for term in split_terms(s) {
            add_term(&mut selector, term.trim()).map_err(|why| format!("selector `{s}`: {why}"))?;
        }
        Ok(selector)
    }
}

/// Splits at the commas outside parentheses.
fn split_terms(s: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    s.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn add_term(selector: &mut LabelSelector, term: &str) -> Result<(), String> {
    if term.is_empty() {
        return Err("a requirement is missing between commas".to_owned());
    }
    if let Some(key) = term.strip_prefix('!') {
        return add(selector, key, LabelOperator::DoesNotExist, vec![]);
    }
    if let Some((key, value)) = term.split_once("!=") {
        return add(selector, key, LabelOperator::NotIn, vec![value]);
    }
    if let Some((key, value)) = term.split_once('=') {
        return add_label(selector, key.trim(), value.strip_prefix('=').unwrap_or(value).trim());
    }
    if let Some(before) = term.strip_suffix(')') {
        let (head, values) = before.split_once('(').ok_or_else(|| format!("`{term}` has no `(`"))?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace).unwrap_or((head, ""));
        let operator = match word {
            "in" => LabelOperator::In,
            "notin" => LabelOperator::NotIn,
            _ => return Err(format!("`{term}`: expected `key in (..)` or `key notin (..)`")),
        };
        return add(selector, key, operator, values.split(',').collect());
    }
    add(selector, term, LabelOperator::Exists, vec![])
}

fn add_label(selector: &mut LabelSelector, key: &str, value: &str) -> Result<(), String> {
    check_label_key(key)?;
    check_label_value(value)?;
    // The same key with another value can't be a second label: both must hold, as a requirement that nothing meets.
    match selector.match_labels.value(key) {
        Some(other) if other != value => add(selector, key, LabelOperator::In, vec![value]),
        _ => {
            selector.match_labels.insert(key.to_owned(), value.to_owned());
            Ok(())
        }
    }
}

fn add(
    selector: &mut LabelSelector,
    key: &str,
    operator: LabelOperator,
    values: Vec<&str>,
) -> Result<(), String> {
    let key = key.trim();
    check_label_key(key)?;
    let values = values
        .into_iter()
        .map(|value| check_label_value(value.trim()).map(|()| value.trim().to_owned()))
        .collect::<Result<_, _>>()?;
    selector.match_expressions.push(LabelRequirement {
        key: key.to_owned(),
        operator,
        values,
        extra: Extra::default(),
    });
    Ok(())
}
