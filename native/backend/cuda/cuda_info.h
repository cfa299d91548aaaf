// What CUDA offers on this machine, found without creating a context when there is no driver.
#pragma once

#include <string>
#include <vector>

namespace rl {

struct CudaInfo {
  std::string runtime;         // "13.0"
  std::string architectures;   // those this binary was built for: "80 86 89 90a 120"
  int device_count = 0;
  std::vector<std::string> devices;  // "NVIDIA H100 80GB HBM3, sm_90, 79.6 GiB free of 80.0 GiB"
  std::string unavailable;     // why no device can be used; empty when one can
};

CudaInfo cuda_info();

}  // namespace rl
