//! Which keys are asked for: the API's parameters as options.

use clap::Args;
use clap::builder::PossibleValuesParser;
use dormouse_ledger::VerdictKind;
use dormouse_ledger::query::{SortBy, SortOrder};
use dormouse_model::LifecycleState;

/// Options with the names and values of the API's parameters. Those with a fixed set of values are checked here, so that
/// shells can complete them; the others where the question is put together.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which keys")]
pub(crate) struct FilterArgs {
    /// With this verdict.
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', ignore_case = true,
          value_parser = PossibleValuesParser::new(VerdictKind::ALL.map(VerdictKind::name)))]
    pub(crate) verdict: Vec<String>,
    /// Of this account.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Vec<String>,
    /// Of this Region.
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Vec<String>,
    /// In this state.
    #[arg(long, value_name = "STATE", value_delimiter = ',', ignore_case = true,
          value_parser = PossibleValuesParser::new(LifecycleState::ALL.map(LifecycleState::name)))]
    pub(crate) state: Vec<String>,
    /// Managed by customers or by AWS itself.
    #[arg(long, value_name = "WHO", value_delimiter = ',', ignore_case = true,
          value_parser = PossibleValuesParser::new(["CUSTOMER", "AWS"]))]
    pub(crate) manager: Vec<String>,
    /// With an alias that fits; * stands for any text.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) alias: Vec<String>,
    /// With a tag that fits; * stands for any text.
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) tag: Vec<String>,
    /// With this text in the ARN, an alias, a tag or the description.
    #[arg(long, visible_alias = "search", value_name = "TEXT")]
    pub(crate) q: Option<String>,
    /// Without a use for so long, or ever: 90d, 12h.
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_for: Option<String>,
    /// With failed calls that showed a need; with --state Disabled,PendingDeletion those still out of use; `--wanted
    /// false` for the others.
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(["true", "false"]))]
    pub(crate) wanted: Option<String>,
    /// What keys are sorted by; by default last_use in a table, arn in JSON and CSV.
    #[arg(long, value_name = "BY", ignore_case = true, help_heading = "Order and number",
          value_parser = PossibleValuesParser::new(SortBy::ALL.map(SortBy::name)))]
    pub(crate) sort: Option<String>,
    /// In which direction; by default the latest or most first, ARNs from A to Z.
    #[arg(long, value_name = "ORDER", ignore_case = true, help_heading = "Order and number",
          value_parser = PossibleValuesParser::new([SortOrder::Ascending.name(), SortOrder::Descending.name()]))]
    pub(crate) order: Option<String>,
    /// The other way round than by default.
    #[arg(long, short, conflicts_with = "order", help_heading = "Order and number")]
    pub(crate) reverse: bool,
}

impl FilterArgs {
    /// The parameters that were given, in the order of the API's list; `--reverse` is none of them.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, &str)> {
        let lists = [
            ("verdict", &self.verdict),
            ("account", &self.account),
            ("region", &self.region),
            ("state", &self.state),
            ("manager", &self.manager),
            ("alias", &self.alias),
            ("tag", &self.tag),
        ];
        let singles = [
            ("q", &self.q),
            ("idle_for", &self.idle_for),
            ("wanted", &self.wanted),
            ("sort", &self.sort),
            ("order", &self.order),
        ];
        let lists =
            lists.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, &**value)));
        let singles = singles.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        lists.chain(singles).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum as _};
    use dormouse_ledger::query::PARAMETERS;

    use super::*;
    use crate::cli::{Cli, Command, Output};

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        filter: FilterArgs,
    }

    #[test]
    fn every_parameter_is_an_option_of_the_same_name() {
        let value = |name: &str| match name {
            "verdict" => "In_Use,unknown",
            "state" => "disabled",
            "manager" => "aws",
            "idle_for" => "90d",
            "wanted" => "false",
            "sort" => "wanted",
            "order" => "asc",
            "account" => "111122223333,444455556666",
            _ => "eu-west-1",
        };
        for name in PARAMETERS {
            let option = format!("--{}", name.replace('_', "-"));
            let parsed = Only::try_parse_from(["x", &option, value(name)]).unwrap();
            let parameters = parsed.filter.parameters();
            let values: Vec<&str> = parameters.iter().map(|(_, value)| *value).collect();
            assert!(parameters.iter().all(|(found, _)| *found == name), "{parameters:?}");
            assert_eq!(values.join(","), value(name));
        }
    }

    #[test]
    fn wanted_alone_means_true_and_search_is_another_word_for_q() {
        let parsed = Only::try_parse_from(["x", "--wanted", "--search", "pay"]).unwrap();
        assert_eq!(parsed.filter.parameters(), [("q", "pay"), ("wanted", "true")]);
        assert!(Only::try_parse_from(["x", "--wanted", "perhaps"]).is_err());
        assert!(Only::try_parse_from(["x", "--order", "asc", "--reverse"]).is_err());
        let cli = Cli::try_parse_from(["dormouse", "keys", "--wanted", "-o", "json"]).unwrap();
        let Command::Keys(keys) = cli.command else { panic!("{cli:?}") };
        assert_eq!(keys.output, Output::from_str("json", false).unwrap());
    }
}
