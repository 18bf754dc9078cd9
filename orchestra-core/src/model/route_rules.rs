//! What ingresses and HTTP routes must be.

use std::time::Duration;

use super::names::{check_dns_label, check_dns_subdomain};
use super::object::Rules;
use super::{
    FieldErrors, HTTPRoute, HttpBackendRef, HttpPathModifier, HttpPathModifierType, HttpRequestMirrorFilter,
    HttpRouteFilter, HttpRouteFilterType, HttpRouteMatch, HttpRouteRule, HttpRouteTimeouts, HttpValueMatch,
    Ingress, IngressBackend, IngressPathType, PathMatchType, ValueMatchType,
};

/// The most rules of a route, and matches and filters of a rule: the Gateway API's limits.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 64;
const MAX_FILTERS: usize = 16;
/// The largest weight: the Gateway API's limit.
const MAX_WEIGHT: u32 = 1_000_000;

impl Rules for Ingress {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            let spec = &self.spec;
            let any = spec.default_backend.is_some() || !spec.rules.is_empty();
            errors.require(any, "needs rules or defaultBackend");
            if let Some(backend) = &spec.default_backend {
                errors.at("defaultBackend", |errors| check_backend(backend, errors));
            }
            errors.each("rules", &spec.rules, |errors, rule| {
                errors.at("host", |errors| check_host(&rule.host, errors));
                let Some(http) = &rule.http else { return };
                errors.at("http", |errors| {
                    errors.at("paths", |errors| errors.require(!http.paths.is_empty(), "needs one at least"));
                    errors.each("paths", &http.paths, |errors, path| {
                        let begins = path.path.starts_with('/')
                            || path.path.is_empty()
                                && path.path_type == IngressPathType::ImplementationSpecific;
                        errors.at("path", |errors| errors.require(begins, "must begin with /"));
                        errors.at("backend", |errors| check_backend(&path.backend, errors));
                    });
                });
            });
        });
    }
}

fn check_backend(backend: &IngressBackend, errors: &mut FieldErrors) {
    let Some(service) = &backend.service else {
        return errors.push("needs a service: other objects can't be sent requests");
    };
    errors.at("service", |errors| {
        errors.at("name", |errors| {
            if let Err(why) = check_dns_label(&service.name) {
                errors.push(why);
            }
        });
        errors.at("port", |errors| {
            let one = service.port.name.is_empty() != (service.port.number == 0);
            errors.require(one, "needs a name or a number, and not both");
        });
    });
}

fn check_host(host: &str, errors: &mut FieldErrors) {
    if host.is_empty() {
        return;
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return errors.push("must be a name, not an address");
    }
    if let Err(why) = check_dns_subdomain(host.strip_prefix("*.").unwrap_or(host)) {
        errors.push(why);
    }
}

impl Rules for HTTPRoute {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            errors.each("parentRefs", &self.spec.parent_refs, |errors, parent| {
                errors.at("port", |errors| errors.require(parent.port != Some(0), "must be 1 to 65535"));
            });
            errors.each("hostnames", &self.spec.hostnames, |errors, host| {
                errors.require(!host.is_empty(), "must not be empty");
                check_host(host, errors);
            });
            errors.at("rules", |errors| at_most(self.spec.rules.len(), MAX_RULES, errors));
            errors.each("rules", &self.spec.rules, check_rule);
        });
    }
}

fn at_most(count: usize, most: usize, errors: &mut FieldErrors) {
    if count > most {
        errors.push(format!("can't have more than {most}"));
    }
}

fn check_rule(errors: &mut FieldErrors, rule: &HttpRouteRule) {
    errors.at("matches", |errors| at_most(rule.matches.len(), MAX_MATCHES, errors));
    errors.each("matches", &rule.matches, check_match);
    errors.at("filters", |errors| at_most(rule.filters.len(), MAX_FILTERS, errors));
    errors.each("filters", &rule.filters, |errors, filter| check_filter(errors, filter, rule));
    let is = |type_| rule.filters.iter().any(|filter| filter.type_ == type_);
    errors.at("filters", |errors| {
        let both = is(HttpRouteFilterType::RequestRedirect) && is(HttpRouteFilterType::URLRewrite);
        errors.require(!both, "can't have both RequestRedirect and URLRewrite");
    });
    errors.at("backendRefs", |errors| {
        let nowhere = is(HttpRouteFilterType::RequestRedirect) && !rule.backend_refs.is_empty();
        errors.require(!nowhere, "must be empty where a filter redirects: nothing would go there");
    });
    errors.each("backendRefs", &rule.backend_refs, check_backend_ref);
    if let Some(timeouts) = &rule.timeouts {
        errors.at("timeouts", |errors| check_timeouts(timeouts, errors));
    }
}

