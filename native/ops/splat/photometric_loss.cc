#include "native/ops/splat/photometric_loss.h"

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int kTaps = 2 * kSsimRadius + 1;
constexpr int64_t kTile = 32, kTileRows = 16;  // of the CUDA kernels

// One side of the window, outermost first: exp(-d^2 / (2 * 1.5^2)) / sum.
constexpr float k0 = 0.00102838008447911f, k1 = 0.007598758135239185f, k2 = 0.03600077212843083f,
                k3 = 0.10936068950970002f, k4 = 0.2130055377112537f, k5 = 0.26601172486179436f;

// out[i] = sum over k of K[k] padded[i + k]; `padded` has kSsimRadius zeros on each side.
RL_VECTORIZED void filter_row(const float* p, float* __restrict out, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i)
    out[i] = k0 * (p[i] + p[i + 10]) + k1 * (p[i + 1] + p[i + 9]) + k2 * (p[i + 2] + p[i + 8]) +
             k3 * (p[i + 3] + p[i + 7]) + k4 * (p[i + 4] + p[i + 6]) + k5 * p[i + 5];
}

// The same down the columns of kTaps rows.
RL_VECTORIZED void filter_columns(const float* const rows[kTaps], float* __restrict out, int64_t width) {
  const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3], *e = rows[4], *f = rows[5], *g = rows[6], *h = rows[7],
              *p = rows[8], *q = rows[9], *r = rows[10];
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i)
    out[i] = k0 * (a[i] + r[i]) + k1 * (b[i] + q[i]) + k2 * (c[i] + p[i]) + k3 * (d[i] + h[i]) + k4 * (e[i] + g[i]) + k5 * f[i];
}

RL_VECTORIZED void multiply_row(const float* a, const float* b, float* __restrict out, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) out[i] = a[i] * b[i];
}

RL_VECTORIZED void square_sum_row(const float* x, const float* y, float* __restrict out, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] * x[i] + y[i] * y[i];
}

RL_VECTORIZED void scale_row(const float* factor, float* __restrict x, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) x[i] *= factor[i];
}

// The three gradient maps and S of a row from its filtered x, y, x^2 + y^2 and x y.
RL_VECTORIZED void ssim_row(const float* mean_x, const float* mean_y, const float* square, const float* product,
    float* __restrict map1, float* __restrict map2, float* __restrict map3, float* __restrict ssim, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) {
    const float mx = mean_x[i], my = mean_y[i], power = mx * mx + my * my, cross = mx * my;
    const float a1 = 2 * cross + kSsimC1, a2 = 2 * (product[i] - cross) + kSsimC2;
    const float b1 = power + kSsimC1, b2 = square[i] - power + kSsimC2;
    const float inverse = 1 / (b1 * b2), s = a1 * a2 * inverse;
    const float g1 = 2 * my * a2 * inverse - 2 * mx * s / b1, g2 = -s / b2, g3 = 2 * a1 * inverse;
    map1[i] = g1 - 2 * mx * g2 - my * g3;
    map2[i] = g2;
    map3[i] = g3;
    ssim[i] = s;
  }
}

// d_image of a row before the mask, and |x - y|. NaN passes through the sign.
RL_VECTORIZED void gradient_row(const float* x, const float* y, const float* map1, const float* map2, const float* map3,
    float l1, float ssim, float* __restrict d_image, float* __restrict absolute, int64_t width) {
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) {
    const float d = x[i] - y[i], sign = d > 0 ? 1.0f : d < 0 ? -1.0f : d;
    d_image[i] = l1 * sign - ssim * (map1[i] + 2 * x[i] * map2[i] + y[i] * map3[i]);
    absolute[i] = d < 0 ? -d : d;
  }
}

RL_VECTORIZED double sum_row(const float* x, int64_t width) {
  double lanes[16] = {};
  const int64_t whole = width / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16)
    for (int k = 0; k < 16; ++k) lanes[k] += x[i + k];
  double sum = 0;
  for (double lane : lanes) sum += lane;
  for (int64_t i = whole; i < width; ++i) sum += x[i];
  return sum;
}

