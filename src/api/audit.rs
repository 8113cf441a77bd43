//! Verbs about the audit chain.

use serde::{Deserialize, Serialize};

use super::{
    verb::verbs,
    verbs::{from_hex, missing},
};
use crate::desk::reply::{AuditChecked, AuditLine};

verbs! {
    /// What was done here for others, oldest first.
    AuditLs "audit/ls" {} -> Vec<AuditLine>: |_request, at| at.desk.audit_log(at.watch);

    /// Whether nothing in that was changed, left out or cut off.
    AuditVerify "audit/verify" {
        /// A link that somebody else has kept, as of a result: it must be there. In hexadecimal.
        has: Option<String>,
    } -> AuditChecked: |request, at| {
        let has = match request.has.as_deref().map(from_hex) {
            None => None,
            Some(link) => Some(link.and_then(|it| it.try_into().ok()).ok_or_else(|| missing("has"))?),
        };
        at.desk.check_audit(has.as_ref(), at.watch)
    };
}
