// Tensors for the native tests of ops: host values are float64, rounded to what the dtype can hold, so that a float64
// reference sees exactly what the op saw.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "native/backend/cpu/bf16.h"
#include "native/core/tensor.h"
#include "test/native/harness.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/cuda_info.h"
#endif

namespace rl::test {

using Values = std::vector<double>;

// The CPU, and the first CUDA device where the build and the machine have one.
inline const std::vector<std::shared_ptr<Device>>& test_devices() {
  static const auto devices = [] {
    std::vector<std::shared_ptr<Device>> all{make_device("cpu")};
#if RL_WITH_CUDA
    if (cuda_info().device_count > 0) all.push_back(make_device("cuda"));
#endif
    return all;
  }();
  return devices;
}

// Runs `body` for every device and f32, bf16.
inline void for_each_device_and_dtype(const std::function<void(Device&, DType)>& body) {
  for (const auto& device : test_devices())
    for (DType dtype : {DType::f32, DType::bf16}) body(*device, dtype);
}

inline double rounded(double value, DType dtype) {
  const float f = static_cast<float>(value);
  return dtype == DType::bf16 ? cpu::round_to_bf16(f) : f;
}

// Normal numbers that `dtype` holds exactly.
inline Values normals(Random& random, const Shape& shape, DType dtype = DType::f32, double scale = 1, double offset = 0) {
  Values out(static_cast<size_t>(shape.numel()));
  for (double& value : out) value = rounded(offset + scale * random.normal(), dtype);
  return out;
}

inline Tensor upload(Device& device, const Shape& shape, const Values& values, DType dtype = DType::f32) {
  RL_CHECK(static_cast<int64_t>(values.size()) == shape.numel(), code::kShape, "upload: ", values.size(), " values for ", shape);
  Tensor out = Tensor::empty(device, shape, dtype);
  if (values.empty()) return out;
  if (dtype == DType::i32) {
    std::vector<int32_t> host(values.begin(), values.end());
    device.upload(out.data(), host.data(), out.bytes());
  } else if (dtype == DType::bf16) {
    std::vector<cpu::bf16> host(values.size());
    for (size_t i = 0; i < values.size(); ++i) host[i] = cpu::to_bf16(static_cast<float>(values[i]));
    device.upload(out.data(), host.data(), out.bytes());
  } else {
    std::vector<float> host(values.begin(), values.end());
    device.upload(out.data(), host.data(), out.bytes());
  }
  return out;
}

// Waits for the device; throws what its queue met.
inline Values download(const Tensor& tensor) {
  const size_t count = static_cast<size_t>(tensor.numel());
  Values out(count);
  if (count == 0) {
    tensor.device().wait();
    return out;
  }
  std::vector<char> bytes(tensor.bytes());
  tensor.device().download(bytes.data(), tensor.data(), tensor.bytes());
  tensor.device().wait();
  for (size_t i = 0; i < count; ++i) {
    if (tensor.dtype() == DType::bf16) {
      cpu::bf16 value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      out[i] = cpu::to_float(value);
    } else if (tensor.dtype() == DType::i32) {
      int32_t value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      out[i] = value;
    } else {
      float value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      out[i] = value;
    }
  }
  return out;
}

// Gradient of `loss` at `at` by central differences in float64; the step suits losses of order 1 to 100.
inline Values central_differences(const std::function<double(const Values&)>& loss, Values at, double step = 1e-5) {
  Values gradient(at.size());
  for (size_t i = 0; i < at.size(); ++i) {
    const double x = at[i];
    at[i] = x + step;
    const double above = loss(at);
    at[i] = x - step;
    const double below = loss(at);
    at[i] = x;
    gradient[i] = (above - below) / (2 * step);
  }
  return gradient;
}

inline double inner(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Keeps the worst figure per name and prints the list at exit: where the tolerances in the tests come from.
class Worst {
 public:
  static double note(const std::string& name, double value) {
    auto& all = list();
    for (auto& [known, worst] : all)
      if (known == name) return worst = std::max(worst, value), value;
    all.emplace_back(name, value);
    return value;
  }

 private:
  struct List : std::vector<std::pair<std::string, double>> {
    ~List() {
      for (const auto& [name, worst] : *this) std::printf("worst %-48s %.3g\n", name.c_str(), worst);
    }
  };
  static List& list() {
    static List all;
    return all;
  }
};

inline void check_close(const char* file, int line, const std::string& what, const Tensor& actual, const Values& expected,
                        double bound) {
  // The bounds are measured on the CPU; CUDA sums in another order.
  if (actual.device().is_cuda()) bound *= 3;
  const double relative = compare(download(actual), expected).relative;
  const std::string where = what + " " + name_of(actual.dtype()) + " " + actual.device().name();
  Worst::note(where, relative);
  if (!(relative <= bound)) report_failure(file, line, str(where, " ", actual.shape(), ": ", relative, " > ", bound));
}

// Checks the relative difference (max |a - e| / max |e|) of a tensor against float64 values.
#define CHECK_CLOSE(what, actual, expected, bound) \
  ::rl::test::check_close(__FILE__, __LINE__, (what), (actual), (expected), (bound))

}  // namespace rl::test
