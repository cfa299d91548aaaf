// Asks the current device whether it can load this binary's kernels.
#pragma once

#include <cuda_runtime.h>

namespace rl {

// cudaErrorNoKernelImageForDevice when there is no code for it; other errors when the device cannot be initialised.
cudaError_t cuda_probe();

}  // namespace rl
