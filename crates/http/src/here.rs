//! Whether a request is to this machine and from no page of another site: DNS can be made to lead a browser here.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether it is asked by a name of this machine.
pub fn is_to_here(headers: &HeaderMap) -> bool {
    header_names(headers, header::HOST, "")
}

/// Whether no page of another site makes a browser ask.
pub fn is_from_here(headers: &HeaderMap) -> bool {
    header_names(headers, header::ORIGIN, "http://")
}

/// Whether a header is a loopback address or `localhost` after this prefix; a request without it comes from no browser.
fn header_names(headers: &HeaderMap, name: HeaderName, prefix: &str) -> bool {
    // Of two, nobody can say which was meant.
    headers.get_all(name).iter().all(|value| names_this_machine(value, prefix))
}

fn names_this_machine(value: &HeaderValue, prefix: &str) -> bool {
    let Some(host) = value.to_str().ok().and_then(|value| value.strip_prefix(prefix)) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
