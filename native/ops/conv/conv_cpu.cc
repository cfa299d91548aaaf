#include "native/ops/conv/conv_cpu.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/conv/conv_kernels.h"
#include "native/ops/conv/conv_planes.h"
#include "native/ops/dispatch.h"

namespace rl::cpu {
namespace {

using rl::to_float;

// A block of planes stays in L2 next to the weights.
constexpr int64_t kBlockBytes = 640 << 10;
// Enough for every read past the last plane: one tile of the widest kernel.
constexpr int64_t kTail = 64;
// Multiply-adds below which a block is not worth a task of its own.
constexpr int64_t kTaskWork = 1 << 18;
// Partial weight gradients: at most this many, fewer when they are large.
constexpr int64_t kPartials = 16, kPartialFloats = 8 << 20;

thread_local Workspace planes_buffer, dy_buffer;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

const void* at(DType dtype, const void* data, int64_t elements) {
  return static_cast<const char*>(data) + elements * static_cast<int64_t>(size_of(dtype));
}
void* at(DType dtype, void* data, int64_t elements) {
  return static_cast<char*>(data) + elements * static_cast<int64_t>(size_of(dtype));
}
float element(DType dtype, const void* data, int64_t i) {
  return dtype == DType::f32 ? static_cast<const float*>(data)[i] : to_float(static_cast<const bf16*>(data)[i]);
}

// Where a row of a product goes: out[channel][out_stride r + shift_y][out_stride q + shift_x] for position (r, q).
struct OutRow {
  int64_t channel, shift_y, shift_x;
};

// Rows of products that share their k table.
struct Group {
  std::vector<OutRow> rows;
  std::vector<int64_t> offsets;      // [k] into the planes
  std::vector<int64_t> row_weight;   // the weight of (row, k) is w[row_weight[row] + k_weight[k]]
  std::vector<int64_t> k_weight;
  std::vector<float> panels;     // [ceil(rows / mr)][k][mr]
  std::vector<float> init;       // bias, rounded up to mr
};

struct Product {
  PlaneLayout layout;                    // rows: of one block and its halo
  int64_t batch;
  int64_t positions_h, positions_w;      // positions per image; columns - positions_w of each row are dropped
  int64_t block_rows;
  int64_t out_channels, out_h, out_w, out_stride;
  std::vector<Group> groups;
};

// A run of positions of one tile that lie in one row.
struct Segment {
  int64_t tile, row, column, count;
};

template <class T>
void store_run(const float* source, T* out, int64_t step, int64_t count) {
  if (step != 1) {
    for (int64_t i = 0; i < count; ++i) out[i * step] = from_float<T>(source[i]);
  } else if constexpr (sizeof(T) == 4) {
    std::memcpy(out, source, static_cast<size_t>(count) * 4);
  } else {
    to_bf16(source, out, count);
  }
}

template <class T>
void store_row(const Product& p, const OutRow& row, const float* tile, const Segment* segments, int count, T* image) {
  const int64_t s = p.out_stride;
  T* channel = image + row.channel * p.out_h * p.out_w;
  for (int i = 0; i < count; ++i) {
    const Segment& g = segments[i];
    const int64_t y = s * g.row + row.shift_y;
    if (y < 0 || y >= p.out_h) continue;
    int64_t first = 0, last = g.count;
    int64_t x = s * g.column + row.shift_x;
    while (first < last && x < 0) ++first, x += s;
    if (x + s * (last - first - 1) >= p.out_w) last = first + (p.out_w > x ? ceil_div(p.out_w - x, s) : 0);
    if (last > first) store_run(tile + g.tile + first, channel + y * p.out_w + x, s, last - first);
  }
}

constexpr int kMaxSegments = 64;  // positions of a tile: at most 48

void run_block(const Product& p, const ConvKernels& kernels, const float* planes, DType dtype, void* image, int64_t row0) {
  const int64_t columns = p.layout.columns, rows = std::min(p.block_rows, p.positions_h - row0);
  const int64_t count = (rows - 1) * columns + p.positions_w;
  const int64_t width = int64_t{kernels.max_vectors} * kernels.lanes;
  alignas(64) float tile[8 * 48];
  Segment segments[kMaxSegments];
  for (int64_t j = 0; j < count; j += width) {
    const int64_t n = std::min(width, count - j);
    int used = 0;
    for (int64_t t = 0; t < n;) {
      const int64_t r = (j + t) / columns, q = (j + t) % columns;
      const int64_t end = std::min(n, t + columns - q), valid = std::min(end - t, p.positions_w - q);
      if (valid > 0) segments[used++] = {t, row0 + r, q, valid};
      t = end;
    }
    const int vectors = static_cast<int>(ceil_div(n, kernels.lanes));
    for (const Group& group : p.groups) {
      const auto k = static_cast<int64_t>(group.offsets.size()), total = static_cast<int64_t>(group.rows.size());
      for (int64_t i0 = 0; i0 < total; i0 += kernels.mr) {
        const int m = static_cast<int>(std::min<int64_t>(kernels.mr, total - i0));
        kernels.tile(m, vectors, k, group.panels.data() + i0 * k, group.offsets.data(), planes + j, group.init.data() + i0,
                     tile, width);
        RL_DISPATCH_FLOAT(dtype, T, {
          for (int i = 0; i < m; ++i)
            store_row(p, group.rows[static_cast<size_t>(i0 + i)], tile + i * width, segments, used, static_cast<T*>(image));
        });
      }
    }
  }
}

// Rows of positions per block: planes that fit L2, and enough blocks for the threads.
int64_t choose_block_rows(const PlaneLayout& l, int64_t halo, int64_t positions_h, int64_t batch, int64_t work_per_row) {
  const int64_t row_bytes = l.planes() * l.columns * 4;
  const int64_t fitting = std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(1, row_bytes) - halo);
  const int64_t wanted = ceil_div(4 * ThreadPool::instance().size(), std::max<int64_t>(1, batch));
  const int64_t shared = std::max(ceil_div(positions_h, wanted), ceil_div(kTaskWork, std::max<int64_t>(1, work_per_row)));
  const int64_t rows = std::clamp<int64_t>(std::min(fitting, shared), 1, std::max<int64_t>(1, positions_h));
  return ceil_div(positions_h, ceil_div(positions_h, rows));  // even blocks
}

// The gap takes the reads of the last vector, shifted by the farthest tap, so that no channel reads another's values.
void set_rows(PlaneLayout& l, int64_t rows, int64_t halo_w) {
  l.rows = rows;
  l.plane_stride = round_up(rows * l.columns + halo_w + 16, 16);
}

void run(const Product& p, DType dtype, const void* source, void* out) {
  const PlaneLayout& l = p.layout;
  const ConvKernels& kernels = conv_kernels();
  const int64_t image = l.channels * l.height * l.width, out_image = p.out_channels * p.out_h * p.out_w;
  const int64_t blocks = ceil_div(p.positions_h, p.block_rows);
  ThreadPool::instance().parallel_for(p.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / blocks, row0 = task % blocks * p.block_rows;
      float* planes = planes_buffer.floats(l.planes() * l.plane_stride + kTail);
      fill_planes(l, dtype, at(dtype, source, b * image), row0, planes, kTail);
      run_block(p, kernels, planes, dtype, at(dtype, out, b * out_image), row0);
    }
  });
}

