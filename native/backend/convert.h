// Conversion between the element types of files and of tensors, on the host.
#pragma once

#include "native/core/tensor.h"

namespace rl {

// Converts `count` elements; throws ERR_SHAPE for a pair that is not a conversion between number types we load.
void convert_elements(void* destination, DType to, const void* source, DType from, int64_t count);

// Enqueues the conversion of a mapped source (unaligned allowed) into device memory; `keep` stays alive until it is done.
void upload_converted(Device& device, void* destination, DType to, const void* source, DType from, int64_t count,
                      std::shared_ptr<const void> keep);

}  // namespace rl
