//! The pages of a proposal: to read it, and to decide about it by a link (`spec/http.md`, "Decisions by link").
//!
//! A page shows; a form decides, once. Nothing is kept of a link: whether it was used, the log says.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use counterfoil_receipt::{Principal, RecordId, body::Ruling};
use counterfoil_review::{
    html::{block, escape},
    proposal,
    text::{counted, short},
    time,
};
use counterfoil_verify::{End, ProposalStatus, Says};

use crate::{
    app::{App, read_body},
    approvals::find,
    ballot::{Form, MINUTE, Refused, Shown, WINDOW, shown},
    door::Sees,
    limits,
    links::{Claims, NoLink},
    page::{notice, page},
    problem::{Kind, Problem},
    schemas,
    submit::{Answer, Batch, now},
};

/// The page of a proposal, for whoever may read.
#[utoipa::path(
    get, path = "/review/{proposal}", operation_id = "getReviewPage", tag = "decisions by link",
    params(("proposal" = schemas::Hash, Path, description = "The id of its record")),
    responses((status = 200, description = "A page without script", body = String, content_type = "text/html")),
)]
pub(crate) async fn review(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
    Extension(sees): Extension<Sees>,
) -> Result<Response, Problem> {
    let unknown = || Kind::ProposalUnknown.because(format!("{text:?} is no proposal of this log"));
    let id = RecordId::parse(&text).ok_or_else(unknown)?;
    let is_seen = app.inspect(move |records, _| {
        let state = records.state();
        let proposed = state.find_proposal(&id)?;
        find(state, &proposed).map(|(run, proposal)| sees.lets_see(state, run, proposal, &id))
    });
    if is_seen.await? != Some(true) {
        return Err(unknown());
    }
    let shown = shown(&app, id, None).await?.ok_or_else(unknown)?;
    let how = format!(
        "<section>\n<h2>Decide</h2>\n<p>With a key of your own, at a terminal; this shows the proposal again, verified there:</p>\n\
         <pre>counterfoil approve {} --proposal {id}</pre>\n</section>\n",
        shown.run
    );
    let how = if shown.standing.approval.status == ProposalStatus::Open { how } else { String::new() };
    Ok(page(StatusCode::OK, &title(&shown), &(shown.to_html() + &how)))
}

/// The page of a proposal, with a form, for whoever has the link.
#[utoipa::path(
    get, path = "/link/{token}", operation_id = "getLinkPage", tag = "decisions by link",
    params(("token" = schemas::LinkToken, Path, description = "What the person was sent")),
    responses(
        (status = 200, description = "A page without script", body = String, content_type = "text/html"),
        (status = 404, description = "It is no token of this server", body = String, content_type = "text/html"),
        (status = 410, description = "Its time is over", body = String, content_type = "text/html"),
        (status = 429, description = "The log is busy", body = String, content_type = "text/html"),
        (status = 500, description = "The server can't read what it holds", body = String, content_type = "text/html"),
        (status = 503, description = "The log stopped", body = String, content_type = "text/html"),
    ),
)]
pub(crate) async fn link(Shared(app): Shared<Arc<App>>, Path(token): Path<String>) -> Response {
    match linked(&app, &token).await {
        Ok((claims, shown)) => {
            let form = shown.form(&claims);
            page(StatusCode::OK, &title(&shown), &(shown.to_html() + &form))
        }
        Err(refused) => refused,
    }
}

