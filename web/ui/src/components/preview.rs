//! The small card beside a citation number that has the pointer or the keyboard.

use leptos::prelude::*;
use web_sys::HtmlElement;

use crate::state::answer::{Target, place};

/// Half of the card's widest extent, so that it stays on screen. Equals `.preview` in the style sheet.
const HALF_WIDTH_PX: f64 = 170.0;

/// Chars of a quote that the card shows.
const QUOTE_CHARS: usize = 220;

/// What the card shows, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    target: Target,
    /// Middle of the number, in CSS pixels of the window.
    x: f64,
    /// Upper edge of the number.
    top: f64,
    /// Lower edge of the number.
    bottom: f64,
}

impl Preview {
    /// The card for a number on screen.
    pub fn beside(chip: &HtmlElement, target: Target) -> Self {
        let rect = chip.get_bounding_client_rect();
        let width = window().inner_width().ok().and_then(|width| width.as_f64());
        let most = (width.unwrap_or(2000.0) - HALF_WIDTH_PX - 8.0).max(HALF_WIDTH_PX + 8.0);
        Preview {
            target,
            x: (rect.left() + rect.width() / 2.0).clamp(HALF_WIDTH_PX + 8.0, most),
            top: rect.top(),
            bottom: rect.bottom(),
        }
    }
}

/// Draws the card. It has no content of its own for screen readers: the number's label says the same.
#[component]
pub fn PreviewCard(
    /// What to draw.
    preview: RwSignal<Option<Preview>>,
) -> impl IntoView {
    view! {
        {move || preview.get().map(|preview| {
            let below = preview.top < 200.0;
            let y = if below { preview.bottom } else { preview.top };
            let quote: String = preview.target.text.chars().take(QUOTE_CHARS).collect();
            view! {
                <div
                    class="preview"
                    class:is-below=below
                    aria-hidden="true"
                    style:left=format!("{:.0}px", preview.x)
                    style:top=format!("{y:.0}px")
                >
                    <strong>{place(&preview.target.title, preview.target.page)}</strong>
                    <p>{quote}</p>
                </div>
            }
        })}
    }
    .into_any()
}
