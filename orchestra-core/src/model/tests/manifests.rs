//! Texts as people write them.

use serde_json::{Value, json};

use crate::model::{
    AnyObjectExt, ConfigMap, Deployment, Manifest, Object, Scheme, Secret, Service, parse_manifests,
};

fn parse(text: &str) -> Vec<Manifest> {
    parse_manifests(text, &Scheme::kubernetes()).unwrap_or_else(|e| panic!("{e}"))
}

/// The shop's front end, in the style of manifests on the net.
const SHOP: &str = r#"
# Source: shop/templates/config.yaml
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  creationTimestamp: null
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data:
  colour: blue
  yes: "no"
  nginx.conf: |
    server {
      listen 80;
    }
---
---
# only a comment
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: &labels {app.kubernetes.io/name: web, app.kubernetes.io/part-of: shop}
spec:
  replicas: 2
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: web
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 25%}}
  template:
    metadata:
      labels: *labels
    spec:
      dnsConfig: {nameservers: [1.2.3.4]}
      containers:
      - name: web
        image: shop/web:1.2
        resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]
        ports: [{name: http, containerPort: 8080}]
        env:
        - name: COLOUR
          valueFrom: {configMapKeyRef: {name: settings, key: colour}}
        resources:
          requests: {cpu: 0.1, memory: 64Mi}
          limits: {cpu: "1", memory: 1.5Gi}
        readinessProbe:
          httpGet: {path: /ready, port: http}
status: {}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app.kubernetes.io/name: web}
  ports: [{port: 80, targetPort: http}]
"#;

#[test]
fn a_shop_is_read() {
    let manifests = parse(SHOP);
    let found: Vec<_> = manifests
        .iter()
        .map(|m| (m.document, m.line, m.object.info().kind.to_string(), m.object.meta().name.as_str()))
        .map(|(d, l, k, n)| format!("{d} {l} {k} {n}"))
        .collect();
    assert_eq!(
        found,
        ["1 3 Namespace shop", "2 9 ConfigMap settings", "3 23 Deployment web", "4 56 Service web"]
    );

    let settings = manifests[1].object.as_resource::<ConfigMap>().unwrap();
    assert_eq!(settings.data.value("yes"), Some("no"));
    assert_eq!(settings.data.value("nginx.conf"), Some("server {\n  listen 80;\n}\n"));

    let web = manifests[2].object.as_resource::<Deployment>().unwrap();
    assert_eq!((web.spec.replicas, web.spec.progress_deadline_seconds), (2, 600));
    assert_eq!(web.spec.template.metadata.labels, web.metadata.labels);
    assert_eq!(web.spec.template.spec.containers[0].resources.limits["memory"].to_string(), "1536Mi");

    let warnings: Vec<_> = manifests.iter().flat_map(|m| &m.warnings).map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "spec.template.spec.containers[0].resizePolicy: kept, but Orchestra does not act on it",
            "spec.template.spec.dnsConfig: kept, but Orchestra does not act on it",
        ]
    );
    let service = manifests[3].object.as_resource::<Service>().unwrap();
    assert_eq!(service.spec.ports[0].target(), "http".into());
}

#[test]
fn what_is_not_modelled_is_given_back() {
    let web = parse(SHOP).swap_remove(2).object.to_value();
    assert_eq!(web["spec"]["template"]["spec"]["dnsConfig"], json!({"nameservers": ["1.2.3.4"]}));
    assert_eq!(
        web["spec"]["template"]["spec"]["containers"][0]["resizePolicy"][0]["resourceName"],
        json!("cpu")
    );
}

#[test]
fn json_and_lists_and_yaml_may_be_mixed() {
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [map("c"), map("d")]});
    let typed = json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": [{"metadata": {"name": "e"}}]});
    let flow = "{apiVersion: v1, kind: ConfigMap, metadata: {name: f}}";
    let text = format!("{}\n{}\n{list:#}\n---\n{typed}\n---\n{flow}\n", map("a"), map("b"));
    let manifests = parse(&text);
    let names: Vec<_> = manifests.iter().map(|m| (m.document, m.object.meta().name.as_str())).collect();
    assert_eq!(names, [(1, "a"), (2, "b"), (3, "c"), (3, "d"), (4, "e"), (5, "f")]);
    assert!(parse("").is_empty() && parse("---\n# x\n---\n~\n---\n...\n").is_empty());
    assert!(parse("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}").is_empty());
}

#[test]
fn merge_keys_merge_and_own_fields_win() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n\
                data: {<<: [{a: '1', b: '1'}, {b: '2', c: '2'}], c: '3', 7: seven}";
    assert_eq!(parse(text)[0].value["data"], json!({"a": "1", "b": "1", "c": "3", "7": "seven"}));
}

#[test]
fn a_null_is_a_field_that_is_not_there() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: , creationTimestamp: null}\n\
                spec: {replicas: null, selector: {matchLabels: {a: b}, matchExpressions: null}, strategy: }";
    let manifest = &parse(text)[0];
    assert_eq!(manifest.object.as_resource::<Deployment>().unwrap().spec.replicas, 1);
    assert!(manifest.warnings.is_empty());
    assert_eq!(manifest.value["spec"]["replicas"], Value::Null);
}

#[test]
fn a_secret_shows_nothing_and_keeps_everything() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {last: hunter2}}\n\
                data: {old: b2xk, both: b2xk}\nstringData: {both: hunter2}";
    let mut secret = parse(text)[0].object.as_resource::<Secret>().unwrap().clone();
    assert!(!format!("{secret:?}").contains("hunter2"));
    secret.set_defaults();
    assert_eq!(secret.data["both"].as_text(), Some("hunter2"));
    assert_eq!(secret.data["old"].as_text(), Some("old"));
    assert!(secret.string_data.is_empty());
    let shown = format!("{secret:?} {:#?} {:?}", secret, &secret as &dyn Object);
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg") && shown.contains("both"), "{shown}");
}

#[test]
fn what_is_modelled_and_not_done_is_told() {
    let text = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: signal, port: 5060, protocol: SCTP}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {fsGroup: 7}
      subdomain: sub
      containers: [{name: main, image: web, terminationMessagePolicy: FallbackToLogsOnError}]
      volumes:
        - {name: scratch, emptyDir: {sizeLimit: 1Gi}}
        - {name: plain, emptyDir: {}}
        - {name: fast, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
        - {name: huge, emptyDir: {medium: HugePages}}
"#;
    let manifests = parse_manifests(text, &Scheme::kubernetes()).unwrap();
    let paths: Vec<_> = manifests.iter().flat_map(|m| &m.warnings).map(|w| w.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.type",
            "spec.ports[1].protocol",
            "spec.externalTrafficPolicy",
            "spec.template.spec.containers[0].terminationMessagePolicy",
            "spec.template.spec.volumes[0].emptyDir.sizeLimit",
            "spec.template.spec.volumes[3].emptyDir.medium",
            "spec.template.spec.subdomain",
        ]
    );
    assert_eq!(
        manifests[0].warnings[1].to_string(),
        "spec.ports[1].protocol: kept, but only TCP and UDP are listened for"
    );
}
