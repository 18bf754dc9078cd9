//! Which images are on how many nodes.

use std::collections::HashMap;

use crate::model::Node;

#[derive(Clone, Copy, Debug, Default)]
struct Image {
    nodes: u32,
    stamp: u64,
}

/// Images by name.
#[derive(Debug, Default)]
pub(crate) struct Images {
    images: HashMap<String, Image>,
    stamp: u64,
}

impl Images {
    /// Whether no node has told of any image.
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// How many nodes have the image.
    pub(crate) fn nodes(&self, name: &str) -> u32 {
        self.images.get(name).map_or(0, |i| i.nodes)
    }

    /// A number that is another one after each change of [`nodes`](Self::nodes); 0 for unknown images.
    pub(crate) fn stamp(&self, name: &str) -> u64 {
        self.images.get(name).map_or(0, |i| i.stamp)
    }

    pub(crate) fn add(&mut self, node: &Node) {
        self.each(node, |image| image.nodes += 1);
    }

    pub(crate) fn remove(&mut self, node: &Node) {
        self.each(node, |image| image.nodes = image.nodes.saturating_sub(1));
        for name in node.status.images.iter().flat_map(|i| &i.names) {
            if self.nodes(name) == 0 {
                self.images.remove(name);
            }
        }
    }

    fn each(&mut self, node: &Node, change: impl Fn(&mut Image)) {
        for name in node.status.images.iter().flat_map(|i| &i.names) {
            self.stamp += 1;
            if !self.images.contains_key(name) {
                self.images.insert(name.clone(), Image::default());
            }
            if let Some(image) = self.images.get_mut(name) {
                change(image);
                image.stamp = self.stamp;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerImage;

    #[test]
    fn nodes_are_counted_and_changes_stamped() {
        let mut node = Node::default();
        node.status.images = vec![ContainerImage {
            names: vec!["shop".into(), "shop:v1".into()],
            ..ContainerImage::default()
        }];
        let mut images = Images::default();
        images.add(&node);
        let stamp = images.stamp("shop");
        images.add(&node);
        assert_eq!(images.nodes("shop:v1"), 2);
        assert_ne!(images.stamp("shop"), stamp);
        images.remove(&node);
        images.remove(&node);
        assert_eq!((images.nodes("shop"), images.stamp("shop")), (0, 0));
        assert!(images.images.is_empty());
    }
}
