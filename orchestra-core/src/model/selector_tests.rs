//! Selectors: what they choose, and their text.

use proptest::prelude::*;

use super::selector_rules::{validate_node_selector, validate_selector};
use super::{
    FieldErrors, LabelOperator, LabelSelector, Labels, NodeSelector, NodeSelectorOperator,
    NodeSelectorRequirement, NodeSelectorTerm,
};

fn selector(text: &str) -> LabelSelector {
    text.parse().unwrap()
}

#[test]
fn what_each_operator_chooses() {
    let labels = Labels::from([("app", "web"), ("tier", "front"), ("empty", "")]);
    for (text, chosen) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app=api", false),
        ("app=web,tier=back", false),
        ("app!=api", true),
        ("app!=web", false),
        ("zone!=a", true),
        ("app in (api,web)", true),
        ("app in (api)", false),
        ("zone in (a)", false),
        ("tier notin (back)", true),
        ("tier notin (back, front)", false),
        ("zone notin (a)", true),
        ("app", true),
        ("zone", false),
        ("!zone", true),
        ("!app", false),
        ("empty=", true),
        ("empty", true),
        ("app=", false),
        ("app=web,app=api", false),
        ("app=web,app=web", true),
    ] {
        assert_eq!(selector(text).matches(&labels), chosen, "{text}");
    }
}

#[test]
fn text_is_written_as_kubectl_reads_it() {
    for (text, written) in [
        ("a=b,c!=d,e in (x,y),!f,g", "a=b,c!=d,e in (x,y),!f,g"),
        (" a = b , c != d ", "a=b,c!=d"),
        ("e notin ( x , y )", "e notin (x,y)"),
        ("example.com/app==web", "example.com/app=web"),
        ("e in ()", "e in ()"),
        ("! f", "!f"),
    ] {
        assert_eq!(selector(text).to_string(), written, "{text}");
    }
}

#[test]
fn wrong_text_is_refused() {
    for text in [
        ",",
        "a=b,",
        "a in",
        "a in (b",
        "a of (b)",
        "a b",
        "=b",
        "a=b c",
        "a in (b))",
        "(a)",
        "!",
        "a=b=c",
        "a=-",
        "/a",
        "in (a)",
        "a,,b",
    ] {
        let error = text.parse::<LabelSelector>().unwrap_err();
        assert!(error.starts_with(&format!("selector `{text}`: ")), "{text}: {error}");
    }
}

#[test]
fn node_selectors_are_alternatives_of_requirements() {
    let labels = Labels::from([("zone", "a"), ("cpus", "8")]);
    let requirement = |key: &str, operator, values: &[&str]| NodeSelectorRequirement {
        key: key.into(),
        operator,
        values: values.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let term =
        |requirements: Vec<_>| NodeSelectorTerm { match_expressions: requirements, ..Default::default() };
    let any = |terms: Vec<_>| NodeSelector { node_selector_terms: terms, ..Default::default() };
    use NodeSelectorOperator::{DoesNotExist, Exists, Gt, In, Lt, NotIn};
    for (wanted, chosen) in [
        (requirement("zone", In, &["a", "b"]), true),
        (requirement("zone", NotIn, &["a"]), false),
        (requirement("rack", NotIn, &["a"]), true),
        (requirement("cpus", Gt, &["7"]), true),
        (requirement("cpus", Gt, &["8"]), false),
        (requirement("cpus", Lt, &["9"]), true),
        (requirement("zone", Gt, &["7"]), false),
        (requirement("rack", Lt, &["7"]), false),
        (requirement("rack", DoesNotExist, &[]), true),
        (requirement("zone", Exists, &[]), true),
    ] {
        assert_eq!(any(vec![term(vec![wanted.clone()])]).matches("n1", &labels), chosen, "{wanted:?}");
    }
    let both = term(vec![requirement("zone", In, &["a"]), requirement("rack", Exists, &[])]);
    assert!(!both.matches("n1", &labels));
    assert!(any(vec![both, term(vec![requirement("cpus", Exists, &[])])]).matches("n1", &labels));
    let by_name = NodeSelectorTerm {
        match_fields: vec![requirement("metadata.name", In, &["n1"])],
        ..Default::default()
    };
    assert!(by_name.matches("n1", &labels) && !by_name.matches("n2", &labels));
    assert!(
        !any(vec![]).matches("n1", &labels) && !term(vec![]).matches("n1", &labels),
        "empty chooses nothing"
    );
}

#[test]
fn mistakes_are_named_with_their_path() {
    let mut errors = FieldErrors::new();
    let wrong = LabelSelector::labels([("a b", "x")]).require("app", LabelOperator::In, [""; 0]).require(
        "app",
        LabelOperator::Exists,
        ["web"],
    );
    errors.at("selector", |errors| validate_selector(&wrong, errors));
    let paths: Vec<_> = errors.errors().iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "selector.matchLabels[a b]",
            "selector.matchExpressions[0].values",
            "selector.matchExpressions[1].values"
        ]
    );
    let mut errors = FieldErrors::new();
    validate_node_selector(&NodeSelector::default(), &mut errors);
    assert_eq!(errors.errors()[0].path, "nodeSelectorTerms");
}

proptest! {
    #[test]
    fn text_reads_back_as_the_same_selector(
        labels in prop::collection::btree_map("[a-z]{1,4}", "[a-zA-Z0-9]{0,4}", 0..3),
        requirements in prop::collection::vec(
            ("([a-z]{1,4}\\.io/)?[a-z]{1,4}", 0..4_usize, prop::collection::vec("[a-z0-9]{0,3}", 1..3)), 0..4),
        asked in prop::collection::btree_map("[a-z]{1,4}", "[a-z0-9]{0,3}", 0..4),
    ) {
        use LabelOperator::{DoesNotExist, Exists, In, NotIn};
        let mut built = LabelSelector::labels(labels.into_iter().collect::<Labels>());
        for (key, operator, values) in requirements {
            let operator = [In, NotIn, Exists, DoesNotExist][operator];
            let values = if matches!(operator, In | NotIn) { values } else { vec![] };
            built = built.require(key, operator, values);
        }
        let read: LabelSelector = built.to_string().parse().unwrap();
        prop_assert_eq!(&read, &built);
        let asked: Labels = asked.into_iter().collect();
        prop_assert_eq!(read.matches(&asked), built.matches(&asked));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z!=,() ]{0,16}") {
        if let Ok(read) = text.parse::<LabelSelector>() {
            prop_assert_eq!(read.to_string().parse::<LabelSelector>().unwrap(), read);
        }
    }
}
