#include "native/ops/conv/conv_cpu.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/conv/conv_amx.h"
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
// Fewer channels or rows would leave most of an AMX tile empty.
constexpr int64_t kAmxChannels = 8, kAmxRows = 8;

thread_local Workspace planes_buffer;

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
struct Tap {
  int64_t offset, weight;  // into the planes of channel 0, into the weights of channel 0
};

// Rows of products that share their taps. Weight of (row, channel, tap): w[row_weight + channel channel_weight +
// tap.weight].
struct Group {
  std::vector<OutRow> rows;
  std::vector<int64_t> row_weight;
  std::vector<Tap> taps;
  std::vector<int64_t> offsets;       // [k] into the planes: (channel, tap), or (tap, block of pairs) for AMX
  std::vector<float> panels;          // [rows / mr][k][mr]
  std::vector<uint32_t> pair_panels;  // [rows / mr][k][row tiles][16][pairs]
  std::vector<float> init;            // bias, rounded up to mr
};

struct Product {
  PlaneLayout layout;                    // rows: of one block and its halo
  int64_t batch;
  int64_t positions_h, positions_w;      // positions per image; columns - positions_w of each row are dropped
  int64_t block_rows;
  int64_t out_channels, out_h, out_w, out_stride;
  int64_t channel_weight;
  bool amx;
  PairBlocks pairs{0};
  int mr, width, row_tiles;              // of a tile
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

void multiply_tile(const Product& p, const ConvKernels& kernels, const Group& group, int64_t i0, int rows,
    int64_t positions,
                   const float* planes, int64_t j, float* tile) {
  const auto k = static_cast<int64_t>(group.offsets.size());
  if (!p.amx) {
    const int vectors = static_cast<int>(ceil_div(positions, kernels.lanes));
    kernels.tile(rows, vectors, k, group.panels.data() + i0 * k, group.offsets.data(), planes + j,
        group.init.data() + i0, tile,
                 p.width);
    return;
  }
  conv_amx_tile(p.row_tiles, k, p.pairs.pairs, group.pair_panels.data() + i0 * k * p.pairs.pairs, group.offsets.data(),
                reinterpret_cast<const uint32_t*>(planes) + j, p.layout.unit_stride(), tile);
  for (int i = 0; i < rows; ++i) {
    const float bias = group.init[static_cast<size_t>(i0 + i)];
    if (bias == 0) continue;
    for (int64_t t = 0; t < positions; ++t) tile[i * p.width + t] += bias;
  }
}

void run_block(const Product& p, const ConvKernels& kernels, const float* planes, DType dtype, void* image,
    int64_t row0) {
  const int64_t columns = p.layout.columns, rows = std::min(p.block_rows, p.positions_h - row0);
  const int64_t count = (rows - 1) * columns + p.positions_w;
  alignas(64) float tile[32 * 32];  // no tile is larger: 8 x 48, 16 x 48, 32 x 32
  Segment segments[kMaxSegments];
  for (int64_t j = 0; j < count; j += p.width) {
    const int64_t n = std::min<int64_t>(p.width, count - j);
    int used = 0;
    for (int64_t t = 0; t < n;) {
      const int64_t r = (j + t) / columns, q = (j + t) % columns;
      const int64_t end = std::min(n, t + columns - q), valid = std::min(end - t, p.positions_w - q);
      if (valid > 0) segments[used++] = {t, row0 + r, q, valid};
      t = end;
    }
    for (const Group& group : p.groups) {
      const auto total = static_cast<int64_t>(group.rows.size());
      for (int64_t i0 = 0; i0 < total; i0 += p.mr) {
        const int m = static_cast<int>(std::min<int64_t>(p.mr, total - i0));
        multiply_tile(p, kernels, group, i0, m, n, planes, j, tile);
        RL_DISPATCH_FLOAT(dtype, T, {
          for (int i = 0; i < m; ++i)
            store_row(p, group.rows[static_cast<size_t>(i0 + i)], tile + i * p.width, segments, used,
                static_cast<T*>(image));
        });
      }
    }
  }
}

// Rows of positions per block: planes that fit L2, and enough blocks for the threads.
int64_t choose_block_rows(const PlaneLayout& l, int64_t halo, int64_t positions_h, int64_t batch,
    int64_t work_per_row) {
  const int64_t row_bytes = l.planes() * l.columns * 4;
  const int64_t fitting = std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(1, row_bytes) - halo);
  const int64_t wanted = ceil_div(4 * ThreadPool::instance().size(), std::max<int64_t>(1, batch));
  const int64_t shared = std::max(ceil_div(positions_h, wanted),
      ceil_div(kTaskWork, std::max<int64_t>(1, work_per_row)));
  const int64_t rows = std::clamp<int64_t>(std::min(fitting, shared), 1, std::max<int64_t>(1, positions_h));
  return ceil_div(positions_h, ceil_div(positions_h, rows));  // even blocks
}

