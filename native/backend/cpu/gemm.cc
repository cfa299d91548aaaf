// The GEMM driver: validation, choice of kernel, cache blocking, threads. The inner kernels are in gemm_<isa>.cc.
//
// Blocking. B is packed once per (k slice, column chunk) by all threads into a buffer they share. Then tasks of
// (row block x column group) run on any thread; each packs its own A block, reads A in place, or (AMX with many columns)
// reads panels that all threads packed once. It keeps its C block in L2 over all k blocks. Small problems share as
// little as possible: a line fresh in one core's cache is slow to reach the other, so each thread packs its own A.
// The k blocks of one C element are always added in the same order, whatever the tasks are.
#include "native/backend/cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "native/backend/cpu/cpu_features.h"
#include "native/backend/cpu/gemm_kernels.h"
#include "native/backend/cpu/vec_kernels.h"
#include "native/core/error.h"
#include "native/core/thread_pool.h"

namespace rl::cpu {
namespace {

// Longest k packed at once, and the most bytes of packed B: bounds the shared buffer.
constexpr int64_t kSliceK = 8192;
constexpr int64_t kPackedBytes = 32 << 20;
constexpr int64_t kHugePage = 2 << 20;
// With fewer tiles than this and a long k, k is cut into parts that are summed in order (dW = dY^T X).
constexpr int64_t kSplitTiles = 16, kSplitK = 512, kMaxParts = 16;

thread_local Workspace packed_a, packed_b, shared_a, scratch_c, few_rows, bias_row, parts_c;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
int64_t bytes_of(ElementType type) { return type == ElementType::f32 ? 4 : 2; }

const void* advance(const void* data, ElementType type, int64_t elements) {
  return static_cast<const char*>(data) + elements * bytes_of(type);
}
void* advance(void* data, ElementType type, int64_t elements) {
  return static_cast<char*>(data) + elements * bytes_of(type);
}

// One matrix product in the driver's terms.
struct Problem {
  int64_t m, n, k;
  PanelSource a, b;
  void* c;
  ElementType c_type;
  int64_t c_row_stride;
  const float* bias;
  Activation activation;
  float alpha;
  bool accumulate;
  bool round_bf16;

  // Anything to do after the sum that the tile kernel cannot do itself?
  bool needs_epilogue() const { return activation != Activation::none || alpha != 1; }
  // May partial sums live in C?
  bool sums_in_c() const { return c_type == ElementType::f32 && !(accumulate && needs_epilogue()); }
  // Sums start from the bias, with an activation to follow or without: f(product + bias) has the same bits either way.
  bool starts_from_bias() const { return sums_in_c() && alpha == 1; }
};

void finish(const Problem& p, const float* bias, int64_t i, int64_t rows, int64_t j, int64_t columns, const float* sums,
            int64_t stride) {
  vec_kernels().gemm_epilogue(rows, columns, sums, stride, advance(p.c, p.c_type, i * p.c_row_stride + j),
                              p.c_type == ElementType::bf16, p.c_row_stride, p.alpha, bias ? bias + j : nullptr,
                              p.activation, p.accumulate);
}

// --- few rows or few columns: stream the other operand once -----------------------------------------------------------

bool is_few(const Problem& p) {
  return p.a.k_contiguous && p.b.k_contiguous && (p.m <= kFewRows || p.n <= kFewRows) && p.k > 0;
}

void multiply_few(const GemmKernels& kernels, const Problem& p) {
  const bool few_is_a = p.m <= kFewRows;
  const PanelSource& few = few_is_a ? p.a : p.b;
  const PanelSource& stream = few_is_a ? p.b : p.a;
  const int64_t rows = few_is_a ? p.m : p.n, count = few_is_a ? p.n : p.m;
  const float* left = static_cast<const float*>(few.data);
  int64_t left_stride = few.stride;
  if (few.type == ElementType::bf16 || p.round_bf16) {
    float* copy = few_rows.floats(rows * p.k);
    for (int64_t r = 0; r < rows; ++r) {
      const void* source = advance(few.data, few.type, r * few.stride);
      if (few.type == ElementType::bf16) {
        to_float(static_cast<const bf16*>(source), copy + r * p.k, p.k);
      } else {
        for (int64_t i = 0; i < p.k; ++i) copy[r * p.k + i] = round_to_bf16(static_cast<const float*>(source)[i]);
      }
    }
    left = copy;
    left_stride = p.k;
  }
  const bool in_place = p.c_type == ElementType::f32 && !p.accumulate;
  const bool epilogue = !in_place || p.needs_epilogue() || p.bias;
  float* sums = in_place ? static_cast<float*>(p.c) : scratch_c.floats(p.m * p.n);
  const int64_t stride = in_place ? p.c_row_stride : p.n;
  // These kernels run at a fifth of the speed of the tiled ones, so a fifth of the work is worth a thread.
  const auto grain = static_cast<int64_t>(0.2 * kernels.f32.task_work / static_cast<double>(rows * p.k)) + 1;
  ThreadPool::instance().parallel_for(ceil_div(count, 4), ceil_div(grain, 4), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * 4, last = std::min(end * 4, count);
    kernels.dot_few(static_cast<int>(rows), p.k, left, left_stride, stream, first, last, sums, few_is_a ? stride : 1,
                    few_is_a ? 1 : stride);
    if (!epilogue) return;
    if (few_is_a) {
      finish(p, p.bias, 0, p.m, first, last - first, sums + first, stride);
    } else {
      finish(p, p.bias, first, last - first, 0, p.n, sums + first * stride, stride);
    }
  });
}

// --- the general path -------------------------------------------------------------------------------------------------

// How A is read: packed; f32 units in place; rows of bf16 in place, but for a last panel of fewer rows.
enum class ReadA { packed, units, rows };

struct Slice {
  const Problem& p;
  const TileKernel& kernel;
  int64_t k0, k_count;        // this k slice
  int64_t kc;                 // its k blocks
  bool first, last;           // of the slices
  int64_t j0, columns;        // this column chunk
  const char* b_panels;       // packed, or null to read B in place
  ReadA a_in;
  const char* a_panels = nullptr;  // packed for all tasks, or null: each task packs its own

