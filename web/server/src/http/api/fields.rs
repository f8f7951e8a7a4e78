//! The fields of each body that is sent to `/api/*`.

use web_api::{
    AskDocsRequest, AskRequest, ChangePassword, CreateCollection, CreateConversation, Credentials,
    RenameConversation, SetupRequest,
};

use super::super::json::{Field, Fields};
use super::super::kind::Kind;

const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        is_required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        is_required: false,
    }
}

impl Fields for SetupRequest {
    const FIELDS: &'static [Field] = &[
        required("token", Kind::Text),
        required("email", Kind::Text),
        required("password", Kind::Text),
    ];
}

impl Fields for Credentials {
    const FIELDS: &'static [Field] = &[
        required("email", Kind::Text),
        required("password", Kind::Text),
    ];
}

impl Fields for ChangePassword {
    const FIELDS: &'static [Field] =
        &[required("current", Kind::Text), required("new", Kind::Text)];
}

impl Fields for CreateCollection {
    const FIELDS: &'static [Field] = &[required("name", Kind::Text)];
}

impl Fields for CreateConversation {
    const FIELDS: &'static [Field] = &[optional("title", Kind::Text)];
}

impl Fields for RenameConversation {
    const FIELDS: &'static [Field] = &[required("title", Kind::Text)];
}

impl Fields for AskRequest {
    const FIELDS: &'static [Field] = &[
        required("question", Kind::Text),
        optional("collections", Kind::Integers),
        optional("quote_only", Kind::Bool),
    ];
}

impl Fields for AskDocsRequest {
    const FIELDS: &'static [Field] = &[
        required("question", Kind::Text),
        optional("collections", Kind::Texts),
        optional("quote_only", Kind::Bool),
        optional("stream", Kind::Bool),
    ];
}