// Panels of the weights, and the bias.
void pack(Group& group, DType dtype, const void* w, const void* bias) {
  const int mr = conv_kernels().mr;
  const auto rows = static_cast<int64_t>(group.rows.size()), k = static_cast<int64_t>(group.offsets.size());
  const int64_t padded = round_up(rows, mr);
  group.panels.resize(static_cast<size_t>(padded * k));
  group.init.assign(static_cast<size_t>(padded), 0.0f);
  if (bias != nullptr)
    for (size_t i = 0; i < group.rows.size(); ++i) group.init[i] = element(dtype, bias, group.rows[i].channel);
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(padded / mr, grain_for(mr * k), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * mr; i < end * mr; ++i) {
        float* out = group.panels.data() + i / mr * mr * k + i % mr;
        if (i >= rows) {
          for (int64_t j = 0; j < k; ++j) out[j * mr] = 0;
          continue;
        }
        const T* row = static_cast<const T*>(w) + group.row_weight[static_cast<size_t>(i)];
        for (int64_t j = 0; j < k; ++j) out[j * mr] = to_float(row[group.k_weight[static_cast<size_t>(j)]]);
      }
    });
  });
}

PlaneLayout forward_layout(const ConvShape& s) {
  PlaneLayout l{};
  l.channels = s.in_channels, l.height = s.in_h, l.width = s.in_w;
  l.stride = s.stride, l.pad_top = s.pad_top, l.pad_left = s.pad_left;
  l.phases_h = std::min(s.stride, s.kernel_h), l.phases_w = std::min(s.stride, s.kernel_w);
  l.columns = s.out_w + (s.kernel_w - 1) / s.stride;
  return l;
}