fn check_match(errors: &mut FieldErrors, found: &HttpRouteMatch) {
    if let Some(path) = &found.path {
        errors.at("path", |errors| {
            let expression = path.type_ == PathMatchType::RegularExpression;
            errors.at("type", |errors| errors.require(!expression, NO_EXPRESSIONS_OF_PATHS));
            let clear = path.value.starts_with('/') && !path.value.contains("//");
            errors.at("value", |errors| errors.require(expression || clear, "must begin with /, without //"));
        });
    }
    let check = |errors: &mut FieldErrors, value: &HttpValueMatch| {
        let expression = value.type_ == ValueMatchType::RegularExpression;
        errors.at("type", |errors| errors.require(!expression, NO_EXPRESSIONS));
        errors.at("name", |errors| errors.require(!value.name.is_empty(), "must not be empty"));
    };
    errors.each("headers", &found.headers, |errors, header| {
        check(errors, header);
        errors.at("name", |errors| check_token(&header.name, errors));
        errors.at("value", |errors| check_value(&header.value, errors));
    });
    errors.each("queryParams", &found.query_params, check);
    errors.at("method", |errors| check_token(&found.method, errors));
}

const NO_EXPRESSIONS_OF_PATHS: &str =
    "RegularExpression is not supported: use Exact or PathPrefix, in several matches where one does not do";
const NO_EXPRESSIONS: &str =
    "RegularExpression is not supported: use Exact, in several matches where one does not do";

fn check_token(name: &str, errors: &mut FieldErrors) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    errors.require(name.bytes().all(is_token), "can have letters, digits and !#$%&'*+-.^_`|~ only");
}

