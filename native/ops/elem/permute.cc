#include "native/ops/elem/permute.h"

#include <cstring>
#include <sstream>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int64_t kTile = 16;  // a tile of both sides stays in the L1 cache

// Offsets of combination `index` of the dimensions not listed in `skip_a`, `skip_b`.
void offsets(const PermuteArgs& a, int64_t index, int skip_a, int skip_b, int64_t& x, int64_t& y) {
  x = y = 0;
  for (int d = a.rank - 1; d >= 0; --d) {
    if (d == skip_a || d == skip_b) continue;
    x += index % a.size[d] * a.step_x[d];
    y += index % a.size[d] * a.step_y[d];
    index /= a.size[d];
  }
}

// The last dimension of y is contiguous in x too: copy runs.
template <class T>
void copy_runs(const PermuteArgs& a) {
  const int last = a.rank - 1;
  const int64_t run = a.size[last];
  ThreadPool::instance().parallel_for(a.count / run, grain_for(run), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t x, y;
      offsets(a, i, last, last, x, y);
      std::memcpy(static_cast<T*>(a.y) + y, static_cast<const T*>(a.x) + x, static_cast<size_t>(run) * sizeof(T));
    }
  });
}

// y's last dimension strides in x, and x's last one (`fast`) strides in y: transpose tile by tile.
template <class T>
void copy_tiles(const PermuteArgs& a, int fast) {
  const int last = a.rank - 1;
  const int64_t rows = a.size[fast], columns = a.size[last];
  const int64_t tile_rows = (rows + kTile - 1) / kTile, tile_columns = (columns + kTile - 1) / kTile;
  const int64_t tasks = a.count / (rows * columns) * tile_rows;
  ThreadPool::instance().parallel_for(tasks, grain_for(columns * kTile), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t x, y;
      offsets(a, task / tile_rows, fast, last, x, y);
      const int64_t first = task % tile_rows * kTile, row_end = std::min(rows, first + kTile);
      for (int64_t t = 0; t < tile_columns; ++t) {
        const int64_t column_end = std::min(columns, (t + 1) * kTile);
        // Through a buffer: each cache line is touched once on either side, even where strides of a power of two
        // send a whole tile to one cache set.
        T tile[kTile][kTile];
        for (int64_t c = t * kTile; c < column_end; ++c) {
          const T* in = static_cast<const T*>(a.x) + x + c * a.step_x[last];
          for (int64_t r = first; r < row_end; ++r) tile[r - first][c - t * kTile] = in[r];
        }
        for (int64_t r = first; r < row_end; ++r)
          std::memcpy(static_cast<T*>(a.y) + y + r * a.step_y[fast] + t * kTile, tile[r - first],
                      static_cast<size_t>(column_end - t * kTile) * sizeof(T));
      }
    }
  });
}

template <class T>
void run(const PermuteArgs& a) {
  if (a.step_x[a.rank - 1] == 1) return copy_runs<T>(a);
  int fast = 0;
  while (a.step_x[fast] != 1) ++fast;  // x's own last dimension, always there
  copy_tiles<T>(a, fast);
}

}  // namespace

void permute_cpu(const PermuteArgs& args) {
  switch (args.element_bytes) {
    case 1: return run<uint8_t>(args);
    case 2: return run<uint16_t>(args);
    case 4: return run<uint32_t>(args);
    default: return run<uint64_t>(args);
  }
}

Tensor permute(const Tensor& x, const std::vector<int64_t>& order) {
  check_defined("permute", "x", x);
  const int rank = x.rank();
  bool used[Shape::kMaxRank] = {};
  bool valid = static_cast<int>(order.size()) == rank;
  for (size_t i = 0; valid && i < order.size(); ++i) {
    valid = order[i] >= 0 && order[i] < rank && !used[order[i]];
    if (valid) used[order[i]] = true;
  }
  if (!valid) {
    std::ostringstream text;
    for (size_t i = 0; i < order.size(); ++i) text << (i ? "," : "") << order[i];
    throw Error(code::kShape, str("permute: [", text.str(), "] is not an order of the dimensions of x ", x.shape()));
  }
  Shape shape;
  for (int64_t d : order) shape.push_back(x.size(static_cast<int>(d)));
  Tensor y = Tensor::empty(x.device(), shape, x.dtype());
  if (y.numel() == 0) return y;

  PermuteArgs args{x.data(), y.data(), 0, {}, {}, {}, x.numel(), static_cast<int>(size_of(x.dtype()))};
  for (int64_t d : order) {
    const int64_t size = x.size(static_cast<int>(d)), step = x.shape().numel(static_cast<int>(d) + 1, rank);
    if (size == 1) continue;
    const int previous = args.rank - 1;
    if (args.rank > 0 && args.step_x[previous] == step * size) {
      args.size[previous] *= size;
      args.step_x[previous] = step;
      continue;
    }
    args.size[args.rank] = size;
    args.step_x[args.rank++] = step;
  }
  if (args.rank == 0) {
    args.size[0] = args.step_x[0] = 1;
    args.rank = 1;
  }
  int64_t step = 1;
  for (int i = args.rank - 1; i >= 0; --i) {
    args.step_y[i] = step;
    step *= args.size[i];
  }
  RL_LAUNCH(x.device(), "permute", permute_cpu(args), permute_cuda(args, cuda_stream(x.device())));
  return y;
}

RL_OP(permute);

}  // namespace rl