// k = (channel, u, v) in the order of OIHW weights.
std::vector<int64_t> forward_offsets(const ConvShape& s, const PlaneLayout& l) {
  std::vector<int64_t> offsets;
  for (int64_t c = 0; c < s.in_channels; ++c)
    for (int64_t u = 0; u < s.kernel_h; ++u)
      for (int64_t v = 0; v < s.kernel_w; ++v)
        offsets.push_back(((c * l.phases_h + u % s.stride) * l.phases_w + v % s.stride) * l.plane_stride +
                          u / s.stride * l.columns + v / s.stride);
  return offsets;
}

}  // namespace

void conv_forward(const ConvShape& s, DType dtype, const void* x, const void* w, const void* bias, void* y) {
  if (s.batch * s.out_channels * s.out_h * s.out_w == 0) return;
  Product p{};
  p.layout = forward_layout(s);
  p.batch = s.batch, p.positions_h = s.out_h, p.positions_w = s.out_w;
  const int64_t halo = (s.kernel_h - 1) / s.stride, k = s.in_channels * s.kernel_h * s.kernel_w;
  p.block_rows = choose_block_rows(p.layout, halo, s.out_h, s.batch, s.out_channels * k * s.out_w);
  set_rows(p.layout, p.block_rows + halo, (s.kernel_w - 1) / s.stride);
  p.out_channels = s.out_channels, p.out_h = s.out_h, p.out_w = s.out_w, p.out_stride = 1;
  Group group;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    group.rows.push_back({o, 0, 0});
    group.row_weight.push_back(o * k);
  }
  group.offsets = forward_offsets(s, p.layout);
  for (int64_t j = 0; j < k; ++j) group.k_weight.push_back(j);
  pack(group, dtype, w, bias);
  p.groups.push_back(std::move(group));
  run(p, dtype, x, y);
}

// Input position stride q + phase - pad gets w[o, c, phase + stride t] dy[o, q - t] for t < taps(phase).
void conv_input_grad(const ConvShape& s, DType dtype, const void* dy, const void* w, const void* bias, void* dx) {
  if (s.batch * s.in_channels * s.in_h * s.in_w == 0) return;
  auto taps = [&](int64_t phase, int64_t kernel) { return phase < kernel ? (kernel - 1 - phase) / s.stride + 1 : 0; };
  const int64_t halo_h = (s.kernel_h - 1) / s.stride, halo_w = (s.kernel_w - 1) / s.stride;
  Product p{};
  p.batch = s.batch;
  p.positions_h = (s.in_h + s.pad_top - 1) / s.stride + 1;
  p.positions_w = (s.in_w + s.pad_left - 1) / s.stride + 1;
  p.out_channels = s.in_channels, p.out_h = s.in_h, p.out_w = s.in_w, p.out_stride = s.stride;
  PlaneLayout& l = p.layout;
  l.channels = s.out_channels, l.height = s.out_h, l.width = s.out_w;
  l.stride = l.phases_h = l.phases_w = 1;
  l.pad_top = halo_h, l.pad_left = halo_w;
  l.columns = p.positions_w + halo_w;
  const int64_t work = s.in_channels * s.out_channels * s.kernel_h * s.kernel_w * p.positions_w;
  p.block_rows = choose_block_rows(l, halo_h, p.positions_h, s.batch, work);
  set_rows(l, p.block_rows + halo_h, halo_w);
  // Phases with the same numbers of taps share one k table.
  for (int64_t taps_h = 0; taps_h <= halo_h + 1; ++taps_h) {
    for (int64_t taps_w = 0; taps_w <= halo_w + 1; ++taps_w) {
      Group group;
      for (int64_t c = 0; c < s.in_channels; ++c)
        for (int64_t py = 0; py < s.stride; ++py)
          for (int64_t px = 0; px < s.stride; ++px)
            if (taps(py, s.kernel_h) == taps_h && taps(px, s.kernel_w) == taps_w) {
              group.rows.push_back({c, py - s.pad_top, px - s.pad_left});
              group.row_weight.push_back((c * s.kernel_h + py) * s.kernel_w + px);
            }
      if (group.rows.empty()) continue;
      for (int64_t o = 0; o < s.out_channels; ++o)
        for (int64_t t = 0; t < taps_h; ++t)
          for (int64_t v = 0; v < taps_w; ++v) {
            group.offsets.push_back(o * l.plane_stride + (halo_h - t) * l.columns + halo_w - v);
            group.k_weight.push_back((o * s.in_channels * s.kernel_h + s.stride * t) * s.kernel_w + s.stride * v);
          }
      pack(group, dtype, w, bias);
      p.groups.push_back(std::move(group));
    }
  }
  run(p, dtype, dy, dx);
}

