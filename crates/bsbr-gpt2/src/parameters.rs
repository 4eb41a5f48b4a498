//! Access to a model's tensors by their Hugging Face names.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorCreationOptions, TensorData};

use crate::model::Gpt2;

/// Calls `visit` with the name and value of each of the model's tensors.
///
/// Names are Hugging Face's without the `transformer.` prefix.
pub fn visit_tensors(model: &Gpt2, visit: impl FnMut(&str, TensorData)) {
    model.visit(&mut Visitor {
        path: Vec::new(),
        visit,
    });
}

/// Replaces each tensor of the model by the result of `replace` for its name and shape; `None`
/// keeps the tensor. Weights that were never used are replaced without being allocated first.
///
/// # Panics
///
/// Panics if `replace` returns data of another shape.
pub fn replace_tensors(
    model: Gpt2,
    replace: impl FnMut(&str, &[usize]) -> Option<TensorData>,
) -> Gpt2 {
    model.map(&mut Mapper {
        path: Vec::new(),
        replace,
    })
}

/// The model with all tensors in type `dtype`; tensors of that type are not copied.
pub fn cast_tensors(model: Gpt2, dtype: DType) -> Gpt2 {
    model.map(&mut Caster(dtype))
}

struct Caster(DType);

impl ModuleMapper for Caster {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

struct Visitor<F> {
    path: Vec<String>,
    visit: F,
}

impl<F: FnMut(&str, TensorData)> ModuleVisitor for Visitor<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.visit)(&self.path.join("."), param.val().into_data());
    }
}

struct Mapper<F> {
    path: Vec<String>,
    replace: F,
}

impl<F: FnMut(&str, &[usize]) -> Option<TensorData>> ModuleMapper for Mapper<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().to_vec();
        match (self.replace)(&self.path.join("."), &shape) {
            None => param,
            Some(data) => {
                assert_eq!(
                    data.shape().to_vec(),
                    shape,
                    "shape of {}",
                    self.path.join(".")
                );
                let device = param.lazy_device();
                let options = match param.is_initialized() {
                    true => TensorCreationOptions::from((&device, param.val().dtype())),
                    false => TensorCreationOptions::new(device),
                };
                let id = param.id;
                param.transform_for_load(Tensor::from_data(data, options), id)
            }
        }
    }
}
