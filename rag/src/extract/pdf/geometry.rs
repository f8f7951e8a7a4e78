//! Boxes and affine maps of a page, in points.

use super::glyph::Frame;

/// An axis-aligned box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x0: f32,
    pub(super) y0: f32,
    pub(super) x1: f32,
    pub(super) y1: f32,
}

impl Area {
    /// The box around points; `None` without any.
    pub(super) fn around(points: &[(f32, f32)]) -> Option<Self> {
        let &(x, y) = points.first()?;
        let start = Self {
            x0: x,
            y0: y,
            x1: x,
            y1: y,
        };
        Some(points.iter().fold(start, |area, &(x, y)| Self {
            x0: area.x0.min(x),
            y0: area.y0.min(y),
            x1: area.x1.max(x),
            y1: area.y1.max(y),
        }))
    }

    pub(super) fn holds(&self, x: f32, y: f32) -> bool {
        self.spans_x(x) && self.spans_y(y)
    }

    pub(super) fn spans_x(&self, x: f32) -> bool {
        x >= self.x0 - 1.0 && x <= self.x1 + 1.0
    }

    pub(super) fn spans_y(&self, y: f32) -> bool {
        y >= self.y0 - 1.0 && y <= self.y1 + 1.0
    }

    /// The box in a reading frame.
    pub(super) fn placed(&self, frame: Frame) -> Self {
        let (a, b) = (frame.place(self.x0, self.y0), frame.place(self.x1, self.y1));
        Self {
            x0: a.0.min(b.0),
            y0: a.1.min(b.1),
            x1: a.0.max(b.0),
            y1: a.1.max(b.1),
        }
    }

    pub(super) fn width(&self) -> f32 {
        self.x1 - self.x0
    }

    pub(super) fn height(&self) -> f32 {
        self.y1 - self.y0
    }

    pub(super) fn joined(&self, other: &Self) -> Self {
        Self {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }

    /// The part that lies in `other` too.
    pub(super) fn within(&self, other: &Self) -> Option<Self> {
        let area = Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        };
        (area.x0 <= area.x1 && area.y0 <= area.y1).then_some(area)
    }
}

/// An affine map as in PDF: (x, y) becomes (ax + cy + e, bx + dy + f).
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix(pub(super) [f32; 6]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// `self` applied first, then `next`.
    pub(super) fn then(&self, next: &Self) -> Self {
        let ([a, b, c, d, e, f], n) = (self.0, next.0);
        Self([
            a * n[0] + b * n[2],
            a * n[1] + b * n[3],
            c * n[0] + d * n[2],
            c * n[1] + d * n[3],
            e * n[0] + f * n[2] + n[4],
            e * n[1] + f * n[3] + n[5],
        ])
    }

    pub(super) fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let m = self.0;
        (m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5])
    }

    /// In which direction its x axis runs, in quarter turns from left to right.
    pub(super) fn quarter_turns(&self) -> usize {
        let [right, up, ..] = self.0;
        match (right.abs() >= up.abs(), right >= 0.0, up >= 0.0) {
            (true, true, _) => 0,
            (true, false, _) => 2,
            (false, _, true) => 1,
            (false, _, false) => 3,
        }
    }

    /// Whether right angles and axes stay what they are, up to quarter turns.
    pub(super) fn is_straight(&self) -> bool {
        let m = self.0;
        let small = |a: f32, b: f32| a.abs() < 1e-3 * b.abs();
        (small(m[1], m[0]) && small(m[2], m[3])) || (small(m[0], m[1]) && small(m[3], m[2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(numbers: [f32; 6]) -> Matrix {
        Matrix(numbers)
    }

    #[test]
    fn matrices_apply_the_inner_one_first() {
        let moved =
            matrix([1.0, 0.0, 0.0, 1.0, 10.0, 0.0]).then(&matrix([0.0, 1.0, -1.0, 0.0, 0.0, 5.0]));
        assert_eq!(moved.place(1.0, 2.0), (-2.0, 16.0));
        assert!(moved.is_straight() && !matrix([1.0, 0.5, -0.5, 1.0, 0.0, 0.0]).is_straight());
    }
}
