//! In which order a page is painted, and with it what of its text can be seen.
//!
//! The text reader gives characters without their place in the painting order. So the content stream is cut into
//! *stretches* wherever something is painted over text that came before, and the characters of each stretch are read
//! on their own. A *paint* is an area that is filled, an image or a shading, with the number of stretches before it.
//!
//! All coordinates are those of the page, unturned. What is painted inside a form object counts as painted where the
//! form is placed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use pdf_oxide::PdfDocument;
use pdf_oxide::layout::TextChar;
use pdf_oxide::object::Object;
use pdf_oxide::optional_content::check_ocg_excluded;

use super::content::{Operation, Operations};
use super::geometry::{Area, Matrix};

/// Most paints and stretches of a page that are kept; maps and charts have more, and hide no text.
const MAX_PAINTS: usize = 6000;
const MAX_STRETCHES: usize = 3000;
/// Forms within forms are looked into down to this depth, and this many bytes of them on a page.
const MAX_FORM_DEPTH: usize = 6;
const MAX_FORM_BYTES: usize = 16 << 20;
/// Paints thinner than this, in points, are rules and hide no text.
const MIN_COVER: f32 = 4.0;
/// Rises that differ by less than this, in points, are the same.
const SAME_SHIFT: f32 = 0.05;
/// Graphics states that may be open.
const MAX_STATES: usize = 512;

/// A part of a page's content stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stretch {
    pub(super) bytes: Range<usize>,
    /// Whether text in it is drawn without ink (rendering mode 3, or fully transparent).
    pub(super) is_invisible: bool,
    /// Whether its text has an outline in a colour, whatever fills it (rendering mode 2).
    pub(super) is_outlined: bool,
    /// The part of the page in which its text is shown, where a line of it begins outside.
    pub(super) clip: Option<Area>,
    /// How far its text stands off the baseline by its rise, which the text reader leaves out; on the page.
    pub(super) shift: (f32, f32),
    /// Index of the text that its text stands for, in [`Painting::replacements`].
    pub(super) replacement: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    White,
    /// Any other colour, a pattern or a shading.
    Colour,
    Image,
}

#[derive(Debug, Clone, Copy)]
struct Paint {
    area: Area,
    /// How many stretches came before.
    after: usize,
    ink: Ink,
    /// Whether all of the area is painted and nothing shines through.
    is_cover: bool,
}

/// What is painted on a page, and in which order.
#[derive(Debug, Default)]
pub(super) struct Painting {
    pub(super) stretches: Vec<Stretch>,
    /// What marked content says that its text stands for (`ActualText`).
    pub(super) replacements: Vec<String>,
    /// Whether text of forms runs in each direction, in quarter turns from left to right.
    pub(super) turns_in_forms: [bool; 4],
    paints: Vec<Paint>,
}

impl Painting {
    /// Reads a page's content. `off`: names of the layers that are not shown.
    pub(super) fn of(
        document: &PdfDocument,
        resources: &Object,
        content: &[u8],
        off: &HashSet<String>,
    ) -> Self {
        let mut painter = Painter {
            document,
            off,
            content_len: content.len(),
            out: Self::default(),
            stretch: Stretch::default(),
            shown: Vec::new(),
            shows_forms: false,
            form_bytes: 0,
        };
        painter.run(content, resources, State::default(), 0);
        painter.close_stretch(content.len(), content.len());
        painter.out
    }

    /// The areas of images.
    pub(super) fn images(&self) -> impl Iterator<Item = &Area> {
        self.paints
            .iter()
            .filter(|paint| paint.ink == Ink::Image)
            .map(|paint| &paint.area)
    }

    /// Whether something opaque is painted over the character after it.
    pub(super) fn is_covered(&self, c: &TextChar, stretch_idx: usize) -> bool {
        let (x, y) = middle(c);
        self.paints
            .iter()
            .any(|paint| paint.is_cover && paint.after > stretch_idx && paint.area.holds(x, y))
    }

