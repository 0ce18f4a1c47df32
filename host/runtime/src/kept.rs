//! What a capability keeps from one host function to the next, as long as one call of a plugin
//! lasts. `Host` knows no capability, so it holds these values without their types.

use std::any::Any;

/// At most one value of each type. They end with the call.
#[derive(Default)]
pub(crate) struct Kept(Vec<Box<dyn Any + Send + Sync>>);

impl Kept {
    /// The value of this type, made when it is first asked for.
    pub(crate) fn value<T: Any + Default + Send + Sync>(&mut self) -> &mut T {
        let found = self.0.iter().position(|kept| kept.is::<T>());
        let index = found.unwrap_or_else(|| {
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
        let mut kept = Kept::default();
        kept.value::<String>().push('a');
        *kept.value::<u32>() += 1;
        kept.value::<String>().push('b');
        assert_eq!(kept.value::<String>(), "ab");
        assert_eq!(*kept.value::<u32>(), 1);
        assert_eq!(kept.0.len(), 2);
    }
}