// Rows of a strip of the picture and the halos that its gradient needs: small enough for a core's L2 cache.
int64_t strip_rows(int64_t width) { return std::clamp<int64_t>(32768 / width, 16, 64); }

// Scratch of one strip: whole rows of filtered products and gradient maps, and a few rows with kSsimRadius zeros on each side.
class Strip {
 public:
  Strip(const PhotometricLossArgs& args, int64_t plane, int64_t first, int64_t last, float* memory)
      : a_(args), plane_(plane), first_(first), last_(last), products_(memory),
        maps_(memory + 4 * product_rows(strip_rows(args.width)) * args.width),
        rows_(maps_ + 3 * map_rows(strip_rows(args.width)) * args.width) {
    std::fill(rows_, rows_ + kRows * (a_.width + 2 * kSsimRadius), 0.0f);
  }

  static int64_t floats(int64_t width) {
    const int64_t rows = strip_rows(width);
    return (4 * product_rows(rows) + 3 * map_rows(rows)) * width + kRows * (width + 2 * kSsimRadius);
  }

  // The pictures of the strip and twice the halo, filtered along rows.
  void filter_products() {
    for (int64_t row = clip(first_ - 2 * kSsimRadius); row < clip(last_ + 2 * kSsimRadius); ++row) {
      load_row(a_.image, row, inner(0));
      load_row(a_.target, row, inner(1));
      square_sum_row(inner(0), inner(1), inner(2), a_.width);
      multiply_row(inner(0), inner(1), inner(3), a_.width);
      for (int k = 0; k < 4; ++k) filter_row(padded(k), product(k, row), a_.width);
    }
  }

  // The gradient maps of the strip and its halo, filtered along rows; S is summed over the strip alone.
  void filter_maps() {
    for (int64_t row = clip(first_ - kSsimRadius); row < clip(last_ + kSsimRadius); ++row) {
      for (int k = 0; k < 4; ++k) filter_around(row, [&](int64_t at) { return product(k, at); }, inner(4 + k));
      ssim_row(inner(4), inner(5), inner(6), inner(7), inner(0), inner(1), inner(2), inner(3), a_.width);
      if (row >= first_ && row < last_) partial(row)[1] = sum_row(inner(3), a_.width);
      for (int k = 0; k < 3; ++k) filter_row(padded(k), map(k, row), a_.width);
    }
  }

  void write_gradient(float l1, float ssim) {
    for (int64_t row = first_; row < last_; ++row) {
      load_row(a_.image, row, inner(0));
      load_row(a_.target, row, inner(1));
      for (int k = 0; k < 3; ++k) filter_around(row, [&](int64_t at) { return map(k, at); }, inner(2 + k));
      float* out = a_.d_image + (plane_ * a_.height + row) * a_.width;
      gradient_row(inner(0), inner(1), inner(2), inner(3), inner(4), l1, ssim, out, inner(5), a_.width);
      if (a_.mask != nullptr) scale_row(a_.mask + row * a_.width, out, a_.width);
      partial(row)[0] = sum_row(inner(5), a_.width);
    }
  }

 private:
  static constexpr int kRows = 9;  // 8 working rows and one of zeros
  static int64_t map_rows(int64_t rows) { return rows + 2 * kSsimRadius; }
  static int64_t product_rows(int64_t rows) { return rows + 4 * kSsimRadius; }

  int64_t clip(int64_t row) const { return std::clamp<int64_t>(row, 0, a_.height); }
  float* padded(int i) { return rows_ + i * (a_.width + 2 * kSsimRadius); }
  float* inner(int i) { return padded(i) + kSsimRadius; }
  float* product(int k, int64_t row) {
    return products_ + (k * product_rows(strip_rows(a_.width)) + row - (first_ - 2 * kSsimRadius)) * a_.width;
  }
  float* map(int k, int64_t row) { return maps_ + (k * map_rows(strip_rows(a_.width)) + row - (first_ - kSsimRadius)) * a_.width; }
  double* partial(int64_t row) { return a_.partial + 2 * (plane_ * a_.height + row); }

