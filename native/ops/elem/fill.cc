#include "native/ops/elem/fill.h"

#include <algorithm>
#include <cmath>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T>
void fill_with(void* x, int64_t count, T value) {
  T* out = static_cast<T*>(x);
  ThreadPool::instance().parallel_for(count, 65536,
                                      [=](int64_t begin, int64_t end) { std::fill(out + begin, out + end, value); });
}

}  // namespace

void fill_cpu(const FillArgs& args) {
  switch (args.dtype) {
    case DType::f32: return fill_with(args.x, args.count, static_cast<float>(args.value));
    case DType::bf16: return fill_with(args.x, args.count, cpu::to_bf16(static_cast<float>(args.value)));
    case DType::i32: return fill_with(args.x, args.count, static_cast<int32_t>(args.value));
    default: return fill_with(args.x, args.count, static_cast<uint8_t>(args.value));
  }
}

std::vector<Tensor> fill(const Tensor& x, double value) {
  check_defined("fill", "x", x);
  const DType dtype = x.dtype();
  RL_CHECK(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::i32 || dtype == DType::u8, code::kShape,
           "fill: x must be f32, bf16, i32 or u8, got ", name_of(dtype));
  if (dtype == DType::i32 || dtype == DType::u8) {
    const double low = dtype == DType::i32 ? -2147483648.0 : 0.0, high = dtype == DType::i32 ? 2147483647.0 : 255.0;
    RL_CHECK(value == std::floor(value) && value >= low && value <= high, code::kConfig, "fill: ", value, " does not fit ",
             name_of(dtype));
  }
  if (x.numel() == 0) return {};
  const FillArgs args{x.data(), x.numel(), value, dtype};
  RL_LAUNCH(x.device(), "fill", fill_cpu(args), fill_cuda(args, cuda_stream(x.device())));
  return {};
}

RL_OP(fill);

}  // namespace rl
