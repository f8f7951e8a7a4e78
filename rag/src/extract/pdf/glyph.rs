//! Positioned glyphs, the segments that they make up, and the frame in which text runs left to right.
//!
//! All lengths here are points, `em` is the font size. y grows upwards, as in PDF.

use pdf_oxide::layout::TextChar;

/// One visible character, in a frame in which its text runs left to right.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    pub(super) c: char,
    pub(super) x0: f32,
    pub(super) x1: f32,
    /// Baseline; the baseline of the base text for super- and subscripts.
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    /// Offset of a raised (positive) or lowered glyph from its base text, in points.
    pub(super) rise: f32,
    /// Width of the space characters before the glyph; `None` if there were none.
    pub(super) space_before: Option<f32>,
    /// Whether those spaces are no characters of the text but the reader's guess at a shift.
    pub(super) soft_space: bool,
    /// Letter spacing that follows the glyph, in points; and that before it, counted over the spaces.
    pub(super) tracking: f32,
    pub(super) lead: f32,
    /// Whether a line is drawn through the glyph.
    pub(super) struck: bool,
    /// Number of the link whose text ends with the glyph, from 1; 0 for none.
    pub(super) link: u16,
}

impl Glyph {
    /// The white between two glyphs, letter spacing left out.
    pub(super) fn gap_to(&self, next: &Glyph) -> f32 {
        next.x0 - self.x1 - next.lead
    }
}

/// A stretch of text on one baseline.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) x0: f32,
    pub(super) x1: f32,
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) text: String,
    /// A drawn table that stands here in place of text.
    pub(super) table: Option<Box<TableCells>>,
}

/// Reading frame of a page: how it is turned, and its lower and upper edge after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Quarter turns that the text runs away from left to right.
    pub(super) turn: usize,
    pub(super) bottom: f32,
    pub(super) top: f32,
}

impl Frame {
    /// The frame of text that runs in the direction of `turn`. `area`: the visible part of the page, x0, y0, x1, y1.
    pub(super) fn of(turn: usize, area: (f32, f32, f32, f32)) -> Self {
        let mut frame = Self {
            turn,
            bottom: 0.0,
            top: 0.0,
        };
        let corners = [frame.place(area.0, area.1), frame.place(area.2, area.3)];
        frame.bottom = corners[0].1.min(corners[1].1);
        frame.top = corners[0].1.max(corners[1].1);
        frame
    }

    #[cfg(test)]
    pub(super) fn upright(bottom: f32, top: f32) -> Self {
        Self {
            turn: 0,
            bottom,
            top,
        }
    }

    /// A point of the page in this frame.
    pub(super) fn place(&self, x: f32, y: f32) -> (f32, f32) {
        match self.turn {
            1 => (y, -x),
            2 => (-x, -y),
            3 => (-y, x),
            _ => (x, y),
        }
    }
}

/// The cells of a table, each as its lines of text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TableCells {
    pub(super) rows: Vec<Vec<Vec<String>>>,
    /// How many rows at the top are headers.
    pub(super) num_header_rows: usize,
}

/// Direction of a character in quarter turns from left to right.
pub(super) fn quadrant(c: &TextChar) -> usize {
    let quarters = (c.rotation_degrees / 90.0).round().rem_euclid(4.0);
    if quarters.is_finite() {
        quarters as usize % 4
    } else {
        0
    }
}
