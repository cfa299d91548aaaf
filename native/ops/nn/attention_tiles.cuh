// Tiles of bf16 matrices in shared memory and their products on the tensor cores (mma.sync m16n8k16, f32 sums).
//
// A warp owns 16 rows of a product. Sums lie in sums[n][4]: of column tile n (8 columns), thread (g = lane/4, t = lane%4) holds
// (row g, columns 2t, 2t+1) in [0], [1] and (row g + 8, the same columns) in [2], [3].
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace rl::tiles {

using bf16 = __nv_bfloat16;

// Extra elements per tile row: 16 bytes, so that the eight rows of a load_matrix lie in different banks.
inline constexpr int kPad = 8;

// The rows of one head: row i of [count, d] starts at base + i * stride.
struct Head {
  const bf16* base;
  int64_t stride;
  int count, d;
  bool wide;  // rows can be read 16 bytes at a time
};

// tile[kRows][kD + kPad] = rows [first, first + kRows), columns [column, column + kD), zero beyond the matrix. All threads.
template <int kRows, int kD>
__device__ __forceinline__ void load_tile(bf16* tile, const Head& from, int first, int column) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * (kD / 8); i += static_cast<int>(blockDim.x)) {
    const int row = i / (kD / 8), c = i % (kD / 8) * 8;
    bf16* to = tile + row * (kD + kPad) + c;
    const bf16* source = from.base + (first + row) * from.stride + column + c;
    const int there = first + row < from.count ? from.d - column - c : 0;  // elements of these eight
    if (from.wide || there <= 0) {
      *reinterpret_cast<uint4*>(to) = there > 0 ? *reinterpret_cast<const uint4*>(source) : make_uint4(0, 0, 0, 0);
    } else {
      for (int k = 0; k < 8; ++k) to[k] = k < there ? source[k] : __float2bfloat16_rn(0.0f);
    }
  }
}

// Four 8 x 8 matrices; this thread names row lane % 8 of matrix lane / 8.
__device__ __forceinline__ void load_matrix(uint32_t (&out)[4], const bf16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void load_matrix_transposed(uint32_t (&out)[4], const bf16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(address) : "memory");
}

__device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// sums[16, 8 kTiles] += a[16, kD] bᵀ with b [8 kTiles, kD].
template <int kD, int kTiles>
__device__ __forceinline__ void multiply_transposed(float (&sums)[kTiles][4], const bf16* a, const bf16* b) {
  constexpr int kPitch = kD + kPad;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bf16* a_row = a + lane % 16 * kPitch + lane / 16 * 8;
  const bf16* b_row = b + (lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kD; k += 16) {
    uint32_t left[4];
    load_matrix(left, a_row + k);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      uint32_t right[4];
      load_matrix(right, b_row + n * 8 * kPitch + k);
      multiply(sums[n], left, right[0], right[1]);
      multiply(sums[n + 1], left, right[2], right[3]);
    }
  }
}

// sums[16, kD] += p[16, 8 kTiles] b with b [8 kTiles, kD]; p in the layout of sums, rounded to bf16 here.
template <int kD, int kTiles>
__device__ __forceinline__ void multiply_sums(float (&sums)[kD / 8][4], const float (&p)[kTiles][4], const bf16* b) {
  constexpr int kPitch = kD + kPad;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bf16* b_row = b + (lane / 8 % 2 * 8 + lane % 8) * kPitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    const uint32_t left[4] = {pack(p[k][0], p[k][1]), pack(p[k][2], p[k][3]), pack(p[k + 1][0], p[k + 1][1]),
                              pack(p[k + 1][2], p[k + 1][3])};
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      uint32_t right[4];
      load_matrix_transposed(right, b_row + k * 8 * kPitch + n * 8);
      multiply(sums[n], left, right[0], right[1]);
      multiply(sums[n + 1], left, right[2], right[3]);
    }
  }
}

// Writes the 16 rows of this warp, times factor[row of this thread], rounded to bf16.
template <int kD>
__device__ __forceinline__ void store_rows(bf16* base, int64_t stride, int count, int d, int first, int column,
                                           const float (&sums)[kD / 8][4], float factor_low, float factor_high) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kD / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first + lane / 4 + i / 2 * 8, c = column + n * 8 + lane % 4 * 2 + i % 2;
      if (row < count && c < d) base[row * stride + c] = __float2bfloat16_rn(sums[n][i] * (i < 2 ? factor_low : factor_high));
    }
}

}  // namespace rl::tiles