    /// Whether white ink can be seen where the character stands: what is below it is not white.
    pub(super) fn shows_white(&self, c: &TextChar, stretch_idx: usize) -> bool {
        if self.paints.len() >= MAX_PAINTS {
            return true;
        }
        let (x, y) = middle(c);
        self.paints
            .iter()
            .rev()
            .filter(|paint| paint.after <= stretch_idx && paint.area.holds(x, y))
            .find(|paint| paint.ink != Ink::White || paint.is_cover)
            .is_some_and(|paint| paint.ink != Ink::White)
    }

    /// Whether the character stands where nothing of its stretch is shown.
    pub(super) fn is_clipped(&self, c: &TextChar, stretch_idx: usize) -> bool {
        let (x, y) = middle(c);
        let clip = self
            .stretches
            .get(stretch_idx)
            .and_then(|stretch| stretch.clip);
        clip.is_some_and(|clip| !clip.holds(x, y))
    }

    pub(super) fn is_on_image(&self, c: &TextChar) -> bool {
        let (x, y) = middle(c);
        self.images().any(|area| area.holds(x, y))
    }
}

/// A point within the ink of a character.
fn middle(c: &TextChar) -> (f32, f32) {
    let (sin, cos) = c.rotation_degrees.to_radians().sin_cos();
    let (along, up) = (0.5 * c.advance_width, 0.3 * c.font_size);
    (
        c.origin_x + along * cos - up * sin,
        c.origin_y + along * sin + up * cos,
    )
}

/// A path under construction.
#[derive(Debug, Clone, Default)]
struct Path {
    /// Boxes drawn as rectangles or as polygons along the axes.
    boxes: Vec<Area>,
    /// Points of the open polygon, on the page.
    points: Vec<(f32, f32)>,
    /// Extent of everything else.
    other: Option<Area>,
}

impl Path {
    /// Ends the open polygon.
    fn close(&mut self) {
        let mut points = std::mem::take(&mut self.points);
        if points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        let Some(area) = Area::around(&points) else {
            return;
        };
        let straight =
            |a: (f32, f32), b: (f32, f32)| (a.0 - b.0).abs() < 0.1 || (a.1 - b.1).abs() < 0.1;
        let is_box = points.len() == 4 && (0..4).all(|i| straight(points[i], points[(i + 1) % 4]));
        if is_box {
            self.boxes.push(area);
        } else {
            self.other = Some(self.other.map_or(area, |other| other.joined(&area)));
        }
    }
}

#[derive(Debug, Clone)]
struct State {
    ctm: Matrix,
    ink: Ink,
    /// Whether outlines are drawn in white.
    strokes_white: bool,
    /// Whether all parts of a colour at 1 make white: gray and RGB, but no spot colour.
    is_additive: bool,
    /// A pattern; it may have holes.
    is_pattern: bool,
    is_opaque: bool,
    is_transparent: bool,
    text_mode: i32,
    text_rise: f32,
    clip: Option<Area>,
    /// Whether the clip is exactly its box.
    clip_is_box: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            ctm: Matrix::IDENTITY,
            ink: Ink::Colour,
            strokes_white: false,
            is_additive: true,
            is_pattern: false,
            is_opaque: true,
            is_transparent: false,
            text_mode: 0,
            text_rise: 0.0,
            clip: None,
            clip_is_box: true,
        }
    }
}

/// What a stream being read has besides its graphics state.
struct Stream<'a> {
    resources: &'a Object,
    /// Resources that were looked up, by kind and name.
    found: RefCell<HashMap<(&'static str, String), Option<Object>>>,
    depth: usize,
    saved: Vec<State>,
    path: Path,
    /// Whether the path narrows the clip once it is ended.
    clips: bool,
    text_line: Matrix,
    leading: f32,
    marked: Vec<Marked>,
}

/// Marked content that is open.
#[derive(Debug, Clone, Copy, Default)]
struct Marked {
    is_hidden: bool,
    /// Whether it says what its text stands for.
    is_replaced: bool,
}

struct Painter<'a> {
    document: &'a PdfDocument,
    off: &'a HashSet<String>,
    content_len: usize,
    out: Painting,
    stretch: Stretch,
    /// Where strings of the page begin.
    shown: Vec<(f32, f32)>,
    /// Whether a form was placed, whose text may stand anywhere.
    shows_forms: bool,
    form_bytes: usize,
}

