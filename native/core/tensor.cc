#include "native/core/tensor.h"

namespace rl {

Tensor Tensor::empty(Device& device, const Shape& shape, DType dtype) {
  int64_t bytes = 0;
  RL_CHECK(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes), code::kShape,
           "tensor ", shape, " has too many bytes");
  Tensor tensor;
  tensor.buffer_ = device.allocate(static_cast<size_t>(bytes));
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::wrap(std::shared_ptr<Buffer> buffer, size_t byte_offset, const Shape& shape, DType dtype) {
  RL_CHECK(byte_offset + static_cast<size_t>(shape.numel()) * size_of(dtype) <= buffer->bytes, code::kShape,
           "tensor ", shape, " does not fit its buffer of ", buffer->bytes, " bytes");
  Tensor tensor;
  tensor.buffer_ = std::move(buffer);
  tensor.byte_offset_ = byte_offset;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::reshape(const Shape& shape) const {
  RL_CHECK(shape.numel() == numel(), code::kShape, "reshape: ", shape_, " has ", numel(), " elements, ", shape, " has ",
           shape.numel());
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::narrow_rows(int64_t start, int64_t length) const {
  RL_CHECK(rank() >= 1 && start >= 0 && length >= 0 && start <= shape_[0] && length <= shape_[0] - start, code::kShape,
           "narrow_rows: ", length, " rows from row ", start, " of ", shape_);
  Tensor view = *this;
  view.byte_offset_ += static_cast<size_t>(start * shape_.numel(1, rank())) * size_of(dtype_);
  view.shape_[0] = length;
  return view;
}

}  // namespace rl