/// Decides by a link, once.
#[utoipa::path(
    post, path = "/link/{token}", operation_id = "decideByLink", tag = "decisions by link",
    params(("token" = schemas::LinkToken, Path, description = "What the person was sent")),
    request_body(content = Form, content_type = "application/x-www-form-urlencoded", description = "At most 32 KiB"),
    responses(
        (status = 303, description = "It was decided, now or before; the page says what",
            headers(("Location" = String, description = "The page"))),
        (status = 400, description = "A field can't be; nothing was decided", body = String, content_type = "text/html"),
        (status = 404, description = "It is no token of this server", body = String, content_type = "text/html"),
        (status = 409, description = "It is not what was shown, or the log did not take it; nothing was decided", body = String, content_type = "text/html"),
        (status = 410, description = "Its time is over", body = String, content_type = "text/html"),
        (status = 413, description = "The form is too large", body = String, content_type = "text/html"),
        (status = 415, description = "It is no form", body = String, content_type = "text/html"),
        (status = 429, description = "The log is busy, or the quota is used up", body = String, content_type = "text/html"),
        (status = 500, description = "The server can't read what it holds", body = String, content_type = "text/html"),
        (status = 503, description = "The log stopped", body = String, content_type = "text/html"),
        (status = 507, description = "There is no room", body = String, content_type = "text/html"),
    ),
)]
pub(crate) async fn decide(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = read_body(&headers, body, "application/x-www-form-urlencoded", limits::FORM_BYTES).await;
    let form = form.and_then(|bytes| {
        serde_urlencoded::from_bytes::<Form>(&bytes)
            .map_err(|why| Kind::BodyUnreadable.because(format!("the form can't be read: {why}")))
    });
    let form = match form {
        Ok(form) => form,
        Err(problem) => return failed(&problem),
    };
    let Some(links) = &app.links else { return no_links() };
    // Who clicks twice is answered one after the other, so that a link is used once.
    let _one = links.deciding.lock().await;
    let (claims, shown) = match linked(&app, &token).await {
        Ok(both) => both,
        Err(refused) => return refused,
    };
    let seen = (StatusCode::SEE_OTHER, [(header::LOCATION, token.clone())]).into_response();
    if shown.standing.link.as_ref().is_some_and(|link| link.decided.is_some()) {
        return seen;
    }
    match shown.decided(links, &claims, &form) {
        Err(Refused::Changed) => {
            let note = "<p class=\"note\">What is asked has changed since you opened this page: look at it again. Nothing was decided.</p>\n";
            let body = format!("{note}{}{}", shown.to_html(), shown.form(&claims));
            page(StatusCode::CONFLICT, &title(&shown), &body)
        }
        Err(Refused::Wrong(why)) => {
            let note = format!("<p class=\"note\">{}</p>\n", escape(&why));
            let body = format!("{note}{}{}", shown.to_html(), shown.form(&claims));
            page(StatusCode::BAD_REQUEST, &title(&shown), &body)
        }
        Err(Refused::Failed(problem)) => failed(&problem),
        Ok((record, opening)) => {
            let batch = Batch::disclosing(record.bytes().to_vec(), opening);
            // It goes on if the browser goes away: what was staged has to be settled.
            let submitted = tokio::spawn(Arc::clone(&app.submitter).submit(batch)).await;
            let failed_inside = |_| Err(Kind::LogFailed.because("the submission failed inside the server"));
            match submitted.unwrap_or_else(failed_inside) {
                Err(problem) => unknown(&problem),
                Ok(answers) => match answers.first() {
                    Some(Answer::Included(_)) => seen,
                    Some(Answer::Rejected { code, .. }) => notice(
                        StatusCode::CONFLICT,
                        "Not decided",
                        &format!(
                            "The log did not take it ({code}). Decide at a terminal, with a key of your own."
                        ),
                    ),
                    None => unknown(&Kind::Unreadable.because("the log gave no answer")),
                },
            }
        }
    }
}

/// What a link is about, if it lets somebody decide.
async fn linked(app: &Arc<App>, token: &str) -> Result<(Claims, Shown), Response> {
    let links = app.links.as_ref().ok_or_else(no_links)?;
    let claims = links.read(token, now()).map_err(|no_link| {
        let (status, what_to_do) = match no_link {
            NoLink::Forged => {
                (StatusCode::NOT_FOUND, "Open it as you got it, or ask whoever runs the server for another.")
            }
            NoLink::Expired => {
                (StatusCode::GONE, "Decide at a terminal, with a key of your own, or ask for another link.")
            }
        };
        notice(status, &no_link.to_string(), what_to_do)
    })?;
    let shown =
        shown(app, claims.proposal, Some((&claims, links))).await.map_err(|problem| failed(&problem))?;
    let is_meant =
        |shown: &Shown| shown.record.body().action().is_some_and(|action| action.digest() == claims.action);
    match shown.filter(is_meant) {
        Some(shown) => Ok((claims, shown)),
        None => Err(notice(StatusCode::NOT_FOUND, "No such proposal", "The log has no such proposal.")),
    }
}

fn no_links() -> Response {
    notice(StatusCode::NOT_FOUND, "No such link", "This server takes no decisions by link.")
}

