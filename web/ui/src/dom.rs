//! Small helpers around the browser's own interfaces. Browser only; each does nothing where the browser refuses.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, ScrollBehavior, ScrollIntoViewOptions, ScrollLogicalPosition};

use crate::dates::LocalClock;

/// The local clock. On the server: the epoch in UTC, for code that must compile there; nothing is drawn with it.
pub fn clock() -> LocalClock {
    if cfg!(target_arch = "wasm32") {
        let now = js_sys::Date::new_0();
        LocalClock {
            now: now.get_time() as i64,
            ahead_of_utc_min: -(now.get_timezone_offset() as i64),
        }
    } else {
        LocalClock {
            now: 0,
            ahead_of_utc_min: 0,
        }
    }
}

/// Reads a remembered choice.
pub fn remembered(key: &str) -> Option<String> {
    let storage = window().local_storage().ok().flatten()?;
    storage.get_item(key).ok().flatten()
}

/// Remembers a choice, or forgets it.
pub fn remember(key: &str, value: Option<&str>) {
    let Some(storage) = window().local_storage().ok().flatten() else {
        return;
    };
    // A full or forbidden storage only means that the choice is forgotten at the next visit.
    let _ = match value {
        Some(value) => storage.set_item(key, value),
        None => storage.remove_item(key),
    };
}

/// Whether the person asked the system for less motion.
pub fn prefers_reduced_motion() -> bool {
    matches("(prefers-reduced-motion: reduce)")
}

/// Whether a media query holds now.
pub fn matches(query: &str) -> bool {
    let list = window().match_media(query).ok().flatten();
    list.is_some_and(|list| list.matches())
}

/// The element that has the keyboard.
pub fn focused() -> Option<HtmlElement> {
    document().active_element()?.dyn_into().ok()
}

/// Gives an element the keyboard after the current changes are on screen.
pub fn focus_soon(selector: &'static str) {
    set_timeout(
        move || {
            if let Some(element) = query(selector) {
                let _ = element.focus();
            }
        },
        Duration::from_millis(30),
    );
}

/// The first element that matches.
pub fn query(selector: &str) -> Option<HtmlElement> {
    document()
        .query_selector(selector)
        .ok()
        .flatten()?
        .dyn_into()
        .ok()
}

/// Scrolls an element to the middle of whatever scrolls around it.
pub fn scroll_to_middle(element: &Element) {
    let options = ScrollIntoViewOptions::new();
    options.set_block(ScrollLogicalPosition::Center);
    options.set_behavior(if prefers_reduced_motion() {
        ScrollBehavior::Instant
    } else {
        ScrollBehavior::Smooth
    });
    element.scroll_into_view_with_scroll_into_view_options(&options);
}

/// The closest ancestor (or the element itself) of an event's target that matches.
pub fn closest(event: &web_sys::Event, selector: &str) -> Option<HtmlElement> {
    let target: Element = event.target()?.dyn_into().ok()?;
    target.closest(selector).ok().flatten()?.dyn_into().ok()
}

/// Puts text on the clipboard; returns whether that worked.
///
/// The modern interface exists only on `https` and localhost. An intranet often has neither, so the old command on a
/// hidden text field is the other way.
pub async fn copy(text: &str) -> bool {
    let navigator = window().navigator();
    let has_clipboard = js_sys::Reflect::get(&navigator, &"clipboard".into())
        .is_ok_and(|clipboard| !clipboard.is_undefined());
    if has_clipboard {
        let written = wasm_bindgen_futures::JsFuture::from(navigator.clipboard().write_text(text));
        if written.await.is_ok() {
            return true;
        }
    }
    copy_by_command(text).unwrap_or(false)
}

fn copy_by_command(text: &str) -> Option<bool> {
    let page: web_sys::HtmlDocument = document().dyn_into().ok()?;
    let before = focused();
    let field: web_sys::HtmlTextAreaElement =
        page.create_element("textarea").ok()?.dyn_into().ok()?;
    field.set_value(text);
    field.set_class_name("visually-hidden");
    let body = page.body()?;
    body.append_child(&field).ok()?;
    field.select();
    let copied = page.exec_command("copy").unwrap_or(false);
    field.remove();
    if let Some(before) = before {
        let _ = before.focus();
    }
    Some(copied)
}

/// Grows a text field with its content; the style sheet limits its height.
pub fn fit_height(field: &web_sys::HtmlTextAreaElement) {
    let style = HtmlElement::style(field);
    let _ = style.set_property("height", "auto");
    let _ = style.set_property("height", &format!("{}px", field.scroll_height()));
}
