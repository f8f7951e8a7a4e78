//! Reads the pages of a document into lines in reading order.

use std::collections::HashSet;

use pdf_oxide::PdfDocument;
use pdf_oxide::extractors::{PageLabelExtractor, PageLabelRange, PageLabelStyle};
use pdf_oxide::object::Object;
use pdf_oxide::optional_content::compute_default_off_ocgs;

use super::annotations::{self, Annotations};
use super::chars::Source;
use super::geometry::Area;
use super::glyph::Frame;
use super::lines::Line;
use super::paint::Painting;
use super::rules::Drawing;
use super::segments;
use super::{PageLines, columns, lines};
use crate::extract::ExtractError;
use crate::extract::outline::BlockWriter;

/// A page whose images take more than this share of it and that has fewer letters than this, running heads and feet left
/// out, is taken for a scan with a stamp: a page as a whole, or a slip of paper below its title.
const SCANS: [(f32, usize); 2] = [(0.5, 150), (0.25, 50)];
/// Scans are stamped with whose and which page they are within this share of the page's height from its upper and lower edge,
/// where no text of a page's own begins or ends.
const STAMP_EDGE: f32 = 0.05;
/// Labels above these are not shown: as Roman numerals or letters they would have thousands of letters.
const MAX_LABEL: u32 = 1_000_000;
const MAX_LETTER_LABEL: u32 = 5000;

/// What is counted over the pages to say what could not be read.
#[derive(Default)]
struct Tally {
    readable: usize,
    unreadable: usize,
    /// Pages with images and no text at all.
    scanned: Vec<usize>,
    failed: Vec<usize>,
    first_failure: Option<String>,
    attachments: Vec<String>,
}

/// Reads all pages; says which have no text though they show something.
pub(super) fn read_pages(
    document: &PdfDocument,
    num_pages: usize,
    writer: &mut BlockWriter,
) -> Result<Vec<PageLines>, ExtractError> {
    let mut reader = Reader {
        document,
        off: compute_default_off_ocgs(document),
        labels: PageLabelExtractor::extract(document).unwrap_or_default(),
        told: HashSet::new(),
        tally: Tally::default(),
    };
    let mut pages = Vec::with_capacity(num_pages);
    for page_idx in 0..num_pages {
        pages.push(reader.read_page(page_idx));
    }
    let mut tally = reader.tally;
    tally
        .attachments
        .extend(annotations::attached_files(document));
    let has_set_text = pages.iter().any(|page| !page.comments.is_empty());
    tally.check(num_pages, has_set_text)?;
    tally.warn(writer);
    Ok(pages)
}

impl Tally {
    fn check(&mut self, num_pages: usize, has_set_text: bool) -> Result<(), ExtractError> {
        let needs_ocr = ExtractError::NeedsOcr {
            pages: u32::try_from(num_pages).unwrap_or(u32::MAX),
        };
        if self.readable == 0 && !has_set_text {
            return Err(match self.first_failure.take() {
                Some(reason) => ExtractError::Corrupt { reason },
                None if self.scanned.is_empty() && self.unreadable == 0 => ExtractError::Empty,
                None => needs_ocr,
            });
        }
        // Fonts without a character map give boxes: the text can be seen but not read.
        if self.unreadable > self.readable {
            return Err(needs_ocr);
        }
        Ok(())
    }

    fn warn(&self, writer: &mut BlockWriter) {
        if !self.scanned.is_empty() {
            writer.warn(format!(
                "{} without text, only images; OCR would be needed",
                page_list(&self.scanned)
            ));
        }
        if !self.failed.is_empty() {
            writer.warn(format!("{} could not be read", page_list(&self.failed)));
        }
        if !self.attachments.is_empty() {
            writer.warn(format!(
                "attached files were not read: {}",
                self.attachments.join(", ")
            ));
        }
    }
}

struct Reader<'a> {
    document: &'a PdfDocument,
    /// Names of the layers that are not shown.
    off: HashSet<String>,
    labels: Vec<PageLabelRange>,
    /// Targets of links that were told.
    told: HashSet<String>,
    tally: Tally,
}

