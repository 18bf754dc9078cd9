//! What each kind must be, and what may not change: one line of a manifest each.

use serde_json::{Value, json};

use crate::model::{AnyObject, FieldErrors, Scheme};

fn object(kind: &str, body: &Value) -> AnyObject {
    let scheme = Scheme::kubernetes();
    let version = scheme.find(kind).unwrap().api_version();
    let mut manifest =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}});
    manifest.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let mut object = scheme.decode(manifest).unwrap_or_else(|e| panic!("{e}")).object;
    std::sync::Arc::get_mut(&mut object).unwrap().set_defaults();
    object
}

fn errors(kind: &str, body: &Value) -> String {
    let mut errors = FieldErrors::new();
    object(kind, body).validate(&mut errors);
    errors.to_string()
}

fn update_errors(kind: &str, old: &Value, new: &Value) -> String {
    let mut errors = FieldErrors::new();
    object(kind, new).validate_update(&*object(kind, old), &mut errors);
    errors.to_string()
}

/// `base` with `change` merged into it, as a JSON merge patch.
fn with(base: &Value, change: &Value) -> Value {
    let mut value = base.clone();
    json_patch::merge(&mut value, change);
    value
}

fn check(kind: &str, base: &Value, cases: &[(Value, &str)]) {
    assert_eq!(errors(kind, base), "", "{kind}");
    for (change, expected) in cases {
        assert_eq!(errors(kind, &with(base, change)), *expected, "{kind} {change}");
    }
}

fn workload() -> Value {
    json!({"spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    }})
}

#[test]
fn workloads() {
    for kind in ["Deployment", "ReplicaSet"] {
        check(
            kind,
            &workload(),
            &[
                (json!({"spec": {"replicas": 0}}), ""),
                (
                    json!({"spec": {"selector": {"matchLabels": null}}}),
                    "spec.selector: is required: an empty one would choose all pods",
                ),
                (
                    json!({"spec": {"selector": {"matchLabels": {"tier": "y"}}}}),
                    "spec.template.metadata.labels: do not match spec.selector `app=x,tier=y`: the pods would never be \
                 counted",
                ),
                (
                    json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                    "spec.template.spec.restartPolicy: must be Always: pods that end are replaced",
                ),
                (
                    json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
                    "spec.template.spec.activeDeadlineSeconds: must not be set: pods that end are replaced",
                ),
            ],
        );
        for bad in [
            json!({"spec": {"template": {"metadata": {"labels": {"a b": "c"}}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "C"}]}}}}),
            json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
        ] {
            assert_ne!(errors(kind, &with(&workload(), &bad)), "", "{kind} {bad}");
        }
        let other = with(
            &workload(),
            &json!({"spec": {"selector": {"matchExpressions": [
            {"key": "app", "operator": "Exists"}]}}}),
        );
        assert_eq!(
            update_errors(kind, &workload(), &other),
            "spec.selector: can't be changed: the pods it chose so far would be nobody's; make a new object"
        );
        let replicas = with(&workload(), &json!({"spec": {"replicas": 9}}));
        assert_eq!(update_errors(kind, &workload(), &replicas), "");
    }
}

#[test]
fn deployments() {
    check(
        "Deployment",
        &workload(),
        &[
            (json!({"spec": {"strategy": {"type": "Recreate"}}}), ""),
            (json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 1}}}}), ""),
            (
                json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}}}),
                "spec.strategy.rollingUpdate.maxUnavailable: must not be 0 where maxSurge is 0 too: no pod could be \
             replaced",
            ),
            (
                json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}}),
                "spec.strategy.rollingUpdate.maxUnavailable: must not be more than 100%",
            ),
            (
                json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": {}}}}),
                "spec.strategy.rollingUpdate: must not be set where the type is Recreate",
            ),
            (
                json!({"spec": {"minReadySeconds": 600}}),
                "spec.progressDeadlineSeconds: must be greater than minReadySeconds, or every rollout fails",
            ),
        ],
    );
    let filled = object("Deployment", &workload()).to_value();
    assert_eq!(
        filled["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": "25%", "maxUnavailable": "25%"})
    );
    assert_eq!(filled["spec"]["replicas"], json!(1));
    assert_eq!(filled["spec"]["revisionHistoryLimit"], json!(10));
    assert_eq!(filled["spec"]["progressDeadlineSeconds"], json!(600));
}