  void load_row(const float* picture, int64_t row, float* out) {
    const float* source = picture + (plane_ * a_.height + row) * a_.width;
    if (a_.mask == nullptr) {
      std::copy(source, source + a_.width, out);
    } else {
      multiply_row(source, a_.mask + row * a_.width, out, a_.width);
    }
  }

  // filter_columns of the rows around `row`; rows beyond the border are zero.
  template <class Source>
  void filter_around(int64_t row, const Source& source, float* out) {
    const float* rows[kTaps];
    for (int k = 0; k < kTaps; ++k) {
      const int64_t at = row + k - kSsimRadius;
      rows[k] = at < 0 || at >= a_.height ? inner(kRows - 1) : source(at);
    }
    filter_columns(rows, out, a_.width);
  }

  const PhotometricLossArgs& a_;
  int64_t plane_, first_, last_;
  float* products_;
  float* maps_;
  float* rows_;
};

}  // namespace

int64_t photometric_loss_parts(bool cuda, int64_t planes, int64_t height, int64_t width) {
  if (!cuda) return planes * height;
  return planes * ((height + kTileRows - 1) / kTileRows) * ((width + kTile - 1) / kTile);
}

void photometric_loss_cpu(const PhotometricLossArgs& a) {
  const int64_t rows = a.planes * a.height, width = a.width, count = rows * width;
  if (count == 0) {
    a.terms[0] = 0;
    a.terms[1] = 1;
    return;
  }
  const auto inverse = 1 / static_cast<double>(count);
  const auto l1 = static_cast<float>((1 - static_cast<double>(a.ssim_weight)) * inverse);
  const auto ssim = static_cast<float>(a.ssim_weight * inverse);
  const int64_t step = strip_rows(width), strips = (a.height + step - 1) / step;
  ThreadPool::instance().parallel_for(a.planes * strips, std::max<int64_t>(1, 2048 / (step * width)), [&](int64_t begin, int64_t end) {
    thread_local cpu::Workspace memory;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % strips * step;
      Strip strip(a, i / strips, first, std::min(first + step, a.height), memory.floats(Strip::floats(width)));
      strip.filter_products();
      strip.filter_maps();
      strip.write_gradient(l1, ssim);
    }
  });
  double sums[2] = {};
  for (int64_t row = 0; row < rows; ++row)
    for (int k = 0; k < 2; ++k) sums[k] += a.partial[2 * row + k];
  for (int k = 0; k < 2; ++k) a.terms[k] = static_cast<float>(sums[k] * inverse);
}

std::vector<Tensor> photometric_loss(const Tensor& image, const Tensor& target, const Tensor& mask, double ssim_weight) {
  const char* op = "photometric_loss";
  check_dtype(op, "image", image, DType::f32);
  RL_CHECK(image.rank() == 3 && image.size(0) == 3, code::kShape, "photometric_loss: expected image [3,H,W], got ", image.shape());
  check_shape(op, "target", target, image.shape(), image);
  check_like(op, "target", target, image);
  const int64_t height = image.size(1), width = image.size(2);
  if (mask) check_shape(op, "mask", mask, {height, width}, image);
  check_like(op, "mask", mask, image);
  RL_CHECK(ssim_weight >= 0 && ssim_weight <= 1, code::kConfig, "photometric_loss: ssim_weight ", ssim_weight,
           " must lie in [0, 1]");
  Device& device = image.device();
  const bool cuda = device.is_cuda();
  Tensor terms = Tensor::empty(device, {2}), d_image = Tensor::empty(device, image.shape());
  Tensor maps;
  if (cuda) maps = Tensor::empty(device, {3, image.numel()});
  Tensor partial = Tensor::empty(device, {photometric_loss_parts(cuda, 3, height, width), 2}, DType::f64);
  const PhotometricLossArgs args{image.as<float>(), target.as<float>(), mask.as<float>(), terms.as<float>(),
                                 d_image.as<float>(), maps.as<float>(), partial.as<double>(), 3, height, width,
                                 static_cast<float>(ssim_weight)};
  RL_LAUNCH(device, "photometric_loss", photometric_loss_cpu(args), photometric_loss_cuda(args, cuda_stream(device)));
  return {terms, d_image};
}

RL_OP(photometric_loss);

}  // namespace rl