  int64_t blocks() const { return std::max<int64_t>(1, ceil_div(k_count, kc)); }

  // Panels of one k block lie together: block-major, so that a block's panels are one stream.
  const char* b_panel(int64_t block, int64_t j) const {
    const int64_t kb = block * kc, kn = std::min(kc, k_count - kb);
    return b_panels + kernel.panel_bytes(kernel.nr, kb) * ceil_div(columns, kernel.nr) +
           j / kernel.nr * kernel.panel_bytes(kernel.nr, kn);
  }

  const char* a_panel(int64_t block, int64_t i) const {
    const int64_t kb = block * kc, kn = std::min(kc, k_count - kb);
    return a_panels + kernel.panel_bytes(kernel.mr, kb) * ceil_div(p.m, kernel.mr) +
           i / kernel.mr * kernel.panel_bytes(kernel.mr, kn);
  }

  // Where A is read: a packed panel or its rows in place.
  struct PanelOfA {
    const void* data;
    int64_t row_stride, k_stride;
  };
  PanelOfA panel_of_a(int64_t i, int m, const char* packed, int64_t k) const {
    if (a_in == ReadA::units) {
      const int64_t row_stride = p.a.k_contiguous ? p.a.stride : 1, k_stride = p.a.k_contiguous ? 1 : p.a.stride;
      return {static_cast<const float*>(p.a.data) + i * row_stride + k * k_stride, row_stride, k_stride};
    }
    if (a_in == ReadA::rows && m == kernel.mr)
      return {static_cast<const bf16*>(p.a.data) + i * p.a.stride + k, p.a.stride / 2, 1};
    return {packed, 1, kernel.mr};
  }

