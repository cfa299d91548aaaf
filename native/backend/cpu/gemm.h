// General matrix multiplication on the CPU, on raw pointers.
//
//   C[m,n] = activation(alpha * A[m,k] B[k,n] + bias[n])  (+ C)
//
// Method: packed panels and a register-tiled inner kernel (Goto & van de Geijn 2008; Van Zee & van de Geijn 2015), with
// short cuts that read operands in place where packing does not pay.
// Precision: accumulation in f32 over k blocks in a fixed order. Results do not depend on the number of threads, but do
// depend on the ISA (block sizes, fused multiply-add). FLOPs: 2 m n k. Bytes: the operands once, C once.
#pragma once

#include <cstdint>

namespace rl::cpu {

enum class ElementType { f32, bf16 };

// Precision of the multiplications. bf16: f32 operands are rounded to nearest even as they are read, except by the
// kernel for few rows or columns (<= 8), which may keep the f32 operand as it is. With bf16 instructions subnormal
// numbers count as zero, as the hardware defines it.
enum class Compute { f32, bf16 };

enum class Activation { none, gelu_tanh, gelu_erf, quick_gelu, silu, relu };

// Element (i, j) is data[i * row_stride + j], or data[j * row_stride + i] if transposed. Strides count elements.
struct Matrix {
  const void* data = nullptr;
  ElementType type = ElementType::f32;
  int64_t row_stride = 0;
  bool transposed = false;
};

struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  Matrix a, b;                      // [m,k], [k,n]
  void* c = nullptr;                // [m,n] row-major, must not overlap the operands
  ElementType c_type = ElementType::f32;
  int64_t c_row_stride = 0;
  const void* bias = nullptr;       // [n] or null
  ElementType bias_type = ElementType::f32;
  Activation activation = Activation::none;
  float alpha = 1;
  bool accumulate = false;          // C += instead of C =
  Compute compute = Compute::f32;
  int64_t batch = 1, a_batch_stride = 0, b_batch_stride = 0, c_batch_stride = 0;  // elements; 0 shares the operand
};

// Uses all threads of the pool, or the calling one from inside a parallel_for. m, n or k of 0 is legal: k = 0 gives
// activation(bias). Throws ERR_SHAPE for negative sizes, strides shorter than a row, or missing pointers.
void gemm(const GemmArgs& args);

}  // namespace rl::cpu