impl Shown {
    /// The proposal, what it waits for and what was decided.
    fn to_html(&self) -> String {
        let mut out =
            format!("<p class=\"verdict {}\">{}</p>\n", class(self.standing.approval.status), self.status());
        let _ = writeln!(out, "<section>\n<h2>Exactly this</h2>\n{}</section>", block(&self.text));
        out.push_str(&self.rules());
        out.push_str(&self.decisions());
        out
    }

    fn status(&self) -> String {
        let by = match self.standing.ended {
            Some((_, End::Superseded(by))) => format!(", by <a href=\"../review/{by}\">{}</a>", short(&by)),
            _ => String::new(),
        };
        let word = self.standing.approval.status.as_str().replace('_', " ");
        let left = self.standing.approval.expires_at.map_or_else(String::new, |at| format!(", {}", left(at)));
        format!("{word}{by}{left}")
    }

    /// Why it is asked, and who has said what is wanted of them.
    fn rules(&self) -> String {
        let approval = &self.standing.approval;
        let mut out = String::from("<section>\n<h2>What the policy wants</h2>\n<ul>\n");
        for rule in &approval.rules {
            for one in &rule.requirements {
                let who = one
                    .principals
                    .iter()
                    .map(Principal::to_string)
                    .chain(one.groups.iter().map(|group| format!("group {group}")));
                let who: Vec<String> = who.collect();
                let who = if who.is_empty() { "anybody".to_owned() } else { who.join(", ") };
                let have: Vec<&str> = one.approved.iter().map(Principal::as_str).collect();
                let have = if have.is_empty() { "nobody yet".to_owned() } else { have.join(", ") };
                let _ = writeln!(
                    out,
                    "<li><code>{}</code>: {} of {}; {}{}</li>",
                    escape(rule.rule.as_str()),
                    counted(one.count as u64, "approval"),
                    escape(&who),
                    escape(&have),
                    if rule.is_met { " <span class=\"pass\">met</span>" } else { "" },
                );
            }
        }
        if approval.rules.is_empty() {
            out.push_str("<li>No approvals: the policy allows it or denies it by itself.</li>\n");
        }
        if self.standing.lacks_preview {
            out.push_str("<li>A preview that succeeded, which this proposal does not name: it will not be executed.</li>\n");
        }
        for timer in &approval.timers {
            let Some(due) = timer.due else { continue };
            let says = match &timer.says {
                Says::TimeOut(ruling) => format!("says {ruling}"),
                Says::Escalate { to, .. } => {
                    format!("asks {} too", to.iter().map(proposal::audience).collect::<Vec<_>>().join(", "))
                }
            };
            let _ = writeln!(
                out,
                "<li><code>{}</code> {} if it is not met by {} ({})</li>",
                escape(timer.rule.as_str()),
                escape(&says),
                time::utc(due),
                left(due)
            );
        }
        out + "</ul>\n</section>\n"
    }

    fn decisions(&self) -> String {
        if self.standing.decisions.is_empty() {
            return String::new();
        }
        let mut out = String::from("<section>\n<h2>Decisions</h2>\n<ul>\n");
        for decided in &self.standing.decisions {
            let how = if decided.is_by_timer { "time-out".to_owned() } else { decided.surface.to_string() };
            let withdrawn = decided.withdrawn.map_or("", |_| ", withdrawn");
            let _ = writeln!(
                out,
                "<li>{} by {} ({how}), entry {}{withdrawn} <span class=\"place\">{}</span></li>",
                decided.ruling,
                escape(decided.approver.as_str()),
                decided.index,
                short(&decided.id),
            );
        }
        out + "</ul>\n</section>\n"
    }