impl Painter<'_> {
    fn run(&mut self, content: &[u8], resources: &Object, mut state: State, depth: usize) {
        let mut stream = Stream {
            resources,
            found: RefCell::default(),
            depth,
            saved: Vec::new(),
            path: Path::default(),
            clips: false,
            text_line: Matrix::IDENTITY,
            leading: 0.0,
            marked: Vec::new(),
        };
        for operation in Operations::new(content) {
            self.step(&operation, &mut state, &mut stream);
        }
    }

    fn step(&mut self, operation: &Operation, state: &mut State, stream: &mut Stream) {
        match operation.name {
            b"q" if stream.saved.len() < MAX_STATES => stream.saved.push(state.clone()),
            b"Q" => *state = stream.saved.pop().unwrap_or_else(|| state.clone()),
            b"cm" => {
                if let Some(matrix) = operation.numbers() {
                    state.ctm = Matrix(matrix).then(&state.ctm);
                }
            }
            b"gs" => self.set_graphics_state(operation, state, stream),
            b"cs" => {
                state.is_additive = self.is_additive(operation.last_name(), stream);
                (state.ink, state.is_pattern) = (Ink::Colour, false);
            }
            b"g" | b"rg" | b"k" | b"sc" | b"scn" => set_ink(operation, state),
            // What the numbers mean in spaces of other colours is not followed.
            b"G" | b"RG" | b"K" | b"CS" | b"SC" | b"SCN" => {
                state.strokes_white = is_white(operation, true);
            }
            b"m" | b"l" | b"c" | b"v" | b"y" | b"h" | b"re" => {
                build_path(operation, state, &mut stream.path)
            }
            b"W" | b"W*" => stream.clips = true,
            b"f" | b"F" | b"f*" | b"B" | b"B*" | b"b" | b"b*" => {
                self.fill(operation, state, stream);
                end_path(state, stream);
            }
            b"S" | b"s" | b"n" => end_path(state, stream),
            b"sh" => {
                let everywhere = Area::around(&[(-1e6, -1e6), (1e6, 1e6)]);
                if let Some(area) = state.clip.or(everywhere) {
                    self.push(
                        Paint {
                            area,
                            after: self.out.stretches.len(),
                            ink: Ink::Colour,
                            is_cover: false,
                        },
                        stream,
                    );
                }
            }
            b"Do" => self.place_object(operation, state, stream),
            b"BI" => self.push_image(state, stream),
            b"BMC" => stream.marked.push(Marked::default()),
            b"BDC" => self.open_marked(operation, stream),
            b"EMC" => self.close_marked(operation, stream),
            _ => self.step_text(operation, state, stream),
        }
    }

    fn open_marked(&mut self, operation: &Operation, stream: &mut Stream) {
        let is_hidden = self.is_hidden_layer(operation.last_name(), stream);
        // Two stretches more are needed, and the one after them.
        let has_room = stream.depth == 0 && self.out.stretches.len() + 3 < MAX_STRETCHES;
        let text = has_room
            .then(|| self.replacement(operation, stream))
            .flatten();
        let is_replaced = text.is_some();
        if let Some(text) = text {
            // The reader does not see the mark: it would read the bytes of the text in the font of what it replaces.
            self.cut(operation.start, operation.end);
            if self.stretch.replacement.is_none() {
                self.stretch.replacement = Some(self.out.replacements.len());
                self.out.replacements.push(text);
            }
        }
        stream.marked.push(Marked {
            is_hidden,
            is_replaced,
        });
    }

    fn close_marked(&mut self, operation: &Operation, stream: &mut Stream) {
        if stream.marked.pop().is_some_and(|marked| marked.is_replaced) {
            self.cut(operation.start, operation.end);
            if !stream.marked.iter().any(|marked| marked.is_replaced) {
                self.stretch.replacement = None;
            }
        }
    }

    /// The text that marked content stands for.
    fn replacement(&self, operation: &Operation, stream: &Stream) -> Option<String> {
        let bytes = operation.string_of(b"ActualText").or_else(|| {
            let properties = self.resource(stream, "Properties", operation.last_name())?;
            let text = properties.as_dict()?.get("ActualText")?;
            let text = self.document.resolve_object(text).ok()?;
            text.as_string().map(<[u8]>::to_vec)
        })?;
        // Without a mark it is ASCII nearly always; some programs write UTF-8.
        super::text_string(&bytes).or_else(|| match std::str::from_utf8(&bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(_) => Some(bytes.iter().map(|&byte| char::from(byte)).collect()),
        })
    }

    fn step_text(&mut self, operation: &Operation, state: &mut State, stream: &mut Stream) {
        match operation.name {
            b"BT" => stream.text_line = Matrix::IDENTITY,
            b"Tm" => {
                if let Some(matrix) = operation.numbers() {
                    stream.text_line = Matrix(matrix);
                }
            }
            b"Td" | b"TD" => {
                if let Some([x, y]) = operation.numbers() {
                    if operation.name == b"TD" {
                        stream.leading = -y;
                    }
                    stream.text_line = Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(&stream.text_line);
                }
            }
            b"TL" => stream.leading = operation.numbers::<1>().map_or(0.0, |[leading]| leading),
            b"Tr" => state.text_mode = operation.numbers::<1>().map_or(0, |[mode]| mode as i32),
            b"Ts" => state.text_rise = operation.numbers::<1>().map_or(0.0, |[rise]| rise),
            b"T*" | b"'" | b"\"" | b"Tj" | b"TJ" => {
                if !matches!(operation.name, b"Tj" | b"TJ") {
                    let down = Matrix([1.0, 0.0, 0.0, 1.0, 0.0, -stream.leading]);
                    stream.text_line = down.then(&stream.text_line);
                }
                match (operation.name, stream.depth) {
                    (b"T*", _) => {}
                    (_, 0) => self.show_text(operation, state, stream.text_line),
                    _ => {
                        let turn = stream.text_line.then(&state.ctm).quarter_turns();
                        self.out.turns_in_forms[turn] = true;
                    }
                }
            }
            _ => {}
        }
    }

    /// Notes text that is shown; opens a stretch where it looks unlike the text before.
    fn show_text(&mut self, operation: &Operation, state: &State, line: Matrix) {
        let matrix = line.then(&state.ctm);
        let (start, raised) = (matrix.place(0.0, 0.0), matrix.place(0.0, state.text_rise));
        let shift = (raised.0 - start.0, raised.1 - start.1);
        let before = &self.stretch;
        let is_shifted = (shift.0 - before.shift.0).abs() > SAME_SHIFT
            || (shift.1 - before.shift.1).abs() > SAME_SHIFT;
        let is_invisible = state.text_mode == 3 || state.is_transparent;
        let is_outlined = matches!(state.text_mode, 1 | 2 | 5 | 6) && !state.strokes_white;
        let clip = state.clip.filter(|clip| !clip.holds(start.0, start.1));
        let is_other = is_invisible != before.is_invisible
            || is_outlined != before.is_outlined
            || clip != before.clip;
        if (is_other || is_shifted) && self.close_stretch(operation.start, operation.start) {
            self.stretch.is_invisible = is_invisible;
            self.stretch.is_outlined = is_outlined;
            self.stretch.clip = clip;
            self.stretch.shift = shift;
        }
        self.shown.push(start);
    }

    /// Ends the open stretch at `end` and opens the next at `start`, unless there are too many.
    fn close_stretch(&mut self, end: usize, start: usize) -> bool {
        let is_full = self.out.stretches.len() + 1 >= MAX_STRETCHES && start < self.content_len;
        if !is_full {
            self.cut(end, start);
        }
        !is_full
    }

    fn cut(&mut self, end: usize, start: usize) {
        let next = Stretch {
            bytes: start..start,
            ..self.stretch.clone()
        };
        let mut closed = std::mem::replace(&mut self.stretch, next);
        closed.bytes.end = end;
        self.out.stretches.push(closed);
    }

    fn set_graphics_state(&self, operation: &Operation, state: &mut State, stream: &Stream) {
        let Some(dict) = self.resource(stream, "ExtGState", operation.last_name()) else {
            return;
        };
        let Some(dict) = dict.as_dict() else {
            return;
        };
        let value = |key: &str| {
            dict.get(key)
                .and_then(|value| self.document.resolve_object(value).ok())
        };
        let mut is_opaque = state.is_opaque;
        if let Some(alpha) = value("ca").as_ref().and_then(number) {
            is_opaque = alpha > 0.99;
            state.is_transparent = alpha < 0.02;
        }
        if let Some(mode) = value("BM") {
            let name = mode
                .as_array()
                .and_then(|modes| modes.first())
                .unwrap_or(&mode)
                .as_name();
            is_opaque = matches!(name, Some("Normal" | "Compatible")) && !state.is_transparent;
        }
        if let Some(mask) = value("SMask") {
            is_opaque &= mask.as_name() == Some("None");
        }
        state.is_opaque = is_opaque;
    }

    fn fill(&mut self, operation: &Operation, state: &State, stream: &mut Stream) {
        stream.path.close();
        let is_whole =
            state.is_opaque && !state.is_pattern && state.clip_is_box && state.ctm.is_straight();
        // With the even-odd rule a box within a box is a hole.
        let has_holes = operation.name.ends_with(b"*") && stream.path.boxes.len() > 1;
        let boxes: Vec<Area> = stream.path.boxes.clone();
        let paints = boxes
            .iter()
            .map(|area| (area, is_whole && !has_holes))
            .chain(stream.path.other.iter().map(|area| (area, false)));
        let paints: Vec<(Area, bool)> = paints.map(|(area, is_cover)| (*area, is_cover)).collect();
        for (area, is_cover) in paints {
            let Some(area) = state.clip.map_or(Some(area), |clip| area.within(&clip)) else {
                continue;
            };
            let is_cover = is_cover && area.width() >= MIN_COVER && area.height() >= MIN_COVER;
            if is_cover && stream.depth == 0 && self.has_text_in(&area) {
                self.close_stretch(operation.start, operation.start);
            }
            self.push(
                Paint {
                    area,
                    after: self.out.stretches.len(),
                    ink: state.ink,
                    is_cover,
                },
                stream,
            );
        }
    }

    /// Whether text of the open stretch may stand in the area: a string may run from its beginning to anywhere.
    fn has_text_in(&mut self, area: &Area) -> bool {
        let reaches = |&(x, y): &(f32, f32)| (area.spans_y(y) && x <= area.x1) || area.spans_x(x);
        let has_text = self.shows_forms || self.shown.iter().any(reaches);
        if has_text {
            // Later covers compare with all stretches before, so what was shown need not be kept.
            self.shows_forms = false;
            self.shown.clear();
        }
        has_text
    }

    fn push(&mut self, paint: Paint, stream: &Stream) {
        let is_hidden = stream.marked.iter().any(|marked| marked.is_hidden);
        if !is_hidden && self.out.paints.len() < MAX_PAINTS {
            self.out.paints.push(paint);
        }
    }

    fn push_image(&mut self, state: &State, stream: &Stream) {
        let corners =
            [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(x, y)| state.ctm.place(x, y));
        let area = Area::around(&corners);
        let area = area.and_then(|area| state.clip.map_or(Some(area), |clip| area.within(&clip)));
        if let Some(area) = area {
            let after = self.out.stretches.len();
            self.push(
                Paint {
                    area,
                    after,
                    ink: Ink::Image,
                    is_cover: false,
                },
                stream,
            );
        }
    }

    fn place_object(&mut self, operation: &Operation, state: &State, stream: &mut Stream) {
        let Some(object) = self.resource(stream, "XObject", operation.last_name()) else {
            return;
        };
        let Some(dict) = object.as_dict() else {
            return;
        };
        let kind = dict.get("Subtype").and_then(Object::as_name);
        // A group without opacity: what is drawn in it cannot be seen, whatever its own inks.
        let is_invisible = kind == Some("Form") && state.is_transparent;
        if is_invisible || self.is_off(dict.get("OC")) {
            if stream.depth == 0 {
                self.close_stretch(operation.start, operation.end);
            }
            return;
        }
        match kind {
            Some("Image") => self.push_image(state, stream),
            Some("Form") if stream.depth < MAX_FORM_DEPTH && !self.document.is_encrypted() => {
                self.place_form(operation, &object, dict, state, stream);
            }
            _ => {}
        }
    }

    fn place_form(
        &mut self,
        operation: &Operation,
        form: &Object,
        dict: &HashMap<String, Object>,
        state: &State,
        stream: &mut Stream,
    ) {
        if self.form_bytes > MAX_FORM_BYTES {
            return;
        }
        let Ok(content) = form.decode_stream_data() else {
            return;
        };
        self.form_bytes = self.form_bytes.saturating_add(content.len());
        // The form may cover what is there, but not what it shows itself.
        if stream.depth == 0
            && (self.shows_forms || !self.shown.is_empty())
            && paints_boxes(&content)
        {
            self.shows_forms = false;
            self.shown.clear();
            self.close_stretch(operation.start, operation.start);
        }
        let mut inner = state.clone();
        let numbers = |key: &str| {
            let value = dict
                .get(key)
                .and_then(|value| self.document.resolve_object(value).ok())?;
            Some(
                value
                    .as_array()?
                    .iter()
                    .filter_map(number)
                    .collect::<Vec<f32>>(),
            )
        };
        if let Some(matrix) = numbers("Matrix").and_then(|matrix| <[f32; 6]>::try_from(matrix).ok())
        {
            inner.ctm = Matrix(matrix).then(&inner.ctm);
        }
        if let Some([x0, y0, x1, y1]) =
            numbers("BBox").and_then(|bbox| <[f32; 4]>::try_from(bbox).ok())
        {
            let mut path = Path {
                points: [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
                    .map(|(x, y)| inner.ctm.place(x, y))
                    .to_vec(),
                ..Path::default()
            };
            path.close();
            clip(&mut inner, &path);
        }
        let resources = dict
            .get("Resources")
            .and_then(|resources| self.document.resolve_object(resources).ok());
        let resources = resources.unwrap_or_else(|| stream.resources.clone());
        self.run(&content, &resources, inner, stream.depth + 1);
        self.shows_forms |= stream.depth == 0;
    }

    /// An entry of the stream's resources.
    fn resource(
        &self,
        stream: &Stream,
        kind: &'static str,
        name: Option<String>,
    ) -> Option<Object> {
        let key = (kind, name?);
        if let Some(found) = stream.found.borrow().get(&key) {
            return found.clone();
        }
        let entries = stream
            .resources
            .as_dict()
            .and_then(|resources| resources.get(kind));
        let entries = entries.and_then(|entries| self.document.resolve_object(entries).ok());
        let entry = entries
            .as_ref()
            .and_then(|entries| entries.as_dict()?.get(&key.1));
        let found = entry.and_then(|entry| self.document.resolve_object(entry).ok());
        stream.found.borrow_mut().insert(key, found.clone());
        found
    }

    fn is_additive(&self, name: Option<String>, stream: &Stream) -> bool {
        let is_kind = |kind: &str| {
            matches!(
                kind,
                "DeviceGray" | "DeviceRGB" | "ICCBased" | "CalGray" | "CalRGB"
            )
        };
        if name.as_deref().is_some_and(is_kind) {
            return true;
        }
        // A resource may name a space of the device, alone or in an array.
        let space = self.resource(stream, "ColorSpace", name);
        let kind = space.as_ref().and_then(|space| {
            let first = space.as_array().and_then(|space| space.first());
            first.unwrap_or(space).as_name()
        });
        kind.is_some_and(is_kind)
    }

    fn is_hidden_layer(&self, name: Option<String>, stream: &Stream) -> bool {
        !self.off.is_empty() && {
            let group = self.resource(stream, "Properties", name);
            self.is_off(group.as_ref())
        }
    }

    fn is_off(&self, group: Option<&Object>) -> bool {
        !self.off.is_empty()
            && group
                .and_then(|group| self.document.resolve_object(group).ok())
                .as_ref()
                .and_then(Object::as_dict)
                .is_some_and(|group| check_ocg_excluded(group, self.document, self.off))
    }
}

