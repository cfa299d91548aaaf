// A contiguous row-major array on one device. Copying a Tensor shares its memory; views share it too.
#pragma once

#include <memory>

#include "native/core/device.h"
#include "native/core/dtype.h"
#include "native/core/shape.h"

namespace rl {

class Tensor {
 public:
  Tensor() = default;  // undefined: an absent optional input or result

  // Uninitialised memory from the device's arena. Throws ERR_OUT_OF_MEMORY.
  static Tensor empty(Device& device, const Shape& shape, DType dtype = DType::f32);
  // Wraps memory that lives as long as `buffer` (mapped weights).
  static Tensor wrap(std::shared_ptr<Buffer> buffer, size_t byte_offset, const Shape& shape, DType dtype);

  bool defined() const { return buffer_ != nullptr; }
  explicit operator bool() const { return defined(); }
  Device& device() const { return *buffer_->device; }
  const Shape& shape() const { return shape_; }
  int64_t size(int i) const { return shape_[i]; }
  int rank() const { return shape_.rank(); }
  DType dtype() const { return dtype_; }
  int64_t numel() const { return shape_.numel(); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }

  void* data() const { return buffer_ ? static_cast<char*>(buffer_->data) + byte_offset_ : nullptr; }
  template <class T>
  T* as() const { return static_cast<T*>(data()); }

  // Same memory, other sizes; the number of elements must agree.
  Tensor reshape(const Shape& shape) const;
  // Rows [start, start + length) of the first dimension, without a copy.
  Tensor narrow_rows(int64_t start, int64_t length) const;

 private:
  std::shared_ptr<Buffer> buffer_;
  size_t byte_offset_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace rl
