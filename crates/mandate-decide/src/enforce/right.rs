//! The right to admit: a lease, or a server workload that may go on without one (B2, B3).

use mandate_policy::decl::LeaseLoss;

/// How a gateway's lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It holds.
    Held,
    /// It has run out, and nothing but silence of the authority speaks against the state under which
    /// it was granted.
    Lost,
    /// There never was one, or it was dropped for a reason.
    None,
}

/// On which ground something is let happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Under a lease.
    Leased,
    /// Without one, because the server workload goes on. Its records say so.
    WithoutLease,
}

/// Whether a gateway may let something happen at this moment, and on which ground.
pub fn right_to_admit(lease: LeaseState, on_loss: LeaseLoss) -> Option<Right> {
    match (lease, on_loss) {
        (LeaseState::Held, LeaseLoss::Stop | LeaseLoss::Continue) => Some(Right::Leased),
        (LeaseState::Lost, LeaseLoss::Continue) => Some(Right::WithoutLease),
        (LeaseState::Lost, LeaseLoss::Stop)
        | (LeaseState::None, LeaseLoss::Stop | LeaseLoss::Continue) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_that_ran_out_is_gone_on_without_and_only_where_it_is_declared() {
        for (lease, on_loss, right) in [
            (LeaseState::Held, LeaseLoss::Stop, Some(Right::Leased)),
            (LeaseState::Held, LeaseLoss::Continue, Some(Right::Leased)),
            (
                LeaseState::Lost,
                LeaseLoss::Continue,
                Some(Right::WithoutLease),
            ),
            (LeaseState::Lost, LeaseLoss::Stop, None),
            (LeaseState::None, LeaseLoss::Continue, None),
            (LeaseState::None, LeaseLoss::Stop, None),
        ] {
            assert_eq!(
                right_to_admit(lease, on_loss),
                right,
                "{lease:?} {on_loss:?}"
            );
        }
    }
}
