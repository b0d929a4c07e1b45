//! A question about keys: checked here, and sent on in the words in which it was asked.

use dormouse_ledger::query::{KeyQuery, SortBy, SortOrder};

use crate::cli::FilterArgs;
use crate::exit::Usage;

/// Which keys, and in what order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    query: KeyQuery,
    parameters: Vec<(&'static str, String)>,
}

impl Question {
    /// The question that the options ask; what they do not say about the order is `sort`, in its usual direction.
    pub(crate) fn of(options: &FilterArgs, sort: SortBy) -> Result<Self, Usage> {
        let mut question = Self::default();
        for (name, value) in options.parameters() {
            question.set(name, value)?;
        }
        if options.sort.is_none() && sort != SortBy::default() {
            question.set("sort", sort.name())?;
        }
        if options.reverse {
            let opposite = match question.query.order() {
                SortOrder::Ascending => SortOrder::Descending,
                SortOrder::Descending => SortOrder::Ascending,
            };
            question.set("order", opposite.name())?;
        }
        Ok(question)
    }

    /// Sets a parameter of the API.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) -> Result<(), Usage> {
        let option = name.replace('_', "-");
        match self.query.set(name, value) {
            Ok(true) => {}
            Ok(false) => return Err(Usage(format!("--{option}: there is no such condition"))),
            Err(error) => {
                let (given, allowed) = (error.given, error.allowed);
                return Err(Usage(format!("--{option}: {given:?} is not allowed; use {allowed}")));
            }
        }
        self.parameters.push((name, value.to_owned()));
        Ok(())
    }

    /// For a store.
    pub(crate) fn query(&self) -> &KeyQuery {
        &self.query
    }

    /// For an instance.
    pub(crate) fn parameters(&self) -> &[(&'static str, String)] {
        &self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut FilterArgs)) -> FilterArgs {
        let mut options = FilterArgs::default();
        change(&mut options);
        options
    }

    #[test]
    fn what_is_sent_is_what_was_checked() {
        let options = options(|options| {
            options.account = vec!["111122223333".into(), "444455556666".into()];
            options.idle_for = Some("90d".into());
        });
        let question = Question::of(&options, SortBy::Arn).unwrap();
        let mut again = KeyQuery::default();
        for (name, value) in question.parameters() {
            assert!(again.set(name, value).unwrap());
        }
        assert_eq!(again, *question.query());
        assert_eq!(again.filter.accounts.len(), 2);
        assert_eq!(again.sort, SortBy::Arn);
    }

    #[test]
    fn reverse_is_the_other_way_round_than_usual() {
        let reversed = options(|options| options.reverse = true);
        assert_eq!(
            Question::of(&reversed, SortBy::LastUse).unwrap().parameters(),
            [("order", "asc".to_owned())]
        );
        let by_arn = Question::of(&reversed, SortBy::Arn).unwrap();
        assert_eq!(by_arn.query().order(), SortOrder::Descending);
    }

    #[test]
    fn a_wrong_value_is_told_with_the_option_and_what_is_allowed() {
        let soon = options(|options| options.idle_for = Some("soon".into()));
        let told = Question::of(&soon, SortBy::Arn).unwrap_err().to_string();
        assert!(told.contains("--idle-for") && told.contains("\"soon\"") && told.contains("90d"), "{told}");
    }
}
