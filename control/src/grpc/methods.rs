//! Names of the methods that are served, so that what clients make up is no label of a metric.
//! Takes: compiled descriptions of services. Gives: the name of a call's path, or `other`.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;

/// Paths of all methods, `/package.Service/Method`.
pub(super) struct Methods {
    paths: BTreeSet<Arc<str>>,
    other: Arc<str>,
}

impl Methods {
    /// Of encoded file descriptor sets. One that cannot be read, which is none of ours, has no methods.
    pub(super) fn of<'a>(descriptions: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut paths = BTreeSet::new();
        for description in descriptions {
            let files = FileDescriptorSet::decode(description).unwrap_or_default().file;
            for file in &files {
                for service in &file.service {
                    let of = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                    paths.extend(service.method.iter().map(|method| Arc::from(of(method.name()))));
                }
            }
        }
        Self { paths, other: Arc::from("other") }
    }

    /// The name of the method at `path`.
    pub(super) fn name(&self, path: &str) -> Arc<str> {
        Arc::clone(self.paths.get(path).unwrap_or(&self.other))
    }
}
