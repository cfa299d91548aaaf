// Row-wise CUDA kernels: a team of threads per row, 16-byte loads where the row allows them, the row kept in registers.
#pragma once

#include <initializer_list>

#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"

namespace rl::rows {

template <class T>
inline constexpr int kWide = 16 / sizeof(T);  // elements of a 16-byte load

// Packs of a row that one thread keeps in registers.
inline constexpr int kPacks = 4;

template <class T, int N>
__device__ __forceinline__ void load(const T* __restrict__ from, float (&values)[N]) {
  struct alignas(N * sizeof(T)) Pack {
    T v[N];
  };
  const Pack pack = *reinterpret_cast<const Pack*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = to_f32(pack.v[i]);
}

template <class T, int N>
__device__ __forceinline__ void store(T* __restrict__ to, const float (&values)[N]) {
  struct alignas(N * sizeof(T)) Pack {
    T v[N];
  } pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = from_f32<T>(values[i]);
  *reinterpret_cast<Pack*>(to) = pack;
}

// The team is the block's x extent: one warp with several rows per block (y), or several warps with one row per block.
__device__ __forceinline__ float team_sum(float value) { return blockDim.x == 32 ? warp_sum(value) : block_sum(value); }

__device__ __forceinline__ int64_t team_row() { return int64_t{blockIdx.x} * blockDim.y + threadIdx.y; }

struct Launch {
  dim3 grid, block;
  bool cached;  // a row fits kPacks registers packs per thread
};

// For rows of `packs` packs each. Uncached rows are read again from L1 or L2 instead.
inline Launch launch_for(int64_t rows, int64_t packs) {
  int64_t team = (packs + kPacks - 1) / kPacks;
  team = team < 32 ? 32 : team > 512 ? 512 : (team + 31) / 32 * 32;
  const unsigned per_block = team == 32 ? 4 : 1;
  return {dim3(static_cast<unsigned>((rows + per_block - 1) / per_block)), dim3(static_cast<unsigned>(team), per_block),
          team * kPacks >= packs};
}

// Calls f(register index, pack index) for the packs of this thread.
template <bool kCached, class F>
__device__ __forceinline__ void each_pack(int64_t packs, F f) {
  if constexpr (kCached) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int64_t at = threadIdx.x + p * static_cast<int>(blockDim.x);
      if (at < packs) f(p, at);
    }
  } else {
    for (int64_t at = threadIdx.x; at < packs; at += blockDim.x) f(0, at);
  }
}

// True when rows of `dim` elements can be read 16 bytes at a time from all these pointers (null ones are not read).
template <class T>
bool wide(int64_t dim, std::initializer_list<const void*> pointers) {
  bool aligned = dim % kWide<T> == 0;
  for (const void* pointer : pointers) aligned = aligned && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  return aligned;
}

// Runs `...` with N = kWide<T> or 1.
#define RL_DISPATCH_WIDTH(is_wide, T, N, ...)  \
  do {                                         \
    if (is_wide) {                             \
      constexpr int N = ::rl::rows::kWide<T>;  \
      __VA_ARGS__                              \
    } else {                                   \
      constexpr int N = 1;                     \
      __VA_ARGS__                              \
    }                                          \
  } while (0)

}  // namespace rl::rows
