#include "native/ops/conv/resize.h"

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/conv/resize_taps.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T>
RL_VECTORIZED void mix_rows(const T* plane, const ResizeAxis& rows, int64_t i, int64_t width, float* out) {
  std::fill(out, out + width, 0.0f);
  for (int32_t t = rows.starts[i]; t < rows.starts[i + 1]; ++t) {
    const T* row = plane + rows.index[t] * width;
    const float weight = rows.weight[t];
    for (int64_t q = 0; q < width; ++q) out[q] += weight * to_float(row[q]);
  }
}

template <class T>
void mix_columns(const float* row, const ResizeAxis& columns, int64_t width, T* out) {
  for (int64_t j = 0; j < width; ++j) {
    float sum = 0;
    for (int32_t t = columns.starts[j]; t < columns.starts[j + 1];
        ++t) sum += columns.weight[t] * row[columns.index[t]];
    out[j] = from_float<T>(sum);
  }
}

}  // namespace

void resize_cpu(const ResizeArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.planes * a.out_h, grain_for(4 * (a.in_w + a.out_w)),
        [&](int64_t begin, int64_t end) {
      thread_local cpu::Workspace buffer;
      float* row = buffer.floats(a.in_w);
      for (int64_t item = begin; item < end; ++item) {
        const T* plane = static_cast<const T*>(a.x) + item / a.out_h * a.in_h * a.in_w;
        mix_rows(plane, a.rows, item % a.out_h, a.in_w, row);
        mix_columns(row, a.columns, a.out_w, static_cast<T*>(a.y) + item * a.out_w);
      }
    });
  });
}

namespace {

// The taps of one axis on the device.
struct DeviceTaps {
  Tensor starts, index, weight;

  DeviceTaps(Device& device, const ResizeTaps& taps)
      : starts(upload(device, taps.starts, DType::i32)),
        index(upload(device, taps.index, DType::i32)),
        weight(upload(device, taps.weight, DType::f32)) {}
  ResizeAxis axis() const { return {starts.as<int32_t>(), index.as<int32_t>(), weight.as<float>()}; }

 private:
  template <class T>
  static Tensor upload(Device& device, const std::vector<T>& values, DType dtype) {
    Tensor tensor = Tensor::empty(device, {static_cast<int64_t>(values.size())}, dtype);
    if (!values.empty()) device.upload(tensor.data(), values.data(), values.size() * sizeof(T));
    return tensor;
  }
};

void check(const char* op, const char* name, const Tensor& x, int64_t height, int64_t width) {
  check_float(op, name, x);
  check_rank(op, name, x, 4);
  RL_CHECK(height >= 1 && width >= 1 && x.size(2) >= 1 && x.size(3) >= 1, code::kShape, op, ": cannot resize ", name,
      " ",
           x.shape(), " to ", height, "x", width, ": every size must be at least 1");
  RL_CHECK(height < (1 << 20) && width < (1 << 20), code::kShape, op, ": ", height, "x", width, " is too large");
}

Tensor resample(const char* op, const Tensor& x, int64_t height, int64_t width, const ResizeTaps& rows,
    const ResizeTaps& columns) {
  Tensor y = Tensor::empty(x.device(), {x.size(0), x.size(1), height, width}, x.dtype());
  const DeviceTaps on_rows(x.device(), rows), on_columns(x.device(), columns);
  const ResizeArgs args{x.data(), y.data(), x.size(0) * x.size(1), x.size(2), x.size(3), height, width,
                        on_rows.axis(), on_columns.axis(), x.dtype()};
  RL_LAUNCH(x.device(), op, resize_cpu(args), resize_cuda(args, cuda_stream(x.device())));
  return y;
}

}  // namespace

Tensor resize_bilinear(const Tensor& x, int64_t height, int64_t width, bool align_corners) {
  check("resize_bilinear", "x", x, height, width);
  return resample("resize_bilinear", x, height, width, bilinear_taps(x.size(2), height, align_corners),
                  bilinear_taps(x.size(3), width, align_corners));
}

Tensor resize_bilinear_bwd(const Tensor& dy, int64_t in_height, int64_t in_width, bool align_corners) {
  check("resize_bilinear_bwd", "dy", dy, in_height, in_width);
  return resample("resize_bilinear_bwd", dy, in_height, in_width,
                  transposed(bilinear_taps(in_height, dy.size(2), align_corners), in_height),
                  transposed(bilinear_taps(in_width, dy.size(3), align_corners), in_width));
}

Tensor resize_bicubic(const Tensor& x, int64_t height, int64_t width, bool antialias) {
  check("resize_bicubic", "x", x, height, width);
  return resample("resize_bicubic", x, height, width, bicubic_taps(x.size(2), height, antialias),
                  bicubic_taps(x.size(3), width, antialias));
}

Tensor resize_bicubic_bwd(const Tensor& dy, int64_t in_height, int64_t in_width, bool antialias) {
  check("resize_bicubic_bwd", "dy", dy, in_height, in_width);
  return resample("resize_bicubic_bwd", dy, in_height, in_width,
                  transposed(bicubic_taps(in_height, dy.size(2), antialias), in_height),
                  transposed(bicubic_taps(in_width, dy.size(3), antialias), in_width));
}

RL_OP(resize_bilinear);
RL_OP(resize_bilinear_bwd);
RL_OP(resize_bicubic);
RL_OP(resize_bicubic_bwd);

}  // namespace rl
