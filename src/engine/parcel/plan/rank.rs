//! What goes first.

use postrider_base::Niceness;

/// Whose a bundle is, from where we stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Ours.
    Own,
    /// From or to a contact.
    Contact,
    /// Carried for people whom we do not know.
    Stranger,
}

impl Class {
    /// How many there are.
    pub(super) const COUNT: usize = 3;

    /// Its place in a table of all.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Own => 0,
            Self::Contact => 1,
            Self::Stranger => 2,
        }
    }
}

/// The order in which bundles go on a medium: urgent ones of every class, then the rest class by
/// class; within a class by niceness.
///
/// Niceness alone would let a stranger's flash push one's own mail aside, class alone would let
/// one's own bulk push a call for help aside; strangers' urgent mail is bounded by their budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    band: Band,
    class: Class,
    nice: Niceness,
}

impl Rank {
    /// The rank of a bundle.
    pub fn of(class: Class, nice: Niceness) -> Self {
        let band = if nice <= Niceness::PRIORITY { Band::Urgent } else { Band::Rest };
        Self { band, class, nice }
    }

    /// Bundles of one group share containers. Others do not, so that a container of bulk can make
    /// room without taking letters with it.
    pub(super) fn group(self) -> (Class, Group) {
        let group = match self.nice {
            nice if nice <= Niceness::PRIORITY => Group::Urgent,
            nice if nice <= Niceness::NORMAL => Group::Normal,
            _ => Group::Bulk,
        };
        (self.class, group)
    }

    /// Whether a bundle of this rank may push one of the `other` rank off the medium: it must go
    /// first by both order and niceness. Equals never do, or two visits would swap them for ever.
    pub(super) fn may_displace(self, other: Self) -> bool {
        self < other && self.nice < other.nice
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Band {
    Urgent,
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Urgent,
    Normal,
    Bulk,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_mail_of_everyone_goes_before_ones_own_bulk() {
        let ordered = [
            Rank::of(Class::Own, Niceness::FLASH),
            Rank::of(Class::Own, Niceness::PRIORITY),
            Rank::of(Class::Contact, Niceness::FLASH),
            Rank::of(Class::Stranger, Niceness::PRIORITY),
            Rank::of(Class::Own, Niceness::NORMAL),
            Rank::of(Class::Own, Niceness::BULK),
            Rank::of(Class::Contact, Niceness::NORMAL),
            Rank::of(Class::Stranger, Niceness::NORMAL),
        ];
        assert!(ordered.is_sorted());
    }

    #[test]
    fn only_the_more_urgent_displaces() {
        let rank = Rank::of;
        let cases = [
            (rank(Class::Own, Niceness::NORMAL), rank(Class::Own, Niceness::BULK), true),
            (rank(Class::Own, Niceness::BULK), rank(Class::Own, Niceness::BULK), false),
            (rank(Class::Own, Niceness::BULK), rank(Class::Stranger, Niceness::BULK), false),
            (rank(Class::Own, Niceness::BULK), rank(Class::Stranger, Niceness::NORMAL), false),
            (rank(Class::Contact, Niceness::NORMAL), rank(Class::Own, Niceness::BULK), false),
            (rank(Class::Stranger, Niceness::FLASH), rank(Class::Own, Niceness::BULK), true),
            (rank(Class::Own, Niceness::PRIORITY), rank(Class::Stranger, Niceness::FLASH), false),
        ];
        for (new, old, may) in cases {
            assert_eq!(new.may_displace(old), may, "{new:?} over {old:?}");
        }
    }
}
