//! What a misspelt name was meant to be.

/// The known name closest to the given one, without regard to case, if it is close: within a third of its length, and at
/// least two edits.
pub(crate) fn nearest(given: &str, known: &[&'static str]) -> Option<&'static str> {
    let given = given.to_ascii_lowercase();
    let distance = |name: &str| strsim::levenshtein(&given, &name.to_ascii_lowercase());
    let (distance, name) = known.iter().map(|name| (distance(name), *name)).min()?;
    (distance <= (name.len() / 3).max(2)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_close_name_is_suggested() {
        let known = ["hidden_size", "num_heads", "lr"];
        assert_eq!(nearest("hiden_size", &known), Some("hidden_size"));
        assert_eq!(nearest("Lr", &known), Some("lr"));
        assert_eq!(nearest("colour_of_money", &known), None);
    }
}
