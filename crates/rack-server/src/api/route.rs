//! What is known of a route besides its handler: who may call it, what it takes and
//! gives, which clients use it. The router, the role check, the OpenAPI document and
//! the coverage page are all made from this.

use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::State;
use super::guard::{self, Guard};
use crate::rack::access::Role;

/// Generations of the official command-line client, and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Late 2017.
    Y2017,
    /// Version 2.
    V2,
    /// Version 3.
    V3,
    /// This project's own.
    Own,
}

/// Where a parameter travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Form field in the body; also accepted in the query.
    Form,
    /// Query.
    Query,
    /// Header.
    Header,
}

/// How a parameter is written (`rack-api.md` §1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// `true` or anything else.
    Boolean,
    /// Decimal.
    Integer,
    /// Go duration.
    Duration,
    /// `YYYYMMDD.hhmmss.nnnnnnnnn`.
    Time,
    /// Comma-joined.
    List,
    /// Query string of its own.
    Map,
}

/// A parameter of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name on the wire.
    pub name: &'static str,
    /// Where it travels.
    pub place: Place,
    /// How it is written.
    pub kind: Kind,
    /// Whether the request fails without it.
    pub required: bool,
}

/// What a request carries besides parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// At most a form.
    Form,
    /// A JSON document.
    Json,
    /// A stream of bytes of any length.
    Stream,
}

/// Whose a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Everyone's, with credentials or without.
    Anyone,
    /// Any caller's with good credentials, whatever they are good for.
    Caller,
    /// A rack's: for callers who may use that rack.
    Rack,
    /// The server's: for callers who may use all racks.
    Server,
}

/// How large the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Largest {
    /// 64 KiB: a few fields.
    Form,
    /// 4 MiB: fields that hold documents, such as environments.
    LargeForm,
    /// As large as the server takes uploads.
    Upload,
}

/// What a route answers when all is well.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The text `ok`.
    Ok,
    /// JSON of a type.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A stream of bytes.
    Bytes,
    /// Nothing but a status.
    Empty(u16),
    /// A websocket.
    Socket,
    /// A refusal in the words of registries, always.
    Registry,
}

/// A route with its handler.
pub struct Route {
    /// Method; sockets are GET.
    pub method: Method,
    /// Path with its variables in braces.
    pub path: &'static str,
    /// One sentence without a full stop.
    pub summary: &'static str,
    /// What the caller must be allowed; `None` for routes without authentication.
    pub needs: Option<Role>,
    /// Text of the refusal, where the contract has one of its own.
    pub refusal: Option<&'static str>,
    /// Whose it is.
    pub whose: Whose,
    /// How large the request's body may be.
    pub largest: Largest,
    /// Whether the answer holds secrets: passwords, keys, tokens, values of environments.
    /// No other answer does.
    pub secrets: bool,
    /// Parameters besides those in the path.
    pub parameters: Vec<Parameter>,
    /// What the request carries.
    pub body: Body,
    /// What it answers.
    pub answer: Answer,
    /// Which clients call it.
    pub used_by: &'static [Client],
    /// Path of the route that answers it, where no pattern can tell the two apart.
    pub answered_by: Option<&'static str>,
    handler: MethodRouter<State>,
}

fn route<H, T>(method: Method, filter: MethodFilter, path: &'static str, handler: H) -> Route
where
    H: Handler<T, State>,
    T: 'static,
{
    let needs = if method == Method::GET {
        Role::Read
    } else {
        Role::Write
    };
    Route {
        method,
        path,
        summary: "",
        needs: Some(needs),
        refusal: None,
        whose: Whose::Rack,
        largest: Largest::Form,
        secrets: false,
        parameters: Vec::new(),
        body: Body::Form,
        answer: Answer::Ok,
        used_by: &[],
        answered_by: None,
        handler: on(filter, handler),
    }
}

/// A route that reads.
pub(super) fn get<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::GET, MethodFilter::GET, path, handler)
}

/// A route that only says whether something is there.
pub(super) fn head<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::HEAD, MethodFilter::HEAD, path, handler)
        .needs(Role::Read)
        .empty(200)
}

/// A route that makes something.
pub(super) fn post<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::POST, MethodFilter::POST, path, handler)
}

/// A route that changes something.
pub(super) fn put<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::PUT, MethodFilter::PUT, path, handler)
}

/// A route that removes something.
pub(super) fn delete<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::DELETE, MethodFilter::DELETE, path, handler)
}

/// Routes of every method, one each; they carry bytes.
pub(super) fn any<H: Handler<T, State>, T: 'static>(
    path: &'static str,
    handler: H,
) -> impl Iterator<Item = Route> {
    [
        (Method::GET, MethodFilter::GET),
        (Method::HEAD, MethodFilter::HEAD),
        (Method::POST, MethodFilter::POST),
        (Method::PUT, MethodFilter::PUT),
        (Method::PATCH, MethodFilter::PATCH),
        (Method::DELETE, MethodFilter::DELETE),
    ]
    .into_iter()
    .map(move |(method, filter)| {
        let mut route = route(method.clone(), filter, path, handler.clone()).takes_bytes();
        if method == Method::HEAD {
            route = route.needs(Role::Read);
        }
        route
    })
}