namespace {

template <class T>
RL_VECTORIZED void add_parts(float* partial, int64_t parts, int64_t size, int64_t begin, int64_t end, T* out) {
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = begin; i < end; ++i) partial[i] += partial[part * size + i];
  for (int64_t i = begin; i < end; ++i) out[i] = from_float<T>(partial[i]);
}

}  // namespace

void conv_weight_grad(const ConvShape& s, DType dtype, const void* x, const void* dy, void* dw) {
  const int64_t k = s.in_channels * s.kernel_h * s.kernel_w, size = s.out_channels * k;
  if (size == 0) return;
  const ConvKernels& kernels = conv_kernels();
  PlaneLayout lx = forward_layout(s), ly{};
  const int64_t halo = (s.kernel_h - 1) / s.stride;
  ly.channels = s.out_channels, ly.height = s.out_h, ly.width = s.out_w;
  ly.stride = ly.phases_h = ly.phases_w = 1;
  ly.columns = lx.columns;  // the positions that are dropped are zero in dy
  const int64_t row_bytes = (lx.planes() + ly.planes()) * lx.columns * 4;
  const int64_t fitting = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, row_bytes) - halo, 1, std::max<int64_t>(1, s.out_h));
  const int64_t blocks = s.out_h == 0 ? 0 : ceil_div(s.out_h, fitting), rows = blocks == 0 ? 0 : ceil_div(s.out_h, blocks);
  set_rows(lx, rows + halo, (s.kernel_w - 1) / s.stride);
  set_rows(ly, rows, 0);
  const std::vector<int64_t> offsets = forward_offsets(s, lx);
  const int64_t total = s.out_w == 0 ? 0 : s.batch * blocks;
  // The cut into parts depends on the sizes alone, so the sums do not depend on the number of threads.
  const int64_t parts = std::clamp<int64_t>(std::min(total, kPartialFloats / size), 1, kPartials);
  std::vector<float> partial(static_cast<size_t>(parts * size), 0.0f);
  const int64_t lanes = kernels.lanes, tile_m = kernels.weight_rows(), tile_n = kernels.weight_columns();
  ThreadPool::instance().parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      float* sums = partial.data() + part * size;
      for (int64_t item = total * part / parts; item < total * (part + 1) / parts; ++item) {
        const int64_t b = item / blocks, row0 = item % blocks * rows;
        const int64_t count = std::min(rows, s.out_h - row0) * lx.columns;
        float* xs = planes_buffer.floats(lx.planes() * lx.plane_stride + kTail);
        float* ys = dy_buffer.floats(ly.planes() * ly.plane_stride + kTail);
        fill_planes(lx, dtype, at(dtype, x, b * s.in_channels * s.in_h * s.in_w), row0, xs, kTail);
        fill_planes(ly, dtype, at(dtype, dy, b * s.out_channels * s.out_h * s.out_w), row0, ys, kTail);
        for (int64_t i = 0; i < s.out_channels; i += tile_m)
          for (int64_t j = 0; j < k; j += tile_n)
            kernels.weight_tile(static_cast<int>(std::min(tile_m, s.out_channels - i)),
                                static_cast<int>(std::min(tile_n, k - j)), round_up(count, lanes),
                                ys + i * ly.plane_stride, ly.plane_stride, xs, offsets.data() + j, sums + i * k + j, k);
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
        for (int64_t b = 0; b < batch; ++b) sum += sum_of(static_cast<const T*>(x) + (b * channels + c) * pixels, pixels);
        static_cast<T*>(out)[c] = from_float<T>(static_cast<float>(sum));
      }
    });
  });
}

}  // namespace rl::cpu
