//! What HTML elements are by their names and attributes, styles left out.

use scraper::ElementRef;

/// Elements that hold no text for readers.
pub(super) const NEVER_READ: &[&str] = &[
    "script",
    "style",
    "noscript",
    "template",
    "head",
    "iframe",
    "object",
    "embed",
    "canvas",
    "audio",
    "video",
    "datalist",
    "map",
    "rp",
    "annotation",
    "annotation-xml",
];

/// Elements of running text.
pub(super) const INLINE: &[&str] = &[
    "a", "abbr", "b", "em", "i", "img", "label", "small", "span", "strong", "sub", "sup", "svg",
    "u",
];

/// What a heading above hidden text may be.
pub(super) const HEADINGS: &[&str] = &[
    "h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary", "legend",
];

pub(super) fn is_dialog(element: ElementRef<'_>) -> bool {
    let value = element.value();
    value.name() == "dialog"
        || matches!(value.attr("role"), Some("dialog" | "alertdialog"))
        || value.attr("aria-modal").is_some()
}

pub(super) fn is_control(element: ElementRef<'_>) -> bool {
    let value = element.value();
    matches!(value.name(), "button" | "summary")
        || matches!(value.attr("role"), Some("button" | "tab"))
        || value.attr("aria-expanded").is_some()
        || value.attr("onclick").is_some()
        || (value.name() == "a"
            && value
                .attr("href")
                .is_some_and(|href| href == "#" || href.starts_with("javascript:")))
}

/// Whether the element is mostly links.
pub(super) fn is_navigation(element: ElementRef<'_>) -> bool {
    let linked: usize = element
        .descendent_elements()
        .filter(|inner| inner.value().name() == "a" && inner.value().attr("href").is_some())
        .map(text_len)
        .sum();
    linked * 2 > text_len(element)
}

/// Bytes of text below the element that are not code.
pub(super) fn text_len(element: ElementRef<'_>) -> usize {
    element
        .descendants()
        .filter_map(|node| {
            let text = node.value().as_text()?;
            let parent = node.parent().and_then(ElementRef::wrap)?;
            (!NEVER_READ.contains(&parent.value().name())).then(|| text.trim().len())
        })
        .sum()
}