impl Reader<'_> {
    fn read_page(&mut self, page_idx: usize) -> PageLines {
        let document = self.document;
        let page = document
            .get_page_for_debug(page_idx)
            .unwrap_or(Object::Null);
        let content = document.get_page_content_data(page_idx).unwrap_or_default();
        let resources = page.as_dict().and_then(|page| page.get("Resources"));
        let resources = resources
            .and_then(|resources| document.resolve_object(resources).ok())
            .unwrap_or(Object::Null);
        let painting = Painting::of(document, &resources, &content, &self.off);
        let source = Source {
            document,
            page_idx,
            page: &page,
            content: &content,
            painting: &painting,
            off: &self.off,
        };
        let chars = source.visible().unwrap_or_else(|error| {
            self.tally.failed.push(page_idx + 1);
            self.tally.first_failure.get_or_insert(error.to_string());
            Vec::new()
        });
        let annotations = Annotations::of(document, &page);
        let area = document
            .get_page_visible_box(page_idx)
            .unwrap_or((0.0, 0.0, 612.0, 792.0));
        let mut out = PageLines {
            regions: vec![],
            asides: vec![],
            comments: annotations.comments.clone(),
            frame: Frame::of(0, area),
            label: self.label(page_idx),
            pictured: pictured(&painting, area),
        };
        let paths = if chars.is_empty() {
            vec![]
        } else {
            let mut paths = document.extract_paths(page_idx).unwrap_or_default();
            paths.retain(|path| {
                path.layer
                    .as_ref()
                    .is_none_or(|layer| !self.off.contains(layer))
            });
            paths
        };
        let mut visible = 0;
        for (turn_idx, turn) in segments::turns(chars.iter()).into_iter().enumerate() {
            let frame = Frame::of(turn, area);
            let mut glyphs = segments::upright(&chars, frame, area);
            self.tally.unreadable += glyphs.iter().filter(|glyph| glyph.c == '\u{fffd}').count();
            visible += glyphs
                .iter()
                .filter(|glyph| !glyph.c.is_whitespace() && glyph.c != '\u{fffd}')
                .count();
            let mut drawing = Drawing::of(&paths, frame);
            drawing.strike(&mut glyphs, &annotations.strokes(frame));
            let targets = annotations.mark_links(&mut glyphs, frame, &mut self.told);
            let borders = drawing.cell_borders();
            let borders_at = |y: f32, from: f32, to: f32| borders.between(y, from, to);
            let mut segments = segments::segments(glyphs, &borders_at, &targets);
            if turn_idx == 0 {
                visible += annotations.place_texts(&mut segments, frame);
            }
            drawing.take_tables(&mut segments);
            let regions = columns::regions(segments)
                .into_iter()
                .map(lines::lines)
                .collect();
            if turn_idx == 0 {
                (out.regions, out.frame) = (regions, frame);
            } else {
                out.asides.extend(regions);
            }
        }
        self.tally.readable += visible;
        self.tally.attachments.extend(annotations.attachments);
        if visible == 0 && painting.images().next().is_some() {
            self.tally.scanned.push(page_idx + 1);
            // That is told; there is no text to be little.
            out.pictured = 0.0;
        }
        out
    }

    /// The label of a page where it is not just its number in the file.
    fn label(&self, page_idx: usize) -> Option<String> {
        let range = self
            .labels
            .iter()
            .rev()
            .find(|range| range.start_page <= page_idx)?;
        let offset = u32::try_from(page_idx - range.start_page).ok()?;
        let number = range.start_value.checked_add(offset)?;
        let limit = match range.style {
            PageLabelStyle::Decimal => MAX_LABEL,
            _ => MAX_LETTER_LABEL,
        };
        let label = (number <= limit).then(|| range.format_label(page_idx))?;
        let label = label.trim();
        (!label.is_empty() && label != (page_idx + 1).to_string()).then(|| label.to_owned())
    }
}

/// The share of a page that its images take.
fn pictured(painting: &Painting, area: (f32, f32, f32, f32)) -> f32 {
    let Some(page) = Area::around(&[(area.0, area.1), (area.2, area.3)]) else {
        return 0.0;
    };
    let size = |area: &Area| area.width() * area.height();
    let images = painting.images().filter_map(|image| image.within(&page));
    images.map(|image| size(&image)).sum::<f32>() / size(&page).max(1.0)
}

/// Says which pages show images and hardly any text of their own. `pages`: without their running heads and feet, which
/// are as long on scans as elsewhere.
pub(super) fn warn_of_scans(pages: &[PageLines], writer: &mut BlockWriter) {
    let num_chars = |page: &PageLines| -> usize {
        let (top, bottom) = (page.frame.top, page.frame.bottom);
        let edge = STAMP_EDGE * (top - bottom);
        let lines = page.regions.iter().flatten();
        let inner = lines.filter(|line| (bottom + edge..top - edge).contains(&line.y));
        let texts = inner.chain(page.asides.iter().flatten()).map(Line::text);
        texts
            .map(|text| text.chars().filter(|c| !c.is_whitespace()).count())
            .sum()
    };
    let is_scan = |page: &PageLines| {
        let mut scans = SCANS
            .iter()
            .filter(|scan| page.pictured > scan.0)
            .peekable();
        scans.peek().is_some() && {
            let num_chars = num_chars(page);
            scans.any(|scan| num_chars < scan.1)
        }
    };
    let scans: Vec<usize> = pages
        .iter()
        .zip(1..)
        .filter(|(page, _)| is_scan(page))
        .map(|(_, number)| number)
        .collect();
    if !scans.is_empty() {
        writer.warn(format!(
            "{} with hardly any text beside images; OCR would be needed for what the images say",
            page_list(&scans)
        ));
    }
}

/// "page 3", "pages 3, 5-7".
fn page_list(pages: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &page in pages {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == page => *last = page,
            _ => ranges.push((page, page)),
        }
    }
    let names: Vec<String> = ranges
        .iter()
        .map(|&(a, b)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            }
        })
        .collect();
    format!(
        "page{} {}",
        if pages.len() == 1 { "" } else { "s" },
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_listed_as_ranges() {
        assert_eq!(page_list(&[3]), "page 3");
        assert_eq!(page_list(&[1, 3, 4, 5]), "pages 1, 3-5");
    }
}
