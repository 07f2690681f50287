//! The pages that people decide on: rendered here, without script, loading nothing.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use counterfoil_review::html::{STYLE, escape};
use sha2::{Digest as _, Sha256};

/// What is added to the style that all pages have.
const FORM_STYLE: &str = "
p,li{overflow-wrap:anywhere}form{background:var(--box);border:1px solid var(--rule);border-radius:.4rem;padding:1rem;margin-top:1rem}
label{display:block;margin:.5rem 0 .2rem;font-weight:600}textarea,input{font:inherit;width:100%;box-sizing:border-box;
padding:.4rem;border:1px solid var(--rule);border-radius:.3rem;background:var(--paper);color:var(--ink)}
input[type=number]{width:8rem}button{font:inherit;font-weight:600;padding:.5rem 1.2rem;margin:1rem .75rem 0 0;
border-radius:.3rem;border:2px solid;background:var(--paper);cursor:pointer}button:focus-visible,textarea:focus-visible,
input:focus-visible{outline:3px solid var(--open);outline-offset:1px}.note{border-left:4px solid var(--open);padding:.25rem .75rem}
";

static ALL_STYLE: LazyLock<String> = LazyLock::new(|| format!("{STYLE}{FORM_STYLE}"));

/// What a browser may do: show the page in its own style, and send its form here. By its hash, no other style counts.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(ALL_STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// A page. `title` is text; `body` is markup.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n",
        *ALL_STYLE
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// A page that says one thing, and what to do about it.
pub(crate) fn notice(status: StatusCode, title: &str, what_to_do: &str) -> Response {
    page(status, title, &format!("<p>{}</p>\n", escape(what_to_do)))
}
