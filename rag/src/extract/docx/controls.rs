//! Content controls (`w:sdt`): prompts that nobody has filled in, and check boxes.

use super::fields::{EMPTY_BOX, TICKED};
use super::xml::Element;

#[derive(Debug, Default)]
struct Control {
    within_content: bool,
    /// The content is a prompt such as "click here to enter text".
    is_prompt: bool,
    /// Of a check box, whether it is ticked.
    ticked: Option<bool>,
    is_state_shown: bool,
}

/// The content controls that are open.
#[derive(Debug, Default)]
pub(super) struct Controls {
    open: Vec<Control>,
    num_prompts: usize,
}

impl Controls {
    /// Takes in an element of WordprocessingML; whether it belonged to a control.
    pub(super) fn open(&mut self, element: &Element<'_>) -> bool {
        match (element.name, self.open.last_mut()) {
            ("sdt", _) => self.open.push(Control::default()),
            ("sdtContent", Some(control)) => {
                control.within_content = true;
                self.num_prompts += usize::from(control.is_prompt);
            }
            ("showingPlcHdr", Some(control)) if !control.within_content => {
                control.is_prompt = element.is_on();
            }
            // How the control's content would look is not how text around it does.
            (_, Some(control)) => return !control.within_content,
            _ => return false,
        }
        true
    }

    /// Takes in an element of Word's later vocabularies.
    pub(super) fn open_other(&mut self, element: &Element<'_>) {
        let Some(control) = self.open.last_mut().filter(|c| !c.within_content) else {
            return;
        };
        match element.name {
            "checkbox" => control.ticked = Some(false),
            "checked" if control.ticked.is_some() => control.ticked = Some(element.is_on()),
            _ => {}
        }
    }

    pub(super) fn close_content(&mut self) {
        if let Some(control) = self.open.last_mut() {
            self.num_prompts -= usize::from(control.is_prompt && control.within_content);
            control.within_content = false;
        }
    }

    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    /// Whether text at this place is a prompt.
    pub(super) fn is_prompt(&self) -> bool {
        self.num_prompts > 0
    }

    /// What stands for text at this place: `None` nothing, `Some(None)` the text itself, otherwise the state of the
    /// check box whose content it is. The sign that the file shows may be any and may say nothing.
    pub(super) fn state_for(&mut self, text: &str) -> Option<Option<&'static str>> {
        let Some(control) = self
            .open
            .last_mut()
            .filter(|control| control.within_content)
        else {
            return Some(None);
        };
        let Some(ticked) = control.ticked else {
            return Some(None);
        };
        if control.is_state_shown || text.trim().is_empty() {
            return None;
        }
        control.is_state_shown = true;
        Some(Some(state(ticked)))
    }

    /// The state of a check box whose content ends without having shown it.
    pub(super) fn take_unshown_state(&mut self) -> Option<&'static str> {
        let control = self.open.last_mut()?;
        let ticked = control.ticked.filter(|_| !control.is_state_shown)?;
        Some(state(ticked))
    }
}

fn state(ticked: bool) -> &'static str {
    if ticked { TICKED } else { EMPTY_BOX }
}