#[test]
fn services() {
    let base = json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    check(
        "Service",
        &base,
        &[
            (ports(json!([])), "spec.ports: needs at least one"),
            (json!({"spec": {"ports": [], "clusterIP": "None"}}), ""),
            (
                ports(json!([{"port": 0}])),
                "spec.ports[0].port: must be from 1 to 65535; spec.ports[0].targetPort: must be from 1 to 65535",
            ),
            (
                ports(json!([{"name": "a", "port": 1}, {"port": 2}])),
                "spec.ports[1].name: is required where there are several ports",
            ),
            (
                ports(json!([{"name": "a", "port": 1}, {"name": "a", "port": 2}])),
                "spec.ports[1].name: is the name of another port too",
            ),
            (
                ports(json!([{"name": "a", "port": 1}, {"name": "b", "port": 1}])),
                "spec.ports[1].port: is there twice with the same protocol",
            ),
            (ports(json!([{"name": "a", "port": 1}, {"name": "b", "port": 1, "protocol": "UDP"}])), ""),
            (
                ports(json!([{"port": 1, "nodePort": 30000}])),
                "spec.ports[0].nodePort: can be set only where the type is NodePort or LoadBalancer",
            ),
            (json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 30000}]}}), ""),
            (
                json!({"spec": {"clusterIP": "here"}}),
                "spec.clusterIP: `here` is neither an IP address nor None",
            ),
            (
                json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}}),
                "spec.clusterIPs: the first must be clusterIP",
            ),
            (json!({"spec": {"clusterIPs": ["10.0.0.2", "fd00::1"]}}), ""),
            (
                json!({"spec": {"type": "LoadBalancer", "clusterIP": "None"}}),
                "spec.clusterIP: can be None only where the type is ClusterIP",
            ),
            (json!({"spec": {"type": "ExternalName", "externalName": "example.com."}}), ""),
            (
                json!({"spec": {"externalTrafficPolicy": "Local"}}),
                "spec.externalTrafficPolicy: can be Local only where the type is NodePort or LoadBalancer",
            ),
            (json!({"spec": {"sessionAffinity": "ClientIP"}}), ""),
            (
                json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}}),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be from 1 to 86400",
            ),
        ],
    );
}

#[test]
fn names_and_addresses_of_services() {
    let base = json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    for bad in [
        json!({"spec": {"selector": {"a b": "c"}}}),
        json!({"spec": {"type": "ExternalName"}}),
        ports(json!([{"port": 1, "targetPort": "not_a_port"}])),
        ports(json!([{"port": 1, "name": "Web"}])),
    ] {
        assert_ne!(errors("Service", &with(&base, &bad)), "", "{bad}");
    }
    let at = |ip: &str| with(&base, &json!({"spec": {"clusterIP": ip}}));
    assert_eq!(update_errors("Service", &at(""), &at("10.0.0.1")), "");
    assert_eq!(
        update_errors("Service", &at("10.0.0.1"), &at("10.0.0.2")),
        "spec.clusterIP: can't be changed: leave it at `10.0.0.1`, or make a new service"
    );
    let filled = object("Service", &base).to_value();
    assert_eq!(filled["spec"]["ports"][0], json!({"port": 80, "targetPort": 80, "protocol": "TCP"}));
}