fn check_value(value: &str, errors: &mut FieldErrors) {
    let visible = value.bytes().all(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    errors.require(visible, "can't have control characters");
}

fn check_filter(errors: &mut FieldErrors, filter: &HttpRouteFilter, rule: &HttpRouteRule) {
    let (set, name) = match filter.type_ {
        HttpRouteFilterType::RequestHeaderModifier => {
            (filter.request_header_modifier.is_some(), "requestHeaderModifier")
        }
        HttpRouteFilterType::ResponseHeaderModifier => {
            (filter.response_header_modifier.is_some(), "responseHeaderModifier")
        }
        HttpRouteFilterType::RequestMirror => (filter.request_mirror.is_some(), "requestMirror"),
        HttpRouteFilterType::RequestRedirect => (filter.request_redirect.is_some(), "requestRedirect"),
        HttpRouteFilterType::URLRewrite => (filter.url_rewrite.is_some(), "urlRewrite"),
        HttpRouteFilterType::ExtensionRef | HttpRouteFilterType::CORS => {
            return errors.at("type", |errors| {
                errors.push(
                    "is not supported: use the modifiers, RequestMirror, RequestRedirect or URLRewrite",
                );
            });
        }
    };
    errors.at(name, |errors| errors.require(set, "is required by the type"));
    let headers = [&filter.request_header_modifier, &filter.response_header_modifier];
    for headers in headers.into_iter().flatten() {
        errors.at(name, |errors| {
            for (field, changes) in [("set", &headers.set), ("add", &headers.add)] {
                errors.each(field, changes, |errors, header| {
                    errors.at("name", |errors| {
                        errors.require(!header.name.is_empty(), "must not be empty");
                        check_token(&header.name, errors);
                    });
                    errors.at("value", |errors| check_value(&header.value, errors));
                });
            }
            errors.each("remove", &headers.remove, |errors, name| check_token(name, errors));
        });
    }
    if let Some(mirror) = &filter.request_mirror {
        errors.at("requestMirror", |errors| check_share(mirror, errors));
    }
    if let Some(redirect) = &filter.request_redirect {
        errors.at("requestRedirect", |errors| {
            let status = redirect.status_code.is_none_or(|code| matches!(code, 301..=303 | 307 | 308));
            errors.at("statusCode", |errors| errors.require(status, "must be 301, 302, 303, 307 or 308"));
            let scheme = matches!(redirect.scheme.as_str(), "" | "http" | "https");
            errors.at("scheme", |errors| errors.require(scheme, "must be http or https"));
            errors.at("hostname", |errors| check_host(&redirect.hostname, errors));
            check_path(redirect.path.as_ref(), rule, errors);
        });
    }
    if let Some(rewrite) = &filter.url_rewrite {
        errors.at("urlRewrite", |errors| {
            errors.at("hostname", |errors| check_host(&rewrite.hostname, errors));
            check_path(rewrite.path.as_ref(), rule, errors);
        });
    }
}

fn check_share(mirror: &HttpRequestMirrorFilter, errors: &mut FieldErrors) {
    let percent = mirror.percent.is_none_or(|percent| percent <= 100);
    errors.at("percent", |errors| errors.require(percent, "must be 0 to 100"));
    if let Some(fraction) = &mirror.fraction {
        errors.at("fraction", |errors| {
            errors.require(mirror.percent.is_none(), "can't be beside percent: use one of them");
            let part = fraction.denominator > 0 && fraction.numerator <= fraction.denominator;
            errors.require(part, "must have a denominator of 1 or more, and a numerator of as much at most");
        });
    }
}

fn check_path(path: Option<&HttpPathModifier>, rule: &HttpRouteRule, errors: &mut FieldErrors) {
    let Some(path) = path else { return };
    errors.at("path", |errors| match path.type_ {
        HttpPathModifierType::ReplaceFullPath => {
            errors.require(path.replace_full_path.is_some(), "needs replaceFullPath");
        }
        HttpPathModifierType::ReplacePrefixMatch => {
            errors.require(path.replace_prefix_match.is_some(), "needs replacePrefixMatch");
            let exact = |found: &HttpRouteMatch| {
                found.path.as_ref().is_some_and(|path| path.type_ != PathMatchType::PathPrefix)
            };
            errors.require(
                !rule.matches.iter().any(exact),
                "can replace a prefix only where all matches of the rule are for one: use PathPrefix",
            );
        }
    });
}

fn check_backend_ref(errors: &mut FieldErrors, backend: &HttpBackendRef) {
    errors.at("name", |errors| errors.require(!backend.name.is_empty(), "must not be empty"));
    errors.at("weight", |errors| {
        errors.require(backend.weight <= MAX_WEIGHT, "must not be more than 1000000");
    });
    errors.at("filters", |errors| {
        errors.require(backend.filters.is_empty(), "of a backend are not supported: make a rule for it");
    });
}

fn check_timeouts(timeouts: &HttpRouteTimeouts, errors: &mut FieldErrors) {
    for (field, text) in [("request", &timeouts.request), ("backendRequest", &timeouts.backend_request)] {
        let known = text.is_empty() || parse_duration(text).is_some();
        errors.at(field, |errors| errors.require(known, "must be a time such as 10s, 1m30s or 500ms"));
    }
    let (whole, part) = (timeouts.request_limit(), timeouts.backend_request_limit());
    let within = whole.is_none_or(|whole| part.is_none_or(|part| part <= whole));
    errors.at("backendRequest", |errors| errors.require(within, "must not be longer than request"));
}

impl HttpRouteTimeouts {
    /// How long a request may take in all; `None`: for ever.
    #[must_use]
    pub fn request_limit(&self) -> Option<Duration> {
        parse_duration(&self.request).filter(|limit| !limit.is_zero())
    }

    /// How long an endpoint may take; `None`: nothing is said of it.
    #[must_use]
    pub fn backend_request_limit(&self) -> Option<Duration> {
        parse_duration(&self.backend_request).filter(|limit| !limit.is_zero())
    }
}

/// A time as the Gateway API has it (GEP-2257): one to four numbers of one to five digits, each with a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut whole = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let number: u32 = number.parse().ok().filter(|_| digits <= 5)?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (unit, millis) = units.into_iter().find(|(unit, _)| behind.starts_with(unit))?;
        whole += Duration::from_millis(millis) * number;
        rest = &behind[unit.len()..];
        if rest.is_empty() {
            return Some(whole);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_gateway_api_has_them() {
        let millis = |text| parse_duration(text).map(|time| time.as_millis());
        assert_eq!(millis("10s"), Some(10_000));
        assert_eq!(millis("1h30m5s250ms"), Some(5_405_250));
        assert_eq!(millis("0s"), Some(0));
        for none in ["", "s", "1", "1d", "-1s", "1.5s", "123456s", "1h1h1h1h1h", "1s "] {
            assert_eq!(millis(none), None, "{none}");
        }
    }
}