    /// What a link lets its holder do.
    fn form(&self, claims: &Claims) -> String {
        let Some(link) = &self.standing.link else { return String::new() };
        let name = escape(claims.approver.as_str());
        if let Some((id, ruling)) = link.decided {
            return format!(
                "<section>\n<h2>Decided</h2>\n<p><strong>{name}</strong> decided by this link: <strong>{ruling}</strong>, in the log as \
                 <code>{id}</code>.{}</p>\n</section>\n",
                self.effect(ruling)
            );
        }
        if let Some(fault) = &link.fault {
            return format!(
                "<section>\n<h2>Decide</h2>\n<p class=\"note\">This can't be decided by link: {}.</p>\n<p>Decide at a terminal, with a \
                 key of your own:</p>\n<pre>counterfoil approve {} --proposal {}</pre>\n</section>\n",
                escape(fault),
                self.run,
                claims.proposal
            );
        }
        let over = match self.standing.approval.status {
            ProposalStatus::Open | ProposalStatus::Approved | ProposalStatus::Expired => String::new(),
            other => format!(
                "<p class=\"note\">It is {}: what you decide now is logged, and changes nothing.</p>\n",
                other.as_str().replace('_', " ")
            ),
        };
        let minutes = self.standing.minutes();
        format!(
            "<section>\n<h2>Decide</h2>\n{over}<p>As <strong>{name}</strong>, once, until {}. The server signs it in your name.</p>\n\
             <form method=\"post\">\n<button disabled hidden></button>\n<input type=\"hidden\" name=\"shown\" value=\"{}\">\n\
             <input type=\"hidden\" name=\"policy\" value=\"{}\">\n\
             <label for=\"reason\">Reason, or what should change</label>\n\
             <textarea id=\"reason\" name=\"reason\" rows=\"3\" maxlength=\"2000\"></textarea>\n\
             <label for=\"uses\">How often it may be executed, if you approve</label>\n\
             <input id=\"uses\" type=\"number\" name=\"uses\" value=\"1\" min=\"1\" max=\"{}\">\n\
             <label for=\"minutes\">Within how many minutes</label>\n\
             <input id=\"minutes\" type=\"number\" name=\"minutes\" value=\"{}\" min=\"1\" max=\"{minutes}\">\n\
             <div><button class=\"pass\" name=\"verdict\" value=\"approve\">Approve</button>\n\
             <button class=\"fail\" name=\"verdict\" value=\"reject\">Reject</button>\n\
             <button class=\"open\" name=\"verdict\" value=\"request_changes\">Ask for changes</button></div>\n</form>\n</section>\n",
            time::utc(claims.not_after),
            self.digest(),
            escape(&self.policy()),
            self.standing.most.0,
            minutes.min(WINDOW / MINUTE),
        )
    }

    /// That a decision came too late, where it did.
    fn effect(&self, ruling: Ruling) -> String {
        let link = self.standing.link.as_ref();
        if let Some(why) = link.and_then(|link| link.counts_no_more.as_ref()) {
            return format!(
                " It counts no more: {}. Decide at a terminal, with a key of your own.",
                escape(why)
            );
        }
        let ended_by_it = match self.standing.ended {
            None => true,
            Some((_, End::Rejected(by) | End::ChangesRequested(by))) => {
                self.standing.link.as_ref().and_then(|link| link.decided) == Some((by, ruling))
            }
            Some((_, End::Cancelled(_) | End::Superseded(_))) => false,
        };
        if ended_by_it {
            return String::new();
        }
        format!(
            " The proposal is {}: it changes nothing.",
            self.standing.approval.status.as_str().replace('_', " ")
        )
    }
}

fn title(shown: &Shown) -> String {
    let action = shown.record.body().action();
    let tool = action.map_or_else(String::new, |action| action.tool.to_string());
    let target = action.and_then(|action| action.target.as_ref());
    target.map_or_else(|| tool.clone(), |target| format!("{tool} on {}", target.as_str()))
}

const fn class(status: ProposalStatus) -> &'static str {
    match status {
        ProposalStatus::Approved | ProposalStatus::Succeeded => "pass",
        ProposalStatus::Rejected | ProposalStatus::Denied | ProposalStatus::Failed => "fail",
        _ => "open",
    }
}

/// How long there is until a time.
fn left(at: u64) -> String {
    match at.checked_sub(now()) {
        Some(millis) if millis > 0 => format!("{} left", time::span(millis)),
        _ => "any moment".to_owned(),
    }
}

/// A page for what went wrong on the way into the log.
fn unknown(problem: &Problem) -> Response {
    let (status, title, hint) = problem.for_people();
    let what = "Whether it was decided is not known: open the link again, it says.";
    notice(status, title, &format!("{} {hint} {what}", problem.detail()))
}

/// A page for what went wrong before anything was decided.
fn failed(problem: &Problem) -> Response {
    let (status, title, hint) = problem.for_people();
    notice(status, title, &format!("{} {hint} Nothing was decided.", problem.detail()))
}
