#include "native/ops/conv/patchify.h"

#include <cstring>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

// Calls copy(token element, image element) for the first of each run of `patch` elements that lie together in both.
template <class Copy>
void each_run(const PatchifyArgs& a, const Copy& copy) {
  const int64_t p = a.patch, dim = a.channels * p * p, height = a.grid_h * p, width = a.grid_w * p;
  ThreadPool::instance().parallel_for(a.batch * a.grid_h, grain_for(dim * a.grid_w), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / a.grid_h, r = item % a.grid_h;
      for (int64_t c = 0; c < a.grid_w; ++c)
        for (int64_t ch = 0; ch < a.channels; ++ch)
          for (int64_t ph = 0; ph < p; ++ph)
            copy((item * a.grid_w + c) * dim + (ch * p + ph) * p,
                ((b * a.channels + ch) * height + r * p + ph) * width + c * p);
    }
  });
}

template <class T>
void copy_run(const T* in, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i];
}

}  // namespace

void patchify_cpu(const PatchifyArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    each_run(a, [&](int64_t token, int64_t image) {
      copy_run(static_cast<const T*>(a.in) + image, static_cast<T*>(a.out) + token, a.patch);
    });
  });
}

void unpatchify_cpu(const PatchifyArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    each_run(a, [&](int64_t token, int64_t image) {
      copy_run(static_cast<const T*>(a.in) + token, static_cast<T*>(a.out) + image, a.patch);
    });
  });
}

Tensor patchify(const Tensor& x, int64_t patch) {
  check_float("patchify", "x", x);
  check_rank("patchify", "x", x, 4);
  RL_CHECK(patch >= 1 && x.size(2) % patch == 0 && x.size(3) % patch == 0, code::kShape,
           "patchify: height and width must be multiples of the patch size ", patch, " (x is ", x.shape(), ")");
  const int64_t grid_h = x.size(2) / patch, grid_w = x.size(3) / patch;
  Tensor y = Tensor::empty(x.device(), {x.size(0), grid_h * grid_w, x.size(1) * patch * patch}, x.dtype());
  const PatchifyArgs args{x.data(), y.data(), x.size(0), x.size(1), grid_h, grid_w, patch, x.dtype()};
  RL_LAUNCH(x.device(), "patchify", patchify_cpu(args), patchify_cuda(args, cuda_stream(x.device())));
  return y;
}

Tensor unpatchify(const Tensor& x, int64_t patch, int64_t height, int64_t width) {
  check_float("unpatchify", "x", x);
  check_rank("unpatchify", "x", x, 3);
  RL_CHECK(patch >= 1 && height >= 0 && width >= 0 && height % patch == 0 && width % patch == 0, code::kShape,
           "unpatchify: image size ", height, "x", width, " is not a multiple of the patch size ", patch);
  const int64_t grid_h = height / patch, grid_w = width / patch;
  RL_CHECK(x.size(1) == grid_h * grid_w && x.size(2) % (patch * patch) == 0, code::kShape, "unpatchify: expected x [B,",
           grid_h * grid_w, ",C*", patch * patch, "] for an image of ", height, "x", width, ", got ", x.shape());
  const int64_t channels = x.size(2) / (patch * patch);
  Tensor y = Tensor::empty(x.device(), {x.size(0), channels, height, width}, x.dtype());
  const PatchifyArgs args{x.data(), y.data(), x.size(0), channels, grid_h, grid_w, patch, x.dtype()};
  RL_LAUNCH(x.device(), "unpatchify", unpatchify_cpu(args), unpatchify_cuda(args, cuda_stream(x.device())));
  return y;
}

RL_OP(patchify);
RL_OP(unpatchify);

}  // namespace rl
