#include "native/backend/cuda/types.cuh"
#include "native/core/rng.h"
#include "native/ops/train/random.h"

namespace rl {

namespace {

// One Philox block of four numbers per thread.
template <class T>
__global__ void random_kernel(RandomArgs a, uint64_t blocks) {
  T* x = static_cast<T*>(a.x);
  const uint64_t first = a.offset / 4;
  for (uint64_t b = blockIdx.x * uint64_t{blockDim.x} + threadIdx.x; b < blocks; b += uint64_t{gridDim.x} * blockDim.x) {
    float draws[4];
    if (a.normal) {
      philox_normal4(a.seed, a.stream, first + b, draws);
    } else {
      const Philox4 bits = philox4x32(first + b, a.stream, a.seed);
      for (int k = 0; k < 4; ++k) draws[k] = philox_uniform(bits.v[k]);
    }
    for (int k = 0; k < 4; ++k) {
      const int64_t i = static_cast<int64_t>((first + b) * 4 + k - a.offset);
      if (i >= 0 && i < a.count) x[i] = from_f32<T>(static_cast<float>(__dadd_rn(a.shift, __dmul_rn(a.factor, draws[k]))));
    }
  }
}

}  // namespace

void random_cuda(const RandomArgs& args, cudaStream_t stream) {
  const uint64_t blocks = (args.offset + static_cast<uint64_t>(args.count) + 3) / 4 - args.offset / 4;
  RL_DISPATCH_CUDA(args.dtype, T, {
    random_kernel<T><<<grid_for(static_cast<int64_t>(blocks), 128), 128, 0, stream>>>(args, blocks);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
