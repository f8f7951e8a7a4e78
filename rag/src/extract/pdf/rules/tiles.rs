//! Filled boxes as the fields of a table: office programs shade cell by cell, and some of their table styles draw no
//! line where the shade changes.
//!
//! A *tile* is a filled box with another of the same height right beside it. Marked words in a line are tiles by
//! chance; the edges of cells return in the rows above or below, or lie on a drawn line.

use super::{Drawing, Rule, TOUCH};
use crate::extract::pdf::geometry::Area;

/// Most filled boxes of a page that are looked at, and the largest that may be a cell of a table, in points: what is
/// higher divides the page.
const MAX_FILLS: usize = 1000;
const MAX_TILE_HEIGHT: f32 = 100.0;
/// Edges closer than this, in points, are one.
const SAME_EDGE: f32 = 1.0;

impl Drawing {
    pub(super) fn push_fill(&mut self, area: Area) {
        let is_known = |fill: &Area| {
            (fill.x0 - area.x0).abs() < SAME_EDGE
                && (fill.x1 - area.x1).abs() < SAME_EDGE
                && same_row(fill, &area)
        };
        // Cells are filled one after the other, twice by some programs.
        if self.fills.len() < MAX_FILLS
            && area.height() <= MAX_TILE_HEIGHT
            && !self.fills.iter().any(is_known)
        {
            self.fills.push(area);
        }
    }

    /// The edges of the tiles.
    pub(super) fn tile_edges(&self) -> Vec<Rule> {
        let beside = |a: &Area, b: &Area| same_row(a, b) && (a.x1 - b.x0).abs() < TOUCH;
        let tiles: Vec<&Area> = self
            .fills
            .iter()
            .filter(|fill| {
                let mut others = self.fills.iter();
                others.any(|other| beside(fill, other) || beside(other, fill))
            })
            .collect();
        let is_edge = |tile: &Area, x: f32| {
            let returns = tiles.iter().any(|other| {
                !same_row(tile, other)
                    && ((other.x0 - x).abs() < SAME_EDGE || (other.x1 - x).abs() < SAME_EDGE)
            });
            let is_drawn = |rule: &Rule| !rule.horizontal && (rule.at - x).abs() < TOUCH;
            returns || self.rules.iter().any(is_drawn)
        };
        let mut edges = Vec::new();
        for tile in &tiles {
            if !is_edge(tile, tile.x0) || !is_edge(tile, tile.x1) {
                continue;
            }
            let edge = |horizontal: bool, at: f32| Rule {
                horizontal,
                at,
                from: if horizontal { tile.x0 } else { tile.y0 },
                to: if horizontal { tile.x1 } else { tile.y1 },
                is_drawn: false,
            };
            edges.extend([tile.y0, tile.y1].map(|y| edge(true, y)));
            edges.extend([tile.x0, tile.x1].map(|x| edge(false, x)));
        }
        edges
    }
}

fn same_row(a: &Area, b: &Area) -> bool {
    (a.y0 - b.y0).abs() < SAME_EDGE && (a.y1 - b.y1).abs() < SAME_EDGE
}
