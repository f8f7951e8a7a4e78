//! Parts that a document shows within its text: charts, diagrams (SmartArt) and embedded documents (`w:altChunk`).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::mhtml;
use super::package::{Package, Relationship, Relationships};
use super::xml::{self, Space, Xml};
use crate::document::{Block, BlockKind, Extracted};
use crate::extract::ExtractError;
use crate::extract::outline::BlockWriter;
use crate::extract::table::Grid;

/// Embedded parts that are read of one document; a report holds some hundred charts.
const MAX_PARTS: usize = 1000;
/// Most warnings about them.
const MAX_WARNINGS: usize = 20;
/// Documents within documents that are followed.
const MAX_NESTING: usize = 3;
/// Points of a chart that are read; beyond them it is a measurement rather than something to be read.
const MAX_POINTS: usize = 1000;

/// What the parts say, by relationship id.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    pub(super) blocks: HashMap<String, Vec<Block>>,
    pub(super) warnings: Vec<String>,
}

impl Embedded {
    /// Reads what a part shows; `nesting` counts the documents around it.
    pub(super) fn read(
        package: &mut Package<'_>,
        relationships: &Relationships,
        nesting: usize,
    ) -> Self {
        let mut embedded = Self::default();
        let shown = |relationship: &Relationship| {
            let kind = relationship.kind.as_str();
            !relationship.is_external && matches!(kind, "chart" | "diagramData" | "aFChunk")
        };
        let mut ids: Vec<&String> = relationships
            .iter()
            .filter(|(_, relationship)| shown(relationship))
            .map(|(id, _)| id)
            .collect();
        ids.sort();
        if ids.len() > MAX_PARTS {
            let left_out = ids.len() - MAX_PARTS;
            embedded.warnings.push(format!(
                "{left_out} charts and embedded parts were left out"
            ));
        }
        for id in ids.into_iter().take(MAX_PARTS) {
            let relationship = &relationships[id];
            let blocks = match relationship.kind.as_str() {
                "chart" => read_xml(package, &relationship.target, chart),
                "diagramData" => read_xml(package, &relationship.target, diagram),
                _ => document(
                    package,
                    &relationship.target,
                    nesting,
                    &mut embedded.warnings,
                ),
            };
            match blocks {
                Ok(blocks) => {
                    embedded.blocks.insert(id.clone(), blocks);
                }
                Err(ExtractError::Empty) => {}
                Err(_) if embedded.warnings.len() >= MAX_WARNINGS => {}
                Err(error) => embedded.warnings.push(format!(
                    "the embedded part {} was left out: {error}",
                    relationship.target
                )),
            }
        }
        embedded
    }
}

fn read_xml(
    package: &mut Package<'_>,
    part: &str,
    read: fn(&str) -> Result<Vec<Block>, ExtractError>,
) -> Result<Vec<Block>, ExtractError> {
    read(&package.text(part)?.ok_or_else(|| missing(part))?)
}

fn missing(part: &str) -> ExtractError {
    ExtractError::corrupt(format!("{part} is missing"))
}

/// Blocks of a document that is embedded as a file of another format.
fn document(
    package: &mut Package<'_>,
    part: &str,
    nesting: usize,
    warnings: &mut Vec<String>,
) -> Result<Vec<Block>, ExtractError> {
    let bytes = package.bytes(part)?.ok_or_else(|| missing(part))?;
    let kind = package.content_type(part).to_owned();
    let extension = part.rsplit('.').next().unwrap_or("").to_lowercase();
    let is_word = kind.contains("wordprocessingml")
        || kind.contains("ms-word")
        || matches!(extension.as_str(), "docx" | "docm" | "dotx" | "dotm");
    let extracted = if is_word && bytes.starts_with(b"PK") {
        if nesting >= MAX_NESTING {
            let depth = nesting as u64;
            let (what, limit) = ("documents within one another".into(), MAX_NESTING as u64);
            return Err(ExtractError::TooLarge {
                what,
                got: depth + 1,
                limit,
            });
        }
        super::extract_nested(&bytes, package.budget(), nesting + 1)?
    } else if kind.contains("html") || matches!(extension.as_str(), "html" | "htm" | "xhtml") {
        crate::extract::extract_bytes(&bytes, "html")?
    } else if kind == "message/rfc822" || matches!(extension.as_str(), "mht" | "mhtml") {
        let page = mhtml::page(&bytes).ok_or(ExtractError::Empty)?;
        crate::extract::extract_bytes(&page, "html")?
    } else if kind == "text/plain" || extension == "txt" {
        crate::extract::extract_bytes(&bytes, "txt")?
    } else if kind.is_empty() || kind == "application/octet-stream" {
        // Nothing says what it is: the content decides.
        let is_fragment = bytes.trim_ascii_start().starts_with(b"<")
            && !bytes.trim_ascii_start().starts_with(b"<?xml");
        let extension = if is_fragment { "html" } else { "" };
        crate::extract::extract_bytes(&bytes, extension)?
    } else {
        return Err(ExtractError::Unsupported { found: kind });
    };
    let Extracted {
        blocks,
        warnings: more,
        ..
    } = extracted;
    warnings.extend(more);
    Ok(blocks)
}

