//! Routes, each with who may ask for it: there is no way to serve one without saying so.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State as Shared},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use crate::{door::Asker, problem::Problem, tokens::Scope};

/// One route of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path, with a name in braces for each part that differs.
    pub path: &'static str,
}

/// Routes that are being put together.
pub(crate) struct Routes<S> {
    router: Router<S>,
    listed: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), listed: Vec::new() }
    }

    /// What is read, by a token with one of these scopes where tokens are asked for.
    pub(crate) fn read<H, T>(mut self, path: &'static str, scopes: &'static [Scope], handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let guarded = get(handler).route_layer(middleware::from_fn_with_state(scopes, may_read));
        self.router = self.router.route(path, guarded);
        self.listed("GET", path)
    }

    /// What anybody may read: it says nothing about the log's entries, or asks for a proof of its own.
    pub(crate) fn read_by_anybody<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(path, get(handler));
        self.listed("GET", path)
    }

    /// What is sent, and proves by itself that it may be, or whose handler asks.
    pub(crate) fn write<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(path, post(handler));
        self.listed("POST", path)
    }

    /// The same routes with something around each.
    pub(crate) fn within(mut self, wrap: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        self.router = wrap(self.router);
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.listed.extend(others.listed);
        self
    }

    /// With what their handlers work with.
    pub(crate) fn with_state(self, state: S) -> Routes<()> {
        Routes { router: self.router.with_state(state), listed: self.listed }
    }

    fn listed(mut self, method: &'static str, path: &'static str) -> Self {
        self.listed.push(Route { method, path });
        self
    }
}

impl Routes<()> {
    /// What is served, and the list of it.
    pub(crate) fn into_parts(self) -> (Router, Arc<[Route]>) {
        (self.router, self.listed.into())
    }
}

async fn may_read(
    Shared(scopes): Shared<&'static [Scope]>,
    Extension(asker): Extension<Asker>,
    mut request: Request,
    next: Next,
) -> Response {
    match asker.may_read(scopes, request.headers()) {
        Ok(sees) => {
            request.extensions_mut().insert(sees);
            next.run(request).await
        }
        Err(denied) => Problem::may_not_read(denied).into_response(),
    }
}
