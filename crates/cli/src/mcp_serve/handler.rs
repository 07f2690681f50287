//! The edge to the SDK: calls come in here, and are worked on by threads that may block.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult, ErrorCode,
        Implementation, ListResourceTemplatesResult, ListToolsResult, PaginatedRequestParams,
        ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, ResourceContents, ResourceTemplate, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::{task, time};

use super::{
    Agent, Call,
    answer::{Answer, fault},
    limits,
    reading::BUNDLE,
    tools::{self, INSTRUCTIONS, Name},
    wait::invalid,
};
use crate::{
    error::{Failure, Outcome},
    record::{record_id, run_id},
};

/// The revisions that are spoken: since the first of them, results have structured content.
const REVISIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];

/// Methods that are known here: what the SDK does not recognise of them has parameters that can't be.
const METHODS: [&str; 5] =
    ["tools/call", "tools/list", "resources/read", "resources/list", "resources/templates/list"];

/// The tools of an agent.
pub struct Tools {
    agent: Arc<Agent>,
}

impl Tools {
    /// The tools of an agent.
    pub fn new(agent: Agent) -> Self {
        Self { agent: Arc::new(agent) }
    }

    /// Works on something in a thread, and tells the client meanwhile that it waits, if it wants to know.
    async fn work<T: Send + 'static>(
        &self,
        context: &RequestContext<RoleServer>,
        said: &str,
        work: impl FnOnce(&Agent, &Call) -> Outcome<T> + Send + 'static,
    ) -> Result<Outcome<T>, ErrorData> {
        let broke = |_| ErrorData::internal_error("the work on this call broke off", None);
        let cancelled = Arc::new(AtomicBool::new(false));
        let call = Call { cancelled: Arc::clone(&cancelled), gone: Arc::clone(&self.agent.gone) };
        let agent = Arc::clone(&self.agent);
        let mut worker = task::spawn_blocking(move || work(&agent, &call));
        let (mut ticks, mut told) = (time::interval(limits::PROGRESS), 0.0);
        ticks.tick().await;
        loop {
            tokio::select! {
                done = &mut worker => return done.map_err(broke),
                () = context.ct.cancelled() => {
                    cancelled.store(true, Ordering::Relaxed);
                    return worker.await.map_err(broke);
                }
                _ = ticks.tick() => if let Some(token) = context.meta.get_progress_token() {
                    told += 1.0;
                    let progress = ProgressNotificationParam::new(token, told).with_message(said);
                    let _ = context.peer.notify_progress(progress).await;
                }
            }
        }
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
            .with_server_info(Implementation::new("counterfoil", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&REVISIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(name) = Name::parse(&request.name) else {
            let data = json!({"code": "tool-unknown"});
            return Err(ErrorData::invalid_params(
                format!("there is no tool {:?}", request.name),
                Some(data),
            ));
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let awaited = arguments["proposal"].as_str().filter(|_| name == Name::Wait);
        let said = awaited.and_then(|id| record_id(id).ok()).map_or("at work".to_owned(), |proposal| {
            format!("waits for approval: {}", self.agent.review_url(&proposal))
        });
        let answer =
            self.work(&context, &said, move |agent, call| agent.answer(name, arguments, call)).await?;
        Ok(result(answer).into())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(format!("{}{{run}}{}", BUNDLE.0, BUNDLE.1), "bundle")
            .with_description(
                "The records of a run with all that proves them, for `verify` and `counterfoil verify`",
            )
            .with_mime_type("application/jsonl");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let run = uri.strip_prefix(BUNDLE.0).and_then(|rest| rest.strip_suffix(BUNDLE.1));
        let Some(run) = run.and_then(|run| run_id(run).ok()) else {
            let data = json!({"code": "resource-unknown"});
            return Err(ErrorData::resource_not_found("there is no such resource", Some(data)));
        };
        let bundle =
            self.work(&context, "at work", move |agent, _| agent.bundle(run)).await?.map_err(|failure| {
                let data = json!({"code": failure.code()});
                match failure.code() {
                    "run-unknown" => ErrorData::resource_not_found("the log has no such run", Some(data)),
                    _ => ErrorData::internal_error(crate::text::printable(failure.message()), Some(data)),
                }
            })?;
        let contents = ResourceContents::text(bundle, uri).with_mime_type("application/jsonl");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let (code, why) = if METHODS.contains(&request.method.as_str()) {
            (ErrorCode::INVALID_PARAMS, "the parameters are not what the method takes")
        } else {
            (ErrorCode::METHOD_NOT_FOUND, "there is no such method here")
        };
        Err(ErrorData::new(code, why, None))
    }
}

impl Agent {
    fn answer(&self, name: Name, arguments: Value, call: &Call) -> Outcome<Answer> {
        match name {
            Name::Propose => self.propose(&read(arguments)?),
            Name::Wait => self.wait(&read(arguments)?, call),
            Name::Resume => self.resume(&read(arguments)?),
            Name::Verify => self.verify(&read(arguments)?),
            Name::Receipts => self.receipts(&read(arguments)?),
            Name::Approvals => self.approvals(&read(arguments)?),
            Name::Cancel => self.cancel(&read(arguments)?),
        }
    }
}

/// The arguments of a call. What is wrong with them is the model's to mend, so it is a result of the tool.
fn read<T: DeserializeOwned>(arguments: Value) -> Outcome<T> {
    // An argument that is null is none: some clients write all that a schema names.
    let given: Map<String, Value> = match arguments {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    };
    serde_json::from_value(Value::Object(given)).map_err(|fault| invalid(&fault.to_string()))
}

fn result(answer: Outcome<Answer>) -> CallToolResult {
    answer.map_or_else(|failure: Failure| fault(&failure), Answer::into_result)
}