  // Rows [i0, i0 + rows) x columns [j0 + group, + width), over the k blocks of this slice.
  void run(int64_t i0, int64_t rows, int64_t group, int64_t width) const {
    const int mr = kernel.mr, nr = kernel.nr;
    const int64_t row_panels = ceil_div(rows, mr), blocks_ = blocks();
    // Sums: in C, in a buffer of the block's shape, or in one of whole tiles (all in one tile if k is not cut).
    const bool in_c = p.sums_in_c() && !(kernel.blocked_sums && blocks_ > 1);
    const bool in_tiles = !in_c && kernel.blocked_sums;
    const int64_t tile = static_cast<int64_t>(mr) * nr, tiles = blocks_ > 1 ? row_panels * ceil_div(width, nr) : 1;
    float* sums;
    int64_t sums_stride;
    if (in_c) {
      sums = static_cast<float*>(p.c) + i0 * p.c_row_stride + j0 + group;
      sums_stride = p.c_row_stride;
    } else {
      sums_stride = in_tiles ? nr : round_up(width, 16);
      sums = scratch_c.floats(in_tiles ? tiles * tile : rows * sums_stride);
    }
    const bool epilogue = last && (!in_c || p.needs_epilogue());
    const bool bias_in_tile = first && p.starts_from_bias();
    const float* late_bias = p.starts_from_bias() ? nullptr : p.bias;
    const bool store_half = kernel.store_half && p.c_type == ElementType::bf16 && !p.needs_epilogue() && !p.accumulate;
    const KernelScope scope(kernel);
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t kb = block * kc, kn = std::min(kc, k_count - kb);
      const int64_t a_panel_bytes = kernel.panel_bytes(mr, kn), b_panel_bytes = kernel.panel_bytes(nr, kn);
      const char* a_block = nullptr;
      if (a_panels) {
        a_block = a_panel(block, i0);
      } else if (a_in != ReadA::units) {
        char* own = static_cast<char*>(packed_a.reserve(row_panels * a_panel_bytes));
        a_block = own;
        for (int64_t panel = 0; panel < row_panels; ++panel) {
          const int m = static_cast<int>(std::min<int64_t>(mr, rows - panel * mr));
          if (a_in == ReadA::rows && m == mr) continue;
          kernel.pack_a(own + panel * a_panel_bytes, p.a, i0 + panel * mr, m, k0 + kb, kn, p.round_bf16);
        }
      }
      const bool add = !(first && block == 0) || (in_c && p.accumulate);
      const bool done = epilogue && block + 1 == blocks_;
      for (int64_t j = 0; j < width; j += nr) {
        const int n = static_cast<int>(std::min<int64_t>(nr, width - j));
        const void* b;
        int64_t b_stride = nr;
        // The next panel of B and the next block of A are fetched from far away meanwhile, a piece per tile.
        Ahead ahead;
        if (b_panels) {
          b = b_panel(block, group + j);
          if (j + nr < width) ahead.b = b_panel(block, group + j + nr);
          else if (block + 1 < blocks_) ahead.b = b_panel(block + 1, group);
          if (ahead.b) ahead.b_bytes = round_up(ceil_div(b_panel_bytes, row_panels), 64);
          if (a_panels && block + 1 < blocks_) {
            ahead.a_bytes = round_up(ceil_div(row_panels * a_panel_bytes, row_panels * ceil_div(width, nr)), 64);
            ahead.a = a_panel(block + 1, i0) + j / nr * row_panels * ahead.a_bytes;
          }
        } else {
          b = static_cast<const float*>(p.b.data) + (k0 + kb) * p.b.stride + j0 + group + j;
          b_stride = p.b.stride;
        }
        const float* init = bias_in_tile && block == 0 && p.bias ? p.bias + j0 + group + j : nullptr;
        for (int64_t panel = 0; panel < row_panels; ++panel) {
          const int64_t i = panel * mr;
          const int m = static_cast<int>(std::min<int64_t>(mr, rows - i));
          float* c = !in_tiles ? sums + i * sums_stride + j
                     : tiles > 1 ? sums + (j / nr * row_panels + panel) * tile
                                 : sums;
          const PanelOfA a = panel_of_a(i0 + i, m, a_block + panel * a_panel_bytes, k0 + kb);
          if (kernel.multiply_ahead) {
            kernel.multiply_ahead(m, n, kn, a.data, a.row_stride, a.k_stride, b, b_stride, c, sums_stride, init, add,
                                  ahead);
            ahead.a += ahead.a_bytes, ahead.b += ahead.b_bytes;
          } else {
            kernel.multiply(m, n, kn, a.data, a.row_stride, a.k_stride, b, b_stride, c, sums_stride, init, add);
          }
          if (!done) continue;
          const int64_t row = i0 + i, column = j0 + group + j;
          if (store_half) {
            kernel.store_half(m, n, c, sums_stride, advance(p.c, p.c_type, row * p.c_row_stride + column),
                              p.c_row_stride, p.bias ? p.bias + column : nullptr);
          } else {
            finish(p, late_bias, row, m, column, n, c, sums_stride);
          }
        }
      }
    }
  }
};

