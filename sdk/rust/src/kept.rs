//! Lists in outputs. An output that holds less than there is says so: `truncated = true` beside the
//! list, and "50 of 120" in the summary.

use serde::Serialize;

/// Bytes of JSON that a list of an output may have: the host refuses a result of more than 1 MiB as
/// a whole.
pub const LIST_BYTES: usize = 768 << 10;

/// The items of a list that fit into an output, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// The first items of the list, as many as were kept.
    pub items: Vec<T>,
    /// How many items there are, those that were left out included.
    pub total: usize,
}

impl<T: Serialize> Kept<T> {
    /// The first `items` that fit into an output. `total` counts those as well that never arrived,
    /// because a limit of the target cut them off; it is at least as many as there are items.
    pub fn of(items: Vec<T>, total: usize) -> Self {
        let total = total.max(items.len());
        let mut left = LIST_BYTES;
        let fits = |item: &T| {
            let size = serde_json::to_vec(item).map_or(usize::MAX, |json| json.len() + 1);
            let rest = left.checked_sub(size);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        Self { items: items.into_iter().take_while(fits).collect(), total }
    }
}

impl<T> Kept<T> {
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
        let whole = Kept::of(vec![1, 2, 3], 3);
        assert_eq!(
            (whole.items.len(), whole.is_truncated(), whole.count().as_str()),
            (3, false, "3")
        );
        let cut_before = Kept::of(vec![1, 2, 3], 7);
        assert_eq!((cut_before.is_truncated(), cut_before.count().as_str()), (true, "3 of 7"));
        let long = Kept::of(vec!["x".repeat(1 << 10); 2_000], 0);
        assert!(long.is_truncated() && long.total == 2_000, "{}", long.count());
        assert!(serde_json::to_vec(&long.items).expect("texts are JSON").len() <= LIST_BYTES + 1);
    }
}