/// Whether a form may fill anything: it has a filling operator.
fn paints_boxes(content: &[u8]) -> bool {
    Operations::new(content).any(|operation| {
        matches!(
            operation.name,
            b"f" | b"F" | b"f*" | b"B" | b"B*" | b"b" | b"b*" | b"Do"
        )
    })
}

fn number(object: &Object) -> Option<f32> {
    match object {
        Object::Integer(value) => Some(*value as f32),
        Object::Real(value) => Some(*value as f32),
        _ => None,
    }
}

/// Whether the colour that an operator sets is white: of one or three parts all, of four inks none.
fn is_white(operation: &Operation, is_additive: bool) -> bool {
    let full = |parts: &[f32]| parts.iter().all(|&part| part > 0.97);
    let white = match operation.num_numbers() {
        1 => operation.numbers::<1>().is_some_and(|gray| full(&gray)),
        3 => operation.numbers::<3>().is_some_and(|rgb| full(&rgb)),
        4 => operation
            .numbers::<4>()
            .is_some_and(|cmyk| cmyk.iter().all(|&part| part < 0.03)),
        _ => false,
    };
    white && is_additive
}

fn set_ink(operation: &Operation, state: &mut State) {
    let is_of_device = matches!(operation.name, b"g" | b"rg" | b"k");
    let is_white = is_white(operation, is_of_device || state.is_additive);
    state.ink = if is_white { Ink::White } else { Ink::Colour };
    state.is_additive |= is_of_device;
    state.is_pattern = operation.name == b"scn" && operation.last_name().is_some();
}

