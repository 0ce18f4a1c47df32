//! Lists in outputs. An output that leaves items out says so: `truncated = true` beside the list,
//! and "50 of 120" in the summary.

use serde::Serialize;

/// Bytes of JSON that a list of an output may have: the host refuses a result of more than 1 MiB as
/// a whole.
pub const LIST_BYTES: usize = 768 << 10;

/// The items of a list that fit into an output, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundedList<T> {
    /// The first items of the list, as many as were kept.
    pub items: Vec<T>,
    /// How many items there are, including those that were left out.
    pub total: usize,
}

impl<T: Serialize> BoundedList<T> {
    /// The first `items` that fit into an output. `total` also counts the items that a limit of the
    /// target cut off; a smaller value than the number of `items` is raised to it.
    pub fn fit(items: Vec<T>, total: usize) -> Self {
        let total = total.max(items.len());
        let mut left_bytes = LIST_BYTES;
        let fits = |item: &T| {
            let size = serde_json::to_vec(item).map_or(usize::MAX, |json| json.len() + 1);
            let rest = left_bytes.checked_sub(size);
            left_bytes = rest.unwrap_or(0);
            rest.is_some()
        };
        Self { items: items.into_iter().take_while(fits).collect(), total }
    }
}

impl<T> BoundedList<T> {
    /// Whether items were left out.
    pub fn is_truncated(&self) -> bool {
        self.items.len() < self.total
    }

    /// The count for a summary: `120`, or `50 of 120` if items were left out.
    pub fn count(&self) -> String {
        if self.is_truncated() {
            format!("{} of {}", self.items.len(), self.total)
        } else {
            self.total.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_whole_as_long_as_an_output_can_hold_it() {
        let complete = BoundedList::fit(vec![1, 2, 3], 3);
        assert_eq!(
            (complete.items.len(), complete.is_truncated(), complete.count().as_str()),
            (3, false, "3")
        );
        let cut_before = BoundedList::fit(vec![1, 2, 3], 7);
        assert_eq!((cut_before.is_truncated(), cut_before.count().as_str()), (true, "3 of 7"));
        let long = BoundedList::fit(vec!["x".repeat(1 << 10); 2_000], 0);
        assert!(long.is_truncated() && long.total == 2_000, "{}", long.count());
        assert!(serde_json::to_vec(&long.items).expect("texts are JSON").len() <= LIST_BYTES + 1);
    }
}
