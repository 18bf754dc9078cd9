//! What selectors must be.

use super::meta_rules::{record, validate_labels};
use super::names::{check_label_key, check_label_value};
use super::{
    FieldErrors, LabelOperator, LabelSelector, NodeSelector, NodeSelectorOperator, NodeSelectorRequirement,
    NodeSelectorTerm,
};

/// Checks a label selector, at the current path.
pub(crate) fn validate_selector(selector: &LabelSelector, errors: &mut FieldErrors) {
    validate_labels("matchLabels", &selector.match_labels, errors);
    errors.each("matchExpressions", &selector.match_expressions, |errors, requirement| {
        errors.at("key", |errors| record(check_label_key(&requirement.key), errors));
        let wants_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
        validate_values(&requirement.values, wants_values, errors);
    });
}

fn validate_values(values: &[String], wanted: bool, errors: &mut FieldErrors) {
    if wanted {
        errors
            .at("values", |errors| errors.require(!values.is_empty(), "needs at least one for In and NotIn"));
    } else {
        errors.at("values", |errors| {
            errors.require(values.is_empty(), "must be empty for Exists and DoesNotExist")
        });
    }
    errors.each("values", values, |errors, value| record(check_label_value(value), errors));
}

/// Checks a node selector, at the current path.
pub(crate) fn validate_node_selector(selector: &NodeSelector, errors: &mut FieldErrors) {
    errors.at("nodeSelectorTerms", |errors| {
        errors.require(
            !selector.node_selector_terms.is_empty(),
            "needs at least one: without any no node is chosen",
        );
    });
    errors.each("nodeSelectorTerms", &selector.node_selector_terms, |errors, term| {
        validate_node_term(term, errors)
    });
}

/// Checks one term of a node selector, at the current path.
pub(crate) fn validate_node_term(term: &NodeSelectorTerm, errors: &mut FieldErrors) {
    errors.each("matchExpressions", &term.match_expressions, |errors, requirement| {
        errors.at("key", |errors| record(check_label_key(&requirement.key), errors));
        validate_node_requirement(requirement, errors);
    });
    errors.each("matchFields", &term.match_fields, |errors, requirement| {
        let known = requirement.key == "metadata.name";
        errors.at("key", |errors| {
            errors.require(known, "the only field of a node to choose by is metadata.name")
        });
        let fits = matches!(requirement.operator, NodeSelectorOperator::In | NodeSelectorOperator::NotIn);
        errors.at("operator", |errors| errors.require(fits, "must be In or NotIn"));
        errors
            .at("values", |errors| errors.require(requirement.values.len() == 1, "must be one node's name"));
    });
}

fn validate_node_requirement(requirement: &NodeSelectorRequirement, errors: &mut FieldErrors) {
    match requirement.operator {
        NodeSelectorOperator::In | NodeSelectorOperator::NotIn => {
            validate_values(&requirement.values, true, errors)
        }
        NodeSelectorOperator::Exists | NodeSelectorOperator::DoesNotExist => {
            validate_values(&requirement.values, false, errors);
        }
        NodeSelectorOperator::Gt | NodeSelectorOperator::Lt => {
            let one_number = matches!(requirement.values.as_slice(), [value] if value.parse::<i64>().is_ok());
            errors
                .at("values", |errors| errors.require(one_number, "must be one whole number for Gt and Lt"));
        }
    }
}
