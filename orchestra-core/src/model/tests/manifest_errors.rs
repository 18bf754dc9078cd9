//! Golden messages: what people read when a manifest is wrong.

use crate::model::{ManifestProblem, Scheme, parse_manifests};

fn error(text: &str) -> (ManifestProblem, String) {
    match parse_manifests(text, &Scheme::kubernetes()) {
        Ok(manifests) => panic!("accepted: {manifests:?}"),
        Err(error) => (error.problem, error.to_string()),
    }
}

fn check(problem: ManifestProblem, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(error(text), (problem, (*expected).to_owned()), "{text}");
    }
}

/// A manifest of the kind, with everything below its metadata given.
fn of(kind: &str, body: &str) -> String {
    let version = Scheme::kubernetes().find(kind).unwrap().api_version();
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n{body}\n")
}

#[test]
fn text_that_is_neither_yaml_nor_json() {
    check(
        ManifestProblem::Syntax,
        &[
            (
                "a: [1",
                "document 1: is not YAML: did not find expected ',' or ']' at line 2 column 1, while parsing a flow \
             sequence at line 1 column 4 (line 2)",
            ),
            (
                "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}\n---\n\n---\na:\n\tb: 1",
                "document 2: is not YAML: found character that cannot start any token at line 6 column 1, while \
             scanning for the next token (line 6)",
            ),
            ("{\"a\": 1", "document 1: is neither JSON nor YAML: EOF while parsing an object (line 1)"),
            ("a: .nan", "document 1: a: NaN is not a number that a manifest can have (line 1)"),
            (
                "a: 99999999999999999999999",
                "document 1: a: the number 99999999999999999999999 is too large (line 1)",
            ),
            ("a: b\na: c", "document 1: a: the key `a` is there twice (line 2)"),
            ("{\"s\": [{\"a\": 1,\n \"a\": 2}]}", "document 1: s[0].a: the key `a` is there twice (line 2)"),
            (
                "a: !b c",
                "document 1: a: has a YAML tag (`!name`), which means nothing in a manifest (line 1)",
            ),
            ("<<: 4", "document 1: `<<` merges maps, and this is none (line 1)"),
        ],
    );
}

#[test]
fn values_that_are_no_object() {
    check(
        ManifestProblem::Kind,
        &[
            (
                "just text",
                "document 1: is not an object: a manifest has apiVersion, kind and metadata (line 1)",
            ),
            (
                "# hi\n---\n- a\n- b",
                "document 1: is not an object: a manifest has apiVersion, kind and metadata (line 3)",
            ),
            ("{}", "document 1: kind: is required (line 1)"),
            ("kind: Pod\nmetadata: {name: a}", "document 1 (Pod a): apiVersion: is required (line 1)"),
            ("{\"apiVersion\": \"v1\",\n \"kind\": 4}", "document 1: kind: must be text (line 2)"),
            (
                "apiVersion: v1\nkind: Deployment\nmetadata: {name: a}",
                "document 1 (Deployment a): apiVersion: is v1, but Deployment is read as apps/v1 only: write that (line 1)",
            ),
            (
                "kind: HorizontalPodAutoscaler\napiVersion: autoscaling/v1\nmetadata: {name: a}",
                "document 1 (HorizontalPodAutoscaler a): apiVersion: is autoscaling/v1, but HorizontalPodAutoscaler is \
             read as autoscaling/v2 only: write that (line 2)",
            ),
        ],
    );
}

