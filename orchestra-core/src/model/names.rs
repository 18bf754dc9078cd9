//! What names, keys and values may look like.
//!
//! Each check answers with what is wrong and what would be right.

/// The longest DNS label (RFC 1123), and so the longest name of what appears as one label in a host name.
pub const MAX_LABEL_LENGTH: usize = 63;
/// The longest DNS name that Kubernetes takes for an object's name.
pub const MAX_SUBDOMAIN_LENGTH: usize = 253;

/// Checks a DNS label: what namespaces, containers and Services are called.
///
/// # Errors
/// What is wrong, in words.
pub fn check_dns_label(name: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("`{name}` is not a DNS label: {why}"));
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.len() > MAX_LABEL_LENGTH {
        return wrong("it is longer than 63 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return wrong("only lower-case letters, digits and `-` are allowed");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return wrong("it must begin and end with a letter or digit");
    }
    Ok(())
}

/// Checks a DNS subdomain, labels joined by dots: what most objects are called.
///
/// # Errors
/// What is wrong, in words.
pub fn check_dns_subdomain(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.len() > MAX_SUBDOMAIN_LENGTH {
        return Err(format!("`{name}` is longer than 253 characters"));
    }
    for label in name.split('.') {
        let fits = !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !fits {
            return Err(format!(
                "`{name}` is not a name: only lower-case letters, digits, `-` and `.` are allowed, and each part must \
                 begin and end with a letter or digit"
            ));
        }
    }
    Ok(())
}

/// Checks the key of a label or annotation: `app` or `example.com/app`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            check_dns_subdomain(prefix).map_err(|why| format!("the prefix of key `{key}`: {why}"))?;
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err(format!("key `{key}` has no name"));
    }
    is_qualified(name).map_err(|why| format!("key `{key}`: {why}"))
}

/// Checks the value of a label. It may be empty.
///
/// # Errors
/// What is wrong, in words.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    is_qualified(value).map_err(|why| format!("label value `{value}`: {why}"))
}

fn is_qualified(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_LABEL_LENGTH {
        return Err("it is longer than 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("only letters, digits, `-`, `_` and `.` are allowed");
    }
    let ends_well = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    if ends_well(text.bytes().next()) && ends_well(text.bytes().last()) {
        Ok(())
    } else {
        Err("it must begin and end with a letter or digit")
    }
}

/// The longest name of a port (RFC 6335).
pub const MAX_PORT_NAME_LENGTH: usize = 15;

/// Checks the name of a port: lower-case letters, digits and single `-` between them, at least one letter.
///
/// # Errors
/// What is wrong, in words.
pub fn check_port_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= MAX_PORT_NAME_LENGTH
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not the name of a port: at most 15 lower-case letters, digits and single `-` between them, \
             with at least one letter"
        ))
    }
}

/// Checks the name of an environment variable: printable ASCII without `=`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_env_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a name for an environment variable: only printable ASCII without `=` is allowed"
        ))
    }
}

/// Checks a key of a ConfigMap or Secret, which also is a file name: letters, digits, `-`, `_` and `.`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_data_key(key: &str) -> Result<(), String> {
    let fits = !key.is_empty()
        && key.len() <= MAX_SUBDOMAIN_LENGTH
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && key != "."
        && !key.starts_with("..");
    if fits {
        Ok(())
    } else {
        Err(format!(
            "`{key}` is not a key: only letters, digits, `-`, `_` and `.` are allowed, not `.`, and no `..` in front"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<(), String>;

    fn assert_checked(check: Check, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in bad {
            assert!(check(name).is_err(), "{name} should be refused");
        }
    }

    #[test]
    fn names_are_dns_names() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        let label: [&str; 4] = ["a", "web-1", "0", &longest];
        assert_checked(
            check_dns_label,
            &label,
            &["", "-a", "a-", "A", "a.b", "a_b", "\u{fc}", " a", &too_long],
        );
        assert_checked(
            check_dns_subdomain,
            &["a", "a.b-c.d", &too_long],
            &["", ".a", "a.", "a..b", "a.-b", "A", "a/b"],
        );
        let (longest, too_long) = (["ab"; 85].join(".")[..253].to_owned(), ["ab"; 85].join("."));
        assert_checked(check_dns_subdomain, &[&longest], &[&too_long]);
    }

    #[test]
    fn labels_have_qualified_keys_and_short_values() {
        let too_long = "a".repeat(64);
        assert_checked(
            check_label_key,
            &["app", "A_b.c-1", "example.com/App"],
            &["", "/a", "a/", "a/b/c", "Example.com/a", "-a", "a b", &too_long],
        );
        assert_checked(check_label_value, &["", "a", "A_b.c-1"], &["-", "a/b", "a ", ".a", &too_long]);
    }

    #[test]
    fn ports_variables_and_keys_have_names_of_their_own() {
        assert_checked(
            check_port_name,
            &["http", "a1", "grpc-web", "123456789012-ab"],
            &["", "80", "HTTP", "-a", "a-", "a--b", "1234567890123456", "a_b"],
        );
        assert_checked(check_env_name, &["A", "a.b-c", "1", "with space"], &["", "A=B", "\u{fc}", "A\nB"]);
        assert_checked(check_data_key, &["a", "a.json"], &["", ".", "..", "..a", "a/b"]);
        assert_checked(check_data_key, &[".env", "A_b-c.1"], &["a b", "\u{fc}"]);
    }
}