/// A route that says what can be made.
pub(super) fn options<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    route(Method::OPTIONS, MethodFilter::OPTIONS, path, handler)
}

/// A websocket.
pub(super) fn socket<H: Handler<T, State>, T: 'static>(path: &'static str, handler: H) -> Route {
    let mut route = get(path, handler);
    route.answer = Answer::Socket;
    route
}

impl Route {
    /// What it does, one sentence without a full stop.
    pub(super) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What the caller must be allowed, where it is not what the method says.
    pub(super) fn needs(mut self, role: Role) -> Self {
        self.needs = Some(role);
        self
    }

    /// Needs a role, and has its own words for callers without it.
    pub(super) fn needs_or(mut self, role: Role, refusal: &'static str) -> Self {
        self.refusal = Some(refusal);
        self.needs(role)
    }

    /// Open to everyone.
    pub(super) fn open(mut self) -> Self {
        self.needs = None;
        self.whose = Whose::Anyone;
        self
    }

    /// For every caller with good credentials.
    pub(super) fn of_caller(mut self) -> Self {
        self.whose = Whose::Caller;
        self
    }

    /// For callers who may use all racks.
    pub(super) fn of_server(mut self) -> Self {
        self.whose = Whose::Server;
        self
    }

    /// Answers with secrets, as the contract has it.
    pub(super) fn tells_secrets(mut self) -> Self {
        self.secrets = true;
        self
    }

    /// Takes fields that hold documents.
    pub(super) fn large_form(mut self) -> Self {
        self.largest = Largest::LargeForm;
        self
    }

    /// Takes uploads too, besides forms.
    pub(super) fn uploads(mut self) -> Self {
        self.largest = Largest::Upload;
        self
    }

    /// Form fields: names separated by blanks, `*` after required ones, and a kind
    /// after a colon (`bool int duration time list map`) unless they are texts.
    pub(super) fn form(self, names: &'static str) -> Self {
        self.parameters(Place::Form, names)
    }

    /// Query parameters, written as for [`Self::form`].
    pub(super) fn query(self, names: &'static str) -> Self {
        self.parameters(Place::Query, names)
    }

    /// Headers, written as for [`Self::form`].
    pub(super) fn headers(self, names: &'static str) -> Self {
        self.parameters(Place::Header, names)
    }

    fn parameters(mut self, place: Place, names: &'static str) -> Self {
        self.parameters
            .extend(names.split_ascii_whitespace().map(|text| {
                let (name, kind) = text.split_once(':').unwrap_or((text, "text"));
                let kind = match kind {
                    "text" => Kind::Text,
                    "bool" => Kind::Boolean,
                    "int" => Kind::Integer,
                    "duration" => Kind::Duration,
                    "time" => Kind::Time,
                    "list" => Kind::List,
                    "map" => Kind::Map,
                    other => unreachable!("{other} is no kind of parameter"),
                };
                Parameter {
                    name: name.trim_end_matches('*'),
                    place,
                    kind,
                    required: name.ends_with('*'),
                }
            }));
        self
    }

    /// The request's body is a stream of bytes.
    pub(super) fn takes_bytes(mut self) -> Self {
        self.body = Body::Stream;
        self.uploads()
    }

    /// The request's body is a JSON document.
    pub(super) fn takes_json(mut self) -> Self {
        self.body = Body::Json;
        self
    }

    /// Answers JSON of a type.
    pub(super) fn gives<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers a stream of bytes.
    pub(super) fn gives_bytes(mut self) -> Self {
        self.answer = Answer::Bytes;
        self
    }

    /// Answers a status only.
    pub(super) fn empty(mut self, status: u16) -> Self {
        self.answer = Answer::Empty(status);
        self
    }

    /// Refuses in the words of registries.
    pub(super) fn refuses_as_registry(mut self) -> Self {
        self.answer = Answer::Registry;
        self
    }

    /// Names the route that answers it.
    pub(super) fn answered_by(mut self, path: &'static str) -> Self {
        self.answered_by = Some(path);
        self
    }

    /// Which clients call it.
    pub(super) fn used_by(mut self, clients: &'static [Client]) -> Self {
        self.used_by = clients;
        self
    }

    /// The handler behind its guard.
    pub(super) fn into_handler(self, console: &State) -> MethodRouter<State> {
        let guard = Guard {
            console: console.clone(),
            needs: self.needs,
            refusal: self.refusal,
            whose: self.whose,
            largest: self.largest,
            socket: matches!(self.answer, Answer::Socket),
        };
        self.handler
            .route_layer(middleware::from_fn_with_state(guard, guard::admit))
    }
}
