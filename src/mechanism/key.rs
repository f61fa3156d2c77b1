//! A key ready for use: its object, and the library handles that its family prepared from it, once.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use once_cell::sync::OnceCell;

use crate::error::{Code, Result, refuse};
use crate::object::Object;

/// What a family prepares from a key object (schedules, contexts, parsed numbers), made at the first use and shared.
pub trait Material: Any + Send + Sync + Sized {
    /// Builds it; the object has passed the class and key type of the mechanism's row.
    fn prepare(object: &Object) -> Result<Self>;
}

/// An object with its prepared material. Shared by all sessions that use the key; no lock during use.
pub struct Key(Arc<Parts>);

struct Parts {
    object: Object,
    material: OnceCell<Box<dyn Any + Send + Sync>>,
}

impl Key {
    /// Nothing is prepared yet.
    pub fn new(object: Object) -> Self {
        Self(Arc::new(Parts { object, material: OnceCell::new() }))
    }

    /// The very same key, counted apart: threads that hold one each do not write to each other's count.
    pub fn another(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether it is the very same key, however it is counted.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The object with all its attributes.
    pub fn object(&self) -> &Object {
        &self.0.object
    }

    /// The family's material. A key type belongs to one family, hence one material type.
    ///
    /// Errors: what [`Material::prepare`] says; `KeyTypeInconsistent` if another family came first.
    pub fn material<M: Material>(&self) -> Result<&M> {
        let material = self
            .0
            .material
            .get_or_try_init(|| M::prepare(&self.0.object).map(|material| Box::new(material) as Box<dyn Any + Send + Sync>))?;
        material
            .downcast_ref()
            .ok_or_else(|| refuse(Code::KeyTypeInconsistent, "the key was prepared for another family of mechanisms"))
    }
}

/// A key whose material is there: what an operation holds.
pub struct Prepared<M> {
    key: Arc<Key>,
    material: PhantomData<fn() -> M>,
}

impl<M: Material> Prepared<M> {
    /// Prepares the material, unless an earlier operation has.
    ///
    /// Errors: those of [`Key::material`].
    pub fn of(key: Arc<Key>) -> Result<Self> {
        key.material::<M>()?;
        Ok(Self { key, material: PhantomData })
    }
}

impl<M: Material> Deref for Prepared<M> {
    type Target = M;

    fn deref(&self) -> &M {
        let material = self.key.0.material.get().and_then(|material| material.downcast_ref());
        material.expect("`of` prepared it, and material is never taken away")
    }
}

impl AsRef<Object> for Key {
    fn as_ref(&self) -> &Object {
        self.object()
    }
}