// Packs vectors [w0, w0 + count) over the slice, by all threads. -> panels, block-major: one k block's lie together
const char* pack_all(const Slice& slice, const PanelSource& source, int64_t w0, int64_t count, int width,
                     PackPanel pack, Workspace& workspace) {
  const TileKernel& kernel = slice.kernel;
  const int64_t panels = ceil_div(count, width), blocks = slice.blocks();
  char* buffer = static_cast<char*>(workspace.reserve(kernel.panel_bytes(width, slice.k_count) * panels + 64));
  const int64_t panel_work = std::min(slice.kc, slice.k_count) * width;
  ThreadPool::instance().parallel_for(blocks * panels, 8192 / (panel_work + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      // Neighbouring items read on along k or across it, whichever is contiguous.
      const int64_t block = source.k_contiguous ? item % blocks : item / panels;
      const int64_t panel = source.k_contiguous ? item / blocks : item % panels;
      const int64_t kb = block * slice.kc, kn = std::min(slice.kc, slice.k_count - kb);
      pack(buffer + kernel.panel_bytes(width, kb) * panels + panel * kernel.panel_bytes(width, kn), source,
           w0 + panel * width, static_cast<int>(std::min<int64_t>(width, count - panel * width)), slice.k0 + kb, kn,
           slice.p.round_bf16);
    }
  });
  return buffer;
}

// Task sizes only decide who computes what: enough tasks for the threads, blocks that fit the caches.
void run_tasks(Slice& slice) {
  const Problem& p = slice.p;
  const TileKernel& kernel = slice.kernel;
  ThreadPool& pool = ThreadPool::instance();
  const double work =
      static_cast<double>(p.m) * static_cast<double>(slice.columns) * static_cast<double>(slice.k_count);
  // More tasks than threads balance the load, but each reads its operands anew: only where a task stays long.
  const int64_t threads = pool.size();
  const auto long_tasks = static_cast<int64_t>(work / kernel.long_task_work);
  const int64_t wanted =
      threads == 1 || work < 2 * kernel.task_work ? 1 : std::clamp<int64_t>(long_tasks, threads, 4 * threads);
  int64_t rows = std::min(round_up(p.m, kernel.mr), kernel.mc);
  int64_t width = std::min(slice.columns, kernel.nc);
  auto tasks = [&] { return ceil_div(p.m, rows) * ceil_div(slice.columns, width); };
  // Split rows while a block keeps at least four panels (each B panel is then used four times from L1), then columns.
  while (tasks() < wanted && rows > 4 * kernel.mr) rows = round_up(rows / 2, kernel.mr);
  while (tasks() < wanted && width > 2 * kernel.nr) width = round_up(width / 2, kernel.nr);
  while (tasks() < wanted && rows > kernel.mr) rows = round_up(rows / 2, kernel.mr);
  // Even blocks instead of a small last one.
  rows = round_up(ceil_div(p.m, ceil_div(p.m, rows)), kernel.mr);
  int64_t row_tasks = ceil_div(p.m, rows), column_tasks = ceil_div(slice.columns, width);
  // Few tasks: the cut that leaves the busiest thread least to do. A cut of the columns reads A once more.
  if (wanted > 1 && row_tasks * column_tasks <= 8 * threads) {
    double least = std::numeric_limits<double>::max();
    const int64_t first_rows = std::max<int64_t>(1, row_tasks / 2), last_rows = row_tasks + 2 * threads;
    for (int64_t cut : {column_tasks, column_tasks * threads})
      for (int64_t count = first_rows; count <= last_rows; ++count) {
        const int64_t height = round_up(ceil_div(p.m, count), kernel.mr);
        const int64_t span = round_up(ceil_div(slice.columns, cut), kernel.nr);
        const int64_t pieces = ceil_div(p.m, height) * ceil_div(slice.columns, span);
        const double extra = cut > column_tasks ? 1.04 : 1;
        const double load = extra * static_cast<double>(ceil_div(pieces, threads) * height * span);
        if (height > kernel.mc || load >= least) continue;
        least = load, rows = height, width = span;
      }
    row_tasks = ceil_div(p.m, rows), column_tasks = ceil_div(slice.columns, width);
  }
  if (kernel.share_a && slice.a_in == ReadA::packed && slice.columns > kernel.nc &&
      kernel.panel_bytes(kernel.mr, slice.k_count) * ceil_div(p.m, kernel.mr) <= 2 * kPackedBytes)
    slice.a_panels = pack_all(slice, p.a, 0, p.m, kernel.mr, kernel.pack_a, shared_a);
  // Each thread takes the next task: finer than the pool's ranges, so that a thread that was descheduled delays nobody.
  const int64_t count = row_tasks * column_tasks;
  std::atomic<int64_t> next{0};
  pool.parallel_for(std::min<int64_t>(count, pool.size()), 1, [&](int64_t, int64_t) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      const int64_t i = task / column_tasks * rows, j = task % column_tasks * width;
      slice.run(i, std::min(rows, p.m - i), j, std::min(width, slice.columns - j));
    }
  });
}

