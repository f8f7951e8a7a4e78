//! The pieces that pages are made of: each draws one thing.

pub mod answer;
pub mod collection_picker;
pub mod composer;
pub mod confirm;
pub mod conversation_row;
pub mod copy_button;
pub mod documents_table;
pub mod icon;
pub mod model_banner;
pub mod notices;
pub mod placeholder;
pub mod preview;
pub mod sidebar;
pub mod source_panel;
pub mod sources;
pub mod upload;
