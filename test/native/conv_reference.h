// Shared by the tests of the image ops: tensors with their values, the devices and ISAs to run on, convolution in
// float64.
#pragma once

#include <functional>
#include <memory>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/core/tensor.h"
#include "native/ops/conv/conv_cpu.h"
#include "test/native/harness.h"

namespace rl::test {

// A CPU device once per ISA of this machine, then CUDA where there is one.
inline void for_each_device_and_isa(const std::function<void(Device&, const std::string&)>& body) {
  const std::shared_ptr<Device> host = make_device("cpu");
  const cpu::Isa best = cpu::best_isa();
  for (int level = 0; level <= static_cast<int>(best); ++level) {
    cpu::set_isa(static_cast<cpu::Isa>(level));
    body(*host, cpu::isa_name(static_cast<cpu::Isa>(level)));
  }
  cpu::set_isa(best);
#if RL_WITH_CUDA
  std::shared_ptr<Device> cuda;
  try {
    cuda = make_device("cuda");
  } catch (const Error&) {
    return;
  }
  body(*cuda, "cuda");
#endif
}

inline Tensor upload(Device& device, const Shape& shape, DType dtype, const std::vector<float>& values) {
  Tensor tensor = Tensor::empty(device, shape, dtype);
  if (values.empty()) return tensor;
  if (dtype == DType::f32) {
    device.upload(tensor.data(), values.data(), values.size() * 4);
  } else {
    std::vector<cpu::bf16> narrow;
    for (float value : values) narrow.push_back(cpu::to_bf16(value));
    device.upload(tensor.data(), narrow.data(), narrow.size() * 2);
  }
  return tensor;
}

inline std::vector<double> read(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.numel()));
  if (values.empty()) return values;
  std::vector<char> raw(tensor.bytes());
  tensor.device().download(raw.data(), tensor.data(), raw.size());
  tensor.device().wait();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = tensor.dtype() == DType::f32 ? reinterpret_cast<const float*>(raw.data())[i]
                                             : cpu::to_float(reinterpret_cast<const cpu::bf16*>(raw.data())[i]);
  }
  return values;
}

// Normal numbers, as they are after rounding to the dtype; `exact_in_bf16` rounds f32 numbers as well.
struct Sample {
  std::vector<double> values;
  Tensor tensor;
  Sample(Device& device, const Shape& shape, DType dtype, Random& random, bool exact_in_bf16 = false) {
    std::vector<float> drawn = random.normals(shape.numel());
    if (exact_in_bf16)
      for (float& value : drawn) value = cpu::round_to_bf16(value);
    tensor = upload(device, shape, dtype, drawn);
    for (float value : drawn) values.push_back(dtype == DType::f32 ? value : cpu::round_to_bf16(value));
  }
};

struct ConvReference {
  std::vector<double> y, dx, dw, db;
};

// The definition, one multiply-add at a time; gradients of sum(y * dy).
inline ConvReference conv_reference(const cpu::ConvShape& s, const std::vector<double>& x, const std::vector<double>& w,
                                    const std::vector<double>* bias, const std::vector<double>& dy) {
  ConvReference r;
  r.y.assign(dy.size(), 0);
  r.dx.assign(x.size(), 0);
  r.dw.assign(w.size(), 0);
  r.db.assign(static_cast<size_t>(s.out_channels), 0);
  size_t at = 0;
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t i = 0; i < s.out_h; ++i)
        for (int64_t j = 0; j < s.out_w; ++j, ++at) {
          double sum = bias ? (*bias)[static_cast<size_t>(o)] : 0;
          r.db[static_cast<size_t>(o)] += dy[at];
          for (int64_t c = 0; c < s.in_channels; ++c)
            for (int64_t u = 0; u < s.kernel_h; ++u)
              for (int64_t v = 0; v < s.kernel_w; ++v) {
                const int64_t row = s.stride * i + u - s.pad_top, column = s.stride * j + v - s.pad_left;
                if (row < 0 || row >= s.in_h || column < 0 || column >= s.in_w) continue;
                const auto from = static_cast<size_t>(((b * s.in_channels + c) * s.in_h + row) * s.in_w + column);
                const auto weight = static_cast<size_t>(((o * s.in_channels + c) * s.kernel_h + u) * s.kernel_w + v);
                sum += w[weight] * x[from];
                r.dx[from] += w[weight] * dy[at];
                r.dw[weight] += x[from] * dy[at];
              }
          r.y[at] = sum;
        }
  return r;
}

}  // namespace rl::test