#[test]
fn endpoint_slices() {
    let base =
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"port": 80}]});
    check(
        "EndpointSlice",
        &base,
        &[
            (json!({"addressType": "IPv6"}), "endpoints[0].addresses[0]: is not an IPv6 address"),
            (json!({"endpoints": [{"addresses": []}]}), "endpoints[0].addresses: must be from 1 to 100"),
            (json!({"ports": [{"port": 0}]}), "ports[0].port: must be from 1 to 65535"),
            (json!({"ports": [{}, {}]}), "ports[1].name: is the name of another port too"),
        ],
    );
    let other = json!({"addressType": "FQDN", "endpoints": []});
    assert_eq!(
        update_errors("EndpointSlice", &base, &other),
        "addressType: can't be changed: make a new slice"
    );
}

#[test]
fn autoscalers() {
    let base = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "minReplicas": 2, "maxReplicas": 6}});
    let metric = |metric: Value| json!({"spec": {"metrics": [metric]}});
    check(
        "HorizontalPodAutoscaler",
        &base,
        &[
            (json!({"spec": {"maxReplicas": 1}}), "spec.maxReplicas: 1 must not be less than minReplicas, 2"),
            (json!({"spec": {"maxReplicas": null}}), "spec.maxReplicas: is required, and at least 1"),
            (
                json!({"spec": {"minReplicas": 0}}),
                "spec.minReplicas: must be at least 1 without a metric of type Object or External: no pod, nothing to measure",
            ),
            (json!({"spec": {"scaleTargetRef": {"name": ""}}}), "spec.scaleTargetRef.name: is required"),
            (metric(json!({"type": "Pods"})), "spec.metrics[0].pods: is required for this type of metric"),
            (
                metric(
                    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}}),
                ),
                "spec.metrics[0].resource.target.averageUtilization: must be greater than 0",
            ),
            (
                metric(
                    json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "Value", "value": "1"}}}),
                ),
                "spec.metrics[0].pods.target.type: must be AverageValue for this type of metric",
            ),
            (
                metric(
                    json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "averageValue": "1"}}}),
                ),
                "spec.metrics[0].external.target.value: is required for this type of target; \
             spec.metrics[0].external.target.averageValue: must not be set for this type of target",
            ),
            (
                json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}}}),
                "spec.behavior.scaleDown.stabilizationWindowSeconds: must not be more than 3600",
            ),
            (
                json!({"spec": {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 0}]}}}}),
                "spec.behavior.scaleUp.policies[0].value: must be greater than 0; \
             spec.behavior.scaleUp.policies[0].periodSeconds: must be from 1 to 1800",
            ),
        ],
    );
    let filled = object("HorizontalPodAutoscaler", &base).to_value();
    assert_eq!(filled["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], json!(80));
}

#[test]
fn data() {
    for (kind, field) in [("ConfigMap", "data"), ("Secret", "data")] {
        let value = if kind == "Secret" { "YQ==" } else { "a" };
        let base = json!({field: {"a.b-c_d": value}});
        check(kind, &base, &[]);
        assert!(errors(kind, &json!({field: {"a b": value}})).starts_with("data[a b]: "), "{kind}");
        let large = if kind == "Secret" { "QUFB".repeat(1 << 19) } else { "a".repeat(1 << 20) };
        assert_eq!(
            errors(kind, &json!({field: {"a": large}})),
            "the entries must not take more than 1 MiB together"
        );
        let frozen = with(&base, &json!({"immutable": true}));
        assert_eq!(update_errors(kind, &base, &frozen), "");
        assert_eq!(update_errors(kind, &frozen, &base), "immutable: can't be taken back");
        let changed = with(&frozen, &json!({field: {"e": value}}));
        assert_eq!(
            update_errors(kind, &frozen, &changed),
            "data: can't be changed: the object is immutable; make a new one"
        );
    }
    assert_eq!(
        errors("ConfigMap", &json!({"data": {"a": ""}, "binaryData": {"a": ""}})),
        "binaryData[a]: is in data too"
    );
}

#[test]
fn secrets_of_known_types() {
    let typed = |type_: &str, data: Value| json!({"type": type_, "stringData": data});
    check(
        "Secret",
        &json!({}),
        &[
            (
                typed("kubernetes.io/tls", json!({"tls.crt": ""})),
                "data: needs tls.crt and tls.key: the type is kubernetes.io/tls",
            ),
            (typed("kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""})), ""),
            (
                typed("kubernetes.io/basic-auth", json!({})),
                "data: needs username or password: the type is kubernetes.io/basic-auth",
            ),
            (
                typed("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "{"})),
                "data[.dockerconfigjson]: is not JSON",
            ),
            (typed("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "{}"})), ""),
            (typed("my.own/type", json!({})), ""),
        ],
    );
    assert_eq!(
        update_errors("Secret", &json!({}), &json!({"type": "a/b"})),
        "type: can't be changed: make a new secret"
    );
}

#[test]
fn groups_have_one_policy() {
    let gang = json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}});
    check(
        "PodGroup",
        &gang,
        &[
            (
                json!({"spec": {"schedulingPolicy": {"basic": {}}}}),
                "spec.schedulingPolicy: needs exactly one of basic and gang",
            ),
            (
                json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 0}}}}),
                "spec.schedulingPolicy.gang.minCount: must be more than 0",
            ),
            (
                json!({"spec": {"schedulingConstraints": {"topology": [{"key": "zone"}, {"key": "rack"}]}}}),
                "spec.schedulingConstraints.topology: can't have more than one constraint",
            ),
            (
                json!({"spec": {"schedulingConstraints": {"topology": [{}]}}}),
                "spec.schedulingConstraints.topology[0].key: is required",
            ),
            (json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 5}}}}), ""),
        ],
    );
    let basic = json!({"spec": {"schedulingPolicy": {"gang": null, "basic": {}}}});
    assert_eq!(
        update_errors("PodGroup", &gang, &basic),
        "spec.schedulingPolicy: can't become another one: make a new group"
    );
}

