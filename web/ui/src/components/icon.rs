//! Icons: inline SVG drawn with the text's colour, so that no font and no file is needed.

use leptos::prelude::*;

/// An icon's drawing: paths in a 24 x 24 box, stroked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    Arches,
    Plus,
    Search,
    Menu,
    Close,
    Send,
    Stop,
    Pencil,
    Trash,
    Copy,
    Check,
    Folder,
    File,
    Upload,
    Sun,
    Moon,
    SignOut,
    Previous,
    Next,
    Down,
    Quote,
    Warning,
    Retry,
    Lock,
}

impl Symbol {
    fn path(self) -> &'static str {
        match self {
            Symbol::Arches => "M3 20v-9a4.5 4.5 0 0 1 9 0v9M12 20v-9a4.5 4.5 0 0 1 9 0v9M2 20h20",
            Symbol::Plus => "M12 5v14M5 12h14",
            Symbol::Search => "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4",
            Symbol::Menu => "M4 7h16M4 12h16M4 17h16",
            Symbol::Close => "M6 6l12 12M18 6L6 18",
            Symbol::Send => "M12 19V5M6 11l6-6 6 6",
            Symbol::Stop => "M7 7h10v10H7z",
            Symbol::Pencil => "M4 20l1-4L16 5l3 3L8 19l-4 1ZM14 7l3 3",
            Symbol::Trash => "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
            Symbol::Copy => "M9 9h10v11H9zM5 15V4h10",
            Symbol::Check => "M5 12.5l4.5 4.5L19 7.5",
            Symbol::Folder => "M3 18V6h6l2 2h10v10z",
            Symbol::File => "M7 3h7l4 4v14H7zM14 3v4h4",
            Symbol::Upload => "M12 16V5M7 10l5-5 5 5M5 19h14",
            Symbol::Sun => {
                "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19"
            }
            Symbol::Moon => "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5Z",
            Symbol::SignOut => "M14 4h5v16h-5M3 12h11M10 8l4 4-4 4",
            Symbol::Previous => "M14 6l-6 6 6 6",
            Symbol::Next => "M10 6l6 6-6 6",
            Symbol::Down => "M12 5v14M6 13l6 6 6-6",
            Symbol::Quote => "M5 16c2 0 4-2 4-5V7H5v5h3M14 16c2 0 4-2 4-5V7h-4v5h3",
            Symbol::Warning => "M12 4L2.5 20h19L12 4ZM12 10v5M12 17.5v.1",
            Symbol::Retry => "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
            Symbol::Lock => "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
        }
    }
}

/// Draws a symbol; decoration only, so screen readers skip it.
#[component]
pub fn Icon(
    /// What to draw.
    symbol: Symbol,
) -> impl IntoView {
    let class = format!("icon icon-{symbol:?}").to_lowercase();
    view! {
        <svg class=class viewBox="0 0 24 24" aria-hidden="true" focusable="false">
            <path d=symbol.path() />
        </svg>
    }
    .into_any()
}
