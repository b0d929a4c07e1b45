//! Which accounts there are, and how that changes.

use dormouse_model::AccountId;

use super::Organisation;
use super::founding::new_member;
use super::names::UNITS;
use super::state::Member;

/// What Organizations knows of as an account's state.
const STATES: &[&str] = &["ACTIVE", "SUSPENDED", "PENDING_CLOSURE", "CLOSED", "PENDING_ACTIVATION"];

/// An account of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSummary {
    /// Its id.
    pub id: AccountId,
    /// Its name, e.g. `payments-prod`.
    pub name: String,
    /// `ACTIVE`, `SUSPENDED`, `PENDING_CLOSURE`, `CLOSED` or `PENDING_ACTIVATION`.
    pub state: &'static str,
}

impl Organisation {
    /// All accounts that belong to the organisation now, the management account first.
    pub fn accounts(&self) -> Vec<AccountSummary> {
        let inner = self.lock();
        let summary = |member: &Member| AccountSummary {
            id: member.id,
            name: member.name.clone(),
            state: member.state,
        };
        inner.state.members.iter().filter(|member| member.belongs()).map(summary).collect()
    }

    /// A new account without keys joins now, by the injected clock, in the unit of the workloads. Returns its id.
    pub fn join(&self, name: &str) -> AccountId {
        let now = self.options().clock.now_seconds();
        let mut inner = self.lock();
        let place = inner.state.members.len();
        let member = new_member(&mut inner.random, place, name.to_owned(), now, now);
        let id = member.id;
        inner.state.add_member(member);
        id
    }

    /// The account leaves: Organizations does not know it any more. Itself, its keys, who uses them and the roles in it
    /// go on ([`crate::aws::AwsDouble::set_role`] takes the role away). Whether there was such an account; the
    /// management account cannot leave.
    pub fn leave(&self, account: AccountId) -> bool {
        account != self.management_account() && self.change(account, |member| member.has_left = true)
    }

    /// An account that left comes back now, by the injected clock. Whether there was such an account.
    pub fn rejoin(&self, account: AccountId) -> bool {
        let now = self.options().clock.now_seconds();
        let mut inner = self.lock();
        let former = inner.state.member_mut(account).filter(|member| member.has_left);
        former.map(|member| (member.has_left, member.joined) = (false, now)).is_some()
    }

    /// Gives the account another name. Whether there is such an account.
    pub fn rename(&self, account: AccountId, name: &str) -> bool {
        self.change(account, |member| name.clone_into(&mut member.name))
    }

    /// Puts the account into this state (see [`AccountSummary::state`]). One that is not `ACTIVE` gets no answers from
    /// KMS and no role in it can be assumed, but those who use its keys go on. Whether there are such an account and
    /// such a state.
    pub fn set_account_state(&self, account: AccountId, state: &str) -> bool {
        let known = STATES.iter().find(|known| **known == state);
        known.is_some_and(|state| self.change(account, |member| member.state = state))
    }

    /// Moves the account into the organisational unit of this name: `Infrastructure`, `Workloads`, `Security`, `Former`,
    /// or `Pilots`, which is inside of `Workloads`. Whether there are such an account and such a unit; the management
    /// account stays at the root.
    pub fn move_account(&self, account: AccountId, unit: &str) -> bool {
        let unit = UNITS.iter().position(|(name, _)| *name == unit);
        let is_movable = account != self.management_account();
        unit.filter(|_| is_movable).is_some_and(|unit| self.change(account, |member| member.unit = unit))
    }

    fn change(&self, account: AccountId, change: impl FnOnce(&mut Member)) -> bool {
        let mut inner = self.lock();
        inner.state.member_mut(account).filter(|member| member.belongs()).map(change).is_some()
    }
}