#[test]
fn budgets_classes_and_the_rest() {
    let both = "spec: minAvailable and maxUnavailable can't both be set";
    check(
        "PodDisruptionBudget",
        &json!({"spec": {"minAvailable": 1}}),
        &[
            (json!({"spec": {"maxUnavailable": 1}}), both),
            (json!({"spec": {"minAvailable": null}}), "spec: needs minAvailable or maxUnavailable"),
            (json!({"spec": {"minAvailable": "200%"}}), "spec.minAvailable: must not be more than 100%"),
        ],
    );
    check(
        "PriorityClass",
        &json!({"value": -5}),
        &[
            (json!({"value": 1_000_000_001}), "value: must not be more than 1000000000"),
            (
                json!({"metadata": {"name": "system-mine"}}),
                "metadata.name: names with `system-` are the system's own",
            ),
            (json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}), ""),
        ],
    );
    let never = json!({"value": 2, "preemptionPolicy": "Never"});
    assert_eq!(
        update_errors("PriorityClass", &json!({"value": 1}), &never),
        "value: can't be changed, for pods have it already: make a new class; \
         preemptionPolicy: can't be changed, for pods have it already: make a new class"
    );
    check(
        "Lease",
        &json!({}),
        &[(
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: must be greater than 0",
        )],
    );
    check(
        "Event",
        &json!({"involvedObject": {"kind": "Node", "name": "n"}}),
        &[(
            json!({"involvedObject": {"namespace": "other"}}),
            "involvedObject.namespace: must be the event's own namespace",
        )],
    );
    assert_ne!(errors("Namespace", &json!({"spec": {"finalizers": ["a b"]}})), "");
}