/// One series of a chart.
#[derive(Debug, Default)]
struct Series {
    name: String,
    /// Category and value by index.
    points: BTreeMap<usize, (String, String)>,
}

/// What part of a series the walk is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Name,
    Category,
    Value,
}

/// The titles of a chart and its series as a table: a row per category, a column per series.
fn chart(part: &str) -> Result<Vec<Block>, ExtractError> {
    let mut titles: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    let (mut in_series, mut of, mut in_title) = (false, None, false);
    let (mut index, mut in_value, mut in_text) = (0usize, false, false);
    xml::walk(part, &mut |event| match event {
        Xml::Open(element) => match element.name {
            "title" if !in_series => {
                in_title = true;
                titles.push(String::new());
            }
            "ser" => {
                in_series = true;
                series.push(Series::default());
            }
            "tx" if in_series => of = Some(Of::Name),
            "cat" | "xVal" if in_series => of = Some(Of::Category),
            "val" | "yVal" if in_series => of = Some(Of::Value),
            "pt" => {
                let at = element.attribute("idx").and_then(|at| at.parse().ok());
                index = at.unwrap_or(0);
            }
            "v" => in_value = true,
            "t" if element.space == Space::Drawing => in_text = true,
            _ => {}
        },
        Xml::Close(_, name) => match name {
            "title" => in_title = false,
            "ser" => in_series = false,
            "tx" | "cat" | "xVal" | "val" | "yVal" => of = None,
            "v" => in_value = false,
            "t" => in_text = false,
            _ => {}
        },
        Xml::Text(text) if in_title && (in_text || in_value) => {
            titles.last_mut().into_iter().for_each(|t| t.push_str(text));
        }
        Xml::Text(text) if in_value => {
            let (Some(series), Some(of)) = (series.last_mut(), of) else {
                return;
            };
            if of == Of::Name {
                return series.name.push_str(text);
            }
            if index < MAX_POINTS {
                let point = series.points.entry(index).or_default();
                let field = if of == Of::Category {
                    &mut point.0
                } else {
                    &mut point.1
                };
                field.push_str(text);
            }
        }
        Xml::Text(_) => {}
    })?;
    let mut writer = BlockWriter::new();
    writer.paragraph(&titles.join("; "));
    let table = chart_table(&series);
    writer.lines(BlockKind::Table, &table.to_markdown());
    Ok(writer.finish(None).blocks)
}

fn chart_table(series: &[Series]) -> Grid {
    let mut grid = Grid::with_header_rows(1);
    let names = series.iter().map(|series| series.name.clone());
    grid.push_row(std::iter::once(String::new()).chain(names));
    let last = series
        .iter()
        .filter_map(|series| series.points.keys().next_back())
        .max();
    for index in 0..last.map_or(0, |last| last + 1) {
        let points = || series.iter().map(|series| series.points.get(&index));
        let category = points()
            .flatten()
            .map(|point| point.0.clone())
            .find(|category| !category.is_empty());
        let values = points().map(|point| point.map_or_else(String::new, |p| p.1.clone()));
        grid.push_row(std::iter::once(category.unwrap_or_default()).chain(values));
    }
    grid
}

