//! Keeps values of capabilities (such as open connections) between host functions, for one call of
//! a plugin. `Host` does not depend on capabilities, so it holds these values without their types.

use std::any::Any;

/// Holds at most one value of each type. The values are dropped with the call.
#[derive(Default)]
pub(crate) struct CallStorage(Vec<Box<dyn Any + Send + Sync>>);

impl CallStorage {
    /// The value of this type; created when it is first used.
    pub(crate) fn value<T: Any + Default + Send + Sync>(&mut self) -> &mut T {
        let position = self.0.iter().position(|stored_value| stored_value.is::<T>());
        let index = position.unwrap_or_else(|| {
            self.0.push(Box::<T>::default());
            self.0.len() - 1
        });
        self.0[index].downcast_mut().expect("what is found there, or was put there, is a T")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value_that_stays() {
        let mut storage = CallStorage::default();
        storage.value::<String>().push('a');
        *storage.value::<u32>() += 1;
        storage.value::<String>().push('b');
        assert_eq!(storage.value::<String>(), "ab");
        assert_eq!(*storage.value::<u32>(), 1);
        assert_eq!(storage.0.len(), 2);
    }
}
