//! XML as a stream of three events, with namespaces told apart by URI because prefixes are the producer's choice.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use crate::extract::ExtractError;

/// Which vocabulary an element belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// WordprocessingML, transitional or strict.
    Word,
    /// Office MathML.
    Math,
    /// DrawingML's main vocabulary, the one with text.
    Drawing,
    Other,
}

/// An element's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) space: Space,
    /// Name without prefix.
    pub(super) name: &'a str,
    start: &'a BytesStart<'a>,
}

impl Element<'_> {
    pub(super) fn is(&self, space: Space, name: &str) -> bool {
        self.space == space && self.name == name
    }

    /// The attribute of that name whatever its prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let mut attributes = self.start.attributes();
        attributes.with_checks(false);
        let found = attributes
            .flatten()
            .find(|attribute| attribute.key.local_name().into_inner() == name)?;
        Some(
            quick_xml::escape::unescape(&found.value)
                .map_or_else(|_| found.value.to_string(), std::borrow::Cow::into_owned),
        )
    }

    /// The `val` attribute, which carries most of WordprocessingML's values.
    pub(super) fn value(&self) -> Option<String> {
        self.attribute("val")
    }

    /// The `val` attribute as a number.
    pub(super) fn number<T: std::str::FromStr>(&self) -> Option<T> {
        self.value().and_then(|value| value.trim().parse().ok())
    }

    /// Value of an on/off property: on unless it says otherwise.
    pub(super) fn is_on(&self) -> bool {
        !matches!(
            self.value().as_deref(),
            Some("0" | "false" | "off" | "none")
        )
    }
}

/// One event.
#[derive(Debug)]
pub(super) enum Xml<'a> {
    Open(Element<'a>),
    Close(Space, &'a str),
    Text(&'a str),
}

/// Feeds the events of `text` to `handle`; an empty element opens and closes.
///
/// # Errors
/// [`ExtractError::Corrupt`] for malformed XML and for any document type declaration.
pub(super) fn walk(text: &str, handle: &mut dyn FnMut(Xml<'_>)) -> Result<(), ExtractError> {
    let mut reader = NsReader::from_str(text);
    let mut depth = 0usize;
    loop {
        let (resolved, event) = reader
            .read_resolved_event()
            .map_err(ExtractError::corrupt)?;
        let space = space_of(&resolved);
        match event {
            Event::Start(start) => {
                depth += 1;
                handle(Xml::Open(Element {
                    space,
                    name: start.local_name().into_inner(),
                    start: &start,
                }));
            }
            Event::Empty(start) => {
                let name = start.local_name().into_inner();
                handle(Xml::Open(Element {
                    space,
                    name,
                    start: &start,
                }));
                handle(Xml::Close(space, name));
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                handle(Xml::Close(space, end.local_name().into_inner()));
            }
            Event::Text(text) => handle(Xml::Text(&text.xml10_content())),
            Event::CData(text) => handle(Xml::Text(&text.xml10_content())),
            Event::GeneralRef(reference) => {
                let character = reference
                    .resolve_char_ref()
                    .map_err(ExtractError::corrupt)?;
                let character = character.map(String::from);
                let name: &str = &reference;
                let resolved = character
                    .as_deref()
                    .or_else(|| quick_xml::escape::resolve_predefined_entity(name));
                handle(Xml::Text(resolved.ok_or_else(|| {
                    ExtractError::corrupt("an XML part uses an undeclared entity")
                })?));
            }
            Event::DocType(_) => {
                return Err(ExtractError::corrupt(
                    "an XML part declares a document type",
                ));
            }
            Event::Eof if depth > 0 => {
                return Err(ExtractError::corrupt("the end of an XML part is missing"));
            }
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn space_of(resolved: &ResolveResult<'_>) -> Space {
    match resolved {
        ResolveResult::Bound(Namespace(
            "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
            | "http://purl.oclc.org/ooxml/wordprocessingml/main",
        )) => Space::Word,
        ResolveResult::Bound(Namespace(
            "http://schemas.openxmlformats.org/officeDocument/2006/math"
            | "http://purl.oclc.org/ooxml/officeDocument/math",
        )) => Space::Math,
        ResolveResult::Bound(Namespace(
            "http://schemas.openxmlformats.org/drawingml/2006/main"
            | "http://purl.oclc.org/ooxml/drawingml/main",
        )) => Space::Drawing,
        _ => Space::Other,
    }
}