void run(const Product& p, DType dtype, const void* source, void* out) {
  const PlaneLayout& l = p.layout;
  const ConvKernels& kernels = conv_kernels();
  const int64_t image = l.channels * l.height * l.width, out_image = p.out_channels * p.out_h * p.out_w;
  const int64_t blocks = ceil_div(p.positions_h, p.block_rows);
  ThreadPool::instance().parallel_for(p.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    if (p.amx) conv_amx_configure(p.row_tiles, p.pairs.pairs);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / blocks, row0 = task % blocks * p.block_rows;
      float* planes = planes_buffer.floats(l.planes() * l.plane_stride + kTail);
      const void* from = at(dtype, source, b * image);
      if (p.amx) fill_pair_planes(l, dtype, from, row0, reinterpret_cast<uint32_t*>(planes), kTail);
      else fill_planes(l, dtype, from, row0, planes, kTail);
      run_block(p, kernels, planes, dtype, at(dtype, out, b * out_image), row0);
    }
    if (p.amx) conv_amx_release();
  });
}

// Chooses the kernel for `rows` rows and sums over the layout's channels.
void choose_kernel(Product& p, int64_t rows, bool bf16_products) {
  p.amx = bf16_products && conv_amx_available() && p.layout.channels >= kAmxChannels && rows >= kAmxRows;
  if (p.amx) {
    p.pairs = PairBlocks(p.layout.channels);
    p.layout.units = p.pairs.blocks * p.pairs.pairs;
    p.row_tiles = rows > 16 ? 2 : 1;
    p.mr = 16 * p.row_tiles;
    p.width = conv_amx_width(p.row_tiles);
  } else {
    const ConvKernels& kernels = conv_kernels();
    p.mr = kernels.mr;
    p.width = kernels.max_vectors * kernels.lanes;
  }
}

template <class T>
void pack_row(const Product& p, Group& group, const T* w, int64_t i) {
  const int64_t channels = p.layout.channels, taps = static_cast<int64_t>(group.taps.size());
  float* out = group.panels.data() + i / p.mr * p.mr * channels * taps + i % p.mr;
  for (int64_t c = 0; c < channels; ++c)
    for (const Tap& tap : group.taps) {
      *out = to_float(w[c * p.channel_weight + tap.weight]);
      out += p.mr;
    }
}

template <class T>
void pack_pair_row(const Product& p, Group& group, const T* w, int64_t i) {
  const int64_t pairs = p.pairs.pairs, step = p.mr * pairs;
  uint32_t* out = group.pair_panels.data() + i / p.mr * step * static_cast<int64_t>(group.offsets.size()) + i % p.mr *
      pairs;
  auto bits = [&](int64_t channel, const Tap& tap) -> uint32_t {
    return channel < p.layout.channels ? to_bf16(to_float(w[channel * p.channel_weight + tap.weight])).bits : 0;
  };
  for (const Tap& tap : group.taps)
    for (int64_t block = 0; block < p.pairs.blocks; ++block, out += step)
      for (int64_t q = 0; q < pairs; ++q) {
        const int64_t channel = 2 * (block * pairs + q);
        out[q] = bits(channel, tap) | bits(channel + 1, tap) << 16;
      }
}

// Offsets, panels of the weights, and the bias.
void pack(const Product& p, Group& group, DType dtype, const void* w, const void* bias) {
  const auto rows = static_cast<int64_t>(group.rows.size());
  const int64_t padded = round_up(rows, p.mr), unit = p.layout.unit_stride();
  if (p.amx) {
    for (const Tap& tap : group.taps)
      for (int64_t block = 0; block < p.pairs.blocks;
          ++block) group.offsets.push_back(tap.offset + block * p.pairs.pairs * unit);
    group.pair_panels.assign(static_cast<size_t>(padded * p.pairs.pairs) * group.offsets.size(), 0);
  } else {
    for (int64_t c = 0; c < p.layout.channels; ++c)
      for (const Tap& tap : group.taps) group.offsets.push_back(tap.offset + c * unit);
    group.panels.assign(static_cast<size_t>(padded) * group.offsets.size(), 0.0f);
  }
  group.init.assign(static_cast<size_t>(padded), 0.0f);
  if (bias != nullptr)
    for (size_t i = 0; i < group.rows.size(); ++i) group.init[i] = element(dtype, bias, group.rows[i].channel);
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(rows, grain_for(static_cast<int64_t>(group.offsets.size())),
        [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = static_cast<const T*>(w) + group.row_weight[static_cast<size_t>(i)];
        if (p.amx) pack_pair_row(p, group, row, i);
        else pack_row(p, group, row, i);
      }
    });
  });
}

}  // namespace

