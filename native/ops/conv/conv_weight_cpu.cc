#include <algorithm>
#include <vector>

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/conv/conv_amx.h"
#include "native/ops/conv/conv_cpu.h"
#include "native/ops/conv/conv_kernels.h"
#include "native/ops/conv/conv_planes.h"
#include "native/ops/dispatch.h"

namespace rl::cpu {
namespace {

using rl::to_float;

constexpr int64_t kBlockBytes = 640 << 10;  // both operands' planes stay in L2
constexpr int64_t kTail = 64;               // for reads past the last plane
constexpr int64_t kAmxChannels = 8;         // fewer would leave most of an AMX tile empty
constexpr int64_t kChunk = 1024;            // positions, about: four rows of dy and a few of x stay in L1
// Partial weight gradients: at most this many, fewer when they are large.
constexpr int64_t kPartials = 16, kPartialFloats = 8 << 20;

thread_local Workspace x_buffer, dy_buffer;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

const void* at(DType dtype, const void* data, int64_t elements) {
  return static_cast<const char*>(data) + elements * static_cast<int64_t>(size_of(dtype));
}

// k = (channel, u, v) in the order of OIHW weights.
std::vector<int64_t> weight_offsets(const ConvShape& s, const PlaneLayout& l) {
  std::vector<int64_t> offsets;
  for (int64_t c = 0; c < s.in_channels; ++c)
    for (int64_t u = 0; u < s.kernel_h; ++u)
      for (int64_t v = 0; v < s.kernel_w; ++v)
        offsets.push_back(((c * l.phases_h + u % s.stride) * l.phases_w + v % s.stride) * l.plane_stride +
                          u / s.stride * l.columns + v / s.stride);
  return offsets;
}

template <class T>
RL_VECTORIZED void add_parts(float* partial, int64_t parts, int64_t size, int64_t begin, int64_t end, T* out) {
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = begin; i < end; ++i) partial[i] += partial[part * size + i];
  for (int64_t i = begin; i < end; ++i) out[i] = from_float<T>(partial[i]);
}

}  // namespace

void conv_weight_grad(const ConvShape& s, DType dtype, bool bf16_products, const void* x, const void* dy, void* dw) {
  const int64_t k = s.in_channels * s.kernel_h * s.kernel_w, size = s.out_channels * k;
  if (size == 0) return;
  if (bf16_products && conv_amx_available() && s.in_channels >= kAmxChannels && s.out_channels >= kAmxChannels &&
      s.out_w > 0)
    return conv_weight_grad_amx(s, dtype, x, dy, dw);
  const ConvKernels& kernels = conv_kernels();
  PlaneLayout lx = input_layout(s);
  PlaneLayout ly = gradient_layout(s, 0, 0, lx.columns);  // the positions that are dropped are zero in dy
  const int64_t halo = (s.kernel_h - 1) / s.stride;
  const int64_t row_bytes = (lx.planes() + ly.planes()) * lx.columns * 4;
  const int64_t fitting = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, row_bytes) - halo, 1,
      std::max<int64_t>(1, s.out_h));
  const int64_t blocks = s.out_h == 0 ? 0 : ceil_div(s.out_h, fitting),
      rows = blocks == 0 ? 0 : ceil_div(s.out_h, blocks);
  set_rows(lx, rows + halo, (s.kernel_w - 1) / s.stride);
  set_rows(ly, rows, 0);
  const std::vector<int64_t> offsets = weight_offsets(s, lx);
  const int64_t total = s.out_w == 0 ? 0 : s.batch * blocks;
  // The cut into parts depends on the sizes alone, so the sums do not depend on the number of threads.
  const int64_t parts = std::clamp<int64_t>(std::min(total, kPartialFloats / size), 1, kPartials);
  std::vector<float> partial(static_cast<size_t>(parts * size), 0.0f);
  const int64_t lanes = kernels.lanes, tile_m = kernels.weight_rows, tile_n = kernels.weight_columns;
  ThreadPool::instance().parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      float* sums = partial.data() + part * size;
      for (int64_t item = total * part / parts; item < total * (part + 1) / parts; ++item) {
        const int64_t b = item / blocks, row0 = item % blocks * rows;
        const int64_t count = std::min(rows, s.out_h - row0) * lx.columns;
        float* xs = x_buffer.floats(lx.planes() * lx.plane_stride + kTail);
        float* ys = dy_buffer.floats(ly.planes() * ly.plane_stride + kTail);
        fill_planes(lx, dtype, at(dtype, x, b * s.in_channels * s.in_h * s.in_w), row0, xs, kTail);
        fill_planes(ly, dtype, at(dtype, dy, b * s.out_channels * s.out_h * s.out_w), row0, ys, kTail);
        const int64_t pieces = std::max<int64_t>(1, (count + kChunk / 2) / kChunk),
            piece = round_up(ceil_div(count, pieces), lanes);
        for (int64_t p = 0; p < count; p += piece)
          for (int64_t i = 0; i < s.out_channels; i += tile_m)
            for (int64_t j = 0; j < k; j += tile_n)
              kernels.weight_tile(static_cast<int>(std::min(tile_m, s.out_channels - i)),
                                  static_cast<int>(std::min(tile_n, k - j)),
                                      round_up(std::min(piece, count - p), lanes),
                                  ys + i * ly.plane_stride + p, ly.plane_stride, xs + p, offsets.data() + j,
                                      sums + i * k + j, k);
      }
    }
  });
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(size, grain_for(parts), [&](int64_t begin, int64_t end) {
      add_parts(partial.data(), parts, size, begin, end, static_cast<T*>(dw));
    });
  });
}

namespace {

template <class T>
RL_VECTORIZED float sum_of(const T* x, int64_t count) {
  float lanes[32] = {};
  const int64_t whole = count / 32 * 32;
  for (int64_t i = 0; i < whole; i += 32)
    for (int k = 0; k < 32; ++k) lanes[k] += to_float(x[i + k]);
  float sum = 0;
  for (float lane : lanes) sum += lane;
  for (int64_t i = whole; i < count; ++i) sum += to_float(x[i]);
  return sum;
}

}  // namespace

void channel_sums(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const void* x, void* out) {
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(channels, grain_for(batch * pixels), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        double sum = 0;
        for (int64_t b = 0; b < batch; ++b) sum += sum_of(static_cast<const T*>(x) + (b * channels + c) * pixels,
            pixels);
        static_cast<T*>(out)[c] = from_float<T>(static_cast<float>(sum));
      }
    });
  });
}

}  // namespace rl::cpu
