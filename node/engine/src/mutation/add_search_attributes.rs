//! AddSearchAttributes of the operator service.

use crate::execution::namespace_of;
use crate::namespace;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::WriteSet;

/// All of them are added, or none.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    name: &str,
    attributes: &[(String, i32)],
) -> Result<Reply, Stop> {
    if attributes.is_empty() {
        let text = "SearchAttributes are not set on request.";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    let mut namespace = namespace_of(set, name)?;
    namespace::add_search_attributes(&mut namespace, attributes)?;
    namespace::write(set, namespace);
    Ok(Reply::Done)
}