#[test]
fn fields_of_the_wrong_type() {
    let cases = [
        (
            "ConfigMap",
            "data:\n  a: b\n  c: 1",
            "data.c: invalid type: integer `1`, expected a string (line 6)",
        ),
        ("Service", "spec: {ports: [{name: a}]}", "spec.ports[0].port: is required (line 4)"),
        (
            "Service",
            "spec:\n  ports:\n  - port: 80\n  - port: 70000",
            "spec.ports[1].port: invalid value: integer `70000`, expected u16 (line 7)",
        ),
        (
            "Service",
            "spec: {type: Foo}",
            "spec.type: unknown variant `Foo`, expected one of `ClusterIP`, `NodePort`, `LoadBalancer`, \
             `ExternalName` (line 4)",
        ),
        (
            "Service",
            "spec: {selector: {app: }}",
            "spec.selector.app: invalid type: null, expected a string (line 4)",
        ),
        (
            "Deployment",
            "spec:\n  template:\n    spec:\n      containers:\n      - name: c\n        resources:\n          \
             requests:\n            cpu: lots",
            "spec.template.spec.containers[0].resources.requests.cpu: `lots` is not a quantity: expected a number \
             and optionally a suffix, such as 100m, 1.5, 2Gi or 1e3 (line 11)",
        ),
        (
            "Deployment",
            "spec:\n  selector: {matchExpressions: [{key: a, operator: Is}]}",
            "spec.selector.matchExpressions[0].operator: unknown variant `Is`, expected one of `In`, `NotIn`, \
             `Exists`, `DoesNotExist` (line 5)",
        ),
        (
            "Deployment",
            "spec: {strategy: {rollingUpdate: {maxSurge: half}}}",
            "spec.strategy.rollingUpdate.maxSurge: `half` is neither a number that is not negative nor a percentage \
             such as 25% (line 4)",
        ),
        (
            "Deployment",
            "spec: {minReadySeconds: 10s}",
            "spec.minReadySeconds: invalid type: string \"10s\", expected u32 (line 4)",
        ),
        (
            "Deployment",
            "spec: {replicas: -1}",
            "spec.replicas: invalid value: integer `-1`, expected u32 (line 4)",
        ),
        (
            "Lease",
            "spec: {renewTime: yesterday}",
            "spec.renewTime: `yesterday` is not an RFC 3339 time such as 2026-01-31T08:00:00Z: ",
        ),
    ];
    for (kind, body, expected) in cases {
        let (problem, message) = error(&of(kind, body));
        let expected = format!("document 1 ({kind} x): {expected}");
        assert_eq!(problem, ManifestProblem::Field);
        assert!(message.starts_with(&expected), "{message}\ninstead of\n{expected}");
        assert!(message.contains(" (line "), "{message}");
    }
}

#[test]
fn metadata_of_kinds_that_are_not_modelled() {
    check(
        ManifestProblem::Field,
        &[(
            "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x, labels: {a: [b]}}",
            "document 1 (Widget x): metadata.labels.a: invalid type: sequence, expected a string (line 3)",
        )],
    );
}

#[test]
fn items_of_lists_are_named() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n\
                - apiVersion: v1\n  kind: Secret\n  metadata: {name: b}\n  stringData:\n    x: 4711\n";
    check(
        ManifestProblem::Field,
        &[(
            list,
            "document 1 (Secret b): items[1].stringData.x: must be text: put it in quotes (the value is not shown) (line 9)",
        )],
    );
}

#[test]
fn no_error_shows_a_secret() {
    for body in [
        "data: {x: hunter2!}",
        "data: [hunter2]",
        "data: {x: [hunter2]}",
        "stringData: {x: [hunter2]}",
        "stringData: {x: {hunter2: a}}",
        "data: hunter2",
        "stringData: hunter2",
        "stringData: {hunter2: 7654}",
    ] {
        let (_, message) = error(&of("Secret", body));
        assert!(!message.replace("stringData.hunter2", "").contains("hunter2"), "{message}");
        assert!(!message.contains("7654"), "{message}");
    }
}

#[test]
fn the_document_the_line_and_the_object_are_named() {
    let text = "# the first is fine\n---\n".to_owned()
        + &of("ConfigMap", "data: {a: b}")
        + "---\n# nothing\n---\n"
        + &of("Deployment", "spec:\n  replicas: two");
    let found = parse_manifests(&text, &Scheme::kubernetes()).unwrap_err();
    assert_eq!((found.document, found.line), (Some(2), Some(14)));
    assert_eq!(found.subject, "Deployment x");
    assert_eq!(found.error.path, "spec.replicas");
}