#[test]
fn ingresses() {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = |path: &str, kind: &str| {
        let paths = json!([{"path": path, "pathType": kind, "backend": backend}]);
        json!({"spec": {"rules": [{"http": {"paths": paths}}]}})
    };
    check(
        "Ingress",
        &path("/", "Prefix"),
        &[
            (path("cart", "Exact"), "spec.rules[0].http.paths[0].path: must begin with /"),
            (path("", "ImplementationSpecific"), ""),
            (json!({"spec": {"rules": null}}), "spec: needs rules or defaultBackend"),
            (
                json!({"spec": {"defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}}}),
                "spec.defaultBackend: needs a service: other objects can't be sent requests",
            ),
            (
                json!({"spec": {"defaultBackend": {"service": {"name": "web"}}}}),
                "spec.defaultBackend.service.port: needs a name or a number, and not both",
            ),
            (
                json!({"spec": {"rules": [{"host": "192.0.2.1"}]}}),
                "spec.rules[0].host: must be a name, not an address",
            ),
        ],
    );
}

#[test]
fn http_routes() {
    let rule = |rule: Value| json!({"spec": {"rules": [rule]}});
    let path = |kind: &str, value: &str| json!([{"path": {"type": kind, "value": value}}]);
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}]);
    check(
        "HTTPRoute",
        &rule(
            json!({"matches": path("PathPrefix", "/a"), "filters": rewrite, "backendRefs": [{"name": "web", "port": 80}]}),
        ),
        &[
            (
                rule(json!({"matches": path("RegularExpression", "/a.*")})),
                "spec.rules[0].matches[0].path.type: RegularExpression is not supported: use Exact or PathPrefix, in \
                 several matches where one does not do",
            ),
            (
                rule(
                    json!({"matches": [{"headers": [{"type": "RegularExpression", "name": "x", "value": "."}]}]}),
                ),
                "spec.rules[0].matches[0].headers[0].type: RegularExpression is not supported: use Exact, in several \
                 matches where one does not do",
            ),
            (
                rule(json!({"matches": path("Exact", "/a"), "filters": rewrite})),
                "spec.rules[0].filters[0].urlRewrite.path: can replace a prefix only where all matches of the rule are \
                 for one: use PathPrefix",
            ),
            (
                json!({"spec": {"parentRefs": [{"name": "edge", "port": 0}]}}),
                "spec.parentRefs[0].port: must be 1 to 65535",
            ),
            (
                rule(json!({"filters": [{"type": "ExtensionRef"}]})),
                "spec.rules[0].filters[0].type: is not supported: use the modifiers, RequestMirror, RequestRedirect or \
                 URLRewrite",
            ),
            (
                rule(json!({"filters": [{"type": "RequestMirror"}]})),
                "spec.rules[0].filters[0].requestMirror: is required by the type",
            ),
            (
                rule(json!({"filters": [{"type": "RequestMirror", "requestMirror": {
                    "backendRef": {"name": "copy", "port": 80}, "percent": 101}}]})),
                "spec.rules[0].filters[0].requestMirror.percent: must be 0 to 100",
            ),
            (
                rule(json!({"filters": [{"type": "RequestMirror", "requestMirror": {
                    "backendRef": {"name": "copy", "port": 80}, "fraction": {"numerator": 2, "denominator": 1}}}]})),
                "spec.rules[0].filters[0].requestMirror.fraction: must have a denominator of 1 or more, and a \
                 numerator of as much at most",
            ),
            (
                rule(json!({"timeouts": {"request": "1s", "backendRequest": "2s"}})),
                "spec.rules[0].timeouts.backendRequest: must not be longer than request",
            ),
            (
                rule(json!({"timeouts": {"request": "soon"}})),
                "spec.rules[0].timeouts.request: must be a time such as 10s, 1m30s or 500ms",
            ),
            (
                rule(json!({"backendRefs": [{"name": "web", "weight": 1_000_001}]})),
                "spec.rules[0].backendRefs[0].weight: must not be more than 1000000",
            ),
        ],
    );
}