// Sums kept in tiles cost a pass per k block: blocks of even length, up to 1.55 of the kernel's, save a short last one.
int64_t block_k(const TileKernel& kernel, int64_t k) {
  if (!kernel.blocked_sums) return kernel.kc;
  const double ratio = static_cast<double>(k) / static_cast<double>(kernel.kc);
  const int64_t blocks = std::max<int64_t>(1, static_cast<int64_t>(ratio + 0.45));
  return round_up(std::max<int64_t>(1, ceil_div(k, blocks)), kernel.k_align);
}

void multiply_tiled(const TileKernel& kernel, const Problem& p) {
  const int64_t slice_k = std::min(p.k, kSliceK);
  // A partial sum that cannot live in C must be finished within one slice.
  const bool one_slice = !p.sums_in_c() || kernel.blocked_sums;
  const int64_t step_k = one_slice ? std::max<int64_t>(p.k, 1) : std::max<int64_t>(slice_k, 1);
  const int64_t chunk =
      std::clamp<int64_t>(kPackedBytes / std::max<int64_t>(1, kernel.panel_bytes(kernel.nr, step_k)) * kernel.nr,
                          kernel.nr, kernel.share_a ? 4096 : 2048);
  const bool f32_operands = kernel.element_bytes == 4 && !p.round_bf16;
  // Packing a row-major f32 B only pays when its panels are read often. A transposed one must be packed.
  const bool direct_b = kernel.direct && f32_operands && p.b.type == ElementType::f32 && !p.b.k_contiguous &&
                        (p.m <= 6 * kernel.mr || p.n <= 2 * kernel.nr);
  // A in place: few column panels, so that each element is read few times. Long power-of-two rows would collide in L1.
  const bool direct_a = kernel.direct && f32_operands && p.a.type == ElementType::f32 && p.n <= 8 * kernel.nr;
  // Rows of bf16 in place save their copy, but lie far apart: only worth it where each is read few times.
  const bool rows_of_a = kernel.rows_in_place && p.a.type == ElementType::bf16 && p.a.k_contiguous &&
                         p.k % kernel.k_align == 0 && p.a.stride % 2 == 0 && p.n <= 2 * kernel.nr;
  const ReadA a_in = direct_a ? ReadA::units : rows_of_a ? ReadA::rows : ReadA::packed;
  for (int64_t k0 = 0; k0 == 0 || k0 < p.k; k0 += step_k) {
    const int64_t k_count = std::min(step_k, p.k - k0);
    for (int64_t j0 = 0; j0 < p.n; j0 += chunk) {
      const int64_t columns = std::min(chunk, p.n - j0);
      Slice slice{p,  kernel,  k0,      k_count, block_k(kernel, k_count), k0 == 0, k0 + step_k >= p.k,
                  j0, columns, nullptr, a_in};
      if (!direct_b) {
        slice.b_panels = pack_all(slice, p.b, j0, columns, kernel.nr, kernel.pack_b, packed_b);
      }
      run_tasks(slice);
    }
  }
}

// --- long k, small C: partial products over parts of k, added in order ------------------------------------------------

int64_t parts_of(const TileKernel& kernel, const Problem& p) {
  if (ceil_div(p.m, kernel.mr) * ceil_div(p.n, kernel.nr) >= kSplitTiles) return 1;
  return std::clamp<int64_t>(p.k / kSplitK, 1, kMaxParts);
}

PanelSource from_k(PanelSource source, int64_t k) {
  source.data = advance(source.data, source.type, source.k_contiguous ? k : k * source.stride);
  return source;
}

void multiply_split(const TileKernel& kernel, const Problem& p, int64_t parts) {
  const int64_t size = p.m * p.n, step = round_up(ceil_div(p.k, parts), 32);
  float* sums = parts_c.floats(parts * size);
  ThreadPool::instance().parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t k0 = std::min(part * step, p.k);
      const Problem piece{p.m, p.n, std::min(step, p.k - k0), from_k(p.a, k0), from_k(p.b, k0), sums + part * size,
                          ElementType::f32, p.n, nullptr, Activation::none, 1, false, p.round_bf16};
      multiply_tiled(kernel, piece);
    }
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  // The epilogue also serves the plain case: it is one pass over a small C.
  finish(p, p.bias, 0, p.m, 0, p.n, sums, p.n);
}

