#include "native/ops/conv/upsample.h"

#include <cstring>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T>
RL_VECTORIZED void double_row(const T* in, T* out, int64_t width) {
  for (int64_t j = 0; j < width; ++j) out[2 * j] = out[2 * j + 1] = in[j];
}

template <class T>
RL_VECTORIZED void fold_rows(const T* top, const T* bottom, T* out, int64_t width) {
  for (int64_t j = 0; j < width; ++j)
    out[j] = from_float<T>((to_float(top[2 * j]) + to_float(top[2 * j + 1])) +
                           (to_float(bottom[2 * j]) + to_float(bottom[2 * j + 1])));
}

}  // namespace

void upsample_nearest2x_cpu(const UpsampleArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.planes * a.height, grain_for(5 * a.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        T* out = static_cast<T*>(a.out) + row * 4 * a.width;
        double_row(static_cast<const T*>(a.in) + row * a.width, out, a.width);
        if (a.width > 0) std::memcpy(out + 2 * a.width, out, static_cast<size_t>(2 * a.width) * sizeof(T));
      }
    });
  });
}

void upsample_nearest2x_bwd_cpu(const UpsampleArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.planes * a.height, grain_for(5 * a.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* in = static_cast<const T*>(a.in) + row * 4 * a.width;
        fold_rows(in, in + 2 * a.width, static_cast<T*>(a.out) + row * a.width, a.width);
      }
    });
  });
}

Tensor upsample_nearest2x(const Tensor& x) {
  check_float("upsample_nearest2x", "x", x);
  check_rank("upsample_nearest2x", "x", x, 4);
  Tensor y = Tensor::empty(x.device(), {x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, x.dtype());
  const UpsampleArgs args{x.data(), y.data(), x.size(0) * x.size(1), x.size(2), x.size(3), x.dtype()};
  RL_LAUNCH(x.device(), "upsample_nearest2x", upsample_nearest2x_cpu(args),
            upsample_nearest2x_cuda(args, cuda_stream(x.device())));
  return y;
}

Tensor upsample_nearest2x_bwd(const Tensor& dy) {
  check_float("upsample_nearest2x_bwd", "dy", dy);
  check_rank("upsample_nearest2x_bwd", "dy", dy, 4);
  RL_CHECK(dy.size(2) % 2 == 0 && dy.size(3) % 2 == 0, code::kShape,
           "upsample_nearest2x_bwd: expected dy with even height and width, got ", dy.shape());
  Tensor dx = Tensor::empty(dy.device(), {dy.size(0), dy.size(1), dy.size(2) / 2, dy.size(3) / 2}, dy.dtype());
  const UpsampleArgs args{dy.data(), dx.data(), dy.size(0) * dy.size(1), dx.size(2), dx.size(3), dy.dtype()};
  RL_LAUNCH(dy.device(), "upsample_nearest2x_bwd", upsample_nearest2x_bwd_cpu(args),
            upsample_nearest2x_bwd_cuda(args, cuda_stream(dy.device())));
  return dx;
}

RL_OP(upsample_nearest2x);
RL_OP(upsample_nearest2x_bwd);

}  // namespace rl
