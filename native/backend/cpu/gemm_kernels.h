// Internal: what one ISA provides to the GEMM driver (gemm.cc) and to attention.
#pragma once

#include <cstdint>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/gemm.h"

namespace rl::cpu {

// An operand seen as `width` vectors along k: A's rows or B's columns.
// Element (w, k) is data[w * stride + k] if k_contiguous, else data[k * stride + w].
struct PanelSource {
  const void* data;
  ElementType type;
  int64_t stride;
  bool k_contiguous;
};

// Copies vectors [w0, w0 + w_count) over [k0, k0 + k_count) into one panel, zero-filled up to the panel's full width and
// to k_align. round_bf16: round f32 elements to bf16 (they stay f32 in an f32 panel).
using PackPanel = void (*)(void* panel, const PanelSource& source, int64_t w0, int w_count, int64_t k0, int64_t k_count,
                           bool round_bf16);

// C[m,n] = A[m,k] B[k,n] + (init ? init[n] : 0) + (accumulate ? C : 0), with 0 < m <= mr, 0 < n <= nr, k >= 0.
// Strides of A and B are in units of 4 bytes: one f32, or two consecutive bf16 along k (then k counts elements and a
// packed panel has k rounded up). Packed: a_row_stride = 1, a_k_stride = mr, b_k_stride = nr.
using MultiplyTile = void (*)(int m, int n, int64_t k, const void* a, int64_t a_row_stride, int64_t a_k_stride,
                              const void* b, int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init,
                              bool accumulate);

// What later calls will read, to be fetched into L2 meanwhile: two streams.
struct Ahead {
  const char* a = nullptr;
  const char* b = nullptr;
  int64_t a_bytes = 0, b_bytes = 0;
};

// MultiplyTile that fetches ahead.
using MultiplyTileAhead = void (*)(int m, int n, int64_t k, const void* a, int64_t a_row_stride, int64_t a_k_stride,
                                   const void* b, int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init,
                                   bool accumulate, const Ahead& ahead);

// C[m,n] = bf16(sums[m,n] + bias[n]); bias may be null.
using StoreHalf = void (*)(int m, int n, const float* sums, int64_t sums_stride, void* c, int64_t c_row_stride,
                           const float* bias);

struct TileKernel {
  int mr, nr;         // register tile
  int64_t k_align;    // packed k is a multiple of this
  int element_bytes;  // of a packed element: 4 (f32) or 2 (bf16)
  bool direct;        // the tile kernel can read f32 operands in place (A in any orientation, B row-major)
  int64_t kc;         // k block: one B panel (kc x nr) stays in L1 while A panels stream past it
  int64_t mc;         // row block: one A block (mc x kc) stays in L2
  PackPanel pack_a, pack_b;
  MultiplyTile multiply;
  int64_t nc = 2048;          // column group: a C block (mc x nc) stays in L2
  void (*begin)() = nullptr;  // around a run of multiplications on one thread: tile configuration of AMX
  void (*end)() = nullptr;
  double task_work = 2e5;     // multiply-adds that are worth handing to another thread, about 2 microseconds
  double long_task_work = 2e5;  // from here on tasks may outnumber the threads
  // Null where the ISA has nothing better than `multiply` and the common epilogue.
  MultiplyTileAhead multiply_ahead = nullptr;
  StoreHalf store_half = nullptr;
  bool rows_in_place = false;  // mr whole rows of a bf16 A, k a multiple of k_align, can be read in place
  bool blocked_sums = false;   // sums over several k blocks are kept tile by tile (mr x nr together), not in C
  bool share_a = false;        // pack A once for all column groups: copying it costs as much as several uses

  int64_t panel_bytes(int width, int64_t k) const { return (k + k_align - 1) / k_align * k_align * width * element_bytes; }
};

// Calls begin and end of a kernel.
class KernelScope {
 public:
  explicit KernelScope(const TileKernel& kernel) : kernel_(kernel) {
    if (kernel_.begin) kernel_.begin();
  }
  ~KernelScope() {
    if (kernel_.end) kernel_.end();
  }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  const TileKernel& kernel_;
};

inline constexpr int kFewRows = 8;

struct GemmKernels {
  TileKernel f32;
  TileKernel bf16;  // for Compute::bf16; the f32 kernel with rounding packs where the ISA has no bf16 instruction
  // out[r * out_r + j * out_j] = sum_k few[r][k] * stream(j, k) for r < rows <= kFewRows and j in [begin, end): no
  // packing, the stream is read once. `stream` is k-contiguous; `few` has rows of few_stride floats.
  void (*dot_few)(int rows, int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin,
                  int64_t end, float* out, int64_t out_r, int64_t out_j);
};

const GemmKernels& gemm_kernels_scalar();
const GemmKernels& gemm_kernels_avx2();
const GemmKernels& gemm_kernels_avx512();       // bf16 by rounding packs
const GemmKernels& gemm_kernels_avx512_bf16();  // vdpbf16ps
const GemmKernels& gemm_kernels_amx();
const GemmKernels& gemm_kernels();  // of best_isa()

// A 64-byte aligned buffer that only grows. Kept per thread, so that steady state allocates nothing.
class Workspace {
 public:
  Workspace() = default;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* reserve(int64_t bytes);  // throws ERR_OUT_OF_MEMORY
  float* floats(int64_t count) { return static_cast<float*>(reserve(count * 4)); }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace rl::cpu
