//! Who may see what: ids of collections and documents, and the scope every query must carry.
//!
//! A scope is a set of collections. It is applied in two places with the same meaning: inside the
//! filter of the vector store, so that forbidden passages never compete for a place in the results,
//! and by the catalogue, for everything that is read by id. Deny by default: a collection that
//! is not in the scope behaves exactly like one that does not exist.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Row id of a collection in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionId(pub i64);

/// Row id of a document in the catalogue. Never reused, so a stale id cannot name another document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentId(pub i64);

/// The collections a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessScope(Allowed);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    All,
    Only(BTreeSet<CollectionId>),
}

impl AccessScope {
    /// Everything: for the owner of the machine (command line, background jobs).
    pub fn all() -> Self {
        Self(Allowed::All)
    }

    /// Nothing.
    pub fn none() -> Self {
        Self(Allowed::Only(BTreeSet::new()))
    }

    /// Exactly these collections.
    pub fn collections(ids: impl IntoIterator<Item = CollectionId>) -> Self {
        Self(Allowed::Only(ids.into_iter().collect()))
    }

    /// Whether a document of this collection may be seen.
    pub fn allows(&self, collection: CollectionId) -> bool {
        match &self.0 {
            Allowed::All => true,
            Allowed::Only(ids) => ids.contains(&collection),
        }
    }

    /// The collections of a query: `requested` cut down to what is allowed, or all that is allowed
    /// where nothing was requested. `None` means no restriction at all; an empty set means no
    /// result.
    pub(crate) fn restrict(&self, requested: &[CollectionId]) -> Option<BTreeSet<CollectionId>> {
        match (&self.0, requested) {
            (Allowed::All, []) => None,
            (Allowed::All, requested) => Some(requested.iter().copied().collect()),
            (Allowed::Only(ids), []) => Some(ids.clone()),
            (Allowed::Only(ids), requested) => Some(
                requested
                    .iter()
                    .copied()
                    .filter(|id| ids.contains(id))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_never_widens_a_scope() {
        let (a, b) = (CollectionId(1), CollectionId(2));
        let scope = AccessScope::collections([a]);
        assert_eq!(scope.restrict(&[]), Some(BTreeSet::from([a])));
        assert_eq!(scope.restrict(&[b]), Some(BTreeSet::new()));
        assert_eq!(scope.restrict(&[a, b]), Some(BTreeSet::from([a])));
        assert_eq!(AccessScope::none().restrict(&[]), Some(BTreeSet::new()));
        assert_eq!(AccessScope::none().restrict(&[a]), Some(BTreeSet::new()));
        assert_eq!(AccessScope::all().restrict(&[b]), Some(BTreeSet::from([b])));
        assert_eq!(AccessScope::all().restrict(&[]), None);
    }
}
