// A CUDA device: one stream for kernels, one host thread that waits for it on behalf of readers.
#pragma once

#include <cuda_runtime.h>

#include "native/core/device.h"

namespace rl {

std::shared_ptr<Device> make_cuda_device(int index);

// The stream every kernel of `device` is launched on; `device` must be a CUDA device.
cudaStream_t cuda_stream(Device& device);

}  // namespace rl