/// The texts of a diagram as a list: nodes below the one they hang from.
fn diagram(part: &str) -> Result<Vec<Block>, ExtractError> {
    let mut texts: Vec<(String, String)> = Vec::new();
    let mut root = None;
    let mut children: HashMap<String, Vec<(u64, String)>> = HashMap::new();
    let mut in_text = false;
    xml::walk(part, &mut |event| match event {
        Xml::Open(element) => match element.name {
            "pt" => {
                let id = element.attribute("modelId").unwrap_or_default();
                if element.attribute("type").as_deref() == Some("doc") {
                    root = Some(id.clone());
                }
                texts.push((id, String::new()));
            }
            // Connections without a type are those of parent and child.
            "cxn" if element.attribute("type").is_none_or(|kind| kind == "parOf") => {
                let value = |name| element.attribute(name).unwrap_or_default();
                let order = value("srcOrd").parse().unwrap_or(0);
                let below = children.entry(value("srcId")).or_default();
                below.push((order, value("destId")));
            }
            "t" if element.space == Space::Drawing => in_text = true,
            _ => {}
        },
        Xml::Close(Space::Drawing, "t") => in_text = false,
        Xml::Close(Space::Drawing, "p" | "br") => {
            texts.last_mut().into_iter().for_each(|(_, t)| t.push(' '));
        }
        Xml::Text(text) if in_text => {
            texts
                .last_mut()
                .into_iter()
                .for_each(|(_, t)| t.push_str(text));
        }
        Xml::Close(..) | Xml::Text(_) => {}
    })?;
    let by_id: HashMap<&str, &str> = texts
        .iter()
        .map(|(id, text)| (id.as_str(), text.as_str()))
        .collect();
    let mut writer = BlockWriter::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut open: Vec<(usize, &str)> = root.iter().map(|id| (0, id.as_str())).collect();
    children.values_mut().for_each(|below| below.sort());
    while let Some((depth, id)) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        writer.list_item(depth.saturating_sub(1), "-", by_id.get(id).unwrap_or(&""));
        let below = children.get(id).into_iter().flatten().rev();
        open.extend(below.map(|(_, child)| (depth + 1, child.as_str())));
    }
    // What hangs from nothing is shown all the same.
    for (id, text) in texts.iter().filter(|(id, _)| !seen.contains(id.as_str())) {
        if by_id.get(id.as_str()) == Some(&text.as_str()) {
            writer.list_item(0, "-", text);
        }
    }
    Ok(writer.finish(None).blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(blocks: Vec<Block>) -> Vec<String> {
        blocks.into_iter().map(|block| block.text).collect()
    }

    #[test]
    fn a_chart_is_its_titles_and_a_table() {
        let part = r#"<c:chartSpace xmlns:c="c" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><c:chart>
            <c:title><c:tx><c:rich><a:p><a:r><a:t>Output per </a:t></a:r><a:r><a:t>plant</a:t></a:r></a:p></c:rich></c:tx></c:title>
            <c:ser><c:tx><c:strRef><c:strCache><c:pt idx="0"><c:v>2024</c:v></c:pt></c:strCache></c:strRef></c:tx>
              <c:cat><c:strRef><c:strCache><c:pt idx="0"><c:v>North</c:v></c:pt><c:pt idx="1"><c:v>South</c:v></c:pt></c:strCache></c:strRef></c:cat>
              <c:val><c:numRef><c:numCache><c:pt idx="0"><c:v>12</c:v></c:pt><c:pt idx="1"><c:v>9.5</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>
            <c:ser><c:tx><c:v>2025</c:v></c:tx><c:val><c:numCache><c:pt idx="1"><c:v>11</c:v></c:pt></c:numCache></c:val></c:ser>
            </c:chart></c:chartSpace>"#;
        assert_eq!(
            texts(chart(part).unwrap()),
            [
                "Output per plant",
                "|  | 2024 | 2025 |\n| - | - | - |\n| North | 12 |  |\n| South | 9.5 | 11 |"
            ]
        );
    }

    #[test]
    fn a_diagram_is_a_list() {
        let node = |id: &str, kind: &str, text: &str| {
            format!(
                r#"<d:pt modelId="{id}" type="{kind}"><d:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></d:t></d:pt>"#
            )
        };
        let link = |from: &str, to: &str, order: u8| {
            format!(r#"<d:cxn modelId="c{to}" srcId="{from}" destId="{to}" srcOrd="{order}"/>"#)
        };
        let part = format!(
            r#"<d:dataModel xmlns:d="d" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><d:ptLst>{}</d:ptLst><d:cxnLst>{}</d:cxnLst></d:dataModel>"#,
            [
                node("0", "doc", ""),
                node("b", "node", "Second"),
                node("a", "node", "First"),
                node("c", "node", "Below first"),
                node("x", "node", "Loose"),
            ]
            .concat(),
            [
                link("0", "a", 0),
                link("0", "b", 1),
                link("a", "c", 0),
                link("c", "a", 0)
            ]
            .concat()
        );
        assert_eq!(
            texts(diagram(&part).unwrap()),
            ["- First", "  - Below first", "- Second", "- Loose"]
        );
    }
}