fn build_path(operation: &Operation, state: &State, path: &mut Path) {
    let point = |x: f32, y: f32| state.ctm.place(x, y);
    match operation.name {
        b"m" => {
            path.close();
            path.points
                .extend(operation.numbers::<2>().map(|[x, y]| point(x, y)));
        }
        b"l" => path
            .points
            .extend(operation.numbers::<2>().map(|[x, y]| point(x, y))),
        b"h" => path.close(),
        b"re" => {
            path.close();
            if let Some([x, y, width, height]) = operation.numbers() {
                let corners = [
                    (x, y),
                    (x + width, y),
                    (x + width, y + height),
                    (x, y + height),
                ];
                path.points = corners.map(|(x, y)| point(x, y)).to_vec();
                path.close();
            }
        }
        // A curve: its control points surround it, and more than four points are no box.
        _ => {
            let [.., x, y] = operation.numbers::<4>().unwrap_or_default();
            let [near_x, near_y, ..] = operation.numbers::<4>().unwrap_or_default();
            path.points
                .extend([point(near_x, near_y), point(x, y), point(x, y + 0.2)]);
        }
    }
}

/// Ends the path, which narrows the clip if it was marked to.
fn end_path(state: &mut State, stream: &mut Stream) {
    let mut path = std::mem::take(&mut stream.path);
    if std::mem::take(&mut stream.clips) {
        path.close();
        clip(state, &path);
    }
}

fn clip(state: &mut State, path: &Path) {
    let all = path
        .boxes
        .iter()
        .chain(&path.other)
        .copied()
        .reduce(|a, b| a.joined(&b));
    state.clip_is_box &= path.other.is_none() && path.boxes.len() <= 1;
    if let Some(area) = all {
        // An empty clip shows nothing; a box without extent stands for it.
        let nothing = Area::around(&[(f32::MIN, f32::MIN)]);
        state.clip = state
            .clip
            .map_or(Some(area), |clip| area.within(&clip).or(nothing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_polygons_along_the_axes_are_boxes() {
        let path = |points: &[(f32, f32)]| {
            let mut path = Path {
                points: points.to_vec(),
                ..Path::default()
            };
            path.close();
            (path.boxes.len(), path.other.is_some())
        };
        assert_eq!(
            path(&[(0.0, 0.0), (9.0, 0.0), (9.0, 5.0), (0.0, 5.0), (0.0, 0.0)]),
            (1, false)
        );
        assert_eq!(
            path(&[(0.0, 0.0), (9.0, 2.0), (9.0, 5.0), (0.0, 5.0)]),
            (0, true)
        );
        assert_eq!(path(&[]), (0, false));
    }
}
