#include "native/ops/elem/select.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void select_cpu(const SelectArgs& args) {
  RL_DISPATCH_FLOAT(args.dtype, T, {
    const T* mask = static_cast<const T*>(args.mask);
    const T* a = static_cast<const T*>(args.a);
    const T* b = static_cast<const T*>(args.b);
    T* y = static_cast<T*>(args.y);
    ThreadPool::instance().parallel_for(args.count, 16384, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = to_float(mask[i]) != 0 ? a[i] : b[i];
    });
  });
}

Tensor select(const Tensor& mask, const Tensor& a, const Tensor& b) {
  check_float("select", "mask", mask);
  check_shape("select", "a", a, mask.shape(), mask);
  check_shape("select", "b", b, mask.shape(), mask);
  check_like("select", "a", a, mask);
  check_like("select", "b", b, mask);
  Tensor y = Tensor::empty(mask.device(), mask.shape(), mask.dtype());
  if (y.numel() == 0) return y;
  const SelectArgs args{mask.data(), a.data(), b.data(), y.data(), y.numel(), y.dtype()};
  RL_LAUNCH(mask.device(), "select", select_cpu(args), select_cuda(args, cuda_stream(mask.device())));
  return y;
}

RL_OP(select);

}  // namespace rl