void conv_forward(const ConvShape& s, DType dtype, bool bf16_products, const void* x, const void* w, const void* bias,
    void* y) {
  if (s.batch * s.out_channels * s.out_h * s.out_w == 0) return;
  const int64_t halo_h = (s.kernel_h - 1) / s.stride, halo_w = (s.kernel_w - 1) / s.stride;
  const int64_t taps = s.kernel_h * s.kernel_w, k = s.in_channels * taps;
  Product p{};
  p.layout = input_layout(s);
  choose_kernel(p, s.out_channels, bf16_products);
  p.batch = s.batch, p.positions_h = s.out_h, p.positions_w = s.out_w;
  p.block_rows = choose_block_rows(p.layout, halo_h, s.out_h, s.batch, s.out_channels * k * s.out_w);
  set_rows(p.layout, p.block_rows + halo_h, halo_w);
  p.out_channels = s.out_channels, p.out_h = s.out_h, p.out_w = s.out_w, p.out_stride = 1;
  p.channel_weight = taps;
  Group group;
  for (int64_t o = 0; o < s.out_channels; ++o) {
    group.rows.push_back({o, 0, 0});
    group.row_weight.push_back(o * k);
  }
  const PlaneLayout& l = p.layout;
  for (int64_t u = 0; u < s.kernel_h; ++u)
    for (int64_t v = 0; v < s.kernel_w; ++v)
      group.taps.push_back({(u % s.stride * l.phases_w + v % s.stride) * l.plane_stride + u / s.stride * l.columns +
          v / s.stride,
                            u * s.kernel_w + v});
  pack(p, group, dtype, w, bias);
  p.groups.push_back(std::move(group));
  run(p, dtype, x, y);
}

// Input position stride q + phase - pad gets w[o, c, phase + stride t] dy[o, q - t] for t < taps(phase).
void conv_input_grad(const ConvShape& s, DType dtype, bool bf16_products, const void* dy, const void* w,
    const void* bias,
                     void* dx) {
  if (s.batch * s.in_channels * s.in_h * s.in_w == 0) return;
  auto taps = [&](int64_t phase, int64_t kernel) { return phase < kernel ? (kernel - 1 - phase) / s.stride + 1 : 0; };
  const int64_t halo_h = (s.kernel_h - 1) / s.stride, halo_w = (s.kernel_w - 1) / s.stride;
  Product p{};
  p.batch = s.batch;
  p.positions_h = (s.in_h + s.pad_top - 1) / s.stride + 1;
  p.positions_w = (s.in_w + s.pad_left - 1) / s.stride + 1;
  p.out_channels = s.in_channels, p.out_h = s.in_h, p.out_w = s.in_w, p.out_stride = s.stride;
  p.layout = gradient_layout(s, halo_h, halo_w, p.positions_w + halo_w);
  choose_kernel(p, s.in_channels, bf16_products);
  const int64_t work = s.in_channels * s.out_channels * s.kernel_h * s.kernel_w * p.positions_w;
  p.block_rows = choose_block_rows(p.layout, halo_h, p.positions_h, s.batch, work);
  set_rows(p.layout, p.block_rows + halo_h, halo_w);
  p.channel_weight = s.in_channels * s.kernel_h * s.kernel_w;
  // Phases with the same numbers of taps share their offsets.
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
      for (int64_t t = 0; t < taps_h; ++t)
        for (int64_t v = 0; v < taps_w; ++v)
          group.taps.push_back({(halo_h - t) * p.layout.columns + halo_w - v, s.stride * (t * s.kernel_w + v)});
      pack(p, group, dtype, w, bias);
      p.groups.push_back(std::move(group));
    }
  }
  run(p, dtype, dy, dx);
}

}  // namespace rl::cpu
