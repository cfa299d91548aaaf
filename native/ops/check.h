// Argument checks shared by the ops. Messages name the op, the argument, both shapes.
#pragma once

#include "native/core/tensor.h"

namespace rl {

inline void check_defined(const char* op, const char* name, const Tensor& tensor) {
  RL_CHECK(tensor.defined(), code::kShape, op, ": ", name, " is missing");
}

inline void check_float(const char* op, const char* name, const Tensor& tensor) {
  check_defined(op, name, tensor);
  RL_CHECK(tensor.dtype() == DType::f32 || tensor.dtype() == DType::bf16, code::kShape, op, ": ", name,
           " must be f32 or bf16, got ", name_of(tensor.dtype()));
}

inline void check_dtype(const char* op, const char* name, const Tensor& tensor, DType dtype) {
  check_defined(op, name, tensor);
  RL_CHECK(tensor.dtype() == dtype, code::kShape, op, ": ", name, " must be ", name_of(dtype), ", got ",
           name_of(tensor.dtype()));
}

inline void check_rank(const char* op, const char* name, const Tensor& tensor, int rank) {
  check_defined(op, name, tensor);
  RL_CHECK(tensor.rank() == rank, code::kShape, op, ": expected ", name, " with ", rank, " dimensions, got ", tensor.shape());
}

// `x` is the tensor that set the expectation; the message shows its shape.
inline void check_shape(const char* op, const char* name, const Tensor& tensor, const Shape& expected, const Tensor& x) {
  check_defined(op, name, tensor);
  RL_CHECK(tensor.shape() == expected, code::kShape, op, ": expected ", name, " ", expected, ", got ", tensor.shape(),
           " (x is ", x.shape(), ")");
}

// Same device as `x`; for arguments whose dtype is their own.
inline void check_device(const char* op, const char* name, const Tensor& tensor, const Tensor& x) {
  RL_CHECK(&tensor.device() == &x.device(), code::kShape, op, ": ", name, " is on ", tensor.device().name(),
           " but x is on ", x.device().name());
}

// Same dtype and device as `x`; undefined tensors pass.
inline void check_like(const char* op, const char* name, const Tensor& tensor, const Tensor& x) {
  if (!tensor.defined()) return;
  RL_CHECK(tensor.dtype() == x.dtype(), code::kShape, op, ": ", name, " is ", name_of(tensor.dtype()), " but x is ",
           name_of(x.dtype()));
  RL_CHECK(&tensor.device() == &x.device(), code::kShape, op, ": ", name, " is on ", tensor.device().name(),
           " but x is on ", x.device().name());
}

}  // namespace rl
