//! The pages, one for each route, and the frame that the signed-in ones share.

pub mod account;
pub mod chat;
pub mod documents;
pub mod not_found;
pub mod set_up;
pub mod sign_in;
pub mod workspace;