void multiply_one(const GemmKernels& kernels, Compute compute, const Problem& p) {
  if (is_few(p)) return multiply_few(kernels, p);
  const TileKernel& kernel = compute == Compute::bf16 ? kernels.bf16 : kernels.f32;
  const int64_t parts = parts_of(kernel, p);
  if (parts > 1) return multiply_split(kernel, p, parts);
  multiply_tiled(kernel, p);
}

void check(const GemmArgs& g) {
  RL_CHECK(g.m >= 0 && g.n >= 0 && g.k >= 0 && g.batch >= 0, code::kShape, "gemm: sizes must not be negative, got m=",
           g.m, " n=", g.n, " k=", g.k, " batch=", g.batch);
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  RL_CHECK(g.c && (g.k == 0 || (g.a.data && g.b.data)), code::kShape, "gemm: an operand is a null pointer");
  RL_CHECK(g.k == 0 || g.a.row_stride >= (g.a.transposed ? g.m : g.k), code::kShape, "gemm: A's row stride ",
           g.a.row_stride, " is shorter than its rows of ", g.a.transposed ? g.m : g.k);
  RL_CHECK(g.k == 0 || g.b.row_stride >= (g.b.transposed ? g.k : g.n), code::kShape, "gemm: B's row stride ",
           g.b.row_stride, " is shorter than its rows of ", g.b.transposed ? g.k : g.n);
  RL_CHECK(g.c_row_stride >= g.n, code::kShape, "gemm: C's row stride ", g.c_row_stride, " is shorter than n = ", g.n);
}

}  // namespace

void gemm(const GemmArgs& g) {
  check(g);
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  const GemmKernels& kernels = gemm_kernels();
  const float* bias = static_cast<const float*>(g.bias);
  if (g.bias && g.bias_type == ElementType::bf16) {
    float* row = bias_row.floats(g.n);
    to_float(static_cast<const bf16*>(g.bias), row, g.n);
    bias = row;
  }
  auto run = [&](int64_t index) {
    const Problem p{g.m, g.n, g.k,
                    {advance(g.a.data, g.a.type, index * g.a_batch_stride), g.a.type, g.a.row_stride, !g.a.transposed},
                    {advance(g.b.data, g.b.type, index * g.b_batch_stride), g.b.type, g.b.row_stride, g.b.transposed},
                    advance(g.c, g.c_type, index * g.c_batch_stride), g.c_type, g.c_row_stride, bias, g.activation,
                    g.alpha, g.accumulate, g.compute == Compute::bf16};
    multiply_one(kernels, g.compute, p);
  };
  ThreadPool& pool = ThreadPool::instance();
  if (g.batch >= pool.size() && g.batch > 1) {
    const double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k + 1);
    const TileKernel& kernel = g.compute == Compute::bf16 ? kernels.bf16 : kernels.f32;
    const auto grain = static_cast<int64_t>(std::min(1e9, kernel.task_work / work)) + 1;
    pool.parallel_for(g.batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) run(index);
    });
  } else {
    for (int64_t index = 0; index < g.batch; ++index) run(index);
  }
}

const GemmKernels& gemm_kernels() {
#if defined(__x86_64__)
  switch (best_isa()) {
    case Isa::amx: return gemm_kernels_amx();
    case Isa::avx512_bf16: return gemm_kernels_avx512_bf16();
    case Isa::avx512: return gemm_kernels_avx512();
    case Isa::avx2: return gemm_kernels_avx2();
    case Isa::scalar: break;
  }
#endif
  return gemm_kernels_scalar();
}

Workspace::~Workspace() { std::free(data_); }

void* Workspace::reserve(int64_t bytes) {
  if (bytes <= bytes_) return data_;
  std::free(data_);
  bytes_ = 0;
  // 4 KiB of slack: kernels may prefetch past the end.
  // Large pages where the kernel has them: packed panels are walked in long strides.
  const int64_t alignment = bytes >= kHugePage / 2 ? kHugePage : 4096, size = round_up(bytes + 4096, alignment);
  data_ = std::aligned_alloc(alignment, static_cast<size_t>(size));
  RL_CHECK(data_, code::kOutOfMemory, "CPU kernel workspace: cannot allocate ", size, " bytes");
#if defined(__linux__)
  if (alignment == kHugePage) madvise(data_, static_cast<size_t>(size), MADV_HUGEPAGE);
#endif
  bytes_ = size;
  return data_;
}

}  // namespace rl::cpu
